"""DICOM series: order, geometry and units, and what is refused."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLSLossless

from napari_gem3d.errors import InputError
from napari_gem3d.io import read_volume, sha256, write_volume
from napari_gem3d.io.checks import quiet
from napari_gem3d.io.slices import is_slice


def message(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_volume(path)
    assert str(path.parent) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_slices_are_sorted_by_position_and_scaled_to_hu(write_series, voxels):
    volume = read_volume(write_series())
    assert volume.voxels.dtype == np.int16
    np.testing.assert_array_equal(volume.voxels, voxels - 1024)
    assert volume.modality == "CT"
    assert volume.orientation == "LPS"
    assert volume.spacing == pytest.approx((2, 0.5, 0.75))
    # LPS (10, -20, 30) is RAS (-10, 20, 30)
    np.testing.assert_allclose(volume.grid.index_to_world([[0, 0, 0], [1, 0, 0]]), [[-10, 20, 30], [-10, 20, 32]])
    np.testing.assert_allclose(volume.grid.index_to_world([[0, 1, 0], [0, 0, 1]]), [[-10, 19.5, 30], [-10.75, 20, 30]])


def test_falling_positions_give_the_same_volume(write_series, voxels):
    """Files written from head to feet: still sorted along the normal, so the image is not mirrored."""
    volume = read_volume(write_series(heights=(8, 6, 4, 2, 0)))
    np.testing.assert_array_equal(volume.voxels, voxels[::-1] - 1024)
    assert volume.orientation == "LPS"


def test_sagittal_series(write_series):
    """Rows run downwards, columns to posterior: the normal runs to the right, and so does axis 0."""
    place = write_series(heights=(0, 0, 0, 0, 0), ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    files = sorted(place.iterdir())

    for k, file in enumerate(files):
        data = pydicom.dcmread(file)
        data.ImagePositionPatient = [3.0 * k, 0, 0]
        data.save_as(file)
    volume = read_volume(place)
    assert volume.orientation == "PIR"
    assert volume.spacing == pytest.approx((3, 0.5, 0.75))


def test_tilted_gantry_is_a_shear(write_series):
    volume = read_volume(write_series(shift=0.2))
    step = volume.grid.index_to_world([1, 0, 0]) - volume.grid.index_to_world([0, 0, 0])
    np.testing.assert_allclose(step, [0, -0.4, 2], atol=1e-9)


def test_one_file_stands_for_its_series(write_series, voxels):
    place = write_series()
    write_series(heights=(0, 1, 2), SeriesInstanceUID="1.2.4")
    volume = read_volume(place / "03.dcm")
    np.testing.assert_array_equal(volume.voxels, voxels - 1024)
    assert "2 DICOM series" in message(place)


def test_other_files_are_passed_over(write_series, voxels):
    place = write_series()
    (place / "README.txt").write_text("hello")
    (place / ".DS_Store").write_bytes(b"\0" * 300)
    (place / "sub").mkdir()
    np.testing.assert_array_equal(read_volume(place).voxels, voxels - 1024)


def test_fractional_slope_gives_floats(write_series, voxels):
    volume = read_volume(write_series(RescaleSlope=0.5, RescaleIntercept=3, Modality="PT"))
    assert volume.voxels.dtype == np.float32
    assert volume.modality == ""
    np.testing.assert_allclose(volume.voxels, voxels * 0.5 + 3)


def test_mr_without_rescale_keeps_its_dtype(write_series, voxels):
    volume = read_volume(write_series(RescaleSlope=None, RescaleIntercept=None, Modality="MR"))
    assert volume.voxels.dtype == np.uint16
    assert volume.modality == "MR"
    np.testing.assert_array_equal(volume.voxels, voxels)


def test_each_slice_may_have_its_own_slope(write_series, voxels):

    place = write_series(heights=(0, 2, 4, 6, 8), RescaleIntercept=0)
    for file in place.iterdir():
        data = pydicom.dcmread(file)
        data.RescaleSlope = 1 + (float(data.ImagePositionPatient[2]) - 30) / 2
        data.save_as(file)
    expected = voxels * np.arange(1, 6)[:, None, None]
    np.testing.assert_allclose(read_volume(place).voxels, expected)


def test_missing_slice(write_series):
    text = message(write_series(heights=(0, 2, 4, 8, 10)))
    assert "lacks 1 slice (" in text
    assert "after slice 3" in text
    assert "lacks 3 slices" in message(write_series(heights=(0, 2, 4, 12, 14), folder="more"))


def test_uneven_gaps(write_series):
    assert "uneven" in message(write_series(heights=(0, 2, 4, 7.1, 9)))


def test_rounded_positions_are_even(write_series):
    assert read_volume(write_series(heights=(0, 0.67, 1.33, 2, 2.67))).spacing[0] == pytest.approx(0.6675)


def test_repeated_positions(write_series):
    assert "same place" in message(write_series(heights=(0, 2, 2, 4, 6)))


def test_sideways_shift(write_series):

    place = write_series()
    file = next(iter(place.iterdir()))
    data = pydicom.dcmread(file)
    data.ImagePositionPatient = [20.0, *list(data.ImagePositionPatient)[1:]]
    data.save_as(file)
    assert "sideways" in message(place)


def test_single_slice(write_series):
    assert "2D" in message(write_series(heights=(0,)))


def test_no_place_in_the_patient(write_series):
    assert "ImagePositionPatient is missing" in message(write_series(ImagePositionPatient=None))
    assert "PixelSpacing is missing" in message(write_series(folder="b", PixelSpacing=None))


def test_multi_frame_and_colour(write_series):
    assert "multi-frame" in message(write_series(NumberOfFrames=5))
    assert "colour" in message(write_series(folder="b", SamplesPerPixel=3))


@pytest.mark.parametrize(
    ("tag", "value"), [("PixelSpacing", [0.7, 0.7]), ("ImageOrientationPatient", [1, 0, 0, 0, 0, -1]), ("Rows", 3)]
)
def test_a_localiser_among_the_slices(write_series, tag, value):
    place = write_series()
    file = sorted(place.iterdir())[2]
    data = pydicom.dcmread(file)
    setattr(data, tag, value)
    data.save_as(file)
    assert "different size or direction" in message(place)


def test_truncated_file(write_series):
    place = write_series()
    file = sorted(place.iterdir())[2]
    file.write_bytes(file.read_bytes()[:-20])
    assert "truncated" in message(place)


def test_unknown_compression(write_series):

    place = write_series()
    for file in place.iterdir():
        data = pydicom.dcmread(file)
        data.PixelData = encapsulate([b"\xff\xd8 not a real picture \xff\xd9"])
        data.file_meta.TransferSyntaxUID = JPEGLSLossless
        data.save_as(file)
    assert "JPEG-LS" in message(place)


def test_dicom_without_image(write_series):
    place = write_series(Rows=None)
    assert "no DICOM images" in message(place)
    assert "without an image" in message(next(iter(place.iterdir())))


def test_constant_series(write_series, voxels):
    voxels[:] = 5
    assert "constant" in message(write_series())


def test_no_identifier_is_written(write_series, tmp_path):
    volume = read_volume(write_series())
    write_volume(volume, tmp_path / "out.nii")
    content = (tmp_path / "out.nii").read_bytes()
    assert b"Doe" not in content
    assert b"SECRET" not in content
    assert "SECRET" not in str(dict(volume.meta))
    back = read_volume(tmp_path / "out.nii")
    np.testing.assert_array_equal(back.voxels, volume.voxels)
    assert back.grid.same_as(volume.grid)


def test_hash_of_a_file_is_the_hash_of_its_series(write_series):
    place = write_series()
    file = sorted(place.iterdir())[0]
    before = sha256(place)
    assert sha256(file) == before
    other = sorted(place.iterdir())[3]
    other.write_bytes(other.read_bytes() + b"\0")
    assert sha256(file) != before


# What archives, discs and old exports do to files


def moved(series: Path, folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return series.rename(folder)


def test_files_without_preamble(write_series, voxels):
    """The data set alone, or with the group that says how it is encoded."""
    for keep_meta in (True, False):
        series = write_series(folder=f"bare{keep_meta}")
        for file in series.iterdir():
            data = pydicom.dcmread(file)
            if keep_meta:
                file.write_bytes(file.read_bytes()[132:])
            else:
                del data.file_meta
                pydicom.dcmwrite(file, data, implicit_vr=True, little_endian=True, enforce_file_format=False)
                file.write_bytes(file.read_bytes()[132:])
            assert b"DICM" not in file.read_bytes()[:200]
        volume = read_volume(series)
        np.testing.assert_array_equal(volume.voxels, voxels.astype(int) - 1024)
        assert read_volume(next(series.iterdir())).grid == volume.grid
        assert sha256(next(series.iterdir())) == sha256(series)


def test_a_text_that_begins_like_a_data_set_is_none(write_series, voxels):
    series = write_series()
    (series / "notes.bin").write_bytes(b"\x08\x00\x05\x00CS\x0a\x00" + bytes(500))
    np.testing.assert_array_equal(read_volume(series).voxels, voxels.astype(int) - 1024)
    with pytest.raises(InputError, match=r"notes\.bin"):
        read_volume(series / "notes.bin")


def test_a_disc_with_one_series(write_series, tmp_path, voxels):
    moved(write_series(), tmp_path / "CD" / "DICOM" / "ST000000" / "SE000001")
    (tmp_path / "CD" / "AUTORUN.INF").write_text("[autorun]\n")
    volume = read_volume(tmp_path / "CD")
    np.testing.assert_array_equal(volume.voxels, voxels.astype(int) - 1024)
    files = tmp_path / "CD" / "DICOM" / "ST000000" / "SE000001"
    assert sha256(tmp_path / "CD") == sha256(files) and not is_slice(tmp_path / "CD")


def test_a_disc_with_several_series_says_where_they_lie(write_series, tmp_path):
    for number in (1, 2, 3):
        moved(write_series(SeriesInstanceUID=f"1.2.{number}"), tmp_path / "CD" / "ST0" / f"SE{number}")
    with pytest.raises(InputError, match=r"3 DICOM series: ST0/SE1 \(5 images\), ST0/SE2 \(5 images\), ST0/SE3"):
        read_volume(tmp_path / "CD")
    empty = tmp_path / "empty" / "below"
    empty.mkdir(parents=True)
    with pytest.raises(InputError, match="no DICOM images"):
        read_volume(tmp_path / "empty")


def with_raw(series: Path, keyword: str, content: bytes) -> Path:
    """Write bytes into an attribute of every file, whether they fit it or not."""
    for file in series.iterdir():
        data = pydicom.dcmread(file)
        element = data[keyword]
        content += b" " * (len(content) % 2)
        data[keyword] = RawDataElement(element.tag, element.VR, len(content), content, 0, False, True)
        data.save_as(file, enforce_file_format=True)
    return series


def test_decimal_commas(write_series, voxels):
    volume = read_volume(with_raw(write_series(), "PixelSpacing", b"0,5\\0,75"))
    assert volume.spacing == (2, 0.5, 0.75)
    np.testing.assert_array_equal(volume.voxels, voxels.astype(int) - 1024)


@pytest.mark.parametrize(
    ("keyword", "content", "said"),
    [
        ("PixelSpacing", b"2.0", "1 of the 2 numbers of PixelSpacing"),
        ("PixelSpacing", b"a\\b", "PixelSpacing as 'a, b', which are no numbers"),
        ("PixelSpacing", b"nan\\1", "PixelSpacing as 'nan, 1'"),
        ("PixelSpacing", b"0\\1", "singular"),
        ("ImagePositionPatient", b"1\\2", "2 of the 3 numbers of ImagePositionPatient"),
        ("ImageOrientationPatient", b"1\\0\\0\\0\\1", "5 of the 6"),
        ("ImageOrientationPatient", b"0\\0\\0\\0\\0\\0", "same place|singular"),
        ("RescaleSlope", b"one", "RescaleSlope as 'one'"),
        ("RescaleIntercept", b"1e400", "RescaleIntercept"),
        ("NumberOfFrames", b"many", "NumberOfFrames as 'many'"),
        ("NumberOfFrames", b"-3", "NumberOfFrames as -3"),
        ("Rows", b"", "."),
        ("Rows", b"\xff\xff", "damaged|million voxels"),
        ("SeriesInstanceUID", b"1.2\\3.4", ""),
        ("Modality", b"\xff\xfe\\CT", None),
    ],
)
def test_attributes_of_the_wrong_kind(write_series, keyword, content, said, capfd, recwarn):
    tags = {"NumberOfFrames": 1} if keyword == "NumberOfFrames" else {}
    with quiet:
        series = with_raw(write_series(**tags), keyword, content)
    if said is None:
        assert read_volume(series).modality == ""
        return
    if keyword == "SeriesInstanceUID":
        assert read_volume(series).shape == (5, 6, 7)
    else:
        with pytest.raises(InputError, match=said) as caught:
            read_volume(series)
        assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    assert capfd.readouterr() == ("", "") and not [str(one.message) for one in recwarn.list]
