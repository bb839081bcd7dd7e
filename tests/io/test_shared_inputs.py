"""Real scans: all of them load, and each label map lands on the anatomy it names."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from napari_gem3d.errors import InputError
from napari_gem3d.foreground import foreground
from napari_gem3d.grid import Grid
from napari_gem3d.io import read_label_map, read_volume, write_volume
from napari_gem3d.labels import LabelMap
from napari_gem3d.volume import Volume, resample

PAIRS = {
    "ct_coarse": ("ct_coarse/ct.nii.gz", "ct_coarse/organs.nii.gz"),
    "ct_dicom": ("ct_dicom_series", "ct_dicom_organs.nii.gz"),
    "thick_nrrd": ("mri_thick_slices_nrrd/image.nrrd", "mri_thick_slices_nrrd/label.nrrd"),
    "ms_lesion": ("mri_ms_lesion/flair.nii.gz", "mri_ms_lesion/lesions.nii.gz"),
}
# Values of TotalSegmentator's "total" task.
SPLEEN, KIDNEY_RIGHT, LIVER, AORTA = 1, 2, 5, 52


def opened(folder: Path, name: str) -> tuple[Volume, LabelMap]:
    scan, labels = PAIRS[name]
    volume = read_volume(folder / "inputs" / scan)
    return volume, read_label_map(folder / "inputs" / labels).aligned_to(volume.grid)


def mirrored(labels: LabelMap) -> LabelMap:
    """The labels as they would lie if the axes had been taken for the opposite ones."""
    return labels.with_voxels(labels.voxels[:, ::-1, ::-1])


@pytest.mark.parametrize(
    ("name", "shape", "spacing", "orientation", "dtype"),
    [
        ("ct_coarse", (112, 101, 122), (3, 3, 3), "RAS", np.int32),
        ("ct_dicom", (20, 512, 512), (2, 0.9765625, 0.9765625), "LPS", np.int16),
        ("thick_nrrd", (25, 256, 256), (6.5, 0.78125, 0.78125), "LAS", np.int16),
        ("ms_lesion", (182, 218, 182), (1, 1, 1), "LAS", np.float32),
    ],
)
def test_geometry(shared_data, name, shape, spacing, orientation, dtype):
    volume, labels = opened(shared_data, name)
    assert volume.shape == shape
    assert volume.spacing == pytest.approx(spacing)
    assert volume.orientation == orientation
    assert volume.voxels.dtype == dtype
    assert labels.grid == volume.grid


@pytest.mark.parametrize("name", PAIRS)
def test_there_and_back_is_bit_identical(shared_data, name, tmp_path):
    volume, _ = opened(shared_data, name)
    canonical = resample(volume, volume.grid.canonical())
    back = resample(canonical, volume.grid)
    assert back.voxels.dtype == volume.voxels.dtype
    np.testing.assert_array_equal(back.voxels, volume.voxels)
    write_volume(back, tmp_path / "a.nii.gz")
    again = read_volume(tmp_path / "a.nii.gz")
    assert again.voxels.dtype == volume.voxels.dtype
    np.testing.assert_array_equal(again.voxels, volume.voxels)
    assert again.grid.same_as(volume.grid)


@pytest.mark.parametrize("name", ["ct_coarse", "ct_dicom"])
def test_organs_have_the_density_of_organs(shared_data, name):
    """Liver and spleen are homogeneous soft tissue; mirrored labels would take in fat, gas and bone."""
    volume, labels = opened(shared_data, name)
    for organ in (LIVER, SPLEEN):
        inside = volume.voxels[labels.voxels == organ]
        outside = volume.voxels[mirrored(labels).voxels == organ]
        assert 20 < np.median(inside) < 140
        assert inside.std() < 40
        assert outside.std() > 1.5 * inside.std()
    liver, spleen = (labels.grid.index_to_world(np.argwhere(labels.voxels == v)).mean(axis=0) for v in (LIVER, SPLEEN))
    assert liver[0] > spleen[0] + 80  # the liver is on the right


def test_dicom_labels_are_stored_with_another_axis_direction(shared_data):
    """By index the labels would be upside down: the aorta must be full of contrast only by geometry."""
    volume, aligned = opened(shared_data, "ct_dicom")
    stored = read_label_map(shared_data / "inputs" / PAIRS["ct_dicom"][1])
    assert stored.orientation == "LAS"
    assert stored.shape == volume.shape
    by_geometry = volume.voxels[aligned.voxels == AORTA]
    by_index = volume.voxels[stored.voxels == AORTA]
    assert by_geometry.mean() > 150
    assert by_geometry.std() < by_index.std() / 2
    assert np.count_nonzero(aligned.voxels) == np.count_nonzero(stored.voxels)


def test_thick_slice_tumour_lies_in_the_head_where_it_enhances(shared_data):
    volume, labels = opened(shared_data, "thick_nrrd")
    tumour = labels.voxels == 1
    assert 2 < labels.volumes_ml()[1] < 40
    assert foreground(volume)[tumour].all()
    brain = foreground(volume) & ~tumour
    opposite = mirrored(labels).voxels == 1
    assert np.median(volume.voxels[tumour]) > 1.1 * np.median(volume.voxels[brain & opposite])


def test_ms_lesions_are_bright_and_in_the_brain(shared_data):
    volume, labels = opened(shared_data, "ms_lesion")
    assert volume.voxels.min() < 0
    lesions = labels.voxels == 1
    brain = foreground(volume)
    assert brain[lesions].all()
    assert np.median(volume.voxels[lesions]) > np.percentile(volume.voxels[brain], 75)


def test_every_glioma_lies_in_its_brain_and_edema_is_bright(shared_data):
    folder = shared_data / "Dataset501_GliomaFLAIR"
    paths = sorted((folder / "labelsTs").iterdir())
    assert len(paths) == 6
    for path in paths:
        scan = read_volume(folder / "imagesTs" / path.name.replace(".nii.gz", "_0000.nii.gz"))
        labels = read_label_map(path).aligned_to(scan.grid)
        assert scan.shape == (155, 240, 240)
        assert scan.orientation == "LPS"
        assert set(labels.values()) <= {1, 2, 3}
        tumour = labels.voxels > 0
        assert (scan.voxels[tumour] > 0).mean() > 0.999
        edema, rest = scan.voxels[labels.voxels == 1], scan.voxels[(scan.voxels > 0) & ~tumour]
        assert np.median(edema) > 1.1 * np.median(rest)
        assert np.median(edema) > 1.1 * np.median(scan.voxels[mirrored(labels).voxels == 1])


def test_a_label_map_of_somewhere_else_is_refused(shared_data):
    scan = read_volume(shared_data / "inputs" / PAIRS["ct_dicom"][0])
    labels = read_label_map(shared_data / "inputs" / PAIRS["ms_lesion"][1])
    with pytest.raises(InputError, match=r"lesions\.nii\.gz does not overlap"):
        labels.aligned_to(scan.grid)


def test_truncated_real_scan(shared_data, tmp_path):
    content = (shared_data / "inputs" / PAIRS["ct_coarse"][0]).read_bytes()
    (tmp_path / "ct.nii.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="truncated"):
        read_volume(tmp_path / "ct.nii.gz")
    (tmp_path / "ct.nii").write_bytes(gzip.decompress(content)[:100_000])
    with pytest.raises(InputError, match="truncated"):
        read_volume(tmp_path / "ct.nii")


def test_a_missing_dicom_slice_is_noticed(shared_data, tmp_path):
    files = sorted((shared_data / "inputs" / PAIRS["ct_dicom"][0]).iterdir())
    for file in files[:9] + files[10:]:
        (tmp_path / file.name).symlink_to(file)
    with pytest.raises(InputError, match="lacks 1 slice "):
        read_volume(tmp_path)


def test_resampling_a_real_scan_and_back_keeps_it_close(shared_data):
    volume, labels = opened(shared_data, "thick_nrrd")
    grid = volume.grid.canonical().with_spacing((1, 1, 1))
    assert grid.shape == (162, 200, 200)
    back = resample(resample(volume, grid), volume.grid)
    brain = foreground(volume)
    # slices of 6.5 mm are interpolated and averaged again: a blur between neighbours, no shift
    assert np.corrcoef(back.voxels[brain], volume.voxels[brain])[0, 1] > 0.95
    moved = np.roll(volume.voxels, 1, axis=2)
    assert np.abs(back.voxels - volume.voxels)[brain].mean() < np.abs(back.voxels - moved)[brain].mean()
    again = resample(labels.aligned_to(grid), volume.grid, order=0)
    overlap = 2 * np.count_nonzero(again.voxels & labels.voxels) / (again.voxels.sum() + labels.voxels.sum())
    assert overlap > 0.9
    assert isinstance(grid, Grid)
