"""Which noise levels the networks learn from, and how much each counts."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from napari_gem3d.bundle.plan import NoiseSchedule
from napari_gem3d.sampling.solver import make_solver
from napari_gem3d.training.config.settings import DenoisingSettings

# Of the timesteps, if some are named: the others keep the network fit for any number of steps.
_VISITED_SHARE = 0.5


def visited_timesteps(schedule: NoiseSchedule, steps: int) -> tuple[int, ...]:
    """The timesteps that DDIM and the multistep solvers visit with so many steps, falling; none for 0 steps."""
    return make_solver(schedule, "ddim", steps).timesteps if steps else ()


class TimestepDraw:
    """Draws timesteps 0 … T − 1: all equally, or, for ``published``, with weight 2 T − t (of the published stage 2).

    Parameters
    ----------
    schedule
        Its number of timesteps, T.
    settings
        The weighting; ``min_snr`` draws equally and weighs the loss, see `loss_weights`. ``solver_steps`` draws every
        other timestep from those that a solver visits.
    """

    def __init__(self, schedule: NoiseSchedule, settings: DenoisingSettings) -> None:
        self.count = schedule.num_train_timesteps
        weights = 2 * self.count - np.arange(self.count)
        cumulative = np.cumsum(weights) / weights.sum()
        self._cumulative = cumulative if settings.timestep_weighting == "published" else None
        self._visited = visited_timesteps(schedule, settings.solver_steps)

    def draw(self, rng: np.random.Generator) -> int:
        """Draw one timestep."""
        if self._visited and rng.random() < _VISITED_SHARE:
            return self._visited[int(rng.integers(len(self._visited)))]
        if self._cumulative is None:
            return int(rng.integers(self.count))
        return int(np.searchsorted(self._cumulative, rng.random(), side="right"))


def loss_weights(signal: Tensor, schedule: NoiseSchedule, settings: DenoisingSettings) -> Tensor:
    """Weights of the squared errors at some noise levels.

    Parameters
    ----------
    signal
        (N,), the share of the signal's variance at each level, ᾱ in [0, 1]; the signal-to-noise ratio is ᾱ / (1 − ᾱ).
    schedule
        Whether the network predicts the noise or v.
    settings
        The weighting: 1 but for ``min_snr`` (Hang et al. 2023), where it is min(SNR, γ) / SNR for the noise and
        min(SNR, γ) / (SNR + 1) for v. With zero terminal SNR the latter is 0 at the last timestep: the levels of
        almost no signal are then learned from their neighbours.

    Returns
    -------
    Tensor
        (N,).
    """
    if settings.timestep_weighting != "min_snr":
        return torch.ones_like(signal)
    # Without a division by the SNR or by 1 − ᾱ, either of which may be 0.
    cut = settings.min_snr_gamma * (1 - signal)
    if schedule.prediction_type == "v_prediction":
        return torch.minimum(signal, cut)
    return torch.where(signal > cut, cut / signal, torch.ones_like(signal))
