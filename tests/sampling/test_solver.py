"""Solvers: known slices are at their level after every step, and everything ends at clean latents."""

from itertools import pairwise

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from napari_gem3d.bundle.plan import NoiseSchedule
from napari_gem3d.errors import InputError
from napari_gem3d.sampling.solver import SOLVERS, denoise, make_solver, predicted_x0

ZERO_SNR = NoiseSchedule()
PUBLISHED = NoiseSchedule(prediction_type="epsilon", rescale_betas_zero_snr=False, timestep_spacing="leading")
SCHEDULES = pytest.mark.parametrize("schedule", [ZERO_SNR, PUBLISHED], ids=["zero-snr", "published"])
SHAPE = (6, 4, 3, 5)


def tensors(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    noise, latents = torch.randn(SHAPE, generator=generator), torch.randn(SHAPE, generator=generator)
    return noise, latents, torch.tensor([True, True, False, False, False, True])


def slots(known: Tensor) -> Tensor:
    """Weights of known slices as `denoise` takes them."""
    return known[:, None, None, None].float()


def rough_network(x: Tensor, timestep: int) -> Tensor:
    """Some bounded function of the whole window: a wrong prediction for every slice, known ones too."""
    mixed = torch.tanh(x + x.mean(dim=0, keepdim=True))
    return mixed * (0.3 + timestep / 1000)


@SCHEDULES
@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("steps", [1, 2, 7, 10, 25])
def test_known_slices_are_exactly_at_every_level_reached(schedule: NoiseSchedule, name: str, steps: int) -> None:
    noise, latents, known = tensors()
    solver = make_solver(schedule, name, steps)
    states = list(denoise(rough_network, solver, schedule.prediction_type, noise, latents, slots(known)))
    assert len(states) == steps == len(solver.timesteps)
    for (alpha, sigma), state in zip(solver.levels[1:], states, strict=True):
        expected = alpha * latents + sigma * noise
        torch.testing.assert_close(state[known], expected[known], rtol=0, atol=2e-4)
        assert state.isfinite().all()
    assert torch.equal(states[-1][known], latents[known])


@SCHEDULES
@pytest.mark.parametrize("name", SOLVERS)
def test_a_perfect_network_recovers_the_latents(schedule: NoiseSchedule, name: str) -> None:
    noise, latents, _ = tensors()
    solver = make_solver(schedule, name, 8)
    levels = dict(zip(solver.timesteps, solver.levels[:-1], strict=True))

    def perfect(x: Tensor, timestep: int) -> Tensor:
        alpha, sigma = levels[timestep]
        eps = (x - alpha * latents) / sigma
        return eps if schedule.prediction_type == "epsilon" else alpha * eps - sigma * latents

    nothing = torch.zeros(SHAPE[0], dtype=torch.bool)
    *_, last = denoise(perfect, solver, schedule.prediction_type, noise, torch.zeros(SHAPE), slots(nothing))
    torch.testing.assert_close(last, latents, rtol=0, atol=1e-3)


@SCHEDULES
@pytest.mark.parametrize("name", SOLVERS)
def test_solvers_agree_in_the_limit_of_many_steps(schedule: NoiseSchedule, name: str) -> None:
    # For Gaussian data x0 ~ N(0, s²) the best prediction is known, and so is the end of the flow: s · noise.
    spread, noise = 0.5, torch.linspace(-2, 2, 12).reshape(12, 1, 1, 1)
    solver = make_solver(schedule, name, 200)
    levels = dict(zip(solver.timesteps, solver.levels[:-1], strict=True))

    def best(x: Tensor, timestep: int) -> Tensor:
        alpha, sigma = levels[timestep]
        x0 = alpha * spread**2 / (alpha**2 * spread**2 + sigma**2) * x
        eps = (x - alpha * x0) / sigma
        return eps if schedule.prediction_type == "epsilon" else alpha * eps - sigma * x0

    nothing = torch.zeros(12, dtype=torch.bool)
    *_, last = denoise(best, solver, schedule.prediction_type, noise, noise, slots(nothing))
    torch.testing.assert_close(last, spread * noise, rtol=0.03, atol=0)


@pytest.mark.parametrize("name", SOLVERS)
def test_every_number_of_steps_gives_falling_timesteps(name: str) -> None:
    for steps in (1, 3, 10, 61, 103, 122, 999, 1000):
        solver = make_solver(ZERO_SNR, name, steps)
        assert len(solver.timesteps) == steps
        assert solver.timesteps[0] == 999 and min(solver.timesteps) >= 0
        assert all(a > b for a, b in pairwise(solver.timesteps))
        signals = [alpha for alpha, _ in solver.levels]
        assert signals == sorted(signals) and signals[0] < 1e-3 and solver.levels[-1] == (1.0, 0.0)


@pytest.mark.parametrize("name", SOLVERS)
def test_the_published_spacing_stays_in_range(name: str) -> None:
    for steps in (1, 200, 998):
        solver = make_solver(PUBLISHED, name, steps)
        assert len(solver.timesteps) == steps and 1 <= min(solver.timesteps) <= max(solver.timesteps) <= 999
    assert make_solver(PUBLISHED, "ddim", 200).timesteps[:2] == (996, 991)
    with pytest.raises(InputError, match="choose 1 to 998"):
        make_solver(PUBLISHED, name, 999)


def test_a_number_of_steps_that_diffusers_miscounts_still_ends_clean() -> None:
    noise, latents, known = tensors()
    solver = make_solver(ZERO_SNR, "dpmsolver++", 61)
    *_, last = denoise(rough_network, solver, "v_prediction", noise, latents, slots(known))
    assert last.isfinite().all() and torch.equal(last[known], latents[known])


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_ddim_is_the_one_of_diffusers_where_that_is_consistent(eta: float) -> None:
    reference = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        timestep_spacing="trailing",
        prediction_type="v_prediction",
    )
    reference.set_timesteps(10)
    schedule = NoiseSchedule(rescale_betas_zero_snr=False)
    noise, latents, _ = tensors()
    generator = torch.Generator().manual_seed(5)
    x = noise
    for t in reference.timesteps:
        # The last step draws noise of no weight in diffusers and none at all here.
        x = reference.step(rough_network(x, int(t)), t, x, eta=eta, generator=generator).prev_sample
    nothing = torch.zeros(SHAPE[0], dtype=torch.bool)
    solver = make_solver(schedule, "ddim", 10, eta)
    *_, last = denoise(
        rough_network, solver, "v_prediction", noise, latents, slots(nothing), torch.Generator().manual_seed(5)
    )
    torch.testing.assert_close(last, x, rtol=1e-4, atol=1e-4)


