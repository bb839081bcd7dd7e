import json
import textwrap

import numpy as np
import pytest

from napari_gem3d import LabelMap, write_volume
from napari_gem3d.downstream import nnunet
from napari_gem3d.downstream.comparison import compare
from napari_gem3d.downstream.datasets import read_test_set, read_training_sets
from napari_gem3d.downstream.nnunet import NnUNet, NnUNetSettings, read_summary
from napari_gem3d.errors import InputError

from .conftest import egg

# In the place of nnU-Net: writes the files that its commands write, where its commands look for them and write them.
RECORDED = textwrap.dedent(
    """
    import argparse, json, os, pathlib, shutil, sys

    def found(kind, number):
        return next(pathlib.Path(os.environ["nnUNet_" + kind]).glob(f"Dataset{number}_*"))

    def log(name):
        with open(os.environ["RECORD"], "a") as file:
            file.write(json.dumps([name, *sys.argv[1:]]) + "\\n")
        if os.environ.get("FAIL") == name:
            sys.exit("no memory left")

    def value(option):
        return sys.argv[sys.argv.index(option) + 1]

    def plan():
        log("plan")
        raw = found("raw", value("-d"))
        assert json.loads((raw / "dataset.json").read_text())["numTraining"] == len(list((raw / "imagesTr").iterdir()))
        made = pathlib.Path(os.environ["nnUNet_preprocessed"]) / raw.name
        made.mkdir()
        (made / "nnUNetPlans.json").write_text("{}")

    def train():
        log("train")
        folder = f"{value('-tr')}__{value('-p')}__{sys.argv[2]}"
        dataset = found("preprocessed", sys.argv[1]).name
        made = pathlib.Path(os.environ["nnUNet_results"]) / dataset / folder / f"fold_{sys.argv[3]}"
        made.mkdir(parents=True, exist_ok=True)
        (made / "checkpoint_final.pth").touch()

    def predict():
        log("predict")
        made = pathlib.Path(value("-o"))
        made.mkdir()
        for scan in pathlib.Path(value("-i")).iterdir():
            name = scan.name.replace("_0000", "")
            shutil.copy(scan.parent.parent / "labelsTs" / name, made / name)

    def evaluate():
        log("evaluate")
        cases = [
            {"reference_file": str(path), "metrics": {str(value): {"Dice": 0.9} for value in (1, 2, 3)}}
            for path in pathlib.Path(sys.argv[1]).iterdir()
        ]
        (pathlib.Path(sys.argv[2]) / "summary.json").write_text(json.dumps({"metric_per_case": cases}))
    """
)


@pytest.fixture
def recorder(tmp_path, monkeypatch):
    """nnU-Net's commands replaced by those above; gives what was called so far."""
    (tmp_path / "recorded_nnunet.py").write_text(RECORDED, encoding="utf-8")
    record = tmp_path / "record"
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("RECORD", str(record))
    names = ("plan", "train", "predict", "evaluate")
    calls = dict(zip(nnunet._COMMANDS, [("recorded_nnunet", name) for name in names], strict=True))
    monkeypatch.setattr(nnunet, "_COMMANDS", calls)
    monkeypatch.setattr(nnunet, "find_spec", lambda name: object())
    monkeypatch.setattr(nnunet.metadata, "version", lambda name: "2.8.1")

    def calls_so_far() -> list[list[str]]:
        return [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]

    return calls_so_far


def names(calls: list[list[str]]) -> list[str]:
    return [call[0] for call in calls]


def test_without_nnunet_one_sentence_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(nnunet, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"nnU-Net v2 is not installed; install it with pip .*nnunet.*stand-in"):
        NnUNet(tmp_path)


def test_every_step_is_launched_once(eggs, more_eggs, tmp_path, recorder):
    sets = {"real": eggs, "re-sampled": more_eggs("other", range(8, 10))}
    out = tmp_path / "out"

    def run(**how):
        return compare(sets, eggs, out, NnUNet(out / "nnunet", NnUNetSettings(**how), "cpu"))

    results = run()
    assert names(recorder()) == ["plan", "train", "predict", "evaluate"] * 2
    assert results["summary"]["re-sampled"]["dice"]["mean"]["mean"] == 1
    assert results["sets"]["re-sampled"]["own_summary"]["1"]["egg7"] == {"1": 0.9, "2": 0.9, "3": 0.9}
    assert "| re-sampled | 90.0 | 90.0 | 90.0 |" in (out / "table.md").read_text(encoding="utf-8")
    raw = out / "nnunet" / "nnUNet_raw"
    assert sorted(path.name for path in raw.iterdir()) == ["Dataset701_real", "Dataset702_re-sampled"]
    assert recorder()[1][1:4] == ["701", "3d_fullres", "all"] and "--c" in recorder()[1]
    assert "--verify_dataset_integrity" in recorder()[0]
    assert run() == results and len(recorder()) == 8
    run(trainer="nnUNetTrainer_5epochs")
    assert names(recorder()[8:]) == ["train", "predict", "evaluate"] * 2


