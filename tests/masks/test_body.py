"""Where a lesion may be, what it may cover, and what it leaves behind."""

import json

import numpy as np
import pytest

from napari_gem3d import InputError, LabelMap, Volume, write_volume
from napari_gem3d.masks import (
    Elastic,
    Flip,
    Grow,
    Remove,
    Rotate,
    Scale,
    Selection,
    Shrink,
    Translate,
    Transplant,
    operations_from_json,
    transform_mask,
)

from .conftest import TABLE, lesion_map, middle


@pytest.fixture
def bare(head) -> LabelMap:
    """The head without its body label."""
    return head.with_voxels(np.where(head.voxels == 4, 0, head.voxels).astype(head.voxels.dtype))


def brain(head) -> np.ndarray:
    return head.voxels > 0


def test_what_leaves_the_body_is_cut_off_and_told(head):
    result = transform_mask(head, Translate(mm=(10, 0, 0)))
    assert not (result.labels.voxels[~brain(head)]).any()
    lost = sum(result.before[v] - result.after[v] for v in (1, 2))
    assert lost > 0 and sum(result.lost_ml.values()) == pytest.approx(lost, rel=0.02)
    assert result.lost_share == pytest.approx(lost / (result.before[1] + result.before[2]), rel=0.02)
    assert len(result.notes) == 1 and "of the lesion was cut off" in result.notes[0]
    assert "outside the body" in result.notes[0]


def test_out_of_the_body_entirely_is_an_error(head, bare):
    beyond, out = "label map's field of view", "body or onto other labels"
    for labels, body, mm, where in (
        (head, None, (40, 0, 0), beyond),
        (bare, brain(head), (0, 0, 30), out),
        (bare, None, (500, 0, 0), beyond),
    ):
        with pytest.raises(InputError, match=rf"Translating takes the lesion out of the {where} .*another place\."):
            transform_mask(labels, Translate(mm=mm), body=body)


def test_what_leaves_the_field_of_view_is_not_called_outside_the_body(bare):
    result = transform_mask(bare, Translate(mm=(-35, 0, 0)))
    assert "outside the field of view of the label map" in " ".join(result.notes)
    assert "ml outside the body" not in " ".join(result.notes)


def test_left_voxels_become_body_or_background(head, bare):
    moved = transform_mask(head, Translate(mm=(-15, 0, 0))).labels
    left = np.isin(head.voxels, (1, 2)) & ~np.isin(moved.voxels, (1, 2))
    assert left.any() and (moved.voxels[left] == 4).all()
    moved = transform_mask(bare, Translate(mm=(-15, 0, 0)), body=brain(head)).labels
    assert (moved.voxels[left] == 0).all() and 4 not in moved.values()


def test_a_body_from_a_scan_cuts_like_a_label(head, bare):
    scan = Volume(np.where(brain(head), 500, 0).astype(np.int16), head.affine, "MR")
    with_label = transform_mask(head, Translate(mm=(10, 0, 0))).labels.voxels
    with_scan = transform_mask(bare, Translate(mm=(10, 0, 0)), body=scan).labels.voxels
    np.testing.assert_array_equal(np.isin(with_label, (1, 2)), np.isin(with_scan, (1, 2)))


def test_without_any_body_the_result_says_so(bare):
    result = transform_mask(bare, Translate(mm=(10, 0, 0)))
    assert result.after[2] == result.before[2]
    assert result.notes == ("Nothing says where the body is: only the field of view limited the lesion.",)
    with pytest.raises(InputError, match="does not say where the body is"):
        transform_mask(bare, Flip())


def test_other_labels_are_not_overwritten_unless_they_are_hosts(head):
    towards_the_eye = Translate(mm=(-10, 16, 0))
    result = transform_mask(head, towards_the_eye)
    np.testing.assert_array_equal(result.labels.voxels == 5, head.voxels == 5)
    assert "ml on eye" in result.notes[0]
    covering = transform_mask(head, towards_the_eye, host=["brain", "eye"])
    assert covering.after[5] < covering.before[5] and covering.lost_share < result.lost_share
    left = np.isin(head.voxels, (1, 2)) & ~np.isin(covering.labels.voxels, (1, 2))
    assert (covering.labels.voxels[left] == 4).all()


def test_a_part_of_a_lesion_moves_in_its_host(head):
    select = Selection(labels=("core",))
    blocked = transform_mask(head, Grow(mm=2), select=select)
    assert blocked.after == blocked.before  # edema all around it
    grown = transform_mask(head, Grow(mm=2), select=select, host=("edema",))
    assert grown.after[2] > 2 * grown.before[2] and grown.after[4] == grown.before[4]
    shrunk = transform_mask(head, Shrink(mm=1), select=select, host=("1",))
    assert shrunk.after[2] + shrunk.after[1] == pytest.approx(shrunk.before[2] + shrunk.before[1])


def test_one_component_moves_alone(head):
    voxels = head.voxels.copy()
    voxels[14, 20:24, 10:14] = 1
    two = head.with_voxels(voxels)
    point = tuple(two.grid.index_to_world([(14, 22, 9)])[0])
    result = transform_mask(two, Remove(), select=Selection(near=point))
    np.testing.assert_array_equal(result.labels.voxels, head.voxels)
    onto_the_other = Translate(mm=tuple(middle(head, 1, 2) - two.grid.index_to_world([(14, 21.5, 11.5)])[0]))
    with pytest.raises(InputError, match="onto other labels entirely"):
        transform_mask(two, onto_the_other, select=Selection(near=point))


