"""What the values of a label map mean, where its file says so."""

from pathlib import Path
from typing import Any

import nibabel as nib
import nrrd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from napari_gem3d.errors import InputError
from napari_gem3d.io import read_label_map, read_slice, read_volume
from napari_gem3d.io.dicom_files import SEGMENTATIONS

SHAPE = (4, 6, 8)  # x, y, z


def boxes() -> list[np.ndarray]:
    """Three regions (x, y, z), of which none overlaps another."""
    out = [np.zeros(SHAPE, np.uint8) for _ in range(3)]
    out[0][:2], out[1][2:, :3], out[2][2:, 3:, 2:5] = 1, 1, 1
    return out


def save_nrrd(path: Path, data: np.ndarray, segments: list[dict[str, object]]) -> Path:
    """Write what 3D Slicer writes: one axis of layers if there are several."""
    layers = data.ndim == 4
    rows = [[2.0, 0, 0], [0, 2, 0], [0, 0, 3]]
    header: dict[str, Any] = {
        "space": "left-posterior-superior",
        "kinds": [*["list"] * layers, "domain", "domain", "domain"],
        "space directions": np.array([*[[np.nan] * 3] * layers, *rows]),
        "space origin": [10.0, 20.0, 30.0],
    }
    for number, said in enumerate(segments):
        header |= {f"Segment{number}_{key}": str(value) for key, value in said.items()}
    nrrd.write(str(path), data, header)
    return path


@pytest.mark.parametrize("values", [(1, 2, 3), (3, 1, 7)])
def test_names_of_slicers_segments(tmp_path, values):
    data = sum(box * value for box, value in zip(boxes(), values, strict=True))
    said = [{"Name": f"part {v}", "LabelValue": v, "Layer": 0} for v in values]
    labels = read_label_map(save_nrrd(tmp_path / "a.seg.nrrd", data, said))
    assert labels.meta["segments"] == {v: f"part {v}" for v in values}
    np.testing.assert_array_equal(labels.voxels, data.T)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        # values of their own are kept, whatever the layer
        ([(5, 0, "a"), (2, 0, "b"), (9, 1, "c")], {5: "a", 2: "b", 9: "c"}),
        # the same value on two layers: numbered in the order of the segments
        ([(1, 0, "a"), (2, 0, "b"), (1, 1, "c")], {1: "a", 2: "b", 3: "c"}),
    ],
)
def test_layers_become_one_label_map(tmp_path, said, expected):
    layers = np.zeros((2, *SHAPE), np.uint8)
    for box, (value, layer, _) in zip(boxes(), said, strict=True):
        layers[layer] += box * np.uint8(value)
    segments = [{"Name": name, "LabelValue": value, "Layer": layer} for value, layer, name in said]
    labels = read_label_map(save_nrrd(tmp_path / "a.seg.nrrd", layers, segments))
    assert labels.meta["segments"] == expected
    np.testing.assert_array_equal(
        labels.voxels, sum(box * value for box, value in zip(boxes(), expected, strict=True)).T
    )
    assert labels.orientation == "LPS" and labels.spacing == (3, 2, 2)


def test_a_layer_a_segment_as_old_files_have_it(tmp_path):
    labels = read_label_map(save_nrrd(tmp_path / "a.nrrd", np.stack(boxes()), [{"Name": n} for n in "abc"]))
    assert labels.meta["segments"] == {1: "a", 2: "b", 3: "c"}
    np.testing.assert_array_equal(labels.voxels, sum(box * (k + 1) for k, box in enumerate(boxes())).T)


def test_segments_that_overlap_are_refused_with_their_names(tmp_path):
    layers = np.stack(boxes()[:2])
    layers[1][0] = 1
    path = save_nrrd(tmp_path / "a.seg.nrrd", layers, [{"Name": "core"}, {"Name": "edema"}])
    with pytest.raises(InputError, match=r"'core' and 'edema' in 48 voxels.*Export to labelmap"):
        read_label_map(path)


