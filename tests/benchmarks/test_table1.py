"""Table 1: rows of the paper, made of the test patients' label maps, and nothing made twice."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks import table1
from benchmarks.table1 import BASELINE, REAL, main, methods
from napari_gem3d import Volume, read_volume, write_volume
from napari_gem3d.evaluation.frechet import PLANES
from napari_gem3d.sampling.recipe import read_recipe


@pytest.fixture
def drawing_model(tiny_model, tmp_path: Path) -> Path:
    """`tiny_model` with a position U-Net, of random weights too."""
    from napari_gem3d.bundle import load_bundle, save_bundle
    from napari_gem3d.networks import PositionUNet

    bundle = load_bundle(tiny_model)
    bundle.position_unet = PositionUNet.build(bundle.plan.latents.channels, (8, 16), (True, True), 1, 8, 4, 16)
    save_bundle(bundle, tmp_path / "drawing")
    return tmp_path / "drawing"


@pytest.fixture
def dataset(tiny_patient, tmp_path: Path) -> Path:
    """Two patients to train on, two to test on, who differ in brightness."""
    data, scan = tmp_path / "data", read_volume(tiny_patient.scan)
    for number, (name, kind) in enumerate([("a", "Tr"), ("b", "Tr"), ("c", "Ts"), ("d", "Ts")]):
        for folder in (f"images{kind}", f"labels{kind}"):
            (data / folder).mkdir(parents=True, exist_ok=True)
        voxels = np.where(scan.voxels > 0, scan.voxels + 40 * number, 0).astype(np.int16)
        write_volume(Volume(voxels, scan.affine, "MR"), data / f"images{kind}" / f"{name}_0000.nii.gz")
        shutil.copy(tiny_patient.lesions, data / f"labels{kind}" / f"{name}.nii.gz")
    facts = {"channel_names": {"0": "FLAIR"}, "labels": {"background": 0, "edema": 1}, "file_ending": ".nii.gz"}
    (data / "dataset.json").write_text(json.dumps(facts), encoding="utf-8")
    return data


def test_rows_are_those_of_the_paper(dataset) -> None:
    rows = methods(dataset, baseline=True)
    assert [row.name for row in rows] == [
        BASELINE,
        "GEM-3D + IG",
        "GEM-3D + IG + MA",
        "GEM-3D + IC",
        "GEM-3D + IC + MA",
    ]
    assert methods(dataset, baseline=False) == rows[1:]
    assert len({row.folder for row in rows}) == len(rows)


def test_rows_are_made_once(monkeypatch, drawing_model, tiny_baseline, dataset, tmp_path) -> None:
    kept = (BASELINE, "GEM-3D + IG + MA", "GEM-3D + IC")
    monkeypatch.setattr(table1, "methods", lambda *arguments: [m for m in methods(*arguments) if m.name in kept])
    out, page = tmp_path / "out", tmp_path / "page.md"
    page.write_text("# Results\n", encoding="utf-8")
    call = [
        str(dataset),
        "--model",
        str(drawing_model),
        "--baseline",
        str(tiny_baseline),
        "--out",
        str(out),
        "--seeds",
        "1",
    ]
    main([*call, "--write-docs", str(page)])
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert list(results["rows"]) == [*kept, REAL]
    far = results["rows"][REAL]["frechet"]
    for name in kept:
        # Random weights are farther from patients than patients are from each other.
        assert all(results["rows"][name]["frechet"][plane][0] > 10 * far[plane][0] for plane in PLANES)
        made = out / "sets" / f"{name.lower().replace(' + ', '-')}-1"
        informed, moved = read_recipe(made / "imagesTr" / "c-v1_0000.json").informed, "MA" in name
        assert (informed is None) == ("IG" in name)
        # The baseline takes the patient's own range of intensities, and looks at no slice.
        sources = ("c",) if name == BASELINE else ("a", "b")
        assert informed is None or Path(informed.path).name in [f"{case}_0000.nii.gz" for case in sources]
        labels = [
            read_volume(folder).voxels
            for folder in (made / "labelsTr" / "c-v1.nii.gz", dataset / "labelsTs" / "c.nii.gz")
        ]
        assert np.array_equal(*labels) != moved
    assert all(f"| {name} |" in page.read_text(encoding="utf-8") for name in kept)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")}
    main(call)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")} == before
    assert json.loads((out / "results.json").read_text(encoding="utf-8"))["rows"] == results["rows"]


def test_a_model_with_informed_slice_is_no_baseline(tiny_model, dataset, tmp_path) -> None:
    with pytest.raises(SystemExit, match="no baseline"):
        main([str(dataset), "--model", str(tiny_model), "--baseline", str(tiny_model), "--out", str(tmp_path / "out")])
