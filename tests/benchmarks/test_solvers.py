"""Solvers are judged from a folder of volumes, generated or found there."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.plot import Panel, draw_panels
from benchmarks.solvers import Setting, main
from napari_gem3d.evaluation.protocol import PROTOCOL
from napari_gem3d.io import read_volume, write_volume


def test_settings_are_named_after_what_they_are() -> None:
    assert Setting.of("dpmsolver++-10-0") == Setting("dpmsolver++", 10, 0)
    assert Setting.of("ddim-200-0.5").line == "ddim, eta 0.5"
    assert Setting.of(Setting("unipc", 5, 0).folder).steps == 5
    with pytest.raises(ValueError, match="SOLVER-STEPS-ETA"):
        Setting.of("fast")


def test_volumes_are_made_and_judged_once(tiny_patient, tiny_model, tmp_path: Path) -> None:
    pytest.importorskip("torchmetrics")
    pytest.importorskip("efficientnet_lite_pytorch")
    data, volumes, out = tmp_path / "data", tmp_path / "volumes", tmp_path / "solvers.json"
    for folder in ("imagesTs", "labelsTs"):
        (data / folder).mkdir(parents=True)
    shutil.copy(tiny_patient.scan, data / "imagesTs" / "a_0000.nii.gz")
    shutil.copy(tiny_patient.labels, data / "labelsTs" / "a.nii.gz")
    # As good as can be, and halfway to nothing.
    real = read_volume(tiny_patient.scan)
    for name, voxels in (("ddim-9-0", real.voxels), ("ddim-3-0", real.voxels // 2)):
        (volumes / name).mkdir(parents=True)
        write_volume(real.with_voxels(voxels), volumes / name / "a.nii.gz")
    (volumes / "unipc-7-0").mkdir()  # not complete
    page = tmp_path / "page.md"
    page.write_text("# Speed\n")
    common = ["--data", str(data), "--volumes", str(volumes), "--out", str(out)]
    plot = tmp_path / "images" / "solvers.png"
    main(
        [*common, "--model", str(tiny_model), "--generate", "unipc-1-0", "--write-docs", str(page), "--plot", str(plot)]
    )
    results = json.loads(out.read_text())
    assert set(results) == {"ddim-9-0", "ddim-3-0", "unipc-1-0"}
    assert results["ddim-9-0"]["ms_ssim"] == pytest.approx(1, abs=1e-4)
    assert results["ddim-9-0"]["frechet"]["axial"] == pytest.approx(0, abs=1e-3)
    assert results["ddim-3-0"]["frechet"]["axial"] > results["ddim-9-0"]["frechet"]["axial"] + 1e-3
    assert results["unipc-1-0"]["ms_ssim"] < results["ddim-9-0"]["ms_ssim"]
    assert "| ddim, eta 0 | 9 | 1.0000 | 0.00 | 0.00 | 0.00 |" in page.read_text().replace("-0.00", "0.00")
    assert plot.exists() and PROTOCOL in page.read_text()
    shutil.rmtree(volumes / "unipc-1-0")
    out.write_text(json.dumps({**results, "ddim-3-0": {**results["ddim-3-0"], "ms_ssim": 0.123}}))
    main(common)
    assert json.loads(out.read_text())["ddim-3-0"]["ms_ssim"] == 0.123, "not judged again"
    # Measured with padded slices, as they were before.
    older = {name: entry for name, entry in results["ddim-9-0"].items() if name != "protocol"} | {"ms_ssim": 0.9}
    out.write_text(json.dumps({"ddim-9-0": older, "unipc-1-0": older, "ddim-3-0": results["ddim-3-0"]}))
    main(common)
    again = json.loads(out.read_text())
    assert set(again) == {"ddim-9-0", "ddim-3-0"}, "volumes of unipc-1-0 are not there to be judged again"
    assert again["ddim-9-0"]["ms_ssim"] == pytest.approx(1, abs=1e-4)


def test_lines_are_drawn_where_their_values_are(tmp_path: Path) -> None:
    path = tmp_path / "plot.png"
    draw_panels([Panel("rising", "steps", {"one": [(5, 0.1), (50, 0.9)], "two": [(5, 0.5)]})], path)
    pixels = np.asarray(Image.open(path)).astype(int)
    blue = (np.abs(pixels - (0x00, 0x72, 0xB2)) < 40).all(axis=2)
    columns = np.flatnonzero(blue[:, :300].any(axis=0))
    left = columns.min()
    rows_left, rows_right = (np.flatnonzero(blue[60:, c]).mean() + 60 for c in (left + 4, 480))
    assert rows_left > rows_right + 100, "higher values are higher up"
