"""Known slices: at the schedule's noise level at every step of every solver, clean at the end."""

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from napari_gem3d.bundle.plan import NoiseSchedule
from napari_gem3d.errors import InputError
from napari_gem3d.sampling.solver import SOLVERS, denoise, make_solver, published_known_levels

ZERO_SNR = NoiseSchedule()
PUBLISHED = NoiseSchedule(
    prediction_type="epsilon",
    rescale_betas_zero_snr=False,
    timestep_spacing="leading",
    set_alpha_to_one=False,
)
SCHEDULES = pytest.mark.parametrize("schedule", [ZERO_SNR, PUBLISHED], ids=["zero-snr", "published"])
RUNS = [(name, 0.0) for name in SOLVERS] + [("ddim", eta) for eta in (0.3, 1.0)]
VALUE = 0.7
KNOWN = torch.tensor([True, False, True])


def start() -> tuple[Tensor, Tensor, torch.Generator]:
    """Noise and known latents of three slices, wide enough to measure a level in one slice."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((3, 1, 80, 80), generator=generator)
    return noise, torch.full_like(noise, VALUE), generator


def weights() -> Tensor:
    return KNOWN[:, None, None, None].float()


def wrong_network(x: Tensor, timestep: int) -> Tensor:
    """A bounded prediction of the whole window, wrong for the known slices too."""
    return torch.tanh(x + x.mean(dim=0, keepdim=True)) * (0.3 + timestep / 1000)


def schedule_levels(schedule: NoiseSchedule, timesteps: tuple[int, ...]) -> list[tuple[float, float]]:
    """(alpha, sigma) at timesteps straight from the betas, without any solver."""
    betas = torch.linspace(schedule.beta_start**0.5, schedule.beta_end**0.5, 1000, dtype=torch.float64) ** 2
    alpha = torch.cumprod(1 - betas, 0).sqrt()
    if schedule.rescale_betas_zero_snr:  # Lin et al. 2024, algorithm 1
        alpha = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
    return [(float(alpha[t]), float((1 - alpha[t] ** 2).sqrt())) for t in timesteps]


@SCHEDULES
@pytest.mark.parametrize(("name", "eta"), RUNS)
@pytest.mark.parametrize("steps", [1, 2, 5, 10, 23])
def test_the_network_meets_known_slices_at_the_level_of_its_timestep(
    schedule: NoiseSchedule, name: str, eta: float, steps: int
) -> None:
    noise, latents, generator = start()
    solver = make_solver(schedule, name, steps, eta)
    met: list[Tensor] = []

    def network(x: Tensor, timestep: int) -> Tensor:
        met.append(x.clone())
        return wrong_network(x, timestep)

    *_, last = denoise(network, solver, schedule.prediction_type, noise, latents, weights(), generator)
    assert len(met) == steps
    for (alpha, sigma), x in zip(schedule_levels(schedule, solver.timesteps), met, strict=True):
        for known in x[KNOWN]:
            assert float(known.mean()) == pytest.approx(alpha * VALUE, abs=0.06)
            assert float(known.std()) == pytest.approx(sigma, abs=0.03)
        if eta == 0:  # nothing is drawn on the way: known slices keep their own noise
            expected = alpha * latents + sigma * noise
            torch.testing.assert_close(x[KNOWN], expected[KNOWN], rtol=0, atol=2e-3)
    assert torch.equal(last[KNOWN], latents[KNOWN]), "known slices come out exactly"
    assert last.isfinite().all() and not torch.allclose(last[1], latents[1], atol=0.01)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("steps", [5, 10, 200])
def test_ddim_on_the_published_schedule_is_the_published_ddim(eta: float, steps: int) -> None:
    reference = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="leading",
    )
    reference.set_timesteps(steps)
    noise = start()[0][..., :8, :8].contiguous()
    x, generator = noise, torch.Generator().manual_seed(5)
    for t in reference.timesteps:
        x = reference.step(wrong_network(x, int(t)), t, x, eta=eta, generator=generator).prev_sample
    solver, again = make_solver(PUBLISHED, "ddim", steps, eta), torch.Generator().manual_seed(5)
    free = torch.zeros(3, 1, 1, 1)
    *_, last = denoise(wrong_network, solver, "epsilon", noise, torch.zeros_like(noise), free, again)
    torch.testing.assert_close(last, x, rtol=1e-4, atol=1e-4)


def test_the_published_level_of_known_slices_is_that_of_the_step_number() -> None:
    noise, latents, _ = start()
    levels = published_known_levels(PUBLISHED, 200)
    solver = make_solver(PUBLISHED, "ddim", 200)
    right = schedule_levels(PUBLISHED, tuple(range(199, -1, -1)))
    torch.testing.assert_close(torch.tensor(levels), torch.tensor(right))
    (alpha, sigma), (right_alpha, right_sigma) = levels[0], solver.levels[0]
    assert (alpha / sigma) ** 2 / (right_alpha / right_sigma) ** 2 == pytest.approx(635, rel=0.01)
    met = []

    def network(x: Tensor, timestep: int) -> Tensor:
        met.append(x.clone())
        return wrong_network(x, timestep)

    five, few = make_solver(PUBLISHED, "ddim", 5), published_known_levels(PUBLISHED, 5)
    *_, last = denoise(network, five, "epsilon", noise, latents, weights(), known_levels=few)
    for (alpha, sigma), x in zip(few, met, strict=True):
        torch.testing.assert_close(x[KNOWN], (alpha * latents + sigma * noise)[KNOWN])
    *_, plain = denoise(wrong_network, make_solver(PUBLISHED, "ddim", 5), "epsilon", noise, latents, weights())
    assert torch.equal(last[KNOWN], latents[KNOWN])
    assert (last[1] - plain[1]).abs().max() > 1e-3, "the others see the difference"


def test_published_levels_need_a_timestep_for_every_step() -> None:
    with pytest.raises(InputError, match="1200 denoising steps"):
        published_known_levels(PUBLISHED, 1200)


def test_a_recipe_carries_the_level_into_the_windows(tiny_patient, tiny_model) -> None:
    from napari_gem3d.sampling.generation import open_job
    from napari_gem3d.sampling.recipe import make_recipe

    def voxels(level: str) -> Tensor:
        recipe = make_recipe(
            tiny_patient.labels, tiny_patient.scan, model=tiny_model, seed=3, device="cpu", known_level=level
        )
        assert recipe.known_level == level and type(recipe).model_validate_json(recipe.model_dump_json()) == recipe
        job = open_job(recipe)
        for _ in job.run():
            pass
        first = job._propagation.windows[0].slices
        latents = job._propagation.latents
        return torch.stack([latents[first.start : first.stop].sum(), latents.sum()])

    reached, published = voxels("reached"), voxels("published")
    assert reached[0] == published[0], "nothing is known in the first window"
    assert reached[1] != published[1]
    with pytest.raises(InputError, match="known level half is not possible; choose reached or published"):
        voxels("half")
