"""The abdominal path on a phantom: prepare, train, turn the map with its body, generate, HU on the map's grid."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.abdomen import main
from napari_gem3d import LabelMap, Volume, read_label_map, read_volume, write_volume
from napari_gem3d.bundle.store import read_plan

# Stored LPS, as scanners do, and turned a little.
AFFINE = np.array([[-3.0, 0.1, 0, 60], [0.1, -3, 0.2, 80], [0, 0.2, 4, -900], [0, 0, 0, 1]])
AIR, SOFT, LIVER, BONE = -1000, 40, 110, 700


def phantom(folder: Path, lowest: int = AIR) -> tuple[Path, Path]:
    """A CT of a box-shaped trunk with a liver, two kidneys and a spine in air; organs 5, 2 and 3 of a larger table."""
    z, y, x = np.mgrid[:14, :36, :44]
    trunk = (abs(y - 18) < 13) & (abs(x - 22) < 18)
    liver = ((z - 9) / 4) ** 2 + ((y - 17) / 7) ** 2 + ((x - 15) / 7) ** 2 < 1
    kidneys = [((z - 6) / 3) ** 2 + ((y - 25) / 3) ** 2 + ((x - at) / 3) ** 2 < 1 for at in (13, 31)]
    spine = (y - 24) ** 2 + (x - 22) ** 2 < 6
    voxels = np.select([~trunk, liver, spine], [AIR, LIVER, BONE], SOFT)
    voxels = np.maximum(voxels + np.random.default_rng(0).normal(0, 10, z.shape), lowest).astype(np.int16)
    organs = np.select([liver, *kidneys], [5, 2, 3], 0) + 7 * spine
    paths = folder / "ct.nii.gz", folder / "organs.nii.gz"
    write_volume(Volume(voxels, AFFINE), paths[0])
    write_volume(LabelMap(organs.astype(np.uint8), AFFINE), paths[1])
    return paths


def go(folder: Path, paths: tuple[Path, Path], steps: int) -> dict:
    organs = ("--organ", "liver=5", "--organ", "kidney=2,3")
    main([*map(str, paths), *organs, "--steps", str(steps), "--out", str(folder / "out")])
    return json.loads((folder / "out" / "results.json").read_text(encoding="utf-8"))


def test_hounsfield_units_come_back_on_the_turned_maps_grid(tmp_path, capsys):
    results = go(tmp_path, phantom(tmp_path), steps=120)
    out = tmp_path / "out"
    plan = read_plan(out / "run" / "bundle")
    assert (plan.modality, plan.intensity.kind, plan.background_outside_body) == ("CT", "window", False)
    assert [label.name for label in plan.labels] == ["liver", "kidney", "body", "bone", "fat", "air"]

    # The body of the scan turned with the organs, and nothing else happened.
    turned = read_label_map(out / "turned.nii.gz", plan.labels)
    assert results["volumes_ml"]["before"]["3"] > 0.5 * np.prod(turned.shape) * turned.grid.voxel_volume / 1000
    assert set(np.unique(turned.voxels)) == {0, 1, 2, 3} and max(map(abs, results["rotation_degrees"])) > 0.5

    made = read_volume(out / "synthetic.nii.gz")
    np.testing.assert_allclose(made.affine, AFFINE, atol=1e-4)
    assert made.shape == turned.shape and made.voxels.dtype == np.int16 and results["grid_of_the_map"]
    low, high = results["range_hu"]["synthetic"]
    assert results["window_hu"] == [-1000, 1000] and low >= -1000 and high <= 1000
    # Some hundred steps know air from tissue, in HU; not yet a liver from a kidney.
    drawn = results["hu"]["synthetic"]
    assert drawn["outside"][1] < -500 and -200 < drawn["liver"][1] < 400 and -200 < drawn["body"][1] < 400
    assert results["hu"]["scan"]["outside"][1] == pytest.approx(AIR, abs=5)
    assert results["hu"]["scan"]["liver"][1] == pytest.approx(LIVER, abs=5)
    assert "The volume is on the map's grid, int16 as the scan (int16)" in capsys.readouterr().out


def test_a_ct_without_its_air_goes_the_same_way(tmp_path):
    # Clipped to soft tissue: no value tells that it is a CT. The dataset says so in training, the model after that.
    results = go(tmp_path, phantom(tmp_path, lowest=-200), steps=4)
    assert read_plan(tmp_path / "out" / "run" / "bundle").modality == "CT"
    assert results["range_hu"]["scan"][0] == -200 and results["grid_of_the_map"]
    everything = results["volumes_ml"]["before"]
    assert sum(everything.values()) == pytest.approx(14 * 36 * 44 * abs(np.linalg.det(AFFINE[:3, :3])) / 1000, rel=1e-3)
