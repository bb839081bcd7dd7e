"""Lesions made from nothing: volumes, places and shells, whatever the voxels and however they are stored."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_gem3d import InputError, resample
from napari_gem3d.grid import Grid
from napari_gem3d.labels import Label, LabelMap, LabelTable
from napari_gem3d.masks import Lesion, MaskEditor, Remove, Rotate, Selection, Shell, Translate, transform_mask

from .conftest import TABLE, middle, oblique, orientations

SPACINGS = st.sampled_from([(6.5, 0.8, 0.8), (3.0, 1.0, 1.0), (1.0, 1.0, 1.0), (1.0, 3.0, 2.0)])
ANGLES = st.tuples(*[st.floats(-180, 180)] * 3)
DIAMETERS = st.tuples(*[st.floats(18, 40)] * 3)
OFFSETS = st.tuples(*[st.floats(-4, 4)] * 3)
SHELLS = (Shell(label="edema", mm=3), Shell(label="rim", mm=2), Shell(label="core"))


def empty_map(spacing, degrees=(0.0, 0.0, 0.0), room=36.0) -> LabelMap:
    shape = [int(2 * room / mm) + 1 for mm in spacing]
    return LabelMap(np.zeros(shape, np.uint8), oblique(spacing, degrees), table=TABLE)


def centre_of(grid: Grid) -> np.ndarray:
    return grid.index_to_world([(np.array(grid.shape) - 1) / 2])[0]


def ideal_ml(diameter) -> dict[int, float]:
    """Volumes of edema (1), rim (3) and core (2) of `SHELLS`."""
    semi = np.broadcast_to(diameter, 3) / 2
    whole, within, core = (4 / 3 * np.pi * np.prod(semi - t) / 1000 for t in (0, 3, 5))
    return {1: whole - within, 3: within - core, 2: core}


@given(spacing=SPACINGS, stored=ANGLES, diameter=DIAMETERS, offset=OFFSETS)
@settings(max_examples=20, deadline=None)
def test_every_shell_has_its_volume_and_the_lesion_its_place(spacing, stored, diameter, offset):
    labels = empty_map(spacing, stored)
    at = centre_of(labels.grid) + offset
    result = transform_mask(labels, Lesion(at=tuple(at), diameter=diameter, shells=SHELLS))
    voxel = labels.grid.voxel_volume / 1000
    for value, ml in ideal_ml(diameter).items():
        assert result.after[value] == pytest.approx(ml, abs=max(1.01 * voxel, 0.05 * ml))  # the worst: slices of 6.5 mm
    off = np.linalg.solve(labels.affine[:3, :3], middle(result.labels) - at)
    assert np.abs(off).max() < 0.35


def test_the_diameters_are_along_right_anterior_and_superior():
    for grid in orientations(empty_map((3.0, 1.0, 1.5), room=20).grid):
        labels = LabelMap(np.zeros(grid.shape, np.uint8), grid.affine, table=TABLE)
        at = tuple(centre_of(grid))
        placed = transform_mask(labels, Lesion(at=at, diameter=(12, 20, 30), shells=(Shell(label=1),))).labels
        points = grid.index_to_world(np.argwhere(placed.voxels))
        edges = np.abs(np.linalg.inv(grid.affine[:3, :3])).argmax(axis=0)
        size = np.ptp(points, axis=0) + np.array(grid.spacing[::-1])[edges]
        np.testing.assert_allclose(size, (12, 20, 30), atol=np.array(grid.spacing[::-1])[edges].max())


def test_every_orientation_of_the_file_gets_the_same_lesion():
    grid = empty_map((3.0, 1.0, 1.5), (20, -35, 10), room=14).grid
    lesion = Lesion(at=tuple(centre_of(grid) + np.array([0.4, -0.7, 0.9])), diameter=(17, 20, 22), shells=SHELLS)
    expected = transform_mask(LabelMap(np.zeros(grid.shape, np.uint8), grid.affine, table=TABLE), lesion).labels
    for stored in orientations(grid):
        labels = LabelMap(np.zeros(stored.shape, np.uint8), stored.affine, table=TABLE)
        back = resample(transform_mask(labels, lesion).labels, grid, order=0)
        # Only where shares are equal may the order of the voxels decide.
        assert np.count_nonzero(back.voxels != expected.voxels) <= 0.02 * np.count_nonzero(expected.voxels)


def test_shells_lie_around_each_other():
    labels = empty_map((1.0, 1.0, 1.0), room=20)
    at = centre_of(labels.grid)
    placed = transform_mask(labels, Lesion(at=tuple(at), diameter=30, shells=SHELLS)).labels
    distance = np.linalg.norm(labels.grid.index_to_world(np.argwhere(np.ones(labels.shape))) - at, axis=1)
    ring = placed.voxels.ravel()
    assert set(ring[distance < 9]) == {2} and set(ring[(distance > 11) & (distance < 11.3)]) == {3}
    assert set(ring[(distance > 13) & (distance < 14)]) == {1} and set(ring[distance > 16]) == {0}


def test_a_new_lesion_stays_inside_and_covers_nothing_else(head):
    at = tuple(middle(head, 5) - np.array([3.0, 0, 0]))
    lesion = Lesion(at=at, diameter=20, shells=(Shell(label="edema"),))
    result = transform_mask(head, lesion)
    for value in (2, 5, 0):
        np.testing.assert_array_equal(result.labels.voxels == value, head.voxels == value)
    assert (result.labels.voxels[head.voxels == 1] == 1).all()
    assert result.after[1] > result.before[1] and "cut off" in result.notes[0]


def test_the_steps_that_follow_act_on_the_new_lesion_alone(head):
    at = np.array([-10.0, 0, 0])
    lesion = Lesion(at=tuple(at), diameter=8, shells=(Shell(label="rim"),))
    result = transform_mask(head, [lesion, Translate(mm=(0, 5, 0)), Rotate(degrees=(0, 0, 30))])
    np.testing.assert_array_equal(np.isin(result.labels.voxels, (1, 2)), np.isin(head.voxels, (1, 2)))
    np.testing.assert_allclose(middle(result.labels, 3), at + np.array([0, 5, 0]), atol=0.5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shells": ()}, "Lesion is not possible"),
        ({"shells": (Shell(label=1, mm=3),)}, "every shell but the innermost needs a thickness"),
        ({"shells": (Shell(label=1), Shell(label=2))}, "every shell but the innermost needs a thickness"),
        ({"shells": (Shell(label=1, mm=3), Shell(label=1))}, "a label is in two shells"),
        ({"shells": (Shell(label=1, mm=5), Shell(label=2))}, "leave no room inside a radius of 5 mm"),
        ({"diameter": 0}, "Lesion is not possible"),
    ],
)
def test_impossible_lesions_are_one_sentence(fields, message):
    with pytest.raises(InputError, match=message):
        Lesion(**{"at": (0, 0, 0), "diameter": 10, "shells": (Shell(label=1),), **fields})


def test_lesions_that_cannot_be_placed_are_one_sentence(head):
    lesion = Lesion(at=(0, 0, 0), diameter=10, shells=(Shell(label="edema"),))
    for change, message in (
        ({"at": (90, 0, 0)}, "out of the label map's field of view"),
        ({"diameter": 0.5}, "leaves nothing of the lesion"),
        ({"shells": (Shell(label="brain"),)}, "'brain' is the body"),
        ({"shells": (Shell(label="bone"),)}, "no 'bone'"),
    ):
        with pytest.raises(InputError, match=message):
            transform_mask(head, lesion.model_copy(update=change))
    with pytest.raises(InputError, match="add a lesion to everything"):
        transform_mask(head, lesion, select=Selection(everything=True))


def test_an_editor_tries_from_the_map_as_it_was(head):
    before = head.voxels.copy()
    editor = MaskEditor(head)
    lesion = Lesion(at=(-10, 0, 0), diameter=8, shells=(Shell(label="rim"),))
    tries = [Translate(mm=(-3, 0, 0)), [lesion, Translate(mm=(0, 2, 0))], Translate(mm=(0, 9, 0))]
    for operations in (*tries, *tries):
        result, alone = editor.apply(operations), transform_mask(head, operations)
        np.testing.assert_array_equal(result.labels.voxels, alone.labels.voxels)
        assert (result.before, result.after, result.lost_ml) == (alone.before, alone.after, alone.lost_ml)
        outside = np.ones(head.shape, bool)
        outside[result.box] = False
        assert not (result.labels.voxels != head.voxels)[outside].any()
        np.testing.assert_array_equal(result.changed, (result.labels.voxels != head.voxels)[result.box])
    np.testing.assert_array_equal(head.voxels, before)


def test_a_lesion_lies_on_tissue_as_on_any_part_of_the_body_and_leaves_body():
    table = LabelTable((*TABLE, Label(6, "csf", meaning="tissue")))
    labels = empty_map((2.0, 2.0, 2.0), room=30.0)
    at = tuple(centre_of(labels.grid))
    for body in (4, 0):  # with a body label, and without one
        voxels = np.full(labels.shape, body, np.uint8)
        voxels[:, :, : labels.shape[2] // 2] = 6
        voxels[:, : labels.shape[1] // 2 - 4] = 5  # an organ stops it
        tissue = LabelMap(voxels, labels.affine, table=table)
        placed = transform_mask(tissue, Lesion(at=at, diameter=24, shells=(Shell(label=1),)))
        lesion = placed.labels.voxels == 1
        assert set(np.unique(voxels[lesion])) == {6, body} and placed.lost_share > 0.03
        removed = transform_mask(placed.labels, Remove()).labels.voxels
        np.testing.assert_array_equal(removed, np.where(lesion, body, voxels))
        moved = transform_mask(placed.labels, Translate(mm=(-10, 0, 0))).labels.voxels
        assert ((moved == 1) & (voxels == 6)).sum() > (lesion & (voxels == 6)).sum()
        np.testing.assert_array_equal(np.where(moved == 1, 0, moved), np.where(moved == 1, 0, removed))
