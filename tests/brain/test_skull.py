"""A head with its skull is told from a brain without."""

import dataclasses

import numpy as np
import pytest
from heads import CONTRASTS, head

from napari_gem3d.brain import look_at_head
from napari_gem3d.io import read_volume
from napari_gem3d.volume import Volume


@pytest.mark.parametrize("air", ["noise", "zero"])
@pytest.mark.parametrize("contrast", CONTRASTS)
def test_a_head_is_recognised_whatever_the_background(contrast, air):
    found = look_at_head(head(contrast, air=air))
    assert found.kind == "head"
    assert found.skull > 0.9
    assert "not skull-stripped" in found.describe()


@pytest.mark.parametrize("contrast", CONTRASTS)
@pytest.mark.parametrize("air", ["noise", "zero"])
def test_a_brain_is_recognised_whatever_the_background(contrast, air):
    found = look_at_head(head(contrast, air=air, skull=False))
    assert found.kind == "brain"
    assert found.describe() == "skull-stripped"


def test_a_small_head_is_told_by_its_skull_alone():
    """A newborn's head has the volume of an adult's brain."""
    newborn = head("T1", size=0.82)
    found = look_at_head(newborn)
    assert found.litres < 2.2
    assert found.kind == "head"


def test_a_head_with_a_faint_skull_is_told_by_its_size():
    scan = head("T1")
    found = look_at_head(scan.with_voxels(np.where(scan.voxels > 100, 900, 0).astype(np.int16)))
    assert found.skull < 0.1
    assert found.kind == "head"
    assert "layer" not in found.describe()


def test_axes_and_units_do_not_matter():
    scan = head("FLAIR")
    turned = Volume(
        np.ascontiguousarray(scan.voxels.transpose(2, 0, 1)) * 0.01 - 3,
        scan.affine[:, [1, 2, 0, 3]],
        "MR",
    )
    assert look_at_head(turned).kind == "head"


def test_ct_is_ct_and_other_parts_of_the_body_are_neither():
    scan = head("T1")
    hounsfield = dataclasses.replace(
        scan, voxels=np.where(scan.voxels > 100, 40, -1000).astype(np.int16), modality="CT"
    )
    assert look_at_head(hounsfield).kind == "ct"
    assert look_at_head(hounsfield).describe() == ""
    assert look_at_head(Volume(scan.voxels, scan.affine * [[2], [2], [2], [1]], "MR")).kind == "other"
    assert look_at_head(Volume(scan.voxels, scan.affine * [[0.3], [0.3], [0.3], [1]], "MR")).kind == "other"


def test_real_scans(shared_data):
    """Of the glioma scans those that come nearest to a head, with the most sulci on the way."""
    folder = shared_data / "Dataset501_GliomaFLAIR"
    scans = [next(folder.glob(f"images*/*{name}*")) for name in ("TCIA01_378", "CBICA_ASA", "CBICA_AME")]
    for path in (*scans, shared_data / "inputs/mri_ms_lesion/flair.nii.gz"):
        found = look_at_head(read_volume(path))
        assert found.kind == "brain", path
        assert found.skull < 0.45
    found = look_at_head(read_volume(shared_data / "inputs/mri_thick_slices_nrrd/image.nrrd"))
    assert found.kind == "head"
    assert found.skull > 0.6
    assert look_at_head(read_volume(shared_data / "inputs/ct_dicom_series")).kind == "ct"
