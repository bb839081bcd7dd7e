"""NIfTI in and out."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_gem3d.errors import InputError
from napari_gem3d.io import read_label_map, read_volume, write_volume
from napari_gem3d.labels import Label, LabelTable
from napari_gem3d.volume import Volume

AFFINE = np.array([[-1.5, 0, 0, 90], [0, 2, 0, -126], [0, 0, 3, -72], [0, 0, 0, 1.0]])


def save(path: Path, data_xyz: np.ndarray, affine: np.ndarray = AFFINE, **header: object) -> Path:
    image = nib.Nifti1Image(data_xyz, affine, dtype=data_xyz.dtype)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


def message(path: Path) -> str:
    """The one sentence with which a file is refused; it names the file and ends in advice."""
    with pytest.raises(InputError) as caught:
        read_volume(path)
    text = str(caught.value)
    assert str(path) in text
    assert text.endswith(".")
    assert "\n" not in text
    return text


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_reads_zyx_with_the_dtype_of_the_file(tmp_path, voxels, suffix, dtype):
    volume = read_volume(save(tmp_path / f"a{suffix}", voxels.T.astype(dtype)))
    assert volume.voxels.dtype == dtype
    np.testing.assert_array_equal(volume.voxels, voxels)
    np.testing.assert_array_equal(volume.affine, AFFINE)
    assert volume.orientation == "LAS"
    assert volume.spacing == (3, 2, 1.5)
    assert volume.source == tmp_path / f"a{suffix}"
    assert volume.modality == ""


def test_big_endian_becomes_native(tmp_path, voxels):
    image = nib.Nifti1Image(voxels.T, AFFINE, nib.Nifti1Header(endianness=">"))
    image.header.set_data_dtype(np.dtype(">i2"))
    nib.save(image, tmp_path / "a.nii")
    assert (tmp_path / "a.nii").read_bytes()[:4] == b"\x00\x00\x01\x5c"
    volume = read_volume(tmp_path / "a.nii")
    assert volume.voxels.dtype.isnative
    np.testing.assert_array_equal(volume.voxels, voxels)


def test_nifti_2(tmp_path, voxels):
    nib.save(nib.Nifti2Image(voxels.T, AFFINE), tmp_path / "a.nii")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii").voxels, voxels)


def set_scaling(path: Path, slope: float, intercept: float) -> None:
    """Write the scaling into the bytes of an uncompressed file (nibabel would apply it to the data)."""
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([slope, intercept], "<f4").tobytes()
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("slope", "intercept", "dtype"),
    [(1, -1024, np.int16), (20, 0, np.int16), (1000, 0, np.int32), (0.5, 10, np.float32), (0, 0, np.int16)],
)
def test_header_scaling_is_applied(tmp_path, voxels, slope, intercept, dtype):
    path = save(tmp_path / "a.nii", voxels.T)
    set_scaling(path, slope, intercept)
    volume = read_volume(path)
    assert volume.voxels.dtype == dtype
    # a slope of 0 means that there is no scaling
    np.testing.assert_allclose(volume.voxels, voxels.astype(np.int64) * slope + intercept if slope else voxels)


# 0 says nothing; 4, 7, 255 and 8 (seconds, with no unit of space) are no units of space.
@pytest.mark.parametrize(("code", "factor"), [(1, 1000), (2, 1), (3, 0.001), *((c, 1) for c in (0, 4, 7, 8, 10, 255))])
def test_world_is_in_mm_whatever_the_unit(tmp_path, voxels, code, factor):
    path = save(tmp_path / "a.nii", voxels.T, AFFINE * np.array([1 / factor] * 3 + [1])[:, None], xyzt_units=code)
    volume = read_volume(path)
    np.testing.assert_allclose(volume.affine, AFFINE, rtol=1e-6)


@pytest.mark.parametrize(("code", "unit"), [(1, "metres"), (3, "micrometres")])
def test_a_unit_that_makes_no_patient(tmp_path, voxels, code, unit):
    text = message(save(tmp_path / "a.nii", voxels.T, xyzt_units=code))
    assert unit in text and "correct the unit" in text


@pytest.mark.parametrize("size", [0.005, 120, 0.1])
def test_a_size_that_no_patient_has(tmp_path, voxels, size):
    assert "no patient has" in message(save(tmp_path / "a.nii", voxels.T, np.diag([size, size, size, 1])))


def test_qform_alone_places_the_voxels(tmp_path, voxels):
    image = nib.Nifti1Image(voxels.T, None)
    image.set_qform(AFFINE, code=1)
    image.set_sform(None, code=0)
    nib.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii").affine, AFFINE, atol=1e-5)


def test_one_time_point_is_a_volume(tmp_path, voxels):
    np.testing.assert_array_equal(read_volume(save(tmp_path / "a.nii.gz", voxels.T[..., None])).voxels, voxels)


def test_compression_is_known_by_content(tmp_path, voxels):
    save(tmp_path / "a.nii", voxels.T).rename(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "b.nii.gz").voxels, voxels)


def test_missing(tmp_path):
    assert "does not exist" in message(tmp_path / "none.nii.gz")


@pytest.mark.parametrize("keep", [0.5, 0.9, 0.999])
def test_truncated_gz(tmp_path, keep):
    noise = np.random.default_rng(0).integers(0, 1000, (30, 30, 30)).astype(np.int16)
    path = save(tmp_path / "a.nii.gz", noise)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    assert "truncated" in message(path)


def test_a_gz_that_lacks_only_its_checksum_is_truncated_too(tmp_path, voxels):
    path = save(tmp_path / "a.nii.gz", voxels.T)
    path.write_bytes(path.read_bytes()[:-4])
    assert "truncated" in message(path)


def test_damaged_gz(tmp_path):
    noise = np.random.default_rng(0).integers(0, 1000, (30, 30, 30)).astype(np.int16)
    path = save(tmp_path / "a.nii.gz", noise)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    assert "damaged" in message(path)


@pytest.mark.parametrize("size", [1, 200, 400])
def test_truncated_nii(tmp_path, voxels, size):
    path = save(tmp_path / "a.nii", voxels.T)
    path.write_bytes(path.read_bytes()[:size])
    assert "truncated" in message(path)


def test_not_an_image(tmp_path):
    (tmp_path / "a.nii").write_bytes(b"This is a letter, not a scan. " * 50)
    assert "not a NIfTI file" in message(tmp_path / "a.nii")
    (tmp_path / "a.txt").write_text("This is a letter, not a scan.")
    assert "not an image this program reads" in message(tmp_path / "a.txt")
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(b"This is a letter, not a scan. " * 50))
    assert "not a NIfTI file" in message(tmp_path / "b.nii.gz")
    (tmp_path / "empty.nii.gz").write_bytes(b"")
    assert "empty file" in message(tmp_path / "empty.nii.gz")


@pytest.mark.parametrize("shape", [(8, 9), (8, 9, 1), (8, 9, 1, 1), (1, 8, 9)])
def test_2d(tmp_path, shape):
    assert "2D" in message(save(tmp_path / "a.nii", np.arange(72, dtype=np.int16).reshape(shape)))


def test_4d(tmp_path):
    data = np.arange(120, dtype=np.int16).reshape(2, 3, 4, 5)
    path = save(tmp_path / "a.nii", data)
    text = message(path)
    assert "holds 5 volumes (4D)" in text and "--channel 0 to 4" in text
    for channel in (0, 4):
        np.testing.assert_array_equal(read_volume(path, channel=channel).voxels, data[..., channel].T)
    with pytest.raises(InputError, match="no channel 5; choose 0 to 4"):
        read_volume(path, channel=5)
    with pytest.raises(InputError, match="6 dimensions"):
        read_volume(save(tmp_path / "b.nii", data[..., None, None].repeat(2, axis=5)), channel=0)


def test_a_channel_is_asked_only_of_files_with_several(tmp_path, voxels):
    np.testing.assert_array_equal(read_volume(save(tmp_path / "a.nii", voxels.T), channel=3).voxels, voxels)


def test_colour(tmp_path):
    rgb = np.zeros((4, 5, 6), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    assert "colour" in message(save(tmp_path / "a.nii", rgb))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite(tmp_path, voxels, bad):
    data = voxels.T.astype(np.float32)
    data[1, 2, 3] = bad
    assert "1 NaN" in message(save(tmp_path / "a.nii.gz", data))


def test_nan_outside_is_background(tmp_path, voxels):
    data = voxels.T.astype(np.float32) + 7
    outside = np.zeros(data.shape, bool)
    outside[:2], outside[4, :3, -1] = True, True
    data[outside] = np.nan
    volume = read_volume(save(tmp_path / "a.nii.gz", data))
    lowest = min(np.nanmin(data), 0)  # no scan has an intensity below, unless it was shifted
    np.testing.assert_array_equal(volume.voxels.T, np.where(outside, lowest, data))
    assert str(outside.sum()) in volume.meta["note"] and f"({lowest:.4g})" in volume.meta["note"]
    assert "note" not in read_volume(save(tmp_path / "b.nii.gz", np.nan_to_num(data))).meta
    assert "all are NaN" in message(save(tmp_path / "c.nii.gz", np.full_like(data, np.nan)))
    data[-1, -1, -1] = np.inf
    assert "infinite" in message(save(tmp_path / "d.nii.gz", data))


@pytest.mark.parametrize("shift", [0.0009, -0.0009])
def test_labels_that_scaling_has_moved_are_whole(tmp_path, shift):
    data = np.zeros((4, 5, 6), np.float32)
    data[1:3], data[0] = 2 + shift, np.nan
    labels = read_label_map(save(tmp_path / "a.nii.gz", data))
    assert labels.voxels.dtype == np.uint8 and labels.values() == (2,) and not labels.voxels.T[0].any()
    data[1, 1, 1] = 2.002
    with pytest.raises(InputError, match="fractions"):
        read_label_map(save(tmp_path / "b.nii.gz", data))


@pytest.mark.parametrize("value", [0, -1024])
def test_constant(tmp_path, value):
    assert f"every voxel is {value}" in message(save(tmp_path / "a.nii.gz", np.full((4, 5, 6), value, np.int16)))


@pytest.mark.parametrize("value", [1e35, -1e300])
def test_values_beyond_what_is_computed_with(tmp_path, voxels, value):
    data = voxels.T.astype(np.float64)
    data[1, 2, 3] = value
    assert "which no scan has" in message(save(tmp_path / "a.nii.gz", data))


def test_singular_affine(tmp_path, voxels):
    path = save(tmp_path / "a.nii", voxels.T)
    content = bytearray(path.read_bytes())
    content[280:296] = bytes(16)  # srow_x
    path.write_bytes(bytes(content))
    assert "singular" in message(path)


def test_affine_that_is_not_finite(tmp_path, voxels):
    path = save(tmp_path / "a.nii", voxels.T)
    content = bytearray(path.read_bytes())
    content[280:284] = np.float32(np.nan).tobytes()
    path.write_bytes(bytes(content))
    assert "sform" in message(path)


# Position


def coded(path: Path, data_xyz: np.ndarray, sform: int, qform: int, srow: np.ndarray | None = None) -> Path:
    """A file whose two positions are known or not; voxels of 1.5 × 2 × 3 mm."""
    image = nib.Nifti1Image(data_xyz, None)
    image.header.set_qform(AFFINE, code=qform)
    image.header.set_sform(AFFINE if srow is None else srow, code=sform)
    nib.save(image, path)
    return path


def test_a_file_without_position_is_refused_with_the_option(tmp_path, voxels):
    text = message(coded(tmp_path / "a.nii", voxels.T, 0, 0))
    assert "sform_code and qform_code are 0" in text and "--assume-orientation" in text
    with pytest.raises(InputError, match="--assume-orientation"):
        read_label_map(tmp_path / "a.nii")


@pytest.mark.parametrize("letters", ["RAS", "LPS", "las", "PIR", "SAL"])
def test_a_position_may_be_assumed(tmp_path, voxels, letters):
    for read in (read_volume, read_label_map):
        volume = read(coded(tmp_path / "a.nii", voxels.T, 0, 0), assume_orientation=letters)
        assert volume.orientation == letters.upper() and volume.spacing == pytest.approx((3, 2, 1.5))
        middle = volume.grid.index_to_world([(np.array(volume.shape) - 1) / 2])
        np.testing.assert_allclose(middle, 0, atol=1e-6)
        np.testing.assert_array_equal(volume.voxels, voxels)


def test_a_file_that_says_its_position_is_taken_at_its_word(tmp_path, voxels):
    path = coded(tmp_path / "a.nii", voxels.T, 1, 0)
    np.testing.assert_allclose(read_volume(path, assume_orientation="RAI").affine, AFFINE)


@pytest.mark.parametrize("letters", ["", "RA", "RAR", "RLA", "XYZ", "RASS", 7])
def test_an_orientation_that_cannot_be(tmp_path, voxels, letters):
    with pytest.raises(InputError, match="name the directions"):
        read_volume(coded(tmp_path / "a.nii", voxels.T, 0, 0), assume_orientation=letters)


@pytest.mark.parametrize("srow", [np.zeros((4, 4)), np.diag([1.0, 1, 0, 1]), np.full((4, 4), np.nan)])
def test_an_unusable_sform_leaves_the_qform(tmp_path, voxels, srow):
    np.testing.assert_allclose(read_volume(coded(tmp_path / "a.nii", voxels.T, 1, 1, srow)).affine, AFFINE, atol=1e-5)
    assert "singular" in message(coded(tmp_path / "b.nii", voxels.T, 1, 0, srow))
    assert read_volume(tmp_path / "b.nii", assume_orientation="LAS").orientation == "LAS"


def test_an_unusable_qform_leaves_the_sform(tmp_path, voxels):
    path = coded(tmp_path / "a.nii", voxels.T, 1, 1)
    content = bytearray(path.read_bytes())
    content[256:268] = np.array([5, 5, 5], "<f4").tobytes()  # no quaternion
    path.write_bytes(bytes(content))
    np.testing.assert_allclose(read_volume(path).affine, AFFINE)


# FreeSurfer


@pytest.mark.parametrize("suffix", [".mgz", ".mgh"])
def test_freesurfer(tmp_path, voxels, suffix):
    path = tmp_path / f"a{suffix}"
    nib.save(nib.MGHImage(voxels.T.astype(np.int32), AFFINE), path)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.voxels, voxels)
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)
    assert volume.voxels.dtype.isnative
    assert read_label_map(path).values()[-1] == voxels.max()
    content = gzip.decompress(path.read_bytes()) if suffix == ".mgz" else path.read_bytes()
    (tmp_path / "b.mgh").write_bytes(content[:28] + bytes(2) + content[30:])
    assert "goodRASFlag" in message(tmp_path / "b.mgh")
    # FreeSurfer takes voxels of 1 mm then, whatever is written
    assert read_volume(tmp_path / "b.mgh", assume_orientation="LIA").spacing == (1, 1, 1)
    (tmp_path / "c.mgh").write_bytes(content[:400])
    assert "truncated" in message(tmp_path / "c.mgh")


@pytest.mark.parametrize(
    ("content", "said"),
    [(bytes(128) + b"DICM" + bytes(99), "DICOM"), (b"NRRD0004\n" * 9, "NRRD"), (bytes(257) + b"ustar" * 99, "archive")],
)
def test_what_else_is_found_in_gzip(tmp_path, content, said):
    (tmp_path / "a.dcm.gz").write_bytes(gzip.compress(content))
    assert f"compressed {said}" in message(tmp_path / "a.dcm.gz")


def test_a_folder_without_images(tmp_path):
    assert "no DICOM images" in message(tmp_path)


# Label maps


def test_label_map_may_be_empty_and_floats_may_hold_whole_numbers(tmp_path):
    empty = read_label_map(save(tmp_path / "a.nii.gz", np.zeros((4, 5, 6), np.uint8)))
    assert empty.values() == ()
    data = np.zeros((4, 5, 6), np.float32)
    data[0] = 300
    labels = read_label_map(save(tmp_path / "b.nii.gz", data))
    assert labels.voxels.dtype == np.uint16
    assert labels.values() == (300,)


@pytest.mark.parametrize(
    ("value", "said"), [(0.5, "fractions"), (-1.0, "-1"), (np.inf, "infinite"), (1e12, "1e\\+12"), (7.0, "the value 7")]
)
def test_not_a_label_map(tmp_path, value, said):
    data = np.zeros((4, 5, 6), np.float32)
    data[0, 0, 0] = value
    path = save(tmp_path / "a.nii.gz", data)
    with pytest.raises(InputError, match=said) as caught:
        read_label_map(path, LabelTable((Label(1, "edema"),)))
    assert str(path) in str(caught.value)


def test_label_map_keeps_its_table(tmp_path):
    table = LabelTable((Label(1, "edema"),))
    labels = read_label_map(save(tmp_path / "a.nii.gz", np.ones((4, 5, 6), np.int16)), table)
    assert labels.table is table
    assert labels.voxels.dtype == np.int16


# Writing


def volume_of(dtype: type, affine: np.ndarray = AFFINE) -> Volume:
    voxels = np.random.default_rng(1).integers(0, 100, (5, 6, 7)).astype(dtype)
    return Volume(voxels, affine, meta={})


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64, np.float32, np.float64])
def test_written_volume_comes_back_the_same(tmp_path, suffix, dtype):
    volume = volume_of(dtype)
    write_volume(volume, tmp_path / f"a{suffix}")
    back = read_volume(tmp_path / f"a{suffix}")
    assert back.voxels.dtype == dtype
    np.testing.assert_array_equal(back.voxels, volume.voxels)
    assert back.grid.same_as(volume.grid)


@pytest.mark.parametrize(("dtype", "stored"), [(bool, np.uint8), (np.float16, np.float32)])
def test_types_nifti_lacks(tmp_path, dtype, stored):
    volume = volume_of(dtype)
    volume.voxels[0, 0, 0] = 0
    write_volume(volume, tmp_path / "a.nii")
    back = read_volume(tmp_path / "a.nii")
    assert back.voxels.dtype == stored
    np.testing.assert_array_equal(back.voxels, volume.voxels.astype(stored))


def test_other_programs_read_what_is_written(tmp_path):
    volume = volume_of(np.int16)
    write_volume(volume, tmp_path / "a.nii.gz")
    image = nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj), volume.voxels.T)
    np.testing.assert_allclose(image.get_sform(), AFFINE)
    np.testing.assert_allclose(image.get_qform(), AFFINE, atol=1e-5)
    assert int(image.header["sform_code"]) == int(image.header["qform_code"]) == 1
    assert image.header.get_xyzt_units()[0] == "mm"
    assert bytes(image.header["descrip"]).rstrip(b"\0") == b"synthetic: napari-gem3d"


def test_same_volume_same_bytes_whatever_the_name(tmp_path):
    write_volume(volume_of(np.int16), tmp_path / "one.nii.gz")
    write_volume(volume_of(np.int16), tmp_path / "another.nii.gz")
    content = (tmp_path / "one.nii.gz").read_bytes()
    assert content == (tmp_path / "another.nii.gz").read_bytes()
    assert content[3] == 0  # gzip flags: no file name
    assert content[4:8] == bytes(4)  # gzip time


def test_sheared_affine_is_written_whole(tmp_path):
    sheared = AFFINE.copy()
    sheared[1, 2] = 0.6
    write_volume(volume_of(np.int16, sheared), tmp_path / "a.nii.gz")
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii.gz").affine, sheared, atol=1e-6)
    assert int(nib.load(tmp_path / "a.nii.gz").header["qform_code"]) == 0


def test_nothing_but_geometry_and_space_is_carried_over(tmp_path, voxels):
    path = save(tmp_path / "a.nii", voxels.T, descrip=b"Jane Doe 1970", aux_file=b"jane", intent_name=b"jane")
    content = bytearray(path.read_bytes())
    content[254:256] = np.int16(4).tobytes()  # sform_code: MNI
    path.write_bytes(bytes(content))
    write_volume(read_volume(path), tmp_path / "b.nii")
    written = (tmp_path / "b.nii").read_bytes()
    assert b"jane" not in written.lower()
    assert int(nib.load(tmp_path / "b.nii").header["sform_code"]) == 4


def test_long_descriptions_are_cut(tmp_path):
    write_volume(volume_of(np.int16), tmp_path / "a.nii", description="x" * 200)
    assert bytes(nib.load(tmp_path / "a.nii").header["descrip"]).rstrip(b"\0") == b"x" * 79


def test_only_nifti_is_written(tmp_path):
    with pytest.raises(InputError, match="does not end in"):
        write_volume(volume_of(np.int16), tmp_path / "a.nrrd")
    assert list(tmp_path.iterdir()) == []


def test_folder_must_exist(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        write_volume(volume_of(np.int16), tmp_path / "none" / "a.nii")
