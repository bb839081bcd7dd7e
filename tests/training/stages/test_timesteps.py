"""Timesteps: how they are drawn, and what their errors weigh."""

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from napari_gem3d.bundle.plan import NoiseSchedule
from napari_gem3d.sampling.solver import make_solver
from napari_gem3d.training.config.settings import DenoisingSettings
from napari_gem3d.training.stages.timesteps import TimestepDraw, loss_weights, visited_timesteps

EPSILON = NoiseSchedule(prediction_type="epsilon", rescale_betas_zero_snr=False)
V = NoiseSchedule()


def settings(weighting: str, gamma: float = 5.0) -> DenoisingSettings:
    return DenoisingSettings(timestep_weighting=weighting, min_snr_gamma=gamma)


def signals(schedule: NoiseSchedule) -> torch.Tensor:
    return DDPMScheduler(**schedule.diffusers_config()).alphas_cumprod


@pytest.mark.parametrize("count", [10, 1000])
def test_published_timesteps_are_drawn_with_weight_2t_minus_t(count: int) -> None:
    draw = TimestepDraw(V.model_copy(update={"num_train_timesteps": count}), settings("published"))
    rng = np.random.default_rng(0)
    drawn = np.array([draw.draw(rng) for _ in range(20_000)])
    weights = 2.0 * count - np.arange(count)
    wanted = weights / weights.sum()
    assert drawn.min() >= 0 and drawn.max() < count
    seen = np.bincount(drawn * 10 // count, minlength=10) / len(drawn)
    np.testing.assert_allclose(seen, wanted.reshape(10, -1).sum(axis=1), atol=0.008)


def test_the_first_and_the_last_timestep_can_be_drawn() -> None:
    class Fixed:
        def __init__(self, value: float) -> None:
            self.value = value

        def random(self) -> float:
            return self.value

    draw = TimestepDraw(V.model_copy(update={"num_train_timesteps": 2}), settings("published"))
    # Weights 4 and 3: the border lies at 4/7.
    assert [draw.draw(Fixed(u)) for u in (0.0, 4 / 7 - 1e-9, 4 / 7 + 1e-9, 1 - 1e-16)] == [0, 0, 1, 1]


@pytest.mark.parametrize("weighting", ["uniform", "min_snr"])
def test_other_timesteps_are_drawn_equally(weighting: str) -> None:
    draw, rng = TimestepDraw(V, settings(weighting)), np.random.default_rng(0)
    seen = np.bincount([draw.draw(rng) // 100 for _ in range(20_000)], minlength=10) / 20_000
    np.testing.assert_allclose(seen, 0.1, atol=0.008)


@pytest.mark.parametrize("gamma", [1.0, 5.0])
@pytest.mark.parametrize("schedule", [EPSILON, V], ids=["epsilon", "v"])
def test_min_snr_weights_are_those_of_the_paper(schedule: NoiseSchedule, gamma: float) -> None:
    signal = signals(schedule)[:-1].double()
    snr = signal / (1 - signal)
    wanted = snr.clamp(max=gamma) / (snr if schedule is EPSILON else snr + 1)
    torch.testing.assert_close(loss_weights(signal, schedule, settings("min_snr", gamma)), wanted)


@pytest.mark.parametrize(("schedule", "wanted"), [(EPSILON, (1.0, 0.0)), (V, (0.0, 0.0))], ids=["epsilon", "v"])
def test_min_snr_is_right_without_signal_and_without_noise(
    schedule: NoiseSchedule, wanted: tuple[float, float]
) -> None:
    # The limits of min(SNR, γ) / SNR and min(SNR, γ) / (SNR + 1) for SNR → 0 and → ∞.
    assert loss_weights(torch.tensor([0.0, 1.0]), schedule, settings("min_snr")).tolist() == list(wanted)
    assert float(signals(V)[-1]) == 0


@pytest.mark.parametrize("weighting", ["uniform", "published"])
def test_other_errors_weigh_the_same(weighting: str) -> None:
    assert loss_weights(torch.rand(5), V, settings(weighting)).tolist() == [1.0] * 5


def test_half_of_the_timesteps_are_those_that_a_solver_visits() -> None:
    draw = TimestepDraw(V, DenoisingSettings(solver_steps=4))
    rng = np.random.default_rng(0)
    drawn = np.array([draw.draw(rng) for _ in range(20_000)])
    visited = make_solver(V, "unipc", 4).timesteps
    assert visited == visited_timesteps(V, 4) == (999, 749, 499, 249)
    for timestep in visited:
        assert (drawn == timestep).mean() == pytest.approx(1 / 8 + 1 / 2000, abs=0.01)
    assert (~np.isin(drawn, visited)).mean() == pytest.approx(0.5, abs=0.02)