@pytest.mark.parametrize(
    ("segments", "said"),
    [
        ([{"Name": "a", "LabelValue": 1, "Layer": 0}], "values on layer 1"),
        ([{"Name": "a", "LabelValue": 1, "Layer": 0}, {"Name": "b", "LabelValue": 1, "Layer": 7}], "layer 7"),
    ],
)
def test_layers_that_do_not_fit_their_segments(tmp_path, segments, said):
    with pytest.raises(InputError, match=said):
        read_label_map(save_nrrd(tmp_path / "a.seg.nrrd", np.stack(boxes()[:2]), segments))


def test_a_segmentation_is_no_scan(tmp_path):
    path = save_nrrd(tmp_path / "a.seg.nrrd", boxes()[0], [{"Name": "core", "LabelValue": 1, "Layer": 0}])
    with pytest.raises(InputError, match="segmentation \\(core\\)"):
        read_volume(path)


SNAP = """################################################
# ITK-SnAP Label Description File
################################################
    0     0    0    0        0  0  0    "Clear Label"
    1   255    0    0        1  1  1    "necrosis"
    2     0  255    0      0.5  1  1    "peritumoral edema"
"""


@pytest.mark.parametrize("name", ["seg.label", "seg.txt"])
@pytest.mark.parametrize(("content", "names"), [(SNAP, {1: "necrosis", 2: "peritumoral edema"}), ("notes\n", None)])
def test_label_file_of_itk_snap(tmp_path, name, content, names):
    nib.save(nib.Nifti1Image(boxes()[0], np.diag([2, 2, 3, 1])), tmp_path / "seg.nii.gz")
    (tmp_path / name).write_text(content)
    assert read_label_map(tmp_path / "seg.nii.gz").meta.get("segments") == names


def seg(frames: list[tuple[int, float, np.ndarray]], names: dict[int, str], **tags: Any) -> pydicom.Dataset:
    """A DICOM SEG of binary frames: number of the segment, height in mm, pixels (row, column) of 8 columns."""
    data = pydicom.Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = SEGMENTATIONS[0]
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.Modality, data.SeriesInstanceUID, data.SegmentationType = "SEG", generate_uid(), "BINARY"
    data.PatientName = "Doe^Jane"
    data.Rows, data.Columns = frames[0][2].shape
    data.NumberOfFrames, data.SamplesPerPixel, data.PhotometricInterpretation = len(frames), 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 1, 1, 0, 0
    data.SegmentSequence = [item(SegmentNumber=number, SegmentLabel=name) for number, name in names.items()]
    measures = item(PixelSpacing=[0.5, 0.75], SliceThickness=2.0)
    shared = item(
        PixelMeasuresSequence=[measures], PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]
    )
    data.SharedFunctionalGroupsSequence = [shared]
    data.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[10, 20, height])],
            SegmentIdentificationSequence=[item(ReferencedSegmentNumber=number)],
        )
        for number, height, _ in frames
    ]
    data.PixelData = np.packbits(np.stack([pixels for *_, pixels in frames]).ravel(), bitorder="little").tobytes()
    for tag, value in tags.items():
        setattr(data, tag, value)
    return data


def item(**tags: Any) -> pydicom.Dataset:
    data = pydicom.Dataset()
    for tag, value in tags.items():
        setattr(data, tag, value)
    return data


def save_seg(path: Path, data: pydicom.Dataset) -> Path:
    data.save_as(path, enforce_file_format=True)
    return path


LOWER, UPPER = np.zeros((2, 4, 8), np.uint8)
LOWER[:, :3], UPPER[:2, 4:] = 1, 1


