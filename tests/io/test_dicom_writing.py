"""Synthetic volumes as DICOM series: read back by our own reader, equal in voxels and in place; nobody's name."""

from itertools import permutations, product

import numpy as np
import pydicom
import pytest
from pydicom.uid import CTImageStorage, MRImageStorage

from napari_gem3d.errors import InputError
from napari_gem3d.grid import Grid
from napari_gem3d.io import read_volume
from napari_gem3d.io.dicom_writing import write_dicom
from napari_gem3d.volume import Volume, resample

MADE = "Whole volume by tiny, seed 1"
# Turned by 20° about z, then 10° about x: no axis of the volume is one of the patient.
OBLIQUE = np.array([[1.0, 0, 0], [0, 0.98480775, -0.17364818], [0, 0.17364818, 0.98480775]]) @ np.array(
    [[0.93969262, -0.34202014, 0], [0.34202014, 0.93969262, 0], [0, 0, 1.0]]
)


def volume_of(voxels: np.ndarray, axes: np.ndarray, spacing_xyz=(0.75, 0.5, 3.0)) -> Volume:
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing_xyz
    affine[:3, 3] = (-31.25, 17.5, -123.456)
    return Volume(voxels, affine)


def written(volume: Volume, folder, modality="MR") -> tuple[Volume, list[pydicom.Dataset]]:
    write_dicom(volume, folder, modality=modality, description=MADE)
    files = sorted(folder.iterdir())
    return read_volume(folder), [pydicom.dcmread(file) for file in files]


def assert_equal(again: Volume, volume: Volume) -> None:
    """The same voxels at the same places of the patient, whatever the order of the axes in the array."""
    back = resample(again, volume.grid, order=0)
    np.testing.assert_array_equal(back.voxels, volume.voxels)
    assert again.voxels.size == volume.voxels.size
    corner = np.array([0, 0, 0])
    there = again.grid.world_to_index(volume.grid.index_to_world([corner, np.array(volume.shape) - 1]))
    np.testing.assert_allclose(there, np.rint(there), atol=1e-6)  # voxel centres are the same points


@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
def test_every_orientation_comes_back_equal(tmp_path, voxels, signs):
    for index, order in enumerate(permutations(range(3))):
        axes = np.eye(3)[:, order] * signs
        volume = volume_of(voxels, OBLIQUE @ axes)
        again, slices = written(volume, tmp_path / f"{index}")
        assert_equal(again, volume)
        assert again.spacing[0] == pytest.approx(3)  # slices stay slices
        # front up, the patient's right on the left; head up where slices are not axial
        assert (
            again.orientation[:2]
            == {"S": "LP", "A": "LI", "R": "PI"}[volume.grid.orientation[2].translate(str.maketrans("LPI", "RAS"))]
        )
        assert [data.InstanceNumber for data in slices] == list(range(1, 6))


def test_hounsfield_units_come_back(tmp_path, voxels):
    volume = volume_of(voxels - 1024, OBLIQUE)
    again, slices = written(volume, tmp_path / "ct", "CT")
    assert_equal(again, volume)
    assert again.voxels.dtype == np.int16 and again.modality == "CT"
    assert slices[0].RescaleType == "HU" and slices[0].SOPClassUID == CTImageStorage
    assert slices[0].ImageType[:3] == ["DERIVED", "SECONDARY", "AXIAL"]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_whole_numbers_are_stored_as_they_are(tmp_path, voxels, dtype):
    volume = volume_of(voxels.astype(dtype), np.eye(3))
    again, slices = written(volume, tmp_path / "mr")
    assert_equal(again, volume)
    assert slices[0].SOPClassUID == MRImageStorage and "RescaleSlope" not in slices[0]


@pytest.mark.parametrize("factor", [1.37, 1e-6, 12345.678])
def test_fractions_come_back_to_half_a_step(tmp_path, voxels, factor):
    volume = volume_of((voxels.astype(np.float32) - 57.3) * np.float32(factor), OBLIQUE)
    again, slices = written(volume, tmp_path / "mr")
    step = float(slices[0].RescaleSlope)
    assert step == pytest.approx(np.ptp(volume.voxels) / 65535, rel=1e-6)
    back = resample(again, volume.grid, order=0).voxels
    assert np.abs(back - volume.voxels).max() <= 0.501 * step


