"""Opening files through napari: scans, label maps, DICOM folders, and what is left to others."""

from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
from napari.layers import Image, Labels, Layer

from napari_gem3d.errors import InputError
from napari_gem3d.io import write_volume
from napari_gem3d.labels import LabelMap
from napari_gem3d.viewer.adoption import orientation_of, unusable, world_mm
from napari_gem3d.viewer.layers import label_map_of, origin_of, volume_of
from napari_gem3d.viewer.reader import get_reader, layer_name, looks_like_labels, read_layer, read_layers
from napari_gem3d.volume import Volume


def test_a_dropped_scan_and_its_labels(make_napari_viewer_proxy, make_scan) -> None:
    scan = make_scan()
    viewer = make_napari_viewer_proxy()
    # What a drop on the canvas does once the plugin is chosen for the file type.
    viewer.open([str(scan.image), str(scan.labels)], plugin="napari-gem3d", stack=False)
    image, labels = viewer.layers
    assert (image.name, labels.name) == ("anna_0000", "anna")
    assert isinstance(image, Image)
    assert isinstance(labels, Labels)
    assert tuple(image.scale) == (4.0, 1.0, pytest.approx(1.2))
    assert tuple(viewer.dims.axis_labels) == ("I→S", "P→A", "L→R")


def test_what_is_shown_lies_where_the_header_says(make_napari_viewer_proxy, make_scan) -> None:
    scan = make_scan(orientation="LPS")
    viewer = make_napari_viewer_proxy()
    (layer,) = viewer.open(str(scan.image), plugin="napari-gem3d")
    bright = np.argwhere(layer.data == 900)[0]
    superior, anterior, right = layer.data_to_world(bright)
    np.testing.assert_allclose((right, anterior, superior), (-30 + 1.2 * 27, -20 + 33, 15 + 4 * 13), atol=1e-4)
    origin = origin_of(layer)
    assert origin is not None
    assert origin.grid.orientation == "LPS"
    assert origin.path == scan.image


def test_files_come_back_as_they_are(make_scan) -> None:
    from napari.layers import Layer

    from napari_gem3d.io import read_label_map, read_volume

    scan = make_scan(orientation="RPI")
    volume = volume_of(Layer.create(*read_layer(scan.image)))
    np.testing.assert_array_equal(volume.voxels, read_volume(scan.image).voxels)
    labels = label_map_of(Layer.create(*read_layer(scan.labels)))
    np.testing.assert_array_equal(labels.voxels, read_label_map(scan.labels).voxels)


