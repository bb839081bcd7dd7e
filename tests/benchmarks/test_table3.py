"""Table 3: what the training sets are made of, and that nothing is made twice."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.table3 import BASELINE, REAL, RESAMPLED, main
from napari_gem3d import Volume, read_label_map, read_volume, write_volume
from napari_gem3d.io import sha256
from napari_gem3d.sampling.recipe import read_recipe


@pytest.fixture
def dataset(tiny_patient, tmp_path: Path) -> Path:
    """Three patients to train on, one to test on, who differ in brightness."""
    data = tmp_path / "data"
    scan = read_volume(tiny_patient.scan)
    for number, (name, kind) in enumerate([("a", "Tr"), ("b", "Tr"), ("c", "Tr"), ("d", "Ts")]):
        for folder in (f"images{kind}", f"labels{kind}"):
            (data / folder).mkdir(parents=True, exist_ok=True)
        voxels = np.where(scan.voxels > 0, scan.voxels + 10 * number, 0).astype(np.int16)
        write_volume(Volume(voxels, scan.affine, "MR"), data / f"images{kind}" / f"{name}_0000.nii.gz")
        shutil.copy(tiny_patient.lesions, data / f"labels{kind}" / f"{name}.nii.gz")
    facts = {"channel_names": {"0": "FLAIR"}, "labels": {"background": 0, "edema": 1}, "file_ending": ".nii.gz"}
    (data / "dataset.json").write_text(json.dumps(facts), encoding="utf-8")
    return data


def test_sets_are_made_once_and_compared(tiny_model, tiny_baseline, dataset, tmp_path, capsys) -> None:
    pytest.importorskip("monai")
    out = tmp_path / "out"
    call = [str(dataset), "--model", str(tiny_model), "--baseline", str(tiny_baseline), "--out", str(out)]
    main([*call, "--seeds", "1", "--steps", "1"])
    for name in "abc":
        own = sha256(dataset / "imagesTr" / f"{name}_0000.nii.gz")
        made = {kind: out / "sets" / kind for kind in (RESAMPLED, BASELINE)}
        recipes = {kind: read_recipe(folder / "imagesTr" / f"{name}-v1_0000.json") for kind, folder in made.items()}
        assert recipes[RESAMPLED].informed.sha256 != own
        assert recipes[BASELINE].informed.sha256 == own
        for folder in made.values():
            kept, before = folder / "labelsTr" / f"{name}-v1.nii.gz", dataset / "labelsTr" / f"{name}.nii.gz"
            assert np.array_equal(read_label_map(kept).voxels, read_label_map(before).voxels)
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert list(results["summary"]) == [REAL, RESAMPLED, BASELINE]
    assert "stand-in" in results["segmenter"] and results["minutes"]["trainings"] > 0
    assert capsys.readouterr().out.count(": made (") == 6

    (out / "sets" / RESAMPLED / "imagesTr" / "b-v1_0000.nii.gz").unlink()
    page = tmp_path / "page.md"
    page.write_text("# Results\n", encoding="utf-8")
    main([*call, "--seeds", "1", "--steps", "1", "--write-docs", str(page)])
    assert capsys.readouterr().out.count(": made (") == 1
    again = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert again["sets"] == results["sets"], "the same recipe draws the same volume"
    assert "| baseline | 3 |" in page.read_text(encoding="utf-8")


def test_a_baseline_is_no_model_and_a_model_no_baseline(tiny_model, tiny_baseline, dataset, tmp_path) -> None:
    call = [str(dataset), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="without informed slice; give it with --baseline"):
        main([*call, "--model", str(tiny_baseline)])
    with pytest.raises(SystemExit, match="sees an informed slice, so it is no baseline"):
        main([*call, "--model", str(tiny_model), "--baseline", str(tiny_model)])