def test_a_tilted_gantry_comes_back(tmp_path, voxels):
    tilted = np.eye(3)
    tilted[1, 2] = 0.2  # slices step sideways
    volume = volume_of(voxels, tilted)
    again, slices = written(volume, tmp_path / "tilted", "CT")
    assert_equal(again, volume)
    assert float(slices[0].SpacingBetweenSlices) == pytest.approx(3)


def test_rows_that_are_not_perpendicular_are_refused(tmp_path, voxels):
    sheared = np.eye(3)
    sheared[0, 1] = 0.1
    with pytest.raises(InputError, match=r"meet at 8\d\.\d\d°.*export it as NIfTI"):
        write_dicom(volume_of(voxels, sheared), tmp_path / "out", modality="MR", description=MADE)
    assert list(tmp_path.iterdir()) == []


def test_what_the_files_say_and_do_not_say(tmp_path, voxels):
    _, slices = written(volume_of(voxels, np.eye(3)), tmp_path / "mr")
    _, others = written(volume_of(voxels, np.eye(3)), tmp_path / "again")
    for data in slices:
        assert data.SyntheticData == "YES" and data.ImageType[-1] == "SYNTHETIC" and data.ImageType[0] == "DERIVED"
        assert data.PatientName == "SYNTHETIC" and str(data.PatientID).startswith("SYNTHETIC-")
        assert (data.PatientBirthDate, data.PatientSex, data.PatientIdentityRemoved) == ("", "", "YES")
        assert "SYNTHETIC" in data.SeriesDescription and data.DerivationDescription == MADE
        assert "InstitutionName" not in data and "OperatorsName" not in data
    names = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
    for name in names:
        assert len({data[name].value for data in slices}) == 1
        assert slices[0][name].value != others[0][name].value
    assert len({data.SOPInstanceUID for data in (*slices, *others)}) == 10
    assert slices[0].PatientID != others[0].PatientID


def test_values_fit_their_fields(tmp_path, voxels):
    """Nothing is longer than DICOM allows; pydicom says so when it reads strictly."""
    write_dicom(volume_of(voxels / 7, OBLIQUE), tmp_path / "mr", modality="MR", description=MADE)
    mode = pydicom.config.settings.reading_validation_mode
    pydicom.config.settings.reading_validation_mode = pydicom.config.RAISE
    try:
        for file in (tmp_path / "mr").iterdir():
            list(pydicom.dcmread(file).iterall())
    finally:
        pydicom.config.settings.reading_validation_mode = mode


def test_a_folder_with_something_in_it_is_left_alone(tmp_path, voxels):
    volume = volume_of(voxels, np.eye(3))
    full, empty = tmp_path / "full", tmp_path / "empty"
    full.mkdir()
    empty.mkdir()
    (full / "letter.txt").write_text("keep me")
    with pytest.raises(InputError, match="full has something in it already; give a new or empty folder"):
        write_dicom(volume, full, modality="MR", description=MADE)
    assert [file.name for file in full.iterdir()] == ["letter.txt"]
    assert_equal(read_volume(write_dicom(volume, empty, modality="MR", description=MADE)), volume)


def test_a_failure_leaves_nothing(tmp_path, voxels, monkeypatch):
    def full_disk(path, data, **options):
        if path.name == "0003.dcm":
            raise OSError(28, "No space left on device")
        path.write_bytes(b"half")

    monkeypatch.setattr(pydicom, "dcmwrite", full_disk)
    with pytest.raises(InputError, match="No space left on device"):
        write_dicom(volume_of(voxels, np.eye(3)), tmp_path / "mr", modality="MR", description=MADE)
    assert list(tmp_path.iterdir()) == []


def test_a_constant_volume_is_stored(tmp_path):
    write_dicom(volume_of(np.full((5, 6, 7), 0.5), np.eye(3)), tmp_path / "mr", modality="MR", description=MADE)
    data = pydicom.dcmread(tmp_path / "mr" / "0001.dcm")
    np.testing.assert_allclose(data.pixel_array * data.RescaleSlope + data.RescaleIntercept, 0.5)


def test_grid_is_still_a_grid():
    """The test's own rotation is one."""
    np.testing.assert_allclose(OBLIQUE @ OBLIQUE.T, np.eye(3), atol=1e-7)
    assert Grid((2, 2, 2), np.eye(4)).orientation == "RAS"
