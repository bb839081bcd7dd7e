"""NRRD as 3D Slicer writes it."""

from pathlib import Path

import nrrd
import numpy as np
import pytest

from napari_gem3d.errors import InputError
from napari_gem3d.io import read_label_map, read_volume

DIRECTIONS = np.array([[0.8, 0, 0], [0, -0.7, 0], [0, 0, 6.5]])


def save(path: Path, data_xyz: np.ndarray, **header: object) -> Path:
    full = {"space": "left-posterior-superior", "space directions": DIRECTIONS, "space origin": [-99.5, 98.0, -78.0]}
    nrrd.write(str(path), data_xyz, {key: value for key, value in (full | header).items() if value is not None})
    return path


def message(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_volume(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("encoding", ["gzip", "raw", "bzip2"])
def test_lps_becomes_ras(tmp_path, voxels, encoding):
    volume = read_volume(save(tmp_path / "a.nrrd", voxels.T, encoding=encoding))
    assert volume.voxels.dtype == np.int16
    np.testing.assert_array_equal(volume.voxels, voxels)
    # x runs to the left, y (negative in LPS) to anterior
    expected = [[-0.8, 0, 0, 99.5], [0, 0.7, 0, -98], [0, 0, 6.5, -78], [0, 0, 0, 1]]
    np.testing.assert_allclose(volume.affine, expected)
    assert volume.orientation == "LAS"
    assert volume.spacing == pytest.approx((6.5, 0.7, 0.8))


@pytest.mark.parametrize(
    ("space", "orientation"),
    [("right-anterior-superior", "RPS"), ("RAS", "RPS"), ("LAS", "LPS"), ("left-anterior-superior", "LPS")],
)
def test_other_spaces(tmp_path, voxels, space, orientation):
    assert read_volume(save(tmp_path / "a.nrrd", voxels.T, space=space)).orientation == orientation


def test_oblique_directions_are_columns_of_the_affine(tmp_path, voxels):
    oblique = np.array([[0.9, 0.1, 0], [-0.1, 0.9, 0.2], [0, -0.4, 2]])
    volume = read_volume(save(tmp_path / "a.nrrd", voxels.T, **{"space directions": oblique, "space": "RAS"}))
    np.testing.assert_allclose(volume.affine[:3, :3], oblique.T)


def test_detached_header(tmp_path, voxels):
    path = save(tmp_path / "a.nhdr", voxels.T)
    np.testing.assert_array_equal(read_volume(path).voxels, voxels)
    for data in tmp_path.glob("a.raw*"):
        data.unlink()
    assert "data file that does not exist" in message(path)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("m", 1000), ("um", 0.001)])
def test_units(tmp_path, voxels, unit, factor):
    units = {"space units": [unit] * 3, "space directions": DIRECTIONS / factor}
    assert read_volume(save(tmp_path / "a.nrrd", voxels.T, **units)).spacing == pytest.approx((6.5, 0.7, 0.8))


def test_unknown_unit(tmp_path, voxels):
    assert "'parsec'" in message(save(tmp_path / "a.nrrd", voxels.T, **{"space units": ["parsec"] * 3}))


@pytest.mark.parametrize(
    "header",
    [
        {"space": None, "space directions": None, "space origin": None},
        {"space": "scanner-xyz"},
        {"space origin": None},
        {"space directions": None, "spacings": [1, 1, 1]},
    ],
)
def test_a_side_is_never_guessed(tmp_path, voxels, header):
    assert "does not say how it lies in the patient" in message(save(tmp_path / "a.nrrd", voxels.T, **header))


@pytest.mark.parametrize(
    ("header", "orientation"),
    [
        ({"space origin": None}, "LAS"),  # its directions are told
        ({"space": None, "space origin": None, "space dimension": 3}, "PIR"),
        ({"space": None, "space directions": None, "space origin": None, "spacings": [0.8, 0.7, 6.5]}, "PIR"),
    ],
)
def test_a_position_may_be_assumed(tmp_path, voxels, header, orientation):
    volume = read_volume(save(tmp_path / "a.nrrd", voxels.T, **header), assume_orientation="PIR")
    assert volume.orientation == orientation and volume.spacing == pytest.approx((6.5, 0.7, 0.8))
    middle = volume.grid.index_to_world([(np.array(volume.shape) - 1) / 2])
    np.testing.assert_allclose(middle, 0, atol=1e-6)


@pytest.mark.parametrize("encoding", ["gzip", "raw"])
@pytest.mark.parametrize("keep", [0.6, 0.95])
def test_truncated(tmp_path, encoding, keep):
    noise = np.random.default_rng(0).integers(0, 1000, (20, 20, 20)).astype(np.int16)
    path = save(tmp_path / "a.nrrd", noise, encoding=encoding)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    assert "truncated" in message(path)


def test_header_cut_short_and_not_nrrd(tmp_path):
    (tmp_path / "a.nrrd").write_bytes(b"NRRD0005\ntype: short\ndimension: 3\n")
    assert str(tmp_path) in message(tmp_path / "a.nrrd")
    (tmp_path / "b.nrrd").write_bytes(b"This is a letter, not a scan.\n" * 9)
    assert "not an NRRD file" in message(tmp_path / "b.nrrd")
    assert "does not exist" in message(tmp_path / "none.nrrd")


def test_singular(tmp_path, voxels):
    flat = DIRECTIONS.copy()
    flat[2] = flat[1]
    assert "singular" in message(save(tmp_path / "a.nrrd", voxels.T, **{"space directions": flat}))


def test_2d_and_4d(tmp_path):
    plain = {"space": None, "space directions": None, "space origin": None}
    assert "2D" in message(save(tmp_path / "a.nrrd", np.zeros((4, 5), np.int16), **plain))
    assert "4 dimensions" in message(save(tmp_path / "b.nrrd", np.zeros((3, 4, 5, 6), np.int16), **plain))


@pytest.mark.parametrize("axis", [0, 3])
def test_one_volume_of_a_list(tmp_path, voxels, axis):
    both = np.stack([voxels.T, voxels.T + 1000], axis=axis)
    directions = np.insert(DIRECTIONS, axis, np.nan, axis=0)
    path = save(tmp_path / "a.nrrd", both, **{"space directions": directions})
    assert "holds 2 volumes (4D)" in message(path) and "--channel 0 to 1" in message(path)
    for channel in (0, 1):
        volume = read_volume(path, channel=channel)
        np.testing.assert_array_equal(volume.voxels, voxels + 1000 * channel)
        assert volume.spacing == pytest.approx((6.5, 0.7, 0.8))


def test_label_map(tmp_path, voxels):
    labels = read_label_map(save(tmp_path / "a.nrrd", (voxels.T % 3).astype(np.int32)))
    assert labels.values() == (1, 2)
