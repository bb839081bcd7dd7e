"""Growing, shrinking and bending."""

import numpy as np
import pytest

from napari_gem3d import resample
from napari_gem3d.labels import LabelMap
from napari_gem3d.masks import Elastic, Grow, Shrink, transform_mask
from napari_gem3d.masks.settle import Claims, settle
from napari_gem3d.masks.warp import ElasticWarp

from .conftest import lesion_map, middle, orientations


def radius(labels: LabelMap) -> float:
    return float((sum(labels.volumes_ml().values()) * 1000 * 3 / (4 * np.pi)) ** (1 / 3))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 1.0, 1.0), (2.0, 2.0, 2.0)])
@pytest.mark.parametrize("mm", [2.0, 4.0, 7.0])
def test_a_sphere_grows_and_shrinks_by_its_radius(spacing, mm):
    labels = lesion_map(spacing, (14.0,) * 3, shift=(0.4, 0.3, 0.2))
    grown, shrunk = (transform_mask(labels, step(mm=mm)).labels for step in (Grow, Shrink))
    tolerance = 0.3 * max(spacing)
    assert radius(grown) - radius(labels) == pytest.approx(mm, abs=tolerance)
    assert radius(labels) - radius(shrunk) == pytest.approx(mm, abs=tolerance)
    assert (labels.voxels > 0)[shrunk.voxels > 0].all() and (grown.voxels > 0)[labels.voxels > 0].all()


@pytest.mark.parametrize("step", [Grow(mm=5), Shrink(mm=5)])
def test_nested_labels_stay_nested_and_keep_their_proportions(step):
    labels = lesion_map((1.0, 1.0, 1.0), (15.0,) * 3)
    result = transform_mask(labels, step)
    total = [sum(volumes.values()) for volumes in (result.before, result.after)]
    for value in (1, 2, 3):
        assert result.after[value] / total[1] == pytest.approx(result.before[value] / total[0], abs=0.1)
    distances = [
        np.linalg.norm(
            labels.grid.index_to_world(np.argwhere(result.labels.voxels == value)) - middle(labels), axis=1
        ).mean()
        for value in (2, 3, 1)
    ]
    assert distances == sorted(distances)


def test_a_lesion_at_the_edge_of_the_field_of_view_shrinks_there_too():
    voxels = np.zeros((12, 12, 12), np.uint8)
    voxels[:6, 3:9, 3:9] = 1
    shrunk = transform_mask(LabelMap(voxels, np.eye(4)), Shrink(mm=1)).labels.voxels
    expected = np.zeros_like(voxels)
    expected[1:5, 4:8, 4:8] = 1
    np.testing.assert_array_equal(shrunk, expected)


def test_bending_depends_on_its_seed_alone():
    labels = lesion_map((2.0, 1.0, 1.0), (9, 8, 10), (10, 20, 5), room=20)
    first, again, other = (
        transform_mask(labels, Elastic(amplitude=3, smoothness=9, seed=seed)).labels.voxels for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.count_nonzero(first != other) > 0.05 * np.count_nonzero(first)
    for grid in orientations(labels.grid)[5::16]:
        stored = resample(labels, grid, order=0)
        bent = transform_mask(stored, Elastic(amplitude=3, smoothness=9, seed=1)).labels
        back = resample(bent, labels.grid, order=0).voxels
        assert np.count_nonzero(back != first) <= 0.02 * np.count_nonzero(first)


def test_the_displacement_is_as_long_and_as_smooth_as_it_should():
    rng = np.random.default_rng(0)
    points = rng.uniform(-200, 200, (20000, 3))
    warp = ElasticWarp(4.0, 15.0, 3, np.zeros(3))
    here = warp.displacement(points)
    assert np.sqrt((here**2).sum(axis=1).mean()) == pytest.approx(4, rel=0.15)
    # Correlation of a squared exponential at one length: exp(-1/2).
    there = warp.displacement(points + np.array([15.0, 0, 0]))
    assert (here * there).sum() / (here**2).sum() == pytest.approx(np.exp(-0.5), abs=0.1)


def test_bending_keeps_volumes_nearly_and_labels_nested():
    labels = lesion_map((3.0, 1.0, 1.0), room=30)
    result = transform_mask(labels, Elastic(amplitude=3, smoothness=20, seed=5))
    for value, before in result.before.items():
        assert result.after[value] == pytest.approx(before, rel=0.3)
    assert not np.array_equal(result.labels.voxels, labels.voxels)
    core = result.labels.voxels == 2
    assert not (np.roll(core, 1, axis=2) & (result.labels.voxels == 0)).any()


def test_labels_that_want_the_same_voxels_get_their_numbers():
    rng = np.random.default_rng(0)
    count = 600
    claims = Claims()
    for label, target in ((1, 150), (2, 40), (3, 90)):
        claims.add(label, np.arange(count), rng.random(count) * 0.2 + 0.1 * (label == 1), target)
    claims.add(0, np.arange(count), np.full(count, 0.15), None)
    winner = settle(claims, claims.voxels())
    assert [int((winner == label).sum()) for label in (1, 2, 3)] == [150, 40, 90]


def test_no_claims_no_winners():
    assert settle(Claims(), np.zeros(0, np.intp)).size == 0
