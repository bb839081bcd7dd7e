"""Quality: what is drawn once, what is judged, and how the figures are put together."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import main
from benchmarks.quality_table import (
    by_patient,
    distance_table,
    fidelity_table,
    flat,
    intervals,
    over_patients,
    targets,
)
from benchmarks.regimes import BASELINE, OURS, Method
from napari_gem3d.evaluation.figures import Figure, Interval
from napari_gem3d.evaluation.protocol import PROTOCOL
from napari_gem3d.io import read_volume

VOLUMES = {
    ("a", 1): {"ms_ssim": 0.8, "contrast 1": 1.0},
    ("a", 2): {"ms_ssim": 0.9, "contrast 1": 1.2},
    ("b", 1): {"ms_ssim": 0.6},
    ("b", 2): {"ms_ssim": 0.6},
}


def test_means_are_over_patients_and_spreads_over_seeds() -> None:
    assert by_patient(VOLUMES)["a"]["ms_ssim"] == pytest.approx((0.85, 0.1 / np.sqrt(2)))
    assert by_patient(VOLUMES)["b"]["ms_ssim"] == pytest.approx((0.6, 0))
    # 0.7 with seed 1 and 0.75 with seed 2, whatever lies between the patients.
    assert over_patients(VOLUMES)["ms_ssim"] == pytest.approx((0.725, 0.05 / np.sqrt(2)))


def test_a_label_that_a_patient_lacks_does_not_count() -> None:
    assert over_patients(VOLUMES)["contrast 1"].mean == pytest.approx(1.1)
    assert "contrast 1" not in by_patient(VOLUMES)["b"]


def test_one_seed_has_no_spread() -> None:
    assert Figure.of([0.8]) == (0.8, None)
    assert (Figure.of([0.8]).text(), Figure.of([0.8, 0.9]).text(3)) == ("0.80", "0.850 ± 0.071")


def test_a_contrast_that_cannot_be_is_left_out() -> None:
    judged = {"case": "a", "psnr": 20, "contrast": {"1": {"ratio": 0.9, "voxels": 5}, "2": {"ratio": None}}}
    assert flat(judged) == {"psnr": 20.0, "contrast 1": 0.9}


def test_an_interval_is_over_patients_not_over_seeds() -> None:
    assert Interval.of([0.8]) is None and Interval.of([0.5, 0.5, 0.5]) == (0.5, 0.5)
    rng = np.random.default_rng(1)
    values = rng.normal(0.8, 0.1, 40)
    found = Interval.of(list(values))
    half = 1.96 * values.std() / np.sqrt(40)
    assert found == pytest.approx((values.mean() - half, values.mean() + half), abs=0.15 * half)
    assert Interval(0.0123, 0.2).text() == "[0.01, 0.20]" and Interval(-0.01, 0.2).text(1, sign=True) == "[-0.0, +0.2]"
    between = intervals(VOLUMES)
    # Two patients of 0.85 and 0.6: a quarter of the resamples has the one twice, a quarter the other.
    assert between == {"ms_ssim": pytest.approx((0.6, 0.85))}, "one patient alone has a contrast"


def method(alike: float, coronal: float, step: float = 1.0, patients: tuple[float, ...] = ()) -> dict:
    mean = {
        "ms_ssim": alike - 0.1,
        "ms_ssim_max": alike,
        "psnr": 20.0,
        "step_axial": step,
        "sharpness": 0.9,
        "contrast 1": 0.86,
    }
    frechet = {"axial": 100.0, "coronal": coronal, "sagittal": 80.0}
    figures = ({name: Figure(value, 0.001) for name, value in part.items()} for part in (mean, frechet))
    each = {str(index): {"ms_ssim": Figure(value, None)} for index, value in enumerate(patients)}
    interval = Interval.of(patients)
    return {
        **dict(zip(("mean", "frechet"), figures, strict=True)),
        "patients": each,
        "interval": {} if interval is None else {"ms_ssim": interval},
        "bundle_mb": 39.5,
    }


def test_what_must_be_shown_holds_or_not() -> None:
    methods = {OURS: method(0.81, 199), BASELINE: method(0.76, 400)}
    got = {target.name: target for target in targets({"methods": methods, "vae": {"psnr": 31.9, "sharpness": 1.0}})}
    assert got["MS-SSIM, by maximum, above the baseline's by"].got == pytest.approx(0.05)
    holds = {name for name, target in got.items() if target.holds}
    assert holds == {
        "VAE: sharpness",
        "MS-SSIM, by maximum",
        "MS-SSIM, by maximum, above the baseline's by",
        "step_axial",
        "sharpness",
        "contrast 1",
        "Fréchet distance, coronal, over the baseline's",
        "bundle, MB",
    }
    assert got["Fréchet distance, sagittal, over the baseline's"].row[2:] == ["1.000", "**no**"]
    assert got["peak memory, GB"].row[2:] == ["not measured", ""]


@pytest.mark.parametrize(("step", "holds"), [(0.84, False), (0.86, True), (1.14, True), (1.16, False)])
def test_a_range_has_two_ends(step: float, holds: bool) -> None:
    got = {target.name: target.holds for target in targets({"methods": {OURS: method(0.81, 1, step)}})}
    assert got["step_axial"] is holds
    assert not got["MS-SSIM, by maximum, above the baseline's by"], "there is no baseline"


def test_tables_end_with_the_comparison() -> None:
    methods = {OURS: method(0.81, 100), BASELINE: method(0.76, 400, 1.5)}
    header, _, *_, last = fidelity_table(methods).splitlines()
    assert header.startswith("| method | MS-SSIM | MS-SSIM, by maximum | PSNR dB | step_axial | sharpness |")
    assert last.startswith("| difference | +0.050 | +0.050 | +0.0 | -0.50 |")
    assert distance_table(methods).splitlines()[-1] == "| ratio | 1.00 | 0.25 | 1.00 |"
    assert len(fidelity_table({OURS: methods[OURS]}).splitlines()) == 3


def test_intervals_stand_in_brackets_those_of_differences_patient_by_patient() -> None:
    # The patients differ by 0.2, the methods by 0.05 in each of them.
    methods = {OURS: method(0.85, 1, patients=(0.65, 0.85)), BASELINE: method(0.8, 1, patients=(0.6, 0.8))}
    _, _, ours, baseline, difference = fidelity_table(methods).splitlines()
    assert ours.startswith(f"| {OURS} | 0.750 ± 0.001 [0.650, 0.850] | 0.850 ± 0.001 |")
    assert "[0.600, 0.800]" in baseline and difference.startswith("| difference | +0.050 [+0.050, +0.050] | +0.050 |")


def test_every_regime_is_compared_with_its_own_baseline() -> None:
    kinds = [Method(base, anatomy) for anatomy in ("scan", "none") for base in (OURS, BASELINE)]
    methods = {kind.name: method(*figures) for kind, figures in zip(kinds, [(0.9, 1), (0.8, 4), (0.7, 2), (0.69, 4)])}  # noqa: B905
    rows = [line.split(" | ")[:2] for line in fidelity_table(methods).splitlines()[-2:]]
    assert rows == [
        ["| difference, anatomy from the scan", "+0.100"],
        ["| difference, lesion and brain alone", "+0.010"],
    ]
    rows = [line.split(" | ")[2] for line in distance_table(methods).splitlines()[-2:]]
    assert rows == ["0.25", "0.50"]
    got = {target.name: target.holds for target in targets({"methods": methods})}
    assert got["MS-SSIM, by maximum, anatomy from the scan"]
    assert not got["MS-SSIM, by maximum, lesion and brain alone"]
    assert list(got).count("bundle, MB") == 1


@pytest.fixture
def dataset(tiny_patient, tmp_path: Path) -> Path:
    data = tmp_path / "data"
    for folder in ("imagesTs", "labelsTs"):
        (data / folder).mkdir(parents=True)
    shutil.copy(tiny_patient.scan, data / "imagesTs" / "a_0000.nii.gz")
    shutil.copy(tiny_patient.labels, data / "labelsTs" / "a.nii.gz")
    return data


def test_volumes_are_drawn_once_and_judged_as_they_are(tiny_model, tiny_baseline, dataset, tmp_path: Path) -> None:
    pytest.importorskip("torchmetrics")
    pytest.importorskip("efficientnet_lite_pytorch")
    out = tmp_path / "out"
    ours = [out / OURS / f"a-seed{seed}.nii.gz" for seed in (1, 2)]
    common = [str(dataset), "--model", str(tiny_model), "--out", str(out)]
    main([*common, "--seeds", "1", "2", "--baseline", str(tiny_baseline), "--pictures", "a"])
    results = json.loads((out / "quality.json").read_text())
    assert (out / "pictures" / "a.png").exists()
    figures = results["methods"][OURS]["volumes"]
    both = [figures[f"a-seed{seed}"]["ms_ssim"] for seed in (1, 2)]
    assert results["methods"][OURS]["mean"]["ms_ssim"] == pytest.approx([np.mean(both), np.std(both, ddof=1)])
    text = (out / "quality.md").read_text()
    assert f"| {BASELINE} |" in text and PROTOCOL in text and "interval" not in text, "of one patient"
    assert 0 < results["vae"]["psnr"] < 40

    # One is gone, the other became the scan itself under the same recipe: only the first is drawn again.
    first = ours[0].read_bytes()
    shutil.copy(dataset / "imagesTs" / "a_0000.nii.gz", ours[1])
    ours[0].unlink()
    main([*common, "--seeds", "1", "2"])
    assert ours[0].read_bytes() == first
    results = json.loads((out / "quality.json").read_text())
    perfect = results["methods"][OURS]["volumes"]["a-seed2"]
    assert perfect.pop("psnr") == pytest.approx(120)
    assert perfect.pop("slice_correlation") == pytest.approx(perfect.pop("real_slice_correlation"))
    assert all(value == pytest.approx(1, abs=1e-4) for value in perfect.values()) and "contrast 3" not in perfect
    main([*common, "--seeds", "2"])
    results = json.loads((out / "quality.json").read_text())
    assert results["methods"][OURS]["frechet"]["axial"] == pytest.approx([0, None], abs=1e-3)

    main([*common, "--seeds", "2", "--steps", "1"])
    assert np.abs(
        read_volume(ours[1]).voxels.astype(int) - read_volume(dataset / "imagesTs/a_0000.nii.gz").voxels
    ).any()


def test_both_regimes_are_drawn_and_told(tiny_model, tiny_baseline, dataset, tmp_path: Path) -> None:
    pytest.importorskip("torchmetrics")
    pytest.importorskip("efficientnet_lite_pytorch")
    for folder, name in (("imagesTs", "a_0000"), ("labelsTs", "a")):
        shutil.copy(dataset / folder / f"{name}.nii.gz", dataset / folder / f"{name.replace('a', 'b', 1)}.nii.gz")
    out = tmp_path / "out"
    common = [str(dataset), "--model", str(tiny_model), "--baseline", str(tiny_baseline), "--out", str(out)]
    main([*common, "--seeds", "1", "--steps", "1", "--anatomy", "scan", "none"])
    results = json.loads((out / "quality.json").read_text())
    names = [
        f"{base}, {told}" for told in ("anatomy from the scan", "lesion and brain alone") for base in (OURS, BASELINE)
    ]
    assert list(results["methods"]) == names
    for anatomy in ("scan", "none"):
        recipe = json.loads((out / f"{OURS}-{anatomy}" / "a-seed1.json").read_text())
        assert recipe["anatomy"] == anatomy
    text = (out / "quality.md").read_text()
    assert all(f"| {name} |" in text for name in names) and "95 % interval over the 2 patients" in text
    assert "| difference, lesion and brain alone |" in text and "Anatomy from the scan: " in text


def test_bad_input_is_one_sentence(tiny_model, tiny_baseline, dataset, tmp_path: Path) -> None:
    common = ["--model", str(tiny_model), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="has no patient b; it has a in imagesTs"):
        main([str(dataset), *common, "--cases", "b"])
    with pytest.raises(SystemExit, match="has no test patients"):
        main([str(tmp_path), *common])
    with pytest.raises(SystemExit, match="sees an informed slice"):
        main([str(dataset), *common, "--baseline", str(tiny_model)])
    with pytest.raises(SystemExit, match="is a baseline without informed slice"):
        main([str(dataset), "--model", str(tiny_baseline), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists(), "nothing is begun"
