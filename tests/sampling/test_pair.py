"""A volume and its recipe appear together, belong together, and never lie beside another's."""

import os
import signal
import subprocess
import sys
import time

import pytest

import napari_gem3d as gem
from napari_gem3d.cli.main import main
from napari_gem3d.errors import InputError
from napari_gem3d.io.files import LITTER
from napari_gem3d.sampling.export import export_dicom, export_file
from napari_gem3d.sampling.pair import belongs, write_pair
from napari_gem3d.sampling.recipe import make_recipe, read_recipe, sidecar
from napari_gem3d.sampling.results import is_made, replay, run_recipe

KILLS = int(os.environ.get("GEM3D_KILLS", "6"))


@pytest.fixture(scope="module")
def recipes(tiny_patient, tiny_model):
    return [make_recipe(tiny_patient.labels, tiny_patient.scan, model=tiny_model, seed=seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def volume(tiny_patient):
    return gem.read_volume(tiny_patient.scan)


def test_a_recipe_of_another_volume_is_found_out(recipes, volume, tmp_path):
    out, other = tmp_path / "out.nii.gz", tmp_path / "other.nii.gz"
    for path, recipe in zip((out, other), recipes, strict=True):
        write_pair(volume, recipe, path)
    assert belongs(out) and is_made(recipes[0], out)
    text = sidecar(out).read_text(encoding="utf-8")
    sidecar(out).write_text(text.replace("\n", "\n  "), encoding="utf-8")  # laid out otherwise
    assert belongs(out)
    sidecar(out).write_bytes(sidecar(other).read_bytes())
    assert not belongs(out) and not is_made(recipes[1], out)
    with pytest.raises(InputError, match=r"out\.json is not the recipe of .*out\.nii\.gz"):
        export_file(out, tmp_path / "series")
    gem.write_volume(volume, out)  # as earlier versions did
    assert belongs(out)


def test_a_full_disk_leaves_the_earlier_pair(recipes, volume, tmp_path, monkeypatch):
    out = tmp_path / "out.nii.gz"
    write_pair(volume, recipes[0], out)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_gem3d.sampling.pair.write_volume", full)
    with pytest.raises(InputError, match="No space left"):
        write_pair(volume, recipes[1], out)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.slow
def test_kills_leave_no_volume_beside_anothers_recipe(recipes, volume, tmp_path):
    """GEM3D_KILLS=200 tries more."""
    out = tmp_path / "out.nii.gz"
    program = (
        "import sys, napari_gem3d as gem\nfrom pathlib import Path\nfrom napari_gem3d.sampling.pair import write_pair\n"
        "from napari_gem3d.sampling.recipe import read_recipe\nvolume = gem.read_volume(sys.argv[1])\n"
        "recipes = [read_recipe(path) for path in sys.argv[3:]]\nprint('ready', flush=True)\n"
        "while True:\n    for recipe in recipes:\n        write_pair(volume, recipe, Path(sys.argv[2]))\n"
    )
    scan, folder = tmp_path / "scan.nii.gz", tmp_path / "recipes"
    gem.write_volume(volume, scan)
    folder.mkdir()
    for number, recipe in enumerate(recipes):
        write_pair(volume, recipe, folder / f"{number}.nii.gz")
    words = [sys.executable, "-c", program, str(scan), str(out), *(str(folder / f"{n}.json") for n in (0, 1))]
    for turn in range(KILLS):
        process = subprocess.Popen(words, stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline()
        time.sleep(0.002 * (turn % 23))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if out.exists():
            gem.read_volume(out)
            assert belongs(out)
        if sidecar(out).exists():
            read_recipe(sidecar(out))
    write_pair(volume, recipes[0], out)
    assert not [path for path in tmp_path.iterdir() if LITTER.fullmatch(path.name)]


def test_a_dicom_export_that_was_stopped_goes_on(recipes, volume, tmp_path, monkeypatch):
    whole = gem.Volume(volume.voxels, volume.affine, "MR", meta={"synthetic": "yes"})

    class Killed(BaseException):
        pass

    def stopped(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("napari_gem3d.sampling.export.write_dicom", stopped)
        patch.setattr("pathlib.Path.unlink", stopped)  # a kill tidies nothing up
        with pytest.raises(Killed):
            export_dicom(whole, recipes[0], tmp_path / "series")
    assert sidecar(tmp_path / "series").exists() and not (tmp_path / "series").exists()
    export_dicom(whole, recipes[0], tmp_path / "series")
    assert len(list((tmp_path / "series").iterdir())) == len(volume.voxels)


def test_a_replay_never_writes_onto_an_input(recipes, tiny_patient, tiny_model, tmp_path, monkeypatch):
    scan, labels = tmp_path / "scan.nii.gz", tmp_path / "labels.nii.gz"
    scan.write_bytes(tiny_patient.scan.read_bytes())
    labels.write_bytes(tiny_patient.labels.read_bytes())
    monkeypatch.chdir(tmp_path)
    recipe = make_recipe("labels.nii.gz", "scan.nii.gz", model=tiny_model, seed=1)
    run_recipe(recipe, "out.nii.gz")
    monkeypatch.chdir("/")
    before = scan.read_bytes()
    for words in ([], ["--overwrite"]):
        assert main(["replay", str(tmp_path / "out.json"), "--out", str(scan), *words]) == 2
    with pytest.raises(InputError, match="is one of the inputs"):
        replay(tmp_path / "out.json", labels, overwrite=True)
    assert scan.read_bytes() == before


def test_scans_and_maps_are_not_written_over(tiny_patient, tiny_model, tmp_path, capsys):
    scan, other = tmp_path / "scan.nii.gz", tmp_path / "other.nii.gz"
    volume = gem.read_volume(tiny_patient.scan)
    for path in (scan, other):
        gem.write_volume(volume, path, description="")
    mask = tmp_path / "mask.nii.gz"
    mask.write_bytes(tiny_patient.labels.read_bytes())
    model = ["--model", str(tiny_model)]
    step = ["--translate", "1", "0", "0"]
    for words in (
        ["mask", "--mask", str(mask), "--out", str(mask), *step, *model],
        ["mask", "--mask", str(mask), "--body", str(scan), "--out", str(scan), *step, *model],
        ["mask", "--mask", str(mask), "--out", str(other), *step, *model],
        ["body", str(scan), "--out", str(other), *model],
        ["body", str(scan), "--out", str(scan), "--overwrite", *model],
        ["generate", "--mask", str(mask), "--informed", str(scan), "--out", str(other), *model],
    ):
        before = [path.read_bytes() for path in (scan, other, mask)]
        assert main(words) == 2, words
        assert "write" in capsys.readouterr().err
        assert [path.read_bytes() for path in (scan, other, mask)] == before
    words = ["mask", "--mask", str(mask), "--out", str(other), *step, *model]
    assert main([*words, "--overwrite"]) == 0
    assert main(words) == 0  # it is ours now


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_an_input_of_a_name_that_is_no_utf8(tiny_patient, tiny_model, tmp_path):
    mask = tmp_path / os.fsdecode(b"M\xfcller.nii.gz")
    mask.write_bytes(tiny_patient.labels.read_bytes())
    out = tmp_path / "out.nii.gz"
    words = ["generate", "--mask", str(mask), "--informed", str(tiny_patient.scan), "--model", str(tiny_model)]
    assert main([*words, "--seed", "1", "--out", str(out)]) == 0
    first = out.read_bytes()
    assert belongs(out) and main(["replay", str(tmp_path / "out.json")]) == 0
    assert out.read_bytes() == first
