"""Table 2: figures of the pairs, the better for the scan itself, and the difference of the methods."""

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.regimes import BASELINE, OURS
from benchmarks.table2 import main
from napari_gem3d.evaluation.protocol import PROTOCOL


@pytest.fixture
def dataset(tiny_patient, tmp_path: Path) -> Path:
    data = tmp_path / "data"
    for folder in ("imagesTs", "labelsTs"):
        (data / folder).mkdir(parents=True)
    shutil.copy(tiny_patient.scan, data / "imagesTs" / "a_0000.nii.gz")
    shutil.copy(tiny_patient.labels, data / "labelsTs" / "a.nii.gz")
    return data


def test_both_methods_are_compared_with_the_patient(tiny_model, tiny_baseline, dataset, tmp_path) -> None:
    pytest.importorskip("torchmetrics")
    pytest.importorskip("efficientnet_lite_pytorch")
    out, page = tmp_path / "out", tmp_path / "page.md"
    page.write_text("# Results\n", encoding="utf-8")
    call = [str(dataset), "--model", str(tiny_model), "--baseline", str(tiny_baseline), "--out", str(out)]
    main([*call, "--seeds", "1"])
    first = json.loads((out / "table2.json").read_text(encoding="utf-8"))["rows"]
    assert list(first) == [BASELINE, OURS]
    # The scan in the place of a volume, under the volume's recipe, is taken as it is, and is perfect.
    shutil.copy(dataset / "imagesTs" / "a_0000.nii.gz", out / OURS / "a-seed1.nii.gz")
    main([*call, "--seeds", "1", "--write-docs", str(page)])
    again = json.loads((out / "table2.json").read_text(encoding="utf-8"))
    assert again["rows"][BASELINE] == first[BASELINE]
    perfect = again["rows"][OURS]
    assert perfect["ms_ssim"][0] == pytest.approx(1, abs=1e-4)
    assert perfect["efficientnet_distance"][0] == pytest.approx(0, abs=1e-6)
    assert first[OURS]["efficientnet_distance"][0] > 0.01 and first[OURS]["ssim"][0] < 0.9
    text = page.read_text(encoding="utf-8")
    head = "| method | MS-SSIM ↑ | MS-SSIM, by maximum ↑ | SSIM inside ↑ | perceptual ↓ | SSIM ↑ | PSNR ↑ |"
    assert head in text and "not LPIPS" in text and PROTOCOL in text
    assert perfect["ms_ssim_max"][0] == pytest.approx(1, abs=1e-4) and perfect["lesion_corr"][0] == pytest.approx(1)
    difference = next(line for line in text.splitlines() if line.startswith("| difference |"))
    assert f"| {perfect['ssim'][0] - first[BASELINE]['ssim'][0]:+.3f} |" in difference


def test_bad_input_is_one_sentence(tiny_model, tiny_baseline, dataset, tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="so it is no baseline"):
        main([str(dataset), "--model", str(tiny_model), "--baseline", str(tiny_model), *out])
    with pytest.raises(SystemExit, match="give it with --baseline"):
        main([str(dataset), "--model", str(tiny_baseline), *out])
    with pytest.raises(SystemExit, match="has no test patients"):
        main([str(tmp_path), "--model", str(tiny_model), *out])
