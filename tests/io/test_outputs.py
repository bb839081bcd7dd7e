"""What is written: checked before the work, never over an original, whole or not at all."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_gem3d.errors import InputError, OutputError
from napari_gem3d.io import write_volume
from napari_gem3d.io.files import LITTER, put_folder, replacing, staging, tidy
from napari_gem3d.io.outputs import check_output
from napari_gem3d.volume import Volume

VOLUME = Volume(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))


@pytest.fixture
def original(tmp_path):
    path = tmp_path / "scan.nii.gz"
    write_volume(VOLUME, path, description="")
    return path


def test_only_what_is_ours_is_replaced(original, tmp_path):
    with pytest.raises(InputError, match="was not written by napari-gem3d"):
        check_output(original)
    check_output(original, overwrite=True)
    made = tmp_path / "made.nii.gz"
    write_volume(VOLUME, made)
    check_output(made)
    for other in ("hard.nii.gz", "soft.nii.gz"):
        (os.link if other == "hard.nii.gz" else os.symlink)(made, tmp_path / other)
        with pytest.raises(InputError, match="is one of the inputs"):
            check_output(tmp_path / other, inputs=[made], overwrite=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.mha", "does not end in"),
        ("x" * 250 + ".nii.gz", "has 257 bytes, 255 are possible"),
        (os.fsdecode(b"M\xfcller.nii.gz"), "no UTF-8"),
        ("folder.nii.gz", "is a folder"),
        ("file/out.nii.gz", "cannot be written"),
        ("/proc/out.nii.gz", "cannot be written"),
    ],
)
def test_what_cannot_be_written_is_known_before(tmp_path, name, message):
    (tmp_path / "folder.nii.gz").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=message):
        check_output(tmp_path / name)


def test_room_is_asked_for(tmp_path):
    with pytest.raises(OutputError, match="MB free"):
        check_output(tmp_path / "out.nii.gz", size=2**60)
    record = tmp_path / "out.json"
    record.write_text('{"format": "of somebody"}', encoding="utf-8")
    with pytest.raises(InputError, match="is no record of napari-gem3d"):
        check_output(tmp_path / "out.nii.gz", record=record)
    check_output(tmp_path / "new" / "out.NII.GZ")
    assert (tmp_path / "new").is_dir() and not list((tmp_path / "new").iterdir())


def test_the_longest_name_that_is_possible_is_written(tmp_path):
    name = "y" * 248 + ".NII.GZ"
    write_volume(VOLUME, tmp_path / name)
    assert (tmp_path / name).read_bytes()[:2] == b"\x1f\x8b"


def killed(code: str, folder: Path) -> None:
    """Run Python that kills itself."""
    program = (
        f"import os, signal\nfrom pathlib import Path\nfrom napari_gem3d.io.files import *\nf = Path({str(folder)!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", program + code], check=False)
    assert done.returncode < 0


def test_what_killed_processes_leave_is_removed_by_the_next_and_no_more(tmp_path):
    kill = "os.kill(os.getpid(), signal.SIGKILL)"
    killed(
        "one, two = replacing(f / 'a.txt'), staging(f / 'series')\n"
        f"one.__enter__().write_text('half')\n(two.__enter__() / '1.dcm').write_text('half')\n{kill}",
        tmp_path,
    )
    (tmp_path / ".hidden-a.txt").touch()
    assert sum(bool(LITTER.fullmatch(path.name)) for path in tmp_path.iterdir()) == 2
    with replacing(tmp_path / "a.txt") as mine:
        mine.write_text("whole")
        tidy(tmp_path)  # as another run would
        assert mine.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden-a.txt", "a.txt"]
    with staging(tmp_path / "series") as folder:
        assert folder.stat().st_mode & 0o077 == 0


def test_a_folder_is_replaced_in_one_step(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    put_folder(tmp_path / "new", tmp_path / "old")
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["new"]
