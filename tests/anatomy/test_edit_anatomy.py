"""The tissue of an edit: kept, painted, erased, unknown under a lesion that goes, and displaced by mass effect."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_gem3d import LabelMap, Volume
from napari_gem3d.bundle import Plan
from napari_gem3d.labels import UNKNOWN, Label, LabelTable
from napari_gem3d.sampling.edit_anatomy import edited_anatomy

from .phantom import BRAIN, LESION, SHAPE, VENTRICLES, dice, ellipsoid, scan

PLAN = Plan(
    name="test",
    channel="FLAIR",
    conditioning="fine+slice+offset",
    labels=LabelTable(
        (
            Label(1, "edema"),
            Label(4, "brain", meaning="body"),
            Label(5, "ventricles", meaning="tissue"),
            Label(6, "csf", meaning="tissue"),
            Label(7, "grey matter", meaning="tissue"),
        )
    ),
)
OLD = PLAN.model_copy(
    update={"conditioning": "labels+slice+offset", "labels": LabelTable(tuple(PLAN.labels)[:2])},
)
# About 20 ml beside the ventricles.
BESIDE = ellipsoid((48, 62, 24), (17, 17, 15)) & BRAIN


def labels(lesion=None) -> LabelMap:
    return LabelMap(np.where(BRAIN, np.where(False if lesion is None else lesion, 1, 4), 0).astype(np.uint8), np.eye(4))


def edited(was, after, source="scan", mm=0.0, plan=PLAN, volume=None):
    return edited_anatomy(plan, scan() if volume is None else volume, BRAIN, was, after, source, mm)


def test_a_new_lesion_lies_over_the_tissue_of_the_scan():
    edit = edited(labels(), labels(LESION))
    after = edit.after.labels.voxels
    assert np.array_equal(after == 1, LESION)
    assert np.array_equal(edit.changed, LESION)
    assert dice(after == 5, VENTRICLES) > 0.93
    assert not (after == UNKNOWN).any()


def test_under_a_lesion_that_goes_no_tissue_is_known():
    edit = edited(labels(LESION), labels(), volume=scan(lesion=900.0))
    after = edit.after.labels.voxels
    assert np.array_equal(after == UNKNOWN, LESION)
    assert np.array_equal(edit.changed, LESION)
    assert dice(after == 5, VENTRICLES) > 0.93
    nothing = edited(labels(LESION), labels(), "none", volume=scan(lesion=900.0)).after
    assert set(np.unique(nothing.labels.voxels).tolist()) == {0, 4}
    assert nothing.unknown == (5, 6, 7)


def test_painted_and_erased_tissue_is_as_the_edited_map_says():
    found = edited(labels(), labels(LESION)).before.labels
    wider = ellipsoid((50, 58, 42), (12, 20, 8)) & BRAIN
    map_after = found.voxels.copy()
    map_after[wider] = 5
    map_after[ellipsoid((50, 58, 58), (12, 20, 9))] = 4
    edit = edited(found, found.with_voxels(map_after))
    assert np.array_equal(edit.after.labels.voxels, map_after)
    assert np.array_equal(edit.changed, map_after != found.voxels)


def test_a_model_without_tissue_sees_what_it_always_saw():
    edit = edited(labels(LESION), labels(), plan=OLD)
    assert np.array_equal(edit.after.labels.voxels, labels().voxels)
    assert np.array_equal(edit.changed, LESION)
    assert edit.after.unknown == ()


@pytest.mark.parametrize("plan", [PLAN, OLD])
def test_a_lesion_pushes_tissue_and_scan_and_going_takes_it_back(plan):
    volume = scan()
    edit = edited(labels(), labels(BESIDE), mm=6.0, plan=plan)
    after, moved = edit.after.labels.voxels, edit.scan.voxels
    assert np.array_equal(after == 1, BESIDE)
    assert np.array_equal(after > 0, BRAIN)
    dark, were = ((v < 300) & VENTRICLES_AROUND for v in (moved, volume.voxels))
    # Fluid near the lesion moves away from it, to the right, and no voxel outside the brain changes.
    columns = np.broadcast_to(np.arange(SHAPE[2]), SHAPE)
    assert columns[dark & ~BESIDE].mean() > columns[were].mean() + 1
    assert np.array_equal(moved[~BRAIN], volume.voxels[~BRAIN])
    if plan is PLAN:
        before = np.count_nonzero(edit.before.labels.voxels == 5)
        assert np.count_nonzero(after == 5) < 0.97 * before
        # The scan has moved with its tissue, so only the lesion has to be drawn.
        assert (edit.changed & ~BESIDE).sum() < 0.02 * BESIDE.sum()


VENTRICLES_AROUND = ellipsoid((50, 58, 50), (14, 22, 22))


def test_removing_takes_the_mass_effect_back():
    pushed = edited(labels(), labels(BESIDE), mm=5.0)
    there = pushed.after.labels
    back = edited(there, labels(), mm=5.0, volume=pushed.scan)
    outside = BRAIN & ~ellipsoid((48, 62, 24), (24, 24, 22))
    first = pushed.before.labels.voxels
    again = back.after.labels.voxels
    assert dice(again[outside] == 5, first[outside] == 5) > 0.9
    assert np.corrcoef(back.scan.voxels[outside], scan().voxels[outside])[0, 1] > 0.97


def test_no_mass_effect_leaves_the_scan_itself():
    volume = scan()
    assert edited(labels(), labels(LESION), volume=volume).scan is volume
    assert isinstance(volume, Volume)


def test_mass_effect_leaves_another_lesion_as_the_scan_shows_it():
    far = ellipsoid((48, 62, 76), (11, 11, 11)) & BRAIN & ~BESIDE
    assert far.sum() > 500
    both = far | BESIDE
    edit = edited(labels(far), labels(both), mm=6.0)
    after = edit.after.labels.voxels == 1
    assert after[BESIDE].all() and dice(after & ~BESIDE, far) > 0.9  # it moves a little, with its tissue
    assert edit.changed[BESIDE].mean() > 0.9 and not edit.changed[far & ~BESIDE].any()
    still = edited(labels(far), labels(both))
    assert np.array_equal(still.after.labels.voxels == 1, both) and np.array_equal(still.changed, BESIDE & ~far)
    # Where one grows, all of it is drawn: nothing says what its old voxels show after that.
    grown = edited(labels(far), labels(ndimage.binary_dilation(far, iterations=3) & BRAIN), mm=3.0)
    assert grown.changed[far].all()
