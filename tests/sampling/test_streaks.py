"""Streaks: found where they are and nowhere else, and taken out of whole volumes by a model that says so."""

import numpy as np
import pytest
from scipy import ndimage

from napari_gem3d import LabelMap, Recipe, make_recipe, resample
from napari_gem3d.sampling.generation import open_job
from napari_gem3d.sampling.streaks import Waiting, runs_of, streak_reach, streaks


def test_streaks_are_what_is_smooth_within_slices_and_rough_across_them():
    rng = np.random.default_rng(0)
    z, y, x = np.mgrid[:24, :40, :40].astype(np.float32)
    body = ((z - 12) / 12) ** 2 + ((y - 20) / 18) ** 2 + ((x - 20) / 18) ** 2 < 1
    anatomy = 100 + 2 * z + 3 * x + 20 * np.sin(y / 8) * np.sin(z / 6)
    banding = rng.normal(0, 10, (24, 1, 1)).astype(np.float32) * np.ones_like(z)
    texture = rng.normal(0, 10, z.shape).astype(np.float32)
    inner = ndimage.binary_erosion(body, iterations=5)
    spacing = (1.0, 1.0, 1.0)

    def found(voxels: np.ndarray) -> float:
        return float(np.abs(streaks(voxels * body, body, spacing)[inner]).mean())

    assert found(anatomy) < 1 and found(texture) < 1, "neither anatomy nor texture is taken for streaks"
    assert found(banding) > 5
    clean = anatomy + banding - streaks((anatomy + banding) * body, body, spacing)
    assert np.abs(np.diff(clean - anatomy, axis=0))[inner[1:]].mean() < 0.4 * np.abs(np.diff(banding, axis=0)).mean()
    assert not streaks(anatomy * body, body, spacing)[~body].any()


def test_streaks_of_a_slice_depend_on_its_near_neighbours_alone():
    rng = np.random.default_rng(1)
    voxels, body = rng.random((30, 12, 12)).astype(np.float32), np.ones((30, 12, 12), bool)
    reach = streak_reach((2.0, 1.0, 1.0))[0]
    whole = streaks(voxels, body, (2.0, 1.0, 1.0))
    part = streaks(voxels[10 - reach : 14 + reach], body[10 - reach : 14 + reach], (2.0, 1.0, 1.0))
    np.testing.assert_array_equal(part[reach:-reach], whole[10:14])


def test_slices_wait_for_their_neighbours_and_come_once():
    waiting = Waiting(range(2, 12), 2)
    assert waiting.take(range(5, 9)) == [], "only 5 to 8 are there"
    assert waiting.take(range(9, 10)) == [7]
    assert waiting.take(range(10, 12)) == [8, 9, 10, 11], "what is not generated is there from the start"
    assert waiting.take(range(2, 5)) == [2, 3, 4, 5, 6]
    assert Waiting(range(4), 0).take(range(1, 3)) == [1, 2]


def test_runs_are_joined_over_gaps_that_are_too_short():
    assert runs_of([1, 2, 3, 6, 7, 20], 1) == [range(1, 4), range(6, 8), range(20, 21)]
    assert runs_of([1, 2, 3, 6, 7, 20], 3) == [range(1, 8), range(20, 21)]


@pytest.fixture
def recipes(tiny_patient, tiny_model, steady_model) -> tuple[Recipe, Recipe]:
    """The same volume by a model that filters whole volumes and by one that does not."""
    filtering = {"residual_mm": 0.0, "streak_filter": True}
    return tuple(
        make_recipe(tiny_patient.labels, tiny_patient.scan, model=model, seed=3, device="cpu")
        for model in (tiny_model, steady_model(**filtering))
    )


def test_a_whole_volume_is_what_was_decoded_without_its_streaks(recipes):
    plain, filtered = (open_job(recipe) for recipe in recipes)
    parts = [part for job in (plain, filtered) for part in job.run()]
    body = resample_labels(plain) > 0
    expected = np.clip(plain.voxels - streaks(plain.voxels, body, plain.grid.spacing), 0, plain.voxels.max())
    assert np.abs(filtered.voxels - plain.voxels).max() > 1, "there was something to take out"
    np.testing.assert_allclose(filtered.voxels, expected, atol=0.01)
    assert all(np.isfinite(part.voxels).all() for part in parts)
    assert not filtered.voxels[~body].any(), "outside the body is background"


def test_every_filtered_slice_comes_once_as_it_is_in_the_result(recipes):
    job = open_job(recipes[1])
    parts = list(job.run())
    assert sorted(i for part in parts for i in part.indices) == list(range(job.total))
    for part in parts:
        np.testing.assert_array_equal(job.voxels[part.indices], part.voxels)


def resample_labels(job) -> np.ndarray:
    case = job.prepared.case
    return resample(LabelMap(case.labels, case.box.affine), job.grid, order=0).voxels