def test_relative_paths_are_remembered_absolute(make_scan, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = make_scan()
    monkeypatch.chdir(scan.image.parent)
    _, attributes, _ = read_layer(Path(scan.image.name))
    assert attributes["metadata"]["gem3d"].path == scan.image


def test_the_shared_scans_become_what_they_are(shared_data: Path) -> None:
    kinds = {}
    for path in (
        shared_data / "inputs" / "ct_dicom_series",
        shared_data / "inputs" / "ct_dicom_organs.nii.gz",
        *sorted((shared_data / "inputs").glob("*/*.nrrd")),
        *sorted((shared_data / "inputs").glob("*/*.nii.gz")),
    ):
        assert get_reader(str(path)) is not None
        kinds[path.name] = read_layer(path)[2]
    assert kinds["ct_dicom_series"] == "image"
    assert kinds["ct_dicom_organs.nii.gz"] == "labels"
    # Every patient has one scan, and label maps beside it.
    assert sorted(kinds.values()).count("image") >= 4
    for name, kind in kinds.items():
        if any(word in name.lower() for word in ("label", "seg", "mask", "organ")):
            assert kind == "labels", name


def test_other_files_and_folders_are_left_to_others(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    assert get_reader(str(tmp_path)) is None
    assert get_reader(str(tmp_path / "picture.png")) is None
    assert get_reader([str(tmp_path / "a.nii.gz"), str(tmp_path / "b.tif")]) is None


def test_a_scan_without_position_comes_as_a_layer_of_others(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.arange(8 * 9 * 10, dtype=np.int16).reshape(10, 9, 8), None)
    image.header.set_zooms((1.5, 2, 3))
    image.header["sform_code"] = image.header["qform_code"] = 0
    nib.save(image, tmp_path / "lost.nii.gz")
    ((data, attributes, kind),) = read_layers(str(tmp_path / "lost.nii.gz"))
    layer = Layer.create(data, attributes, kind)
    assert origin_of(layer) is None and orientation_of(layer) == "" and unusable(layer) == ""
    np.testing.assert_allclose(np.linalg.norm(world_mm(layer)[:3, :3], axis=0), (3, 2, 1.5))


def test_each_of_a_few_volumes_is_a_layer(tmp_path: Path) -> None:
    voxels = np.arange(8 * 9 * 10, dtype=np.int16).reshape(10, 9, 8)
    several = np.stack([voxels, voxels * 2], axis=3)
    nib.save(nib.Nifti1Image(several, np.diag([-1.5, 2, 3, 1])), tmp_path / "a.nii.gz")
    layers = [Layer.create(*one) for one in read_layers(str(tmp_path / "a.nii.gz"))]
    assert [layer.name for layer in layers] == ["a (0)", "a (1)"]
    np.testing.assert_array_equal(layers[1].data, layers[0].data * 2)
    assert all(origin_of(layer) is None and orientation_of(layer) == "SAR" for layer in layers)
    nib.save(nib.Nifti1Image(np.stack([voxels] * 30, axis=3), np.eye(4)), tmp_path / "b.nii.gz")
    with pytest.raises(InputError, match="30 volumes"):
        read_layers(str(tmp_path / "b.nii.gz"))


def test_segments_are_labels_whatever_the_name(tmp_path: Path) -> None:
    header = {"space": "LPS", "space directions": np.eye(3), "space origin": [0, 0, 0], "Segment0_Name": "core"}
    nrrd.write(str(tmp_path / "patient.nrrd"), np.arange(720, dtype=np.uint8).reshape(8, 9, 10) % 2, header)
    assert read_layers(str(tmp_path / "patient.nrrd"))[0][2] == "labels"


def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(b"\x1f\x8b" + bytes(50))
    with pytest.raises(InputError, match=r"scan\.nii\.gz"):
        read_layer(path)


def test_an_empty_label_map_named_as_one_opens(tmp_path: Path) -> None:
    path = tmp_path / "tumour_seg.nii.gz"
    write_volume(LabelMap(np.zeros((4, 5, 6), np.uint8), np.eye(4)), path)
    voxels, _, kind = read_layer(path)
    assert kind == "labels"
    assert not voxels.any()


def test_a_scan_in_a_folder_of_segmentations_stays_a_scan(tmp_path: Path) -> None:
    folder = tmp_path / "segmentation-study"
    folder.mkdir()
    voxels = np.random.default_rng(0).integers(0, 2000, (6, 20, 20)).astype(np.int16)
    write_volume(Volume(voxels, np.eye(4), "MR"), folder / "scan.nii.gz")
    assert read_layer(folder / "scan.nii.gz")[2] == "image"


@pytest.mark.parametrize(
    ("voxels", "labels"),
    [
        (np.tile(np.array([0, 0, 0, 1, 1, 1, 3, 3], np.uint8), (4, 4, 1)), True),
        # A scan of 8 bits, skull-stripped: few values, many of them 0, none like its neighbour.
        (np.pad(np.random.default_rng(0).integers(1, 120, (4, 8, 8)).astype(np.uint8), 4), False),
        (np.tile(np.array([0, 0, 1, 300], np.int16), (4, 4, 1)), False),
        (np.tile(np.array([0, 0, -1, 3], np.int16), (4, 4, 1)), False),
        (np.tile(np.array([0, 0, 1, 3], np.float32), (4, 4, 1)), False),
        (np.arange(256, dtype=np.uint8).reshape(4, 8, 8), False),
    ],
)
def test_labels_are_told_from_scans(voxels: np.ndarray, labels: bool) -> None:
    assert looks_like_labels(Volume(voxels, np.eye(4))) is labels


@pytest.mark.parametrize("name", ["a.b.nii.gz", "a.b.nii", "a.b.NRRD", "a.b.nhdr"])
def test_names_lose_their_suffix(name: str) -> None:
    assert layer_name(Path("folder") / name) == "a.b"


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    """Six files of a DICOM series."""
    import pydicom
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    uid, files = generate_uid(), []
    for index in range(6):
        data = pydicom.Dataset()
        data.SOPClassUID, data.SOPInstanceUID, data.SeriesInstanceUID = CTImageStorage, generate_uid(), uid
        data.Modality, data.Rows, data.Columns, data.SamplesPerPixel = "CT", 8, 9, 1
        data.PhotometricInterpretation, data.PixelRepresentation = "MONOCHROME2", 1
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.PixelSpacing, data.ImageOrientationPatient = [1, 1], [1, 0, 0, 0, 1, 0]
        data.ImagePositionPatient = [0, 0, 2 * index]
        data.PixelData = np.arange(72, dtype=np.int16).tobytes()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        files.append(tmp_path / f"slice{index}.dcm")
        data.save_as(files[-1], enforce_file_format=True)
    return files


def test_dropping_the_files_of_a_series_opens_it_once(make_napari_viewer_proxy, series) -> None:
    viewer = make_napari_viewer_proxy()
    viewer.open([str(file) for file in series], plugin="napari-gem3d")
    assert len(viewer.layers) == 1
    assert viewer.layers[0].data.shape == (6, 8, 9)


def test_a_series_can_be_opened_again_later_and_listed_by_its_files(series, monkeypatch) -> None:
    from napari_gem3d.viewer.reader import OpenedSeries

    assert len(read_layers([str(file) for file in series])) == 1
    now = [0.0]
    monkeypatch.setattr("napari_gem3d.viewer.reader.time.monotonic", lambda: now[0])
    opened = OpenedSeries()
    assert opened.without_repeats(series[:2]) == series[:1]
    now[0] += 4
    assert opened.without_repeats(series[2:]) == []
    now[0] += 4  # the drop still goes on
    assert opened.without_repeats(series[1:2]) == []
    now[0] += 60
    assert opened.without_repeats(series[1:2]) == series[1:2]


def test_files_of_this_package_say_what_they_are(tmp_path) -> None:
    """A synthetic scan of few grey values is no label map, and its layer says that it is synthetic."""
    grey = np.zeros((6, 8, 8), np.uint8)
    grey[2:5, 2:6, 2:6] = np.repeat(np.arange(12), 4).reshape(3, 4, 4)
    for description, kind, synthetic in (
        ("synthetic: napari-gem3d", "image", True),
        ("SYNTHETIC, nobody's scan: napari-gem3d patient-a, seed 1", "image", True),
        ("SYNTHETIC label map, nobody's: napari-gem3d patient-a", "labels", False),
        ("synthetic aperture", "labels", False),
    ):
        path = tmp_path / "thing.nii.gz"
        write_volume(Volume(grey, np.eye(4)), path, description=description)
        ((_, attributes, found),) = read_layers(str(path))
        assert found == kind
        assert bool(attributes["metadata"].get("synthetic")) == synthetic
