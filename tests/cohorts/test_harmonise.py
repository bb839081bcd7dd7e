"""A dataset harmonised: one slice informs all, and the report says how much less cases differ."""

import json
import re
from functools import partial

import numpy as np
import pytest
from PIL import Image

from napari_gem3d import InputError, Volume, read_volume, write_volume
from napari_gem3d.cli.harmonize import scan_and_slice
from napari_gem3d.cli.main import main
from napari_gem3d.cohorts import harmonise_measure, volumes
from napari_gem3d.cohorts.harmonise import harmonise as harmonise_with_steps
from napari_gem3d.io import sha256
from napari_gem3d.sampling.recipe import read_recipe

pytest.importorskip("matplotlib")
harmonise = partial(harmonise_with_steps, steps=1)


def files(folder):
    """Content of all files of a folder by their names in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def scanners(dataset):
    """The dataset as of two scanners: the scan of b is ten times as bright."""
    path = dataset / "imagesTr" / "b_0000.nii.gz"
    scan = read_volume(path)
    write_volume(Volume((scan.voxels * 10).astype(np.int16), scan.affine, "MR"), path, description="")
    return dataset


def test_one_slice_informs_all_and_cases_differ_less(scanners, tiny_model, tmp_path):
    informed, out = scanners / "imagesTr" / "a_0000.nii.gz", tmp_path / "out"
    made = harmonise(scanners, informed, out, slice=12, model=tiny_model, source_pattern="([ab]|c)")
    assert made.cohort.count("made") == 3 and list(made.cohort.records) == ["a", "b", "c"]
    for name in "abc":
        recipe = read_recipe(out / "imagesTr" / f"{name}_0000.json")
        assert (recipe.informed.sha256, recipe.informed_slice, recipe.start) == (sha256(informed), 12, 12)
        record = json.loads((out / "records" / f"{name}.json").read_text())
        assert (record["kind"], record["donor"], record["case"], record["synthetic"]) == ("harmonised", "a", name, True)
        labels = [read_volume(folder / "labelsTr" / f"{name}.nii.gz").voxels for folder in (scanners, out)]
        np.testing.assert_array_equal(*labels)
        # In the units of the scan that informs, whatever those of the case were.
        assert read_volume(out / "imagesTr" / f"{name}_0000.nii.gz").voxels.max() < 2500
    assert json.loads((out / "dataset.json").read_text())["numTraining"] == 3

    report = json.loads((out / "report.json").read_text())
    assert report == made.report and not report["by_sources"] and report["missing"] == []
    assert report["informed"] == {"name": informed.name, "slice": 12, "slices": 32, "position": 12 / 31}
    for part in ("body", "dark", "middle", "bright", "edema"):
        was, now = (report["spread"]["stored"][side][part] for side in ("before", "after"))
        assert was["cases"] == now["cases"] == 3 and was["between_sources"] is None
        assert now["between_cases"] < 0.2 < 0.9 < was["between_cases"]
        assert now["distance_cases"] < was["distance_cases"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "3 cases harmonised to one slice" in page and "--source-pattern" in page
    sources = re.findall(r"(?:src|href)='([^']{5})", page)
    assert sources and all(found in ("data:",) or found.startswith("#") for found in sources), "self-contained"


def test_workers_interrupts_and_what_is_there_change_nothing(scanners, tiny_model, tmp_path, monkeypatch):
    informed, out = scanners / "imagesTr" / "c_0000.nii.gz", tmp_path / "out"
    table = tmp_path / "sources.csv"
    table.write_text("case,source\na,one\nb,two\nc,one\n", encoding="utf-8")
    settings = {"model": tiny_model, "seed": 5, "sources": table}
    pytest.importorskip("distributed")
    whole = harmonise(scanners, informed, tmp_path / "whole", **settings, workers=1)
    assert whole.report["sources"] == {"one": ["a", "c"], "two": ["b"]} and whole.report["by_sources"]
    assert whole.report["spread"]["scaled"]["before"]["body"]["between_sources"] is not None
    real, count = volumes.run_job, []

    def interrupted(job, out, **options):
        count.append(out)
        if len(count) == 2:
            raise KeyboardInterrupt
        return real(job, out, **options)

    monkeypatch.setattr(volumes, "run_job", interrupted)
    first = harmonise(scanners, informed, out, **settings)
    assert first.cohort.interrupted and first.report is None and not (out / "report.json").exists()
    second = harmonise(scanners, informed, out, **settings)
    assert (second.cohort.count("there"), second.cohort.count("made")) == (1, 2)
    assert files(out) == files(tmp_path / "whole")

    # A scan of a case that changed is measured again; other settings need another folder.
    lines = []
    scan = read_volume(scanners / "imagesTr" / "a_0000.nii.gz")
    write_volume(scan.with_voxels(scan.voxels + (scan.voxels > 0).astype(np.int16)), scan.source, description="")
    third = harmonise(scanners, informed, out, **settings, say=lines.append)
    told = [line.split(" (")[0].split("] ")[1] for line in lines]
    assert told == ["a: made", "b: there", "c: there", "measure a: made", "measure b: there", "measure c: there"]
    assert third.report["cases"]["a"]["before"]["mean"]["body"] == pytest.approx(
        second.report["cases"]["a"]["before"]["mean"]["body"] + 1, abs=0.05
    )
    with pytest.raises(InputError, match="begun with seed 5, not 6"):
        harmonise(scanners, informed, out, model=tiny_model, seed=6)
    with pytest.raises(InputError, match="was begun with"):
        harmonise(scanners, scanners / "imagesTr" / "b_0000.nii.gz", out, model=tiny_model, seed=5)


def test_one_bad_case_stops_nothing(scanners, tiny_model, tmp_path, capsys):
    bad = scanners / "imagesTr" / "b_0000.nii.gz"
    bad.write_bytes(bad.read_bytes()[:200])
    informed, out = scanners / "imagesTr" / "a_0000.nii.gz", tmp_path / "out"
    arguments = ["harmonize", str(scanners), "--informed", f"{informed}:20", "--out", str(out), "--steps", "1"]
    assert main([*arguments, "--model", str(tiny_model)]) == 1
    told = capsys.readouterr()
    assert "2 made, 0 there, 0 left out, 1 failed" in told.out and "b_0000.nii.gz" in told.err
    assert "means, cases: " in told.out and f"Report: {out / 'report.html'}" in told.out
    report = json.loads((out / "report.json").read_text())
    assert list(report["cases"]) == ["a", "c"] and [entry["case"] for entry in report["missing"]] == ["b"]
    assert report["informed"]["slice"] == 20 and report["informed"]["name"] == "a_0000.nii.gz"
    assert "Not harmonised" in (out / "report.html").read_text(encoding="utf-8")


def test_cases_that_cannot_be_measured_are_told(scanners, tiny_model, tmp_path, monkeypatch, capsys):
    informed, out = scanners / "imagesTr" / "a_0000.nii.gz", tmp_path / "out"
    real = harmonise_measure.measure_scan

    def failing(scan, *how):
        if "b_0000" in str(scan.source):
            raise InputError("It is of one intensity.")
        if "c_0000" in str(scan.source) and not (tmp_path / "second").exists():
            raise KeyboardInterrupt
        return real(scan, *how)

    monkeypatch.setattr(harmonise_measure, "measure_scan", failing)
    arguments = ["harmonize", str(scanners), "--informed", str(informed), "--out", str(out), "--steps", "1"]
    assert main([*arguments, "--model", str(tiny_model)]) == 130
    assert "while it measured" in capsys.readouterr().err and not (out / "report.json").exists()
    (tmp_path / "second").touch()
    made = harmonise(scanners, informed, out, model=tiny_model)
    assert made.unmeasured == (("b", "It is of one intensity."),) and not made.interrupted
    assert list(made.report["cases"]) == ["a", "c"] and len(made.cohort.records) == 3


def test_a_picture_informs_the_test_cases_too(dataset, tiny_model, tmp_path):
    for kind in ("images", "labels"):
        (dataset / f"{kind}Tr").rename(dataset / f"{kind}Ts")
    scan = read_volume(dataset / "imagesTs" / "a_0000.nii.gz")
    picture = tmp_path / "slice.png"
    Image.fromarray((scan.voxels[14] / scan.voxels.max() * 255).astype(np.uint8)).save(picture)
    made = harmonise(dataset, picture, tmp_path / "out", split="Ts", position=0.4, model=tiny_model)
    assert made.report["informed"] == {"name": "slice.png", "slice": 0, "slices": 1, "position": 0.4}
    assert len(made.report["cases"]) == 3
    with pytest.raises(InputError, match="is one slice"):
        harmonise(dataset, picture, tmp_path / "other", split="Ts", slice=3, model=tiny_model)


def test_what_cannot_inform_is_refused_before_anything_is_written(dataset, tiny_model, tiny_baseline, tmp_path, capsys):
    informed, out = dataset / "imagesTr" / "a_0000.nii.gz", tmp_path / "out"
    for wrong, match in (
        ({"slice": 40}, "has no slice 40; choose one from 0 to 31"),
        ({"slice": 0}, "Slice 0 .* shows no body"),
        ({"slice": 12, "position": 0.5}, "both by slice and by position"),
        ({"source_pattern": "(x)"}, "finds no source"),
        ({"threads": 0}, "0 threads"),
        ({"model": tiny_baseline}, "baseline without informed slice"),
    ):
        with pytest.raises(InputError, match=match):
            harmonise(dataset, informed, out, **{"model": tiny_model, **wrong})
    assert not out.exists()
    assert main(["harmonize", str(dataset), "--informed", "none.nii.gz:3", "--out", str(out)]) == 2
    assert "none.nii.gz does not exist" in capsys.readouterr().err


def test_the_slice_stands_behind_the_last_colon(tmp_path):
    assert scan_and_slice("a.nii.gz:12") == (type(tmp_path)("a.nii.gz"), 12)
    assert scan_and_slice("C:/scans/a.nii.gz") == (type(tmp_path)("C:/scans/a.nii.gz"), None)
    odd = tmp_path / "scan:7"
    odd.touch()
    assert scan_and_slice(str(odd)) == (odd, None)
    assert scan_and_slice(f"{odd}:3") == (odd, 3)