def test_remove_gives_the_body_back(head, bare):
    removed = transform_mask(head, Remove())
    assert removed.labels.values() == (4, 5) and removed.after[1] == removed.after[2] == 0
    assert transform_mask(bare, Remove()).labels.values() == (5,)
    only = transform_mask(head, Remove(), select=Selection(labels=(2,)))
    assert only.labels.values() == (1, 4, 5)


def test_a_transplant_lands_where_it_should(head, tmp_path):
    donor = lesion_map((6.5, 0.8, 0.8), (6, 5, 7), (10, 20, 30), room=20)
    path = tmp_path / "donor.nii.gz"
    write_volume(donor, path)
    for name, donors in (("other", {"other": donor}), (str(path), None)):
        result = transform_mask(head, Transplant(donor=name, to=(-9, -2, 3)), donors=donors)
        new = np.isin(result.labels.voxels, (1, 2, 3)) & (head.voxels == 4)
        centre = result.labels.grid.index_to_world(np.argwhere(new)).mean(axis=0)
        np.testing.assert_allclose(centre, (-9, -2, 3), atol=0.4)
        volumes = donor.volumes_ml()
        for value in (1, 2, 3):
            assert result.after[value] - result.before.get(value, 0) == pytest.approx(volumes[value], rel=0.02)
    np.testing.assert_array_equal(result.labels.voxels[~new], head.voxels[~new])


def test_what_follows_a_transplant_is_done_to_it(head):
    donor = lesion_map((1.0, 1.0, 1.0), (4, 4, 4), room=8)
    steps = [
        Remove(),
        Transplant(donor="d", to=(0, 0, 0), select=Selection(labels=("edema",))),
        Translate(mm=(-8, 0, 0)),
    ]
    result = transform_mask(head, steps, donors={"d": donor})
    np.testing.assert_allclose(middle(result.labels, 1), (-8, 0, 0), atol=0.3)
    assert result.after[2] == 0


def test_everything_turns_with_the_body(head):
    result = transform_mask(head, Rotate(degrees=(0, 0, 90)), select=Selection(everything=True))
    assert result.lost_share == 0 and result.notes == ()
    for value in (1, 2, 4, 5):
        assert result.after[value] == pytest.approx(result.before[value], rel=0.02)
    about = middle(head)
    for value in (1, 5):
        x, y, z = middle(head, value) - about
        np.testing.assert_allclose(middle(result.labels, value) - about, (-y, x, z), atol=0.4)


def test_everything_goes_on_beyond_the_field_of_view(head):
    cut = LabelMap(head.voxels[10:20], head.affine, table=TABLE)
    result = transform_mask(cut, Rotate(degrees=(8, 0, 0)), select=Selection(everything=True))
    assert (result.labels.voxels > 0).any(axis=(1, 2)).all()
    assert (result.labels.voxels[0] > 0).sum() > 0.9 * (cut.voxels[0] > 0).sum()


def test_what_was_done_can_be_done_again(head):
    steps = [
        Flip(),
        Rotate(degrees=(5, 6, 7)),
        Grow(mm=2),
        Elastic(amplitude=2, smoothness=8, seed=4),
        Scale(factor=0.8),
    ]
    result = transform_mask(head, steps)
    record = json.loads(json.dumps(result.record()))
    again = transform_mask(head, operations_from_json(record["operations"]))
    np.testing.assert_array_equal(again.labels.voxels, result.labels.voxels)
    assert all(isinstance(entry["centre"], list) for entry in record["operations"] if "centre" in entry)
    assert record["before_ml"]["2"] == pytest.approx(result.before[2], abs=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: transform_mask(m, []), "No operation is given"),
        (lambda m: transform_mask(m, Remove(), select=Selection(labels=("liver",))), "has no 'liver'"),
        (lambda m: transform_mask(m, Remove(), select=Selection(labels=("brain",))), "is the body, not a lesion"),
        (lambda m: transform_mask(m, Remove(), select=Selection(labels=("rim",))), "no voxel of the lesion"),
        (lambda m: transform_mask(m, [Remove(), Grow(mm=1)]), "no voxel of the lesion"),
        (lambda m: transform_mask(m, Shrink(mm=30)), "leaves nothing of the lesion"),
        (lambda m: transform_mask(m, Remove(), select=Selection(everything=True)), "no sense to remove everything"),
        (lambda m: transform_mask(m, Transplant(donor="none.nii", to=(0, 0, 0))), "none.nii does not exist"),
        (lambda m: operations_from_json([{"name": "twist"}]), "operations are not understood"),
        (lambda m: Selection(labels=(1,), everything=True), "everything leaves nothing to choose"),
        (lambda m: Elastic(amplitude=9, smoothness=10), "needs a smoothness of 18 mm"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(head, call, message):
    with pytest.raises(InputError, match=message) as caught:
        call(head)
    assert "\n" not in str(caught.value)


def test_a_body_that_does_not_fit_is_refused(bare, head):
    with pytest.raises(InputError, match="give one on its grid"):
        transform_mask(bare, Grow(mm=1), body=np.ones((2, 2, 2), bool))
    affine = head.affine.copy()
    affine[:3, 3] += 500
    with pytest.raises(InputError, match="does not overlap"):
        transform_mask(bare, Grow(mm=1), body=Volume(brain(head).astype(np.int16), affine))