def test_fresh_noise_keeps_known_slices_at_the_right_level() -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (2, 1, 100, 100)
    noise, latents = torch.randn(shape, generator=generator), torch.full(shape, 0.7)
    known = torch.tensor([True, False])
    solver = make_solver(ZERO_SNR, "ddim", 6, eta=1.0)
    states = denoise(rough_network, solver, "v_prediction", noise, latents, slots(known), generator)
    for (alpha, sigma), state in zip(solver.levels[1:], states, strict=True):
        assert float(state[0].mean()) == pytest.approx(alpha * 0.7, abs=0.04)
        assert float(state[0].std()) == pytest.approx(sigma, abs=0.02)


def test_v_prediction_needs_no_signal() -> None:
    x, v = torch.randn(2, 3), torch.randn(2, 3)
    assert torch.equal(predicted_x0("v_prediction", (0.0, 1.0), x, v), -v)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("euler", 10, 0.0), "'euler' is unknown; choose one of dpmsolver"),
        (("unipc", 0, 0.0), "0 denoising steps .* 1 to 1000"),
        (("unipc", 1001, 0.0), "1001 denoising steps"),
        (("ddim", 10, 1.5), "eta of 1.5"),
        (("unipc", 10, 0.5), "eta must be 0"),
    ],
)
def test_impossible_solvers_are_refused(arguments: tuple[str, int, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_solver(ZERO_SNR, *arguments)


def test_a_soft_margin_ends_between_what_is_known_and_what_is_drawn() -> None:
    noise, latents, _ = tensors()

    def network(x: Tensor, timestep: int) -> Tensor:
        return torch.zeros_like(x)

    def drawn(share: float) -> Tensor:
        keep = torch.full((len(latents), 1, *latents.shape[2:]), share)
        *_, last = denoise(network, make_solver(ZERO_SNR, "dpmsolver++", 5), "v_prediction", noise, latents, keep)
        return last

    free, half, known = drawn(0.0), drawn(0.5), drawn(1.0)
    assert torch.equal(known, latents)
    nearer = (half - latents).abs().mean() / (free - latents).abs().mean()
    assert 0.05 < nearer < 0.95


def test_fresh_noise_correlates_along_the_slices_of_a_window() -> None:
    shape = (8, 1, 60, 60)  # two windows of four
    zeros = torch.zeros(shape)
    keep = torch.zeros((8, 1, 1, 1))

    def network(x: Tensor, timestep: int) -> Tensor:
        return torch.zeros_like(x)

    def state(correlation: float) -> Tensor:
        solver = make_solver(PUBLISHED, "ddim", 10, eta=1.0)
        generator = torch.Generator().manual_seed(1)
        states = denoise(network, solver, "epsilon", zeros, zeros, keep, generator, correlation, windows=2)
        return next(states)

    def neighbours(x: Tensor, i: int) -> float:
        return float(torch.corrcoef(torch.stack([x[i].flatten(), x[i + 1].flatten()]))[0, 1])

    correlated, independent = state(0.9), state(0.0)
    assert neighbours(correlated, 0) == pytest.approx(0.9, abs=0.03)
    assert abs(neighbours(correlated, 3)) < 0.06, "the windows are independent"
    assert abs(neighbours(independent, 0)) < 0.06
