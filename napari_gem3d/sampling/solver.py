"""From noise to latents: solvers of the reverse process that respect slices which are already known.

The published sampler puts the known slices back after each step, noised to a level it looks up with the wrong index.
Here the network's prediction is turned into the predicted clean latents x0, the known slices' x0 are replaced by the
true ones, and only then does the solver take its step. So the known slices are exactly at the level just reached,
they are clean at the end, and the history of a multistep solver holds the truth about them.

Notation: x_t = alpha_t · x0 + sigma_t · eps with alpha_t² + sigma_t² = 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, get_args

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler
from torch import Tensor

from napari_gem3d.bundle.plan import NoiseSchedule
from napari_gem3d.errors import InputError
from napari_gem3d.sampling.noise import correlated_noise
from napari_gem3d.sampling.settings import SolverName

SOLVERS: tuple[str, ...] = get_args(SolverName)


class Solver(Protocol):
    """One run through the noise levels, from pure noise down to clean latents.

    Attributes
    ----------
    timesteps : tuple of int
        The network's timestep at every step, falling.
    levels : tuple of (float, float)
        (alpha, sigma) at every timestep, and behind the last step: (1, 0), or for DDIM what the schedule's
        `set_alpha_to_one` says.
    """

    timesteps: tuple[int, ...]
    levels: tuple[tuple[float, float], ...]

    def step(self, index: int, x: Tensor, x0: Tensor, fresh: Callable[[], Tensor]) -> Tensor:
        """Take x (any shape) from level `index` to the next, given the clean latents x0 predicted at `index`.

        `fresh` draws noise of x's shape, for solvers that need some.
        """
        ...


def make_solver(schedule: NoiseSchedule, name: str, steps: int, eta: float = 0.0) -> Solver:
    """Make a solver for one batch of windows.

    Parameters
    ----------
    schedule
        Noise schedule of the bundle.
    name
        "dpmsolver++" or "unipc" (second order, few steps), or "ddim".
    steps
        Number of denoising steps, 1 up to about `schedule.num_train_timesteps`.
    eta
        Share of fresh noise a step, DDIM only: 0 deterministic, 1 as in DDPM.

    Raises
    ------
    InputError
        If the name is unknown or a number out of range.
    """
    check_solver(schedule, name, steps, eta)
    if name == "ddim":
        return _DDIM(schedule, steps, eta)
    return _Multistep(schedule, name, steps)


def check_solver(schedule: NoiseSchedule, name: str, steps: int, eta: float) -> None:
    """Raise InputError if `make_solver` could not make this solver."""
    if name not in SOLVERS:
        raise InputError(f"The solver '{name}' is unknown; choose one of {', '.join(SOLVERS)}.")
    # "leading" spacing shifts all timesteps up by one, so that the two largest numbers of steps would leave the range.
    most = schedule.num_train_timesteps - (2 if schedule.timestep_spacing == "leading" else 0)
    if not 1 <= steps <= most:
        raise InputError(f"{steps} denoising steps are not possible; choose 1 to {most}.")
    if not 0 <= eta <= 1:
        raise InputError(f"An eta of {eta} is not possible; choose 0 to 1.")
    if eta > 0 and name != "ddim":
        raise InputError(f"The solver '{name}' draws no fresh noise, so eta must be 0; use --solver ddim for {eta}.")


def _options(schedule: NoiseSchedule) -> dict[str, Any]:
    # The solvers are handed x0 ("sample"): that spares the detour from x0 back to the network's own target.
    return {**schedule.diffusers_config(), "prediction_type": "sample"}


class _Multistep:
    """DPM-Solver++ (2M) or UniPC of ``diffusers``."""

    def __init__(self, schedule: NoiseSchedule, name: str, steps: int) -> None:
        kind: Any = UniPCMultistepScheduler if name == "unipc" else DPMSolverMultistepScheduler
        self._scheduler = kind(**_options(schedule), solver_order=2, final_sigmas_type="zero")
        self._scheduler.set_timesteps(steps)
        _drop_surplus_timestep(self._scheduler, steps)
        self._scheduler.set_begin_index(0)
        self.timesteps = tuple(int(t) for t in self._scheduler.timesteps)
        alphas = self._scheduler.alphas_cumprod.double()
        self.levels = (*(_level(float(alphas[t])) for t in self.timesteps), (1.0, 0.0))

    def step(self, index: int, x: Tensor, x0: Tensor, fresh: Callable[[], Tensor]) -> Tensor:
        """Take one step; the scheduler keeps the history, so steps come in their order."""
        result: Tensor = self._scheduler.step(x0, self._scheduler.timesteps[index], x, return_dict=False)[0]
        return result


class _DDIM:
    """DDIM (Song et al. 2021, eq. 12) between consecutive timesteps.

    ``diffusers`` takes the level to reach from a division of whole numbers, which misses the next timestep for most
    numbers of steps, and would leave the known slices beside the others.
    """

    def __init__(self, schedule: NoiseSchedule, steps: int, eta: float) -> None:
        clean = schedule.set_alpha_to_one
        scheduler: Any = DDIMScheduler(**_options(schedule), set_alpha_to_one=clean, clip_sample=False)
        scheduler.set_timesteps(steps)
        _drop_surplus_timestep(scheduler, steps)
        self.timesteps = tuple(int(t) for t in scheduler.timesteps)
        alphas = scheduler.alphas_cumprod.double()
        # Behind the last timestep: 1, or as published the level of timestep 0.
        end = _level(float(scheduler.final_alpha_cumprod))
        self.levels = (*(_level(float(alphas[t])) for t in self.timesteps), end)
        self._eta = eta

    def step(self, index: int, x: Tensor, x0: Tensor, fresh: Callable[[], Tensor]) -> Tensor:
        """Take one step; with eta > 0 noise is taken from `fresh`."""
        (alpha, sigma), (next_alpha, next_sigma) = self.levels[index], self.levels[index + 1]
        eps = (x - alpha * x0) / sigma
        share = self._eta * next_sigma / sigma * (1 - (alpha / next_alpha) ** 2) ** 0.5
        x = next_alpha * x0 + (next_sigma**2 - share**2) ** 0.5 * eps
        return x + share * fresh() if share > 0 else x


def _level(alpha_squared: float) -> tuple[float, float]:
    return alpha_squared**0.5, (1 - alpha_squared) ** 0.5


def _drop_surplus_timestep(scheduler: Any, steps: int) -> None:
    # With "trailing" spacing, rounding gives some numbers of steps (61, 103, …) a last timestep of -1 in diffusers.
    if len(scheduler.timesteps) > steps:
        scheduler.timesteps = scheduler.timesteps[:steps]
        scheduler.num_inference_steps = steps
        if hasattr(scheduler, "sigmas"):
            scheduler.sigmas = torch.cat([scheduler.sigmas[:steps], scheduler.sigmas[-1:]])


def published_known_levels(schedule: NoiseSchedule, steps: int) -> tuple[tuple[float, float], ...]:
    """The (alpha, sigma) of known slices at the network's input of every step, as the published sampler has them.

    It looks the level up with the number of the step, counted down to 0, in the place of its timestep: with 200 steps
    the signal-to-noise ratio of known slices is 600 times too high at the first step. The published weights were only
    ever evaluated with it.

    Raises
    ------
    InputError
        If there are more steps than timesteps.
    """
    check_solver(schedule, "ddim", steps, 0.0)
    alphas = DDIMScheduler(**_options(schedule)).alphas_cumprod.double()
    return tuple(_level(float(alphas[number])) for number in reversed(range(steps)))


def predicted_x0(prediction_type: str, level: tuple[float, float], x: Tensor, prediction: Tensor) -> Tensor:
    """Turn a network's prediction at a noise level into the clean latents it implies (tensors of one shape)."""
    alpha, sigma = level
    if prediction_type == "v_prediction":
        return alpha * x - sigma * prediction
    return (x - sigma * prediction) / alpha


