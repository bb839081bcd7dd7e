"""Scans to read: written by nibabel, pynrrd and pydicom themselves, not by the code under test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


@pytest.fixture
def voxels() -> np.ndarray:
    """(z, y, x) = (5, 6, 7), every voxel different."""
    return np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)


def dicom_slice(pixels: np.ndarray, position: tuple[float, float, float], **tags: Any) -> pydicom.Dataset:
    """One CT slice of an axial series, 0.5 mm between rows and 0.75 mm between columns."""
    data = pydicom.Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.PatientName, data.PatientID = "Doe^Jane", "SECRET-ID"
    data.Modality, data.SeriesInstanceUID = "CT", "1.2.3"
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.PixelSpacing, data.ImageOrientationPatient = [0.5, 0.75], [1, 0, 0, 0, 1, 0]
    data.ImagePositionPatient = list(position)
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    data.PixelData = pixels.astype("<u2").tobytes()
    for tag, value in tags.items():
        if value is None:
            delattr(data, tag)
        else:
            setattr(data, tag, value)
    return data


@pytest.fixture
def write_series(tmp_path: Path, voxels: np.ndarray) -> Callable[..., Path]:
    """Write a series of one file a slice at the given heights (mm); file names are in an order of their own."""

    def write(heights: Any = (0, 2, 4, 6, 8), folder: str = "series", shift: float = 0.0, **tags: Any) -> Path:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        for k, height in enumerate(heights):
            data = dicom_slice(voxels[k % 5], (10.0, -20.0 + shift * height, 30.0 + height), **tags)
            name = f"{(k * 3) % 7}{data.SeriesInstanceUID[-1]}.dcm"
            data.save_as(place / name, enforce_file_format=True)
        return place

    return write
