"""Moving and rotating: volumes, centroids, directions, whatever the voxels and however they are stored."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_gem3d import InputError, resample
from napari_gem3d.labels import LabelMap
from napari_gem3d.masks import Flip, Rotate, Scale, Translate, transform_mask

from .conftest import lesion_map, middle, orientations

SPACINGS = st.sampled_from([(6.5, 0.8, 0.8), (3.0, 1.0, 1.0), (1.0, 1.0, 1.0), (1.0, 3.0, 2.0)])
ANGLES = st.tuples(*[st.floats(-180, 180)] * 3)
RADII = st.tuples(*[st.floats(9, 15)] * 3)
MM = st.tuples(*[st.floats(-10, 10)] * 3)


def relative_changes(result) -> list[float]:
    return [abs(result.after[value] / before - 1) for value, before in result.before.items()]


def error_in_voxels(labels: LabelMap, world: np.ndarray) -> float:
    return float(np.abs(np.linalg.solve(labels.affine[:3, :3], world)).max())


@given(spacing=SPACINGS, radii=RADII, stored=ANGLES, degrees=ANGLES)
@settings(max_examples=25, deadline=None)
def test_a_rotation_keeps_the_volume_of_every_label(spacing, radii, stored, degrees):
    labels = lesion_map(spacing, radii, stored)
    result = transform_mask(labels, Rotate(degrees=degrees))
    # The largest label within a voxel or 0.1 %, and so the others, unless they want each other's voxels.
    assert max(relative_changes(result)) < 0.02
    assert sum(result.after.values()) == pytest.approx(sum(result.before.values()), rel=5e-3)
    assert error_in_voxels(labels, middle(result.labels) - middle(labels)) < 0.25


@given(spacing=SPACINGS, radii=RADII, stored=ANGLES, mm=MM)
@settings(max_examples=25, deadline=None)
def test_a_translation_moves_the_centroid_by_as_much(spacing, radii, stored, mm):
    labels = lesion_map(spacing, radii, stored)
    result = transform_mask(labels, Translate(mm=mm))
    assert max(relative_changes(result)) < 0.02
    assert error_in_voxels(labels, middle(result.labels) - middle(labels) - mm) < 0.25


@given(spacing=SPACINGS, axis=st.integers(0, 2), half=st.integers(-9, 9))
@settings(max_examples=15, deadline=None)
def test_half_a_voxel_is_the_hardest_shift(spacing, axis, half):
    labels = lesion_map(spacing, shift=(0.3, 0.1, 0.2))
    index = np.zeros(3)
    index[axis] = half / 2
    mm = labels.affine[:3, :3] @ index[::-1]
    result = transform_mask(labels, Translate(mm=tuple(mm)))
    assert error_in_voxels(labels, middle(result.labels) - middle(labels) - mm) < 0.25
    if half % 2 == 0:
        expected = np.roll(labels.voxels, half // 2, axis=axis)
        np.testing.assert_array_equal(result.labels.voxels, expected)


@pytest.mark.parametrize("degrees", [(0, 0, 0), (20, -35, 10)])
@pytest.mark.parametrize("axis", range(3))
def test_every_orientation_of_the_file_moves_in_the_same_direction(degrees, axis):
    labels = lesion_map((3.0, 1.0, 1.5), (6, 5, 7), degrees, room=13)
    mm = np.zeros(3)
    mm[axis] = 4.2
    grids = orientations(labels.grid)
    assert len({grid.orientation for grid in grids}) == 48
    for grid in grids:
        stored = resample(labels, grid, order=0)
        moved = transform_mask(stored, Translate(mm=tuple(mm))).labels
        assert moved.grid == grid and moved.voxels.dtype == np.uint8
        assert error_in_voxels(labels, middle(moved) - middle(labels) - mm) < 0.25


def test_every_orientation_of_the_file_turns_the_same_way():
    labels = lesion_map((3.0, 1.0, 1.5), (6, 5, 9), (5, 10, 15), room=16)
    steps = [Rotate(degrees=(20, -30, 50)), Scale(factor=(1.2, 0.9, 1.0)), Flip(axis="A", centre="lesion")]
    expected = transform_mask(labels, steps).labels
    for grid in orientations(labels.grid):
        turned = transform_mask(resample(labels, grid, order=0), steps).labels
        back = resample(turned, labels.grid, order=0)
        # Only where shares are equal may the order of the voxels decide.
        assert np.count_nonzero(back.voxels != expected.voxels) <= 0.02 * np.count_nonzero(expected.voxels)


def test_positive_angles_turn_right_to_anterior_about_superior():
    voxels = np.zeros((9, 41, 41), np.uint8)
    voxels[3:6, 18:23, 30:35] = 1
    labels = LabelMap(voxels, np.diag([-1.0, 1.0, 1.0, 1.0]))  # x runs to the left
    middle_of_grid = (-20.0, 20.0, 4.0)
    turned = transform_mask(labels, Rotate(degrees=(0, 0, 90), centre=middle_of_grid)).labels
    start = middle(labels) - middle_of_grid
    np.testing.assert_allclose(middle(turned) - middle_of_grid, [-start[1], start[0], start[2]], atol=0.1)


def test_rotations_are_about_r_then_a_then_s():
    labels = lesion_map((1.0, 1.0, 1.0), (5, 7, 10), room=20)
    centre = (18.0, 20.0, 21.0)
    at_once = transform_mask(labels, Rotate(degrees=(30, 40, 50), centre=centre)).labels
    singly = [Rotate(degrees=d, centre=centre) for d in ((30, 0, 0), (0, 40, 0), (0, 0, 50))]
    np.testing.assert_array_equal(transform_mask(labels, singly).labels.voxels, at_once.voxels)


def test_steps_that_cancel_leave_every_voxel():
    labels = lesion_map((6.5, 0.8, 0.8))
    steps = [Rotate(degrees=(0, 0, 33)), Translate(mm=(9, 0, 0)), Translate(mm=(-9, 0, 0)), Rotate(degrees=(0, 0, -33))]
    result = transform_mask(labels, steps)
    np.testing.assert_array_equal(result.labels.voxels, labels.voxels)
    twice = transform_mask(labels, [Flip(centre="lesion"), Flip(centre="lesion")])
    np.testing.assert_array_equal(twice.labels.voxels, labels.voxels)


def test_scaling_multiplies_volumes_about_its_centre():
    labels = lesion_map((3.0, 1.0, 1.0), (10, 8, 9))
    centroid = middle(labels)
    for factor, times in ((1.3, 1.3**3), ((0.7, 1.1, 1.2), 0.7 * 1.1 * 1.2)):
        result = transform_mask(labels, Scale(factor=factor))
        for value, before in result.before.items():
            assert result.after[value] == pytest.approx(before * times, rel=0.02)
        assert error_in_voxels(labels, middle(result.labels) - centroid) < 0.25
    point = centroid + np.array([5.0, 0, 0])
    away = transform_mask(labels, Scale(factor=0.5, centre=tuple(point))).labels
    assert error_in_voxels(labels, middle(away) - (centroid + point) / 2) < 0.25


def test_a_flip_mirrors_at_the_body(head):
    flipped = transform_mask(head, Flip()).labels
    np.testing.assert_allclose(middle(flipped, 1, 2), middle(head, 1, 2) * [-1, 1, 1], atol=0.3)
    assert (flipped.voxels == 2).sum() == (head.voxels == 2).sum()


def test_scattered_and_thin_labels_keep_their_volume():
    rng = np.random.default_rng(3)
    voxels = np.zeros((30, 40, 40), np.uint8)
    voxels[8:20, 10:30, 10:30] = 1
    inside = voxels > 0
    voxels[inside & (rng.random(voxels.shape) < 0.05)] = 2
    voxels[12, 12:28, 12:28] = 3
    labels = LabelMap(voxels, np.eye(4))
    for step in (Translate(mm=(0.5, 0.4, -0.3)), Rotate(degrees=(10, 20, 30))):
        assert max(relative_changes(transform_mask(labels, step))) < 0.02


def test_nothing_else_changes(head):
    result = transform_mask(head, Translate(mm=(-12.3, 0, 1)))
    assert result.labels.voxels.dtype == np.int16
    assert result.labels.grid == head.grid and result.labels.table == head.table
    for value in (0, 5):
        np.testing.assert_array_equal(result.labels.voxels == value, head.voxels == value)
    counted = {value: result.labels.volumes_ml().get(value, 0) for value in result.after}
    assert result.after == pytest.approx(counted) and result.before == pytest.approx(head.volumes_ml())


@pytest.mark.parametrize("factor", [0.1, 5, float("nan")])
def test_impossible_numbers_are_one_sentence(factor):
    with pytest.raises(InputError, match="Scale is not possible"):
        Scale(factor=factor)
