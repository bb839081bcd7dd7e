"""The benchmarks run at the smallest scale, and compare like with like."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.cases import make_job
from benchmarks.measure import pressed_to_volume
from benchmarks.published import published_volume, published_windows
from benchmarks.report import replace_section
from benchmarks.speed import main
from napari_gem3d.bundle import load_bundle
from napari_gem3d.evaluation.figures import table


@pytest.mark.parametrize(("slices", "start"), [(40, 20), (3, 1), (16, 0), (46, 45), (138, 1)])
def test_the_published_windows_reach_every_slice(slices: int, start: int) -> None:
    windows = published_windows(slices, start)
    assert {i for window, _ in windows for i in window} == set(range(slices))
    assert all(len(window) == min(16, slices) and origin in window for window, origin in windows)


def test_both_procedures_generate_the_same_case(tiny_model: Path) -> None:
    bundle = load_bundle(tiny_model)
    job = make_job(bundle, 14, steps=2)
    assert job.prepared.case.labels.shape == (14, 32, 32) and job.total == 14
    made = published_volume(bundle, job, steps=2)
    assert made.shape == (14, 32, 32) and np.isfinite(made).all() and made.std() > 0
    indices = [i for part in job.run() for i in part.indices]
    assert sorted(indices) == list(range(14))


def test_a_case_of_another_size(tiny_model: Path) -> None:
    job = make_job(load_bundle(tiny_model), 5, (64, 32), steps=1)
    assert job.prepared.case.labels.shape == (5, 64, 32)


def test_from_pressing_generate_with_the_model_loaded(tiny_model: Path) -> None:
    taken = pressed_to_volume(load_bundle(tiny_model), str(tiny_model), 9, steps=1)
    assert taken["slices"] == 9 and taken["peak_mb"] >= taken["loaded_mb"] > 50
    assert 0 < taken["prepared"] < taken["first"] < taken["seconds"] < 60


def test_the_whole_benchmark_writes_its_results(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Speed\n\nWords.\n\n## Results\n\nold\n\n## After\n\nkept\n")
    few = ["--quick", "--repeats", "1", "--compared-slices", "7", "--steps", "2", "--published-steps", "4"]
    out = tmp_path / "speed.json"
    main(["--model", str(tiny_model), *few, "--out", str(out), "--write-docs", str(page)])
    results = json.loads(out.read_text())
    assert set(results) == {"machine", "equal", "many", "growth", "first", "command"}
    assert results["first"] > 0 and results["command"]["imports"] < results["command"]["first"]
    assert all(run["peak_mb"] >= run["loaded_mb"] > 50 for run in results["growth"])
    text = page.read_text()
    assert "old" not in text and text.startswith("# Speed\n\nWords.\n") and text.endswith("## After\n\nkept\n")
    assert "× faster**" in text and capsys.readouterr().out.strip() in text


def test_a_new_section_comes_last(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n")
    replace_section(page, "Solvers", table(["a", "b"], [["1", "2"]]))
    assert page.read_text() == "# Page\n\n## Solvers\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n"
