"""Between painted slices: shapes that are known in between, in every plane and orientation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_gem3d import InputError, resample
from napari_gem3d.labels import LabelMap
from napari_gem3d.masks import Interpolate, Selection, transform_mask

from .conftest import TABLE, oblique, orientations


def painted(discs, spacing=(1.0, 1.0, 1.0), shape=(25, 60, 60), label=1, degrees=(0.0, 0.0, 0.0)) -> LabelMap:
    """Discs (slice, y, x, radius) in mm of the slice's middle."""
    voxels = np.zeros(shape, np.uint8)
    y, x = ((np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(shape[1:], spacing[1:], strict=True))
    for number, cy, cx, radius in discs:
        voxels[number][np.hypot(y[:, None] - cy, x[None] - cx) < radius] = label
    return LabelMap(voxels, oblique(spacing, degrees), table=TABLE)


@given(
    spacing=st.sampled_from([(1.0, 1.0, 1.0), (5.0, 0.8, 0.8), (3.0, 1.0, 0.7)]),
    radii=st.tuples(st.floats(6, 14), st.floats(6, 14)),
    shift=st.tuples(st.floats(-6, 6), st.floats(-6, 6)),
    steps=st.integers(2, 12),
)
@settings(max_examples=25, deadline=None)
def test_between_two_discs_lies_the_cone(spacing, radii, shift, steps):
    labels = painted([(4, 0, 0, radii[0]), (4 + steps, *shift, radii[1])], spacing)
    result = transform_mask(labels, Interpolate(slices="axial", largest_gap=60)).labels.voxels
    for step in range(steps + 1):
        share = step / steps
        slice_ = result[4 + step] > 0
        radius = np.sqrt(np.count_nonzero(slice_) * spacing[1] * spacing[2] / np.pi)
        assert radius == pytest.approx((1 - share) * radii[0] + share * radii[1], abs=0.55)
        centroid = (np.argwhere(slice_).mean(axis=0) - 29.5) * spacing[1:]
        np.testing.assert_allclose(centroid, np.array(shift) * share, atol=0.7)
    assert not result[:4].any() and not result[5 + steps :].any()
    np.testing.assert_array_equal(result[[4, 4 + steps]], labels.voxels[[4, 4 + steps]])


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("found", [False, True])
def test_every_plane_of_every_orientation(plane, found):
    axis = {"axial": 0, "coronal": 1, "sagittal": 2}[plane]
    discs = painted([(5, 0, 0, 9), (11, 2, 3, 6)], shape=(20, 30, 30))
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    labels = LabelMap(np.moveaxis(discs.voxels, 0, axis).copy(), affine, table=TABLE)
    step = Interpolate(slices="auto" if found else plane)
    expected = transform_mask(labels, step).labels
    occupied = np.moveaxis(expected.voxels, axis, 0).any(axis=(1, 2))
    assert np.flatnonzero(occupied).tolist() == list(range(5, 12))
    for grid in orientations(labels.grid):
        filled = transform_mask(resample(labels, grid, order=0), step).labels
        np.testing.assert_array_equal(resample(filled, labels.grid, order=0).voxels, expected.voxels)


def test_labels_inside_are_interpolated_and_run_out():
    labels = painted([(3, 0, 0, 14), (15, 0, 0, 14)])
    voxels = labels.voxels.copy()
    voxels[painted([(3, 0, 0, 9), (15, 0, 0, 5)]).voxels > 0] = 2
    voxels[painted([(3, 0, 0, 4)]).voxels > 0] = 3
    result = transform_mask(labels.with_voxels(voxels), Interpolate()).labels.voxels
    core = [np.count_nonzero(result[k] == 3) for k in range(3, 16)]
    assert core[0] > core[4] > 0 == core[-1] and core == sorted(core, reverse=True)
    assert np.count_nonzero(np.isin(result[9], (2, 3))) == pytest.approx(np.pi * 49, rel=0.1)


def test_what_has_no_gap_stays_as_it_is():
    with pytest.raises(InputError, match="There is no gap of at most 20 mm"):
        transform_mask(painted([(k, 0, 0, 9) for k in range(5, 12)]), Interpolate(slices="axial"))
    # two lesions over each other, too far apart for the same one
    with pytest.raises(InputError, match="There is no gap of at most 10 mm"):
        transform_mask(painted([(3, 0, 0, 9), (15, 0, 0, 9)]), Interpolate(slices="axial", largest_gap=10))


def test_lesions_beside_each_other_are_not_mixed_up():
    left = [(3, 0, -18, 7), (9, 0, -18, 7)]
    right = [(k, 0, 18, 7) for k in range(5, 8)]
    result = transform_mask(painted(left + right), Interpolate(slices="axial")).labels.voxels
    expected = painted([(k, 0, -18, 7) for k in range(3, 10)] + right).voxels
    np.testing.assert_array_equal(result > 0, expected > 0)


def test_a_lesion_may_branch():
    result = transform_mask(
        painted([(4, 0, 0, 16), (10, -10, 0, 5), (10, 10, 0, 5)]), Interpolate(slices="axial")
    ).labels.voxels
    areas = [np.count_nonzero(result[k]) for k in range(4, 11)]
    assert min(areas) > 0 and areas == sorted(areas, reverse=True)


def test_outlines_that_do_not_overlap_are_joined_if_they_are_the_only_ones():
    result = transform_mask(painted([(4, -12, 0, 5), (10, 12, 0, 5)]), Interpolate(slices="axial")).labels.voxels
    np.testing.assert_allclose(np.argwhere(result[7]).mean(axis=0), (29.5, 29.5), atol=0.5)


def test_only_the_chosen_labels_and_nothing_else(head):
    z = [12, 14, 16]  # of the lesion (1 around 2) every second slice is taken away
    voxels = head.voxels.copy()
    lesion = np.isin(voxels, (1, 2))
    for k in z:
        voxels[k][lesion[k]] = 4
    result = transform_mask(head.with_voxels(voxels), Interpolate(slices="axial"))
    filled = np.isin(result.labels.voxels, (1, 2))
    overlap = 2 * np.count_nonzero(filled & lesion) / (np.count_nonzero(filled) + np.count_nonzero(lesion))
    assert overlap > 0.85
    np.testing.assert_array_equal(result.labels.voxels == 5, head.voxels == 5)
    core = transform_mask(
        head.with_voxels(voxels), Interpolate(slices="axial"), select=Selection(labels=("core",)), host=("edema",)
    )
    assert core.after[2] > core.before[2] and core.after[5] == core.before[5]
