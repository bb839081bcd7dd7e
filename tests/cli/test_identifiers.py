"""Identifiers planted in headers and paths do not come out in what is made to be handed on."""

import csv
import gzip
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

import napari_gem3d as gem
from napari_gem3d.cli.main import main

WORD = "Planted"
# Fields of text of a DICOM file, one of every kind that names people, places, times or devices.
DICOM = (
    "PatientName",
    "PatientID",
    "OtherPatientNames",
    "PatientAddress",
    "PatientMotherBirthName",
    "PatientTelephoneNumbers",
    "PatientComments",
    "EthnicGroup",
    "Occupation",
    "AdditionalPatientHistory",
    "InstitutionName",
    "InstitutionAddress",
    "ReferringPhysicianName",
    "PerformingPhysicianName",
    "OperatorsName",
    "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy",
    "StationName",
    "AccessionNumber",
    "StudyID",
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "RequestedProcedureDescription",
    "DeviceSerialNumber",
    "Manufacturer",
    "ManufacturerModelName",
    "InstitutionalDepartmentName",
    "CurrentPatientLocation",
    "ImageComments",
)
NIFTI = {"descrip": 80, "aux_file": 24, "intent_name": 16, "db_name": 18}
NRRD = ("content", "patient name", "study", "hospital", "Segment0_Tags", "comment")


@pytest.fixture(scope="module")
def planted(tiny_patient, tmp_path_factory) -> dict[str, Path]:
    """The tiny patient's scan and label map in files full of identifiers, in a folder of that name."""
    folder = tmp_path_factory.mktemp("scans") / f"{WORD}Surname"
    folder.mkdir()
    scan, labels = gem.read_volume(tiny_patient.scan), gem.read_label_map(tiny_patient.labels)
    files = {name: folder / file for name, file in {"nifti": "a.nii.gz", "mask": "m.nii.gz", "nrrd": "b.nrrd"}.items()}
    for volume, path in ((scan, files["nifti"]), (labels, files["mask"])):
        image = nib.Nifti1Image(volume.voxels.T, volume.affine)
        for field, size in NIFTI.items():
            image.header[field] = f"{WORD} {field}"[: size - 1].encode()
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", f"{WORD} in an extension".encode()))
        nib.save(image, path)
    header = {"space": "right-anterior-superior", "space directions": scan.affine[:3, :3].T}
    header |= {"space origin": scan.affine[:3, 3], **{key: f"{WORD} {key}" for key in NRRD}}
    nrrd.write(str(files["nrrd"]), scan.voxels.T, header)
    files["dicom"] = folder / "series"
    files["dicom"].mkdir()
    series = {"SeriesInstanceUID": generate_uid(), "StudyInstanceUID": generate_uid()}
    for k, plane in enumerate(scan.voxels):
        write_slice(plane, scan.affine, k, series, files["dicom"] / f"{k:03d}.dcm")
    return files


def write_slice(plane, affine, k, series, path) -> None:
    data = pydicom.Dataset()
    for name in DICOM:
        setattr(data, name, f"{WORD} {name}"[:16])
    for name, value in {**series, "SOPClassUID": MRImageStorage, "SOPInstanceUID": generate_uid()}.items():
        setattr(data, name, value)
    x, y = -affine[0, 0], -affine[1, 1]
    position = np.diag([-1, -1, 1]) @ (affine @ [0, 0, k, 1])[:3]
    data.Modality, data.Rows, data.Columns = "MR", *plane.shape
    data.PixelSpacing, data.SliceThickness, data.ImagePositionPatient = [1.0, 1.0], 1.0, list(position)
    data.ImageOrientationPatient = [np.sign(x), 0, 0, 0, np.sign(y), 0]
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation, data.SamplesPerPixel = 15, 1, 1
    data.PhotometricInterpretation, data.PixelData = "MONOCHROME2", plane.astype("<i2").tobytes()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.save_as(path, enforce_file_format=True)


def told(folder: Path) -> list[str]:
    """Files below a folder in which the word stands, in their names, as they are or unpacked."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        content += gzip.decompress(content) if content[:2] == b"\x1f\x8b" else b""
        if WORD.encode() in content or WORD in path.name:
            found.append(str(path.relative_to(folder)))
    return found


def test_so_much_is_planted(planted):
    assert len(DICOM) + len(NIFTI) + len(NRRD) + 1 >= 40
    assert len(told(planted["nifti"].parent)) == 3 + 32


@pytest.mark.parametrize("kind", ["nifti", "nrrd", "dicom"])
def test_volumes_maps_and_exports_have_nothing_of_the_headers(planted, tiny_model, tmp_path, kind):
    scan, mask, model = str(planted[kind]), str(planted["mask"]), ["--model", str(tiny_model), "--seed", "1"]
    made = tmp_path / "made"
    commands = {
        "generate": ["--mask", mask, "--informed", scan, "--body", scan, *model, "--out", str(made / "g.nii.gz")],
        "mask": ["--mask", mask, "--remove", *model, "--out", str(made / "m.nii.gz")],
        "edit": [
            *("--image", scan, "--mask", mask, "--edited", str(made / "m.nii.gz"), *model),
            *("--out", str(made / "e.nii.gz")),
        ],
    }
    for command, words in commands.items():
        assert main([command, *words]) == 0, command
    # The user's own recipes and records name inputs by their paths; volumes and maps name nothing.
    assert [name for name in told(made) if not name.endswith(".json")] == []
    for name in ("g", "e"):
        assert main(["export", str(made / f"{name}.nii.gz"), "--dicom", str(tmp_path / "out" / name)]) == 0
    assert told(tmp_path / "out") == []
    assert main(["export", str(made / "g.nii.gz"), "--dicom", str(tmp_path / "own"), "--keep-paths"]) == 0
    assert WORD in (tmp_path / "own.json").read_text(encoding="utf-8")


def test_datasets_that_are_made_name_no_folders(planted, tiny_model, tmp_path):
    listed = planted["nifti"].parent / "list.csv"
    with listed.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["image", "labels", "case"], [planted["nifti"], planted["mask"], "case1"]])
    (listed.parent / "dataset.json").write_text('{"labels": {"edema": 1, "brain": 4}}', encoding="utf-8")
    made, pool = tmp_path / "made", tmp_path / "pool"
    pool.mkdir()
    (pool / "other.nrrd").write_bytes(planted["nrrd"].read_bytes())
    words = ["--variants", "1", "--include-real", "--informed", str(pool), "--model", str(tiny_model)]
    assert main(["enhance", str(listed), "--out", str(made), *words, "--steps", "1"]) == 0
    handed = [made / name for name in ("imagesTr", "labelsTr", "dataset.json", "provenance.json", "provenance.csv")]
    assert all(path.exists() for path in handed) and len(list((made / "imagesTr").glob("case1*.nii.gz"))) == 2
    shared = tmp_path / "shared"
    shared.mkdir()
    for path in [*handed[2:], *(made / "imagesTr").glob("*.nii.gz"), *(made / "labelsTr").glob("*.nii.gz")]:
        (shared / path.name).write_bytes(path.read_bytes())
    assert told(shared) == []
