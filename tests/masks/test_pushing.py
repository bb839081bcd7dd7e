"""The mass effect on label maps: anatomy gives way, lesions stay, and what was taken away gives room again."""

import numpy as np
import pytest

from napari_gem3d import InputError
from napari_gem3d.labels import Label, LabelMap, LabelTable
from napari_gem3d.masks import (
    Grow,
    Lesion,
    MaskEditor,
    MaskResult,
    Remove,
    Selection,
    Shell,
    Shrink,
    Translate,
    with_mass_effect,
)

TABLE = LabelTable(
    (
        Label(1, "edema"),
        Label(2, "core"),
        Label(4, "brain", meaning="body"),
        Label(5, "eye", meaning="organ"),
        Label(6, "ventricle", meaning="tissue"),
    )
)
LEFT, RIGHT = (-16.0, 0.0, 0.0), (18.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def brain() -> LabelMap:
    """A brain (4) of 44 mm radius in voxels of 2 mm with a ventricle (6) in its middle and an eye (5) in front."""
    axes = [np.arange(-48, 49, 2.0)] * 3
    z, y, x = np.meshgrid(*axes, indexing="ij")
    voxels = np.where(z**2 + y**2 + x**2 < 44**2, 4, 0).astype(np.int16)
    voxels[(z / 10) ** 2 + (y / 14) ** 2 + (x / 5) ** 2 < 1] = 6
    voxels[z**2 + (y - 36) ** 2 + (x + 6) ** 2 < 25] = 5
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -48
    return LabelMap(voxels, affine, table=TABLE)


def ball(at, diameter=20.0, label="edema") -> Lesion:
    return Lesion(at=at, diameter=diameter, shells=(Shell(label=label),))


def pushed(labels: LabelMap, operations, mm: float, **settings) -> tuple[MaskResult, MaskResult]:
    """The edit without, and with mass effect."""
    editor = MaskEditor(labels, **settings)
    plain = editor.apply(operations)
    return plain, with_mass_effect(plain, editor.scene, mm)


def middle(labels: LabelMap, value: int) -> np.ndarray:
    return labels.grid.index_to_world(np.argwhere(labels.voxels == value)).mean(axis=0)


def test_a_new_lesion_pushes_the_ventricle_away_and_makes_it_smaller(brain):
    plain, result = pushed(brain, ball(LEFT), 4)
    assert plain.after[6] == plain.before[6]
    assert 0.7 < result.after[6] / result.before[6] < 0.97
    way = middle(result.labels, 6) - middle(brain, 6)
    assert way[0] > 0.5 and np.abs(way[1:]).max() < 0.2
    np.testing.assert_array_equal(result.labels.voxels == 1, plain.labels.voxels == 1)
    np.testing.assert_array_equal(result.labels.voxels == 0, plain.labels.voxels == 0)
    assert result.after == {value: pytest.approx(result.labels.volumes_ml()[value]) for value in (1, 4, 5, 6)}
    assert result.labels.voxels.dtype == brain.voxels.dtype and result.lesion is plain.lesion
    assert result.operations == plain.operations and result.notes == ()


def test_the_other_side_of_the_ventricle_moves_less(brain):
    _, result = pushed(brain, ball(LEFT), 4)
    row = (24, 24)
    before, after = (np.flatnonzero(labels.voxels[row] == 6) for labels in (brain, result.labels))
    assert after[0] > before[0] and after[0] - before[0] > after[-1] - before[-1]


def test_removing_takes_back_what_placing_pushed(brain):
    _, placed = pushed(brain, ball(LEFT), 4)
    plain, removed = pushed(placed.labels, Remove(), 4)
    assert plain.after[6] == placed.after[6] < removed.after[6] == pytest.approx(placed.before[6], rel=0.08)
    different = removed.labels.voxels != brain.voxels
    assert different.mean() < 2e-3 and removed.labels.values() == brain.values()
    assert not (different & (brain.voxels == 0)).any()


def test_growing_pushes_and_shrinking_takes_back(brain):
    small = MaskEditor(brain).apply(ball(LEFT, 16)).labels
    _, grown = pushed(small, Grow(mm=3), 3)
    assert grown.after[6] < grown.before[6] and middle(grown.labels, 6)[0] > middle(small, 6)[0] + 0.3
    _, shrunk = pushed(small, Shrink(mm=2), 3)
    assert shrunk.after[6] > shrunk.before[6] and middle(shrunk.labels, 6)[0] < middle(small, 6)[0] - 0.3


def test_a_lesion_that_moves_takes_its_effect_along(brain):
    _, placed = pushed(brain, ball(LEFT), 4)
    over = tuple(np.subtract(RIGHT, LEFT))
    _, moved = pushed(placed.labels, Translate(mm=over), 4)
    assert middle(placed.labels, 6)[0] > 0.5 and middle(moved.labels, 6)[0] < -0.3
    assert moved.after[6] == pytest.approx(placed.after[6], rel=0.1)


def test_only_what_is_new_pushes(brain):
    old = MaskEditor(brain).apply(ball(LEFT)).labels
    _, both = pushed(old, ball(RIGHT), 4)
    _, one = pushed(brain, ball(RIGHT), 4)
    beside = middle(both.labels, 6)[0], middle(one.labels, 6)[0]
    assert beside[0] == pytest.approx(beside[1], abs=0.1) and beside[0] < -0.4
    np.testing.assert_array_equal(both.labels.voxels[:, :, :20] == 1, old.voxels[:, :, :20] == 1)


def test_lesions_do_not_move_and_what_comes_from_them_is_body(brain):
    voxels = brain.voxels.copy()
    voxels[20:28, 30:34, 14:18] = 2
    labels = brain.with_voxels(voxels)
    select = Selection(labels=("edema",))
    plain, result = pushed(labels, ball(LEFT), 4, select=select)
    assert result.after[2] == plain.after[2] == plain.before[2]
    np.testing.assert_array_equal(result.labels.voxels == 2, plain.labels.voxels == 2)
    assert middle(result.labels, 6)[0] > middle(labels, 6)[0]
    assert set(result.labels.voxels[plain.labels.voxels == 4].tolist()) <= {4, 5, 6}


def test_a_map_without_body_label_has_the_body_it_is_given(brain):
    bare = brain.with_voxels(np.where(brain.voxels == 4, 0, brain.voxels))
    _, expected = pushed(brain, ball(LEFT), 4)
    _, result = pushed(bare, ball(LEFT), 4, body=brain.voxels > 0)
    np.testing.assert_array_equal(
        result.labels.voxels, np.where(expected.labels.voxels == 4, 0, expected.labels.voxels)
    )
    editor = MaskEditor(bare)
    with pytest.raises(InputError, match="nothing says where that is"):
        with_mass_effect(editor.apply(ball(LEFT)), editor.scene, 4)


def test_an_organ_that_holds_the_lesion_grows_with_it(brain):
    voxels = brain.voxels.copy()
    z, y, x = np.meshgrid(*[np.arange(-48, 49, 2.0)] * 3, indexing="ij")
    voxels[z**2 + y**2 + (x + 20) ** 2 < 15**2] = 5
    labels = brain.with_voxels(voxels)
    plain, result = pushed(labels, ball((-20.0, 0.0, 0.0), 18), 4, host=("eye",))
    assert result.after[5] > 1.05 * plain.after[5]
    np.testing.assert_array_equal(result.labels.voxels == 1, plain.labels.voxels == 1)


def test_off_is_off(brain):
    editor = MaskEditor(brain)
    result = editor.apply(ball(LEFT))
    assert with_mass_effect(result, editor.scene, 0) is result


def test_thin_parts_and_the_surface_are_remarked(brain):
    _, result = pushed(brain, ball((-32.0, 0.0, 0.0), 20), 4)
    assert "% of the lesion's surface pushes by 4 mm" in result.notes[-1]
    _, back = pushed(result.labels, Remove(), 4)
    assert "surface came back by 4 mm" in back.notes[-1]


def test_without_anatomy_there_is_nothing_to_push(brain):
    bare = brain.with_voxels(np.where(brain.voxels > 4, 4, brain.voxels))
    plain, result = pushed(bare, ball(LEFT), 4)
    assert result.notes == ("No label was pushed: the map shows no organ or tissue.",)
    np.testing.assert_array_equal(result.labels.voxels, plain.labels.voxels)


def test_what_cannot_be_done_is_one_sentence(brain):
    with pytest.raises(InputError, match="too thin"):
        pushed(brain, ball(LEFT), 20)
    with pytest.raises(InputError, match="give 0 or a positive number"):
        pushed(brain, ball(LEFT), -1)
    labels = MaskEditor(brain).apply(ball(LEFT)).labels
    with pytest.raises(InputError, match="choose the lesion's labels"):
        pushed(labels, Translate(mm=(2, 0, 0)), 3, select=Selection(everything=True))
