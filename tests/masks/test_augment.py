"""Random variants by the paper's policies."""

import json

import numpy as np
import pytest

from napari_gem3d import InputError
from napari_gem3d.masks import (
    AbdomenPolicy,
    BrainPolicy,
    augment_mask,
    operations_from_json,
    policy_from_json,
    transform_mask,
)

from .conftest import middle


def test_the_same_seed_draws_the_same(head):
    first, again = augment_mask(head, "brain", seed=3), augment_mask(head, BrainPolicy(), seed=np.random.default_rng(3))
    assert first.operations == again.operations and first.operations
    np.testing.assert_array_equal(first.labels.voxels, again.labels.voxels)
    operations = operations_from_json(json.loads(json.dumps(first.record()))["operations"])
    repeated = transform_mask(head, operations, select=first.select)
    np.testing.assert_array_equal(repeated.labels.voxels, first.labels.voxels)


def test_draws_stay_within_the_policy(head):
    names = []
    for seed in range(25):
        result = augment_mask(head, seed=seed)
        assert result.lost_share <= 0.1
        assert result.after[5] == result.before[5] and not result.labels.voxels[head.voxels == 0].any()
        for operation in result.operations:
            names.append(operation.name)
            if operation.name == "rotate":
                assert max(np.abs(operation.degrees)) <= 2.5
            elif operation.name == "translate":
                assert np.linalg.norm(operation.mm) <= 25
    for name, expected in (("flip", 0.5), ("rotate", 0.8), ("translate", 0.8)):
        assert names.count(name) / 25 == pytest.approx(expected, abs=0.3)


def test_a_move_goes_towards_the_middle_and_not_beyond(head):
    policy = BrainPolicy(flip_probability=0, rotation_probability=0, translation_probability=1)
    about = middle(head)
    for seed in range(8):
        start, end = (middle(m, 1, 2) - about for m in (head, augment_mask(head, policy, seed=seed).labels))
        assert np.linalg.norm(end) <= np.linalg.norm(start) + 0.3
        assert end @ start >= -3


def test_nothing_happens_to_an_empty_map(head):
    empty = head.with_voxels(np.where(head.voxels == 4, 4, 0).astype(np.uint8))
    for policy in ("brain", "abdomen"):
        blank = empty if policy == "brain" else empty.with_voxels(np.zeros_like(empty.voxels))
        result = augment_mask(blank, policy, seed=0)
        assert result.operations == () and "as it was" in result.notes[0]
        np.testing.assert_array_equal(result.labels.voxels, blank.voxels)


def test_probability_0_leaves_the_map(head):
    policy = BrainPolicy(flip_probability=0, rotation_probability=0, translation_probability=0)
    assert augment_mask(head, policy, seed=1).notes == ("No transform was drawn: the map is as it was.",)
    assert augment_mask(head, AbdomenPolicy(rotation_probability=0), seed=1).operations == ()


def test_a_lesion_that_cannot_move_stays(head):
    # A second piece of brain far away: the middle of both, and the lesion's mirror image, lie in between.
    voxels = np.where(np.isin(head.voxels, (1, 2)), head.voxels, 0)
    voxels[10:18, 24:32, 2:8] = 4
    policy = BrainPolicy(flip_probability=1, rotation_probability=0, translation_probability=0)
    result = augment_mask(head.with_voxels(voxels), policy, seed=0)
    assert result.operations == () and "too much of the lesion" in result.notes[0]
    np.testing.assert_array_equal(result.labels.voxels, voxels)


def test_the_abdomen_turns_as_a_whole(head):
    result = augment_mask(head, "abdomen", seed=2)
    (rotation,) = result.operations
    assert rotation.name == "rotate" and max(np.abs(rotation.degrees)) <= 5 and result.select.everything
    for value in (1, 2, 4, 5):
        assert result.after[value] == pytest.approx(result.before[value], rel=0.02)
    assert not np.array_equal(result.labels.voxels, head.voxels)


def test_the_body_of_a_scan_turns_with_the_abdomen(head):
    # AbdomenCT and the like label organs only: left as it was, the body would be that of the patient not turned. A box,
    # unlike a ball, shows whether what turns is cut at the body as it was.
    bare = head.with_voxels(np.where(head.voxels == 4, 0, head.voxels).astype(np.uint8))
    box = np.zeros(head.shape, bool)
    box[7:-7, 12:-12, 12:-12] = True
    policy = AbdomenPolicy(max_degrees=8)
    result = augment_mask(bare, policy, seed=5, body=box)
    np.testing.assert_array_equal(result.source.voxels > 0, box | (bare.voxels > 0))
    turned = transform_mask(result.source, result.operations, select=result.select)
    np.testing.assert_array_equal(turned.labels.voxels, result.labels.voxels)
    assert ((result.labels.voxels > 0) != (result.source.voxels > 0)).sum() > 0.02 * box.sum()
    assert result.lost_share == 0 and result.notes == ()
    for value in (1, 2, 4, 5):
        assert result.after[value] == pytest.approx(result.before[value], rel=0.01)
    named = augment_mask(head, policy, seed=5, body=box)
    np.testing.assert_array_equal(named.labels.voxels, augment_mask(head, policy, seed=5).labels.voxels)


def test_policies_are_read_and_refused(head):
    assert policy_from_json({"name": "brain", "max_mm": 3}) == BrainPolicy(max_mm=3)
    for fields in ({"name": "knee"}, {"name": "brain", "max_mm": -1}, {"name": "abdomen", "max_mm": 1}):
        with pytest.raises(InputError, match="policy is not understood"):
            policy_from_json(fields)
    bare = head.with_voxels(np.where(head.voxels == 4, 0, head.voxels).astype(np.uint8))
    with pytest.raises(InputError, match="does not say where the body is"):
        augment_mask(bare, "brain", seed=0)