def test_a_dataset_that_changed_is_prepared_and_trained_again(eggs, more_eggs, tmp_path, recorder):
    other, out = more_eggs("other", range(8, 10)), tmp_path / "out"
    network = NnUNet(out / "nnunet", device="cpu")
    compare({"real": other}, eggs, out, network)
    scan, _ = egg(99)
    write_volume(scan, other / "imagesTr" / "egg8_0000.nii.gz")
    compare({"real": other}, eggs, out, network)
    assert names(recorder()) == ["plan", "train", "predict", "evaluate"] * 2


def test_a_step_that_fails_says_where_to_look_and_is_done_again(eggs, tmp_path, recorder, monkeypatch):
    network, out = NnUNet(tmp_path / "out" / "nnunet", device="cpu"), tmp_path / "out"
    monkeypatch.setenv("FAIL", "predict")
    with pytest.raises(InputError, match=r"predict of real, run 1 failed \(no memory left\); see .*nnunet.log"):
        compare({"real": eggs}, eggs, out, network)
    monkeypatch.delenv("FAIL")
    compare({"real": eggs}, eggs, out, network)
    assert names(recorder()) == ["plan", "train", "predict", "predict", "evaluate"]


def test_files_of_several_types_are_refused(eggs, more_eggs, tmp_path, recorder):
    other = more_eggs("other", range(8, 9))
    write_volume(egg(9)[0], other / "imagesTr" / "egg9_0000.nii")
    (other / "data.csv").write_text(
        "image,labels\nimagesTr/egg8_0000.nii.gz,labelsTr/egg8.nii.gz\nimagesTr/egg9_0000.nii,labelsTr/egg8.nii.gz\n"
    )
    (training,) = read_training_sets({"other": other / "data.csv"})
    with pytest.raises(InputError, match=r"end in .nii and .nii.gz; nnU-Net takes one"):
        NnUNet(tmp_path / "nnunet", device="cpu").prepare(training, read_test_set(eggs), print)


def test_the_summary_of_nnunet_agrees_with_our_dice(eggs, tmp_path):
    evaluation = pytest.importorskip("nnunetv2.evaluation.evaluate_predictions", reason="extra nnunet")
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    from napari_gem3d.evaluation.segmentation import compare_regions

    predicted = tmp_path / "predicted"
    predicted.mkdir()
    expected = {}
    for number in (6, 7):
        labels = egg(number)[1]
        shifted = LabelMap(np.roll(labels.voxels, number - 4, 1), labels.affine)
        write_volume(shifted, predicted / f"egg{number}.nii.gz")
        single = {str(value): (value,) for value in (1, 2, 3)}
        found = compare_regions(labels.voxels, shifted.voxels, labels.spacing, single)
        expected[f"egg{number}"] = {value: found[value]["dice"] for value in "123"}
    arguments = (str(eggs / "labelsTs"), str(predicted), str(tmp_path / "summary.json"), SimpleITKIO())
    # Its pool of processes is spawned, which takes seconds; one process is enough.
    evaluation.compute_metrics_on_folder(*arguments, ".nii.gz", [1, 2, 3], num_processes=1)
    summary = read_summary(tmp_path / "summary.json")
    assert summary.keys() == expected.keys()
    for name, by_label in expected.items():
        assert summary[name] == pytest.approx(by_label, abs=1e-9)


def test_a_file_that_is_no_summary_is_refused(tmp_path):
    path = tmp_path / "summary.json"
    path.write_text('{"mean": {}}', encoding="utf-8")
    with pytest.raises(InputError, match=r"no summary of nnU-Net v2"):
        read_summary(path)


def test_nnunet_verifies_what_is_prepared(eggs, tmp_path, monkeypatch):
    verify = pytest.importorskip("nnunetv2.experiment_planning.verify_dataset_integrity", reason="extra nnunet")
    monkeypatch.setattr(nnunet, "_COMMANDS", {"plan_and_preprocess": ("os", "getpid")})
    (training,) = read_training_sets({"real": eggs})
    network = NnUNet(tmp_path, device="cpu")
    number = network.prepare(training, read_test_set(eggs), print)
    raw = tmp_path / "nnUNet_raw" / f"Dataset{number}_real"
    verify.verify_dataset_integrity(str(raw), num_processes=1)
    (raw / "labelsTr" / "egg3.nii.gz").unlink()
    with pytest.raises(AssertionError):
        verify.verify_dataset_integrity(str(raw), num_processes=1)