def denoise(
    network: Callable[[Tensor, int], Tensor],
    solver: Solver,
    prediction_type: str,
    noise: Tensor,
    latents: Tensor,
    keep: Tensor,
    generator: torch.Generator | None = None,
    correlation: float = 0.0,
    windows: int = 1,
    known_levels: Sequence[tuple[float, float]] | None = None,
    decay: str = "exponential",
    correct: Callable[[Tensor, int], Tensor] | None = None,
) -> Iterator[Tensor]:
    """Denoise windows of slices step by step; the caller may stop between any two.

    Parameters
    ----------
    network
        Called with the noisy latents (N, c, h, w) and the timestep; returns its prediction, (N, c, h, w).
    solver
        A new one from `make_solver`.
    prediction_type
        "v_prediction" or "epsilon", what the network predicts.
    noise
        (N, c, h, w), the noise of every slice at the first level.
    latents
        (N, c, h, w), true latents where `keep` is above 0; anything finite elsewhere.
    keep
        (N, 1, h, w) or (N, 1, 1, 1), 0 … 1: the share of the true latents in what is predicted at every step. 1 for
        slices that are given and stay as they are, 0 for what is free, between them on the soft margin of an edit.
    generator
        For the fresh noise of DDIM with eta > 0, drawn on the processor.
    correlation, windows, decay
        Of neighbouring slices in that noise, how many windows they belong to, and how it goes on; see
        `correlated_noise`. Independent noise at every step would undo what correlated noise at the start does
        against streaks.
    known_levels
        From `published_known_levels`, to show the network what is known at those levels; by default at the level
        that the solver has reached.
    correct
        Called with the clean latents (N, c, h, w) that the network implies and the number of the step, from 0; returns
        what the solver goes on with. By default they are taken as they are.

    Yields
    ------
    Tensor
        (N, c, h, w) float32 after every step, at the level that the step has reached; the last is the result.
    """

    def fresh() -> Tensor:
        return correlated_noise(noise.shape, correlation, windows, generator, decay).to(noise)

    alpha, sigma = solver.levels[0]
    # What is known starts noised to the first level with its own noise, all else as noise alone.
    x = keep * (alpha * latents + sigma * noise) + (1 - keep) * noise
    for index, timestep in enumerate(solver.timesteps):
        if known_levels is not None:
            alpha, sigma = known_levels[index]
            x = keep * (alpha * latents + sigma * noise) + (1 - keep) * x
        prediction = network(x, timestep).float()
        x0 = predicted_x0(prediction_type, solver.levels[index], x, prediction)
        if correct is not None:
            x0 = correct(x0, index)
        x = solver.step(index, x, keep * latents + (1 - keep) * x0, fresh)
        if index == len(solver.timesteps) - 1:
            x = torch.where(keep == 1, latents, x)
        yield x
