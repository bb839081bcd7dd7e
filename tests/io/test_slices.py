"""Single pictures that inform a generation: formats, orientation, refusals."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from napari_gem3d import InputError
from napari_gem3d.io.slices import has_spacing, is_slice, read_slice


@pytest.fixture
def pixels() -> np.ndarray:
    """Rows from front to back; bright at the front (top) on the patient's right (left in the picture)."""
    grey = np.zeros((20, 30), np.uint8)
    grey[2:6, 3:9] = 200
    grey[6:18, 5:25] = 90
    return grey


def test_a_picture_is_taken_as_radiologists_see_it(pixels, tmp_path):
    Image.fromarray(pixels).save(tmp_path / "slice.png")
    volume = read_slice(tmp_path / "slice.png", pixel_mm=0.8)
    assert volume.shape == (1, 20, 30) and volume.orientation == "RAS"
    assert volume.spacing == pytest.approx((1.0, 0.8, 0.8))
    # In RAS the index grows to the patient's right and front: the bright corner is at high y and high x.
    assert volume.voxels[0, -3, -4] == 200
    assert is_slice(tmp_path / "slice.png") and not has_spacing(tmp_path / "slice.png")


def test_a_grey_picture_saved_in_colour_is_grey(pixels, tmp_path):
    Image.fromarray(np.stack([pixels] * 3, axis=-1)).save(tmp_path / "slice.jpg", quality=95)
    assert np.abs(read_slice(tmp_path / "slice.jpg").voxels[0, ::-1, ::-1].astype(int) - pixels).max() < 40


def test_16_bits_stay(pixels, tmp_path):
    Image.fromarray(pixels.astype(np.uint16) * 100).save(tmp_path / "slice.tif")
    assert read_slice(tmp_path / "slice.tif").voxels.max() == 20_000


@pytest.mark.parametrize("shape", [(30, 20), (30, 20, 1), (30, 20, 1, 1)])
def test_a_flat_nifti_keeps_its_geometry(tmp_path, shape):
    data = np.arange(600, dtype=np.int16).reshape(shape)
    path = tmp_path / "slice.nii.gz"
    nib.save(nib.Nifti1Image(data, np.diag([-0.5, -0.7, 3.0, 1.0])), path)
    volume = read_slice(path)
    assert is_slice(path) and has_spacing(path)
    assert volume.shape == (1, 20, 30) and volume.orientation == "LPS"
    assert volume.spacing == pytest.approx((3.0, 0.7, 0.5))
    assert volume.voxels[0, 4, 7] == data.reshape(30, 20)[7, 4]


def test_a_volume_is_no_slice(tmp_path):
    path = tmp_path / "volume.nii"
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random((5, 6, 7)).astype(np.float32), np.eye(4)), path)
    assert not is_slice(path)
    with pytest.raises(InputError, match="is a volume"):
        read_slice(path)


def test_a_slice_of_another_plane_is_refused(tmp_path):
    path = tmp_path / "coronal.nii"
    nib.save(nib.Nifti1Image(np.arange(42, dtype=np.int16).reshape(6, 1, 7), np.eye(4)), path)
    with pytest.raises(InputError, match="not an axial slice"):
        read_slice(path)


def dicom_slice(path: Path, pixels: np.ndarray) -> None:
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, "1.2.840.10008.5.1.4.1.1.4"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = pydicom.Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.SeriesInstanceUID, data.Modality = generate_uid(), "MR"
    data.Rows, data.Columns = pixels.shape
    data.PixelSpacing = [0.9, 0.6]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 0
    data.PixelData = pixels.astype(np.uint16).tobytes()
    data.save_as(path, enforce_file_format=True)


def test_a_lone_dicom_slice(pixels, tmp_path):
    dicom_slice(tmp_path / "one.dcm", pixels)
    assert is_slice(tmp_path / "one.dcm") and is_slice(tmp_path) and has_spacing(tmp_path / "one.dcm")
    volume = read_slice(tmp_path / "one.dcm")
    assert volume.modality == "MR" and volume.spacing == pytest.approx((1.0, 0.9, 0.6))
    assert np.array_equal(volume.voxels[0, ::-1, ::-1], pixels)


def test_pictures_that_cannot_inform_are_refused(pixels, tmp_path):
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    Image.fromarray(np.full((9, 9), 7, np.uint8)).save(tmp_path / "constant.png")
    Image.fromarray(np.stack([pixels, 255 - pixels, pixels], axis=-1)).save(tmp_path / "colour.png")
    for name, message in (
        ("damaged.png", "damaged or no picture"),
        ("constant.png", "constant"),
        ("colour.png", "colour picture"),
        ("missing.png", "does not exist"),
    ):
        with pytest.raises(InputError, match=message):
            read_slice(tmp_path / name)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".png"])
def test_a_picture_is_upright_as_its_exif_says(tmp_path, orientation, suffix):
    """Stored turned or mirrored, and shown as it was."""
    upright = np.tile(np.arange(0, 240, 10, dtype=np.uint8), (16, 1))
    upright[:4] = 250
    turned = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, 3),
    }
    stored = np.ascontiguousarray(turned[orientation])
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"a{suffix}"
    Image.fromarray(stored).save(path, exif=exif, quality=100)
    found = read_slice(path).voxels[0, ::-1, ::-1].astype(int)
    assert found.shape == upright.shape and np.abs(found - upright).max() <= 6


def test_a_picture_compressed_as_a_fax(tmp_path, capfd):
    Image.fromarray(np.eye(40, dtype=np.uint8) * 255).convert("1").save(tmp_path / "a.tif", compression="group4")
    with pytest.raises(InputError, match="fax"):
        read_slice(tmp_path / "a.tif")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("size", [0, -1, float("nan"), float("inf")])
def test_pixels_of_no_size(pixels, tmp_path, size):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="choose more than 0"):
        read_slice(tmp_path / "a.png", size)
