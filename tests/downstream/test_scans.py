import numpy as np
import pytest

from napari_gem3d import Volume, write_volume
from napari_gem3d.downstream.scans import read_labels, read_scan, to_own_grid
from napari_gem3d.evaluation.segmentation import dice
from napari_gem3d.io import read_label_map, read_volume

from .conftest import egg


def one_hot(labels, classes=4):
    return np.stack([labels == value for value in range(classes)]).astype(np.float32)


def test_the_network_sees_the_z_score_of_the_foreground(eggs):
    scan = read_scan(eggs / "imagesTr" / "egg0_0000.nii.gz", 1.0)
    inside = scan.voxels > scan.voxels.min()
    assert abs(scan.voxels[inside].mean()) < 0.02
    assert scan.voxels[inside].std() == pytest.approx(1, abs=0.02)
    assert scan.grid.orientation == "RAS"


def test_brightness_and_single_bright_voxels_do_not_matter(eggs, tmp_path):
    path = eggs / "imagesTr" / "egg0_0000.nii.gz"
    volume = read_volume(path)
    brighter = np.where(volume.voxels > 0, volume.voxels * 3.0 + 100, 0)
    brighter[12, 14, 16] = 30000
    write_volume(Volume(brighter.astype(np.int16), volume.affine), tmp_path / "brighter.nii.gz")
    one, other = read_scan(path, 2.0), read_scan(tmp_path / "brighter.nii.gz", 2.0)
    assert np.abs(one.voxels - other.voxels).max() < 0.2
    assert np.abs(one.voxels - other.voxels).mean() < 0.01


def test_labels_come_back_to_the_same_voxels(eggs):
    truth = read_label_map(eggs / "labelsTr" / "egg1.nii.gz")
    scan = read_scan(eggs / "imagesTr" / "egg1_0000.nii.gz", 1.0)
    back = to_own_grid(one_hot(read_labels(eggs / "labelsTr" / "egg1.nii.gz", scan)), scan)
    assert back.grid.same_as(truth.grid)
    assert np.array_equal(back.voxels, truth.voxels)


def test_labels_come_back_from_coarse_voxels_nearly_the_same(eggs):
    truth = egg(2)[1]
    scan = read_scan(eggs / "imagesTr" / "egg2_0000.nii.gz", 2.0)
    back = to_own_grid(one_hot(read_labels(eggs / "labelsTr" / "egg2.nii.gz", scan)), scan)
    there, expected = back.voxels > 0, truth.voxels > 0
    assert dice(there, expected) > 0.88
    for axis in range(3):
        down, up = (dice(np.roll(there, shift, axis), expected) for shift in (-1, 1))
        # Rounding of half voxels to one side would show here.
        assert max(down, up) < dice(there, expected) and abs(down - up) < 0.03