def test_dicom_seg_lies_where_its_frames_say(tmp_path):
    # segment 3 on two planes with an empty one between them, segment 300 on the lowest
    frames = [(3, 8.0, UPPER), (300, 4.0, UPPER), (3, 4.0, LOWER)]
    path = save_seg(tmp_path / "seg.dcm", seg(frames, {3: "core", 300: "edema"}))
    labels = read_label_map(path)
    expected = np.zeros((3, 4, 8), np.uint16)
    expected[0], expected[2] = UPPER * np.uint16(300) + LOWER * np.uint16(3), UPPER * np.uint16(3)
    np.testing.assert_array_equal(labels.voxels, expected)
    np.testing.assert_allclose(
        labels.affine, [[-0.75, 0, 0, -10], [0, -0.5, 0, -20], [0, 0, 2, 4], [0, 0, 0, 1]], atol=1e-12
    )
    assert labels.meta["segments"] == {3: "core", 300: "edema"}
    with pytest.raises(InputError, match="segmentation \\(core, edema\\)"):
        read_volume(path)


def test_dicom_seg_of_one_frame_and_among_the_slices_of_its_scan(tmp_path, write_series):
    path = save_seg(write_series() / "seg.dcm", seg([(1, 4.0, UPPER)], {1: "core"}))
    labels = read_label_map(path)
    assert labels.shape == (1, 4, 8) and labels.spacing == (2, 0.5, 0.75)
    np.testing.assert_array_equal(labels.voxels[0], UPPER)
    with pytest.raises(InputError, match="no picture"):
        read_slice(path)


@pytest.mark.parametrize(
    ("frames", "tags", "said"),
    [
        ([(1, 4.0, UPPER), (2, 4.0, UPPER)], {}, "'a' and 'b' in 8 voxels"),
        ([(1, 4.0, UPPER), (7, 4.0, LOWER)], {}, "segment 7"),
        ([(1, 4.0, UPPER), (1, 6.0, LOWER), (1, 6.9, LOWER)], {}, "uneven gaps"),
        ([(1, 4.0, UPPER)], {"SegmentSequence": []}, "names no segments"),
        ([(1, 4.0, UPPER)], {"SharedFunctionalGroupsSequence": []}, "the direction of frame 1 is missing"),
        ([(1, 4.0, UPPER)], {"NumberOfFrames": 500_000_000}, "describe each of its frames"),
        ([(1, 0.0, UPPER), (1, 1e6, UPPER)], {}, "planes"),
    ],
)
def test_dicom_seg_that_is_no_label_map(tmp_path, frames, tags, said):
    with pytest.raises(InputError, match=said):
        read_label_map(save_seg(tmp_path / "seg.dcm", seg(frames, {1: "a", 2: "b"}, **tags)))


@pytest.mark.parametrize(("shares", "said"), [((0, 255), ""), ((0, 128), "probabilities")])
def test_fractional_dicom_seg(tmp_path, shares, said):
    pixels = np.where(UPPER, shares[1], shares[0]).astype(np.uint8)
    bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": pixels.tobytes()}
    data = seg([(1, 4.0, UPPER)], {1: "a"}, SegmentationType="FRACTIONAL", MaximumFractionalValue=255, **bits)
    path = save_seg(tmp_path / "seg.dcm", data)
    if said:
        with pytest.raises(InputError, match=said):
            read_label_map(path)
    else:
        np.testing.assert_array_equal(read_label_map(path).voxels[0], UPPER)


def test_dicom_seg_that_is_a_label_map(tmp_path):
    pixels = (UPPER * 2 + LOWER).astype(np.uint8)
    bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": pixels.tobytes()}
    data = seg([(0, 4.0, UPPER)], {1: "a", 2: "b"}, SegmentationType="LABELMAP", SOPClassUID=SEGMENTATIONS[1], **bits)
    labels = read_label_map(save_seg(tmp_path / "seg.dcm", data))
    np.testing.assert_array_equal(labels.voxels[0], pixels)


def test_dicom_seg_without_types_in_the_file(tmp_path):
    data = seg([(1, 4.0, UPPER)], {1: "core"})
    data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    assert read_label_map(save_seg(tmp_path / "seg.dcm", data)).meta["segments"] == {1: "core"}
