"""What the system refuses, and what nobody would type by mistake: one sentence, and exit code 2."""

import json
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from safetensors import SafetensorError

from napari_gem3d.bundle import load_bundle, save_bundle
from napari_gem3d.cli import doctor, main, train
from napari_gem3d.errors import InputError, OutputError
from napari_gem3d.evaluation.gather import Gathering
from napari_gem3d.evaluation.plots import segmentation_plot
from napari_gem3d.io import replacing
from napari_gem3d.io.files import check_writable
from napari_gem3d.sampling.recipe import read_recipe
from napari_gem3d.training.config.loading import load_config
from napari_gem3d.training.config.settings import DataSettings
from napari_gem3d.training.data.dataset import read_dataset
from napari_gem3d.training.run import TrainingRun


def full_disk(*_, **__):
    raise OSError(28, "No space left on device", "/data/out")


def told(capsys) -> str:
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "Traceback" not in said
    return said


def test_what_the_system_refuses_is_a_sentence(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(doctor, "run", full_disk)
    assert main.main(["doctor"]) == 2
    assert "/data/out cannot be read or written (No space left on device)" in told(capsys)
    monkeypatch.setattr(train, "_train", full_disk)
    assert train.main(["prepare", "--data", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "No space left on device" in told(capsys)


def test_names_longer_than_the_system_has(capsys, tmp_path):
    assert main.main(["evaluate", "a" * 300, "b", "--out", str(tmp_path / "out")]) == 2
    assert "ame too long" in told(capsys)
    longest = tmp_path / ("a" * 248 + ".nii.gz")
    with replacing(longest) as temporary:
        assert temporary.name.endswith(".nii.gz")
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == [longest.name]
    with pytest.raises(OutputError, match="ame too long"), replacing(tmp_path / ("a" * 256)) as temporary:
        temporary.write_text("never")


def test_paths_with_nul(tmp_path, tiny_patient):
    path = tmp_path / "cases.csv"
    path.write_text("image,labels\na\0b.nii.gz,c.nii.gz\n")
    with pytest.raises(InputError, match="NUL"):
        read_dataset(path, DataSettings())
    recipe = json.loads((Path(main.__file__).parents[1] / "samples/data/patient-a.recipe.json").read_text())
    recipe["mask"]["path"] = "a\0b"
    (tmp_path / "r.json").write_text(json.dumps(recipe))
    with pytest.raises(InputError, match=r"mask\.path"):
        read_recipe(tmp_path / "r.json")


def test_a_report_that_cannot_be_written_is_found_out_before_the_work(tmp_path, tiny_patient, monkeypatch, capsys):
    monkeypatch.setattr(Gathering, "go", lambda *_: pytest.fail("it works in vain"))
    for name in ("real", "made"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.nii.gz").write_bytes(tiny_patient.scan.read_bytes())
    (tmp_path / "file").write_text("mine")
    out = tmp_path / "file" / "report"
    assert main.main(["evaluate", str(tmp_path / "real"), str(tmp_path / "made"), "--out", str(out)]) == 2
    assert f"{out} cannot be written" in told(capsys)


def test_a_trial_leaves_nothing(tmp_path, monkeypatch):
    check_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("napari_gem3d.io.files.Path.mkdir", full_disk)
    with pytest.raises(OutputError, match="No space left"):
        check_writable(tmp_path)


def test_regions_may_be_called_anything():
    score = {"dice": 0.5, "hd95": 2.0}
    name = "$\\frac$"
    report = {"segmentation": {"scans": {"a": {name: score}}, "regions": {name: {**score, "n": 1}}}}
    assert b"<svg" in segmentation_plot(report).svg


@pytest.mark.parametrize("ending", ["**", "../*", "", "*.nii.gz", ".nii/../x", "/etc/passwd"])
def test_endings_that_no_file_has(tmp_path, ending):
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"tumor": 1}, "file_ending": ending}))
    with pytest.raises(InputError, match="file_ending"):
        read_dataset(tmp_path, DataSettings())


FULL = [OSError(28, "No space left on device"), SafetensorError("I/O error: No space left (os error 28)")]


@pytest.mark.parametrize("error", FULL)
def test_bundles_on_a_full_disk(tiny_model, tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    bundle = load_bundle(tiny_model)
    monkeypatch.setattr("napari_gem3d.bundle.store.save_file", fail)
    with pytest.raises(OutputError, match="No space left"):
        save_bundle(bundle, tmp_path / "new", torch.float32)
    assert list(tmp_path.iterdir()) == []


def test_two_trainings_do_not_share_a_run(tmp_path):
    run = TrainingRun(tmp_path, tmp_path / "run", load_config("tiny", ["device=cpu"]), say=lambda _: None)
    run.folder.mkdir()
    with FileLock(run.folder / "run.lock"), pytest.raises(InputError, match="Another training runs in"):
        run.run("prepare")
    assert {path.name for path in run.folder.iterdir()} <= {"run.lock"}
