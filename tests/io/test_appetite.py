"""Small files that would take all memory or never end: refused before they are read."""

import gzip
import os
import threading
import tracemalloc
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import psutil
import pytest

from napari_gem3d import Grid, InputError, LabelMap, Volume, read_volume, resample, write_volume
from napari_gem3d.io import sha256
from napari_gem3d.io.documents import MOST_LEVELS, parse_yaml, read_json, read_text
from napari_gem3d.io.slices import read_slice
from napari_gem3d.sampling.recipe import read_recipe

MEGABYTES = 2**20
DIRECTIONS = "space: LPS\nspace directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\n"


@pytest.fixture(autouse=True)
def _little_memory(monkeypatch):
    """A machine with 2 GB free; no test may take more than 30 MB."""
    free = type("Memory", (), {"available": 2 * 10**9, "total": 8 * 10**9})()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30 * MEGABYTES


def refused(read, path: Path) -> str:
    """The sentence that a reader refuses a file with; a reader that waits for ever fails."""
    said: list[BaseException] = []

    def go() -> None:
        try:
            read(path)
        except BaseException as error:
            said.append(error)

    thread = threading.Thread(target=go, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "it hangs"
    assert said and isinstance(said[0], InputError), said
    assert path.name in str(said[0])
    return str(said[0])


def nifti(path: Path, shape: tuple[int, ...], stored: int) -> Path:
    """A compressed file whose header tells of a shape of uint8, with so many zero bytes behind it."""
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(np.uint8)
    header.set_sform(np.eye(4), code=1)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header.binaryblock + bytes(4))
        for _ in range(stored // MEGABYTES):
            file.write(bytes(MEGABYTES))
    return path


def test_a_nifti_file_that_holds_more_than_its_header_says_is_not_unpacked(tmp_path):
    assert "more than its header says" in refused(
        read_volume, nifti(tmp_path / "bomb.nii.gz", (8, 8, 8), 100 * MEGABYTES)
    )


def test_a_nifti_header_is_not_believed_beyond_what_the_file_can_hold(tmp_path):
    assert "truncated" in refused(read_volume, nifti(tmp_path / "short.nii.gz", (500, 500, 500), MEGABYTES))


def test_scans_beyond_the_free_memory_are_refused_with_figures(tmp_path):
    said = refused(read_volume, nifti(tmp_path / "large.nii.gz", (2000, 2000, 2500), MEGABYTES))
    assert "10,000 million voxels" in said and "120.0 GB of memory" in said and "2.0 GB are free" in said


def test_volumes_beyond_the_free_memory_are_not_resampled_to():
    coarse = Volume(np.ones((4, 4, 4), np.float32), np.diag([1000.0, 1000, 1000, 1]))
    with pytest.raises(InputError, match="64,000 million voxels"):
        resample(coarse, Grid((4000, 4000, 4000), np.eye(4)))


@pytest.mark.parametrize("encoding", ["gzip", "bzip2"])
def test_nrrd_that_holds_more_than_its_header_says_is_not_unpacked(tmp_path, encoding):
    nrrd.write(str(tmp_path / "bomb.nrrd"), np.zeros((500, 500, 400), np.uint8), {"encoding": encoding})
    tracemalloc.reset_peak()
    content = (tmp_path / "bomb.nrrd").read_bytes()
    _, _, data = content.partition(b"\n\n")
    head = f"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 8 8 8\nencoding: {encoding}\n{DIRECTIONS}\n"
    (tmp_path / "bomb.nrrd").write_bytes(head.encode() + data)
    assert "damaged" in refused(read_volume, tmp_path / "bomb.nrrd")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes and devices")
@pytest.mark.parametrize("kind", ["device", "pipe", "link"])
@pytest.mark.parametrize("encoding", ["raw", "gzip", "ascii"])
def test_nrrd_data_on_devices_and_pipes(tmp_path, kind, encoding):
    name = _special(tmp_path, kind)
    path = tmp_path / "a.nhdr"
    fields = f"type: uint8\ndimension: 3\nsizes: 8 8 8\nencoding: {encoding}\n{DIRECTIONS}"
    path.write_text(f"NRRD0004\n{fields}data file: {name}\n")
    with pytest.raises(InputError, match="no regular file"):
        read_volume(path)


def _special(folder: Path, kind: str) -> Path:
    if kind == "device":
        return Path("/dev/zero")
    path = folder / kind
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    return path


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes and devices")
@pytest.mark.parametrize("read", [read_volume, read_recipe, read_json, read_text, sha256, read_slice])
@pytest.mark.parametrize("kind", ["device", "pipe", "link"])
def test_devices_and_pipes_are_no_files(tmp_path, read, kind):
    path = _special(tmp_path, kind)
    for name in (".png",) if read is read_slice else (".nii.gz", ".json", ".nrrd"):
        link = tmp_path / f"named{name}"
        link.symlink_to(path)
        assert "no regular file" in refused(read, link)


def test_documents_have_a_size_and_a_depth(tmp_path):
    path = tmp_path / "deep.json"
    path.write_text("[" * (MOST_LEVELS + 1) + "]" * (MOST_LEVELS + 1))
    assert "nested deeper" in refused(read_json, path)
    path.write_text("[" * 100_000)
    assert "nested deeper" in refused(read_json, path)
    path.write_text("[" * MOST_LEVELS + "]" * MOST_LEVELS)
    assert read_json(path)
    with path.open("wb") as file:
        file.truncate(10 * 2**30)  # 10 GB that take no room
    assert "too much" in refused(read_json, path)
    assert "no recipe" in refused(read_recipe, _written(tmp_path / "deep.json", '{"format": ' + "[" * 100_000))


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_yaml_that_repeats_itself_is_refused():
    laughs = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in pairwise("abcdefgh"))
    with pytest.raises(InputError, match="aliases"):
        parse_yaml(laughs, "laughs.yaml")
    with pytest.raises(InputError, match="nested deeper"):
        parse_yaml("[" * 100_000, "deep.yaml")


def test_what_was_written_is_still_read(tmp_path):
    voxels = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)
    for name in ("a.nii", "a.nii.gz"):
        write_volume(Volume(voxels, np.eye(4)), tmp_path / name)
        np.testing.assert_array_equal(read_volume(tmp_path / name).voxels, voxels)
        write_volume(LabelMap(voxels, np.eye(4)), tmp_path / name)
