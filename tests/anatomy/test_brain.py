"""Tissue of a brain: shapes whose answer is known, bias fields, orientations, thick slices, and what cannot be told."""

from __future__ import annotations

import time

import numpy as np
import pytest

from napari_gem3d import LabelMap, Volume
from napari_gem3d.anatomy import complete_anatomy, find_anatomy
from napari_gem3d.labels import Label, LabelTable
from napari_gem3d.volume import resample

from .phantom import BRAIN, GREY, LESION, SHAPE, SULCI, VENTRICLES, dice, ellipsoid, scan

TABLE = LabelTable(
    (
        Label(1, "edema"),
        Label(4, "brain", meaning="body"),
        Label(5, "ventricles", meaning="tissue"),
        Label(6, "csf", meaning="tissue"),
        Label(7, "grey matter", meaning="tissue"),
    )
)


def check(found, ventricles=0.93, sulci=0.85, grey=0.8):
    assert found.missing == {}
    assert dice(found.where("ventricles"), VENTRICLES) > ventricles
    assert dice(found.where("csf"), SULCI) > sulci
    assert dice(found.where("grey matter"), GREY & ~SULCI) > grey


def test_ventricles_sulci_and_grey_matter_are_found():
    found = find_anatomy(scan(), channel="FLAIR")
    check(found)
    millilitres = found.volumes_ml(1.0)
    assert millilitres["ventricles"] == pytest.approx(VENTRICLES.sum() / 1000, rel=0.08)


def test_a_bias_field_changes_little():
    field = np.exp(0.45 * (np.arange(SHAPE[1]) / SHAPE[1] - 0.5))[None, :, None]
    volume = scan()
    check(find_anatomy(volume.with_voxels((volume.voxels * field).astype(np.float32)), channel="FLAIR"), grey=0.7)


@pytest.mark.parametrize("scale", [(0.001, 0.0), (10_000.0, 0.0)])
def test_the_unit_of_intensities_does_not_matter(scale):
    volume = scan()
    other = find_anatomy(volume.with_voxels(volume.voxels * np.float32(scale[0])), channel="FLAIR")
    assert np.mean(other.voxels != find_anatomy(volume, channel="FLAIR").voxels) < 1e-4


def test_t2_has_bright_fluid_and_t1_dark_grey_matter():
    check(find_anatomy(scan(fluid=1200.0), channel="T2"))
    check(find_anatomy(scan(grey=460.0, white=560.0), channel="T1w"))


def test_orientation_does_not_matter():
    volume = scan()
    turned = Volume(
        np.ascontiguousarray(volume.voxels.transpose(1, 2, 0)[::-1]),
        np.array([[0, 1.0, 0, 0], [0, 0, -1, 119], [1, 0, 0, 0], [0, 0, 0, 1]]),
        "MR",
    )
    assert turned.grid.canonical().same_as(volume.grid)
    found = find_anatomy(turned, channel="FLAIR")
    back = resample(turned.with_voxels(found.voxels), volume.grid, order=0).voxels
    assert np.mean(back != find_anatomy(volume, channel="FLAIR").voxels) < 0.01


def test_lesions_hold_no_tissue_and_do_not_disturb_the_rest():
    for intensity in (100.0, 900.0):
        found = find_anatomy(scan(lesion=intensity), lesion=LESION, channel="FLAIR")
        assert not found.voxels[LESION].any()
        check(found)


def test_slices_of_3_mm_still_show_ventricles():
    volume = scan()
    thick = resample(volume, volume.grid.with_spacing((3.0, None, None)))
    found = find_anatomy(Volume(np.where(thick.voxels > 50, thick.voxels, 0), thick.affine, "MR"), channel="FLAIR")
    wanted = resample(LabelMap(VENTRICLES, np.eye(4)), thick.grid, order=0).voxels > 0
    assert dice(found.where("ventricles"), wanted) > 0.85


def test_what_cannot_be_told_is_said():
    volume = scan()
    thick = resample(volume, volume.grid.with_spacing((7.0, None, None)))
    told = find_anatomy(Volume(np.where(thick.voxels > 50, thick.voxels, 0), thick.affine, "MR"), channel="FLAIR")
    assert told.found == ()
    assert "7 mm are too thick" in told.missing["ventricles"]
    unknown = find_anatomy(volume, channel="")
    assert unknown.found == ("ventricles", "csf")
    assert "sequence is not known" in unknown.missing["grey matter"]
    flat = find_anatomy(scan(grey=460.0), channel="FLAIR")
    assert "do not differ" in flat.missing["grey matter"]
    dry = volume.with_voxels(np.where(BRAIN, 500 + volume.voxels * 0, 0).astype(np.float32))
    assert "0% of the brain would be fluid" in find_anatomy(dry, channel="FLAIR").missing["csf"]
    skull = volume.with_voxels(volume.voxels + np.random.default_rng(1).normal(40, 8, SHAPE).astype(np.float32))
    assert "has its skull" in find_anatomy(skull, channel="FLAIR").missing["csf"]


def test_an_organ_is_no_tissue_of_a_brain():
    found = find_anatomy(scan(), channel="FLAIR", names=["bone", "csf"])
    assert found.found == ("csf",)
    assert "bone is no tissue" in found.missing["bone"]


def test_a_whole_scan_takes_at_most_two_seconds_of_the_processor():
    """Time of the processor, not of the clock, so that a busy machine does not matter; with room for slow ones."""
    volume = scan()
    large = Volume(np.zeros((155, 240, 240), np.float32), np.eye(4), "MR")
    large.voxels[20:116, 60:180, 70:170] = volume.voxels
    find_anatomy(large, channel="FLAIR")
    begun = time.process_time()
    find_anatomy(large, channel="FLAIR")
    assert time.process_time() - begun < 6


def test_a_label_map_is_completed_where_it_says_body():
    volume = scan(lesion=900.0)
    labels = LabelMap((4 * BRAIN - 3 * LESION).astype(np.uint8), np.eye(4))
    done = complete_anatomy(labels, TABLE, "scan", volume, channel="FLAIR")
    assert done.unknown == () and done.notes == ()
    assert np.array_equal(done.labels.voxels == 1, LESION)
    assert np.array_equal(done.labels.voxels > 0, BRAIN)
    assert dice(done.labels.voxels == 5, VENTRICLES) > 0.93


def test_tissue_of_the_map_stays_and_only_the_rest_is_found():
    volume, own = scan(), ellipsoid((50, 58, 30), (6, 6, 6))
    labels = LabelMap((4 * BRAIN).astype(np.uint8) + own.astype(np.uint8), np.eye(4))
    done = complete_anatomy(labels, TABLE, "scan", volume, channel="FLAIR")
    assert np.array_equal(done.labels.voxels == 5, own)
    assert dice(done.labels.voxels == 6, SULCI) > 0.85
    assert complete_anatomy(labels, TABLE, "map", volume, channel="FLAIR").unknown == (6, 7)
    nothing = complete_anatomy(labels, TABLE, "none", volume, channel="FLAIR")
    assert nothing.unknown == (5, 6, 7)
    assert np.array_equal(nothing.labels.voxels, 4 * BRAIN)


def test_what_the_scan_cannot_tell_is_unknown_and_said_once():
    labels = LabelMap((4 * BRAIN).astype(np.uint8), np.eye(4))
    done = complete_anatomy(labels, TABLE, "scan", scan(grey=460.0), channel="FLAIR")
    assert done.unknown == (7,)
    assert done.notes == ("grey matter: grey and white matter do not differ in this scan.",)
