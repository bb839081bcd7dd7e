"""Corrections: what is missed at known slices is estimated in their neighbours; neighbours keep to the start slice."""

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_gem3d import make_recipe
from napari_gem3d.bundle.plan import NoiseSchedule
from napari_gem3d.sampling.corrections import Corrections, kriging_weights, persistence_weights
from napari_gem3d.sampling.generation import open_job
from napari_gem3d.sampling.solver import denoise, make_solver


def at(*known: int, n: int = 7) -> Tensor:
    return torch.tensor([i in known for i in range(n)])


def test_one_known_slice_counts_less_the_further_it_is():
    weights = kriging_weights(at(0), spacing=2.0, range_mm=4.0)
    np.testing.assert_allclose(weights[1:, 0], np.exp(-np.arange(1, 7) / 2), rtol=1e-6)
    assert not weights[:, 1:].any() and not weights[0].any()


def test_only_the_nearest_known_slice_on_either_side_counts():
    weights = kriging_weights(at(0, 1, 6), spacing=1.0, range_mm=4.0)
    np.testing.assert_allclose(weights[2:6, 0], 0, atol=1e-6)
    near, far = weights[2, 1], weights[2, 6]
    assert 0.7 < near < np.exp(-1 / 4), "the other side knows some of it"
    assert 0 < far < 0.2
    # Both together are what solves the two equations of simple kriging.
    c = lambda d: np.exp(-d / 4)  # noqa: E731
    a = np.linalg.solve([[1, c(5)], [c(5), 1]], [c(1), c(4)])
    np.testing.assert_allclose([near, far], a, rtol=1e-5)


@pytest.mark.parametrize("known", [(), tuple(range(7))])
def test_nothing_known_or_nothing_free_is_nothing_to_correct(known):
    assert not kriging_weights(at(*known), 1.0, 4.0).any()
    assert not kriging_weights(at(0), 1.0, 0.0).any()


def test_windows_of_a_batch_have_weights_of_their_own():
    missed = torch.zeros(6, 2, 1, 1)
    missed[0], missed[5] = 1.0, 2.0
    weights = torch.stack([kriging_weights(at(0, n=3), 1.0, 1.0), kriging_weights(at(2, n=3), 1.0, 1.0)])
    nothing = torch.zeros(6, 1, 1, 1)
    result = Corrections(missed, weights, nothing, torch.tensor([0, 3]), 4)(torch.zeros_like(missed), 0)[:, 1, 0, 0]
    e = np.exp(-1.0)
    np.testing.assert_allclose(result, [0, e, e**2, 2 * e**2, 2 * e, 0], rtol=1e-6)


def test_a_network_that_is_off_by_a_constant_is_put_right_beside_the_known_slice():
    truth, off = torch.full((6, 1, 8, 8), 0.5), 0.4
    schedule = NoiseSchedule()
    keep = at(0, n=6)[:, None, None, None].float()

    def drawn(correct: Corrections | None) -> Tensor:
        solver = make_solver(schedule, "ddim", 4)
        levels = dict(zip(solver.timesteps, solver.levels, strict=False))
        noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))

        def network(x: Tensor, timestep: int) -> Tensor:
            alpha, sigma = levels[timestep]  # v of the clean latents that it thinks of
            return (alpha * x - (truth + off)) / sigma

        *_, last = denoise(network, solver, "v_prediction", noise, truth * keep, keep, correct=correct)
        return last[:, 0].mean(dim=(1, 2)) - truth[:, 0].mean(dim=(1, 2))

    carry, nothing = kriging_weights(at(0, n=6), 1.0, 3.0)[None], torch.zeros_like(truth)
    without, with_it = drawn(None), drawn(Corrections(truth * keep, carry, nothing, torch.tensor([0]), 4))
    np.testing.assert_allclose(without, [0] + [off] * 5, atol=1e-3)
    np.testing.assert_allclose(with_it, off * (1 - np.exp(-np.arange(6) / 3)), atol=1e-3)


def test_neighbours_keep_to_the_start_slice_where_the_label_map_is_the_same():
    labels = torch.zeros(5, 2, 1, 3)
    labels[:, 0] = 1.0  # brain everywhere but
    labels[3, :, 0, 1] = torch.tensor([0.0, 1.0])  # a lesion,
    labels[1, :, 0, 2] = torch.tensor([0.5, 0.0])  # half of it background.
    weights = persistence_weights(labels, start=2, spacing=2.0, range_mm=4.0)
    near = np.exp(-0.25)
    np.testing.assert_allclose(weights[:, 0, 0, 0], [np.exp(-1), near, 1, near, np.exp(-1)], rtol=1e-6)
    assert weights[3, 0, 0, 1] == 0
    np.testing.assert_allclose(weights[1, 0, 0, 2], near / 2, rtol=1e-6)
    assert not persistence_weights(labels, 2, 2.0, 0.0).any()


def test_neighbours_keep_to_the_start_slice_in_the_first_half_of_the_steps():
    x0 = torch.arange(6.0)[:, None, None, None]
    weights = torch.tensor([0.5, 1, 0.5, 0, 0, 0])[:, None, None, None]
    correct = Corrections(torch.zeros_like(x0), torch.zeros(2, 3, 3), weights, torch.tensor([1, 3]), 5)
    for step in range(5):
        expected = [0.5, 1, 1.5, 3, 4, 5] if step < 2.5 else [0, 1, 2, 3, 4, 5]
        assert correct(x0, step)[:, 0, 0, 0].tolist() == expected


def test_a_model_says_whether_its_volumes_are_corrected(tiny_patient, tiny_model, steady_model):
    none = {"residual_mm": 0.0, "streak_filter": False}
    models = (
        tiny_model,
        steady_model(**none),
        steady_model(streak_filter=False),
        steady_model(**none, persistence_mm=5.0),
    )
    plain, same, corrected, persistent = (
        open_job(make_recipe(tiny_patient.labels, tiny_patient.scan, model=model, seed=3, device="cpu"))
        for model in models
    )
    for job in (plain, same, corrected, persistent):
        for _ in job.run():
            pass
    np.testing.assert_array_equal(same.voxels, plain.voxels)
    first = plain._propagation.windows[0].slices
    latents, after, kept = (job._propagation.latents for job in (plain, corrected, persistent))
    whole = slice(first.start, first.stop)
    assert torch.equal(latents[whole], after[whole]), "the first window knows nothing"
    assert (latents != after)[: first.start].flatten(1).any(dim=1).all()
    start = plain._propagation.start
    steps = [float((found[start + 1] - found[start]).abs().mean()) for found in (latents, kept)]
    assert steps[1] < steps[0], "neighbours keep to the start slice"
