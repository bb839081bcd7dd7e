"""The Make-A-Volume baseline: a bundle whose networks see the label map and the position, and no informed slice."""

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_gem3d import (
    LabelMap,
    Volume,
    make_edit_recipe,
    make_recipe,
    read_label_map,
    read_volume,
    run_recipe,
    write_volume,
)
from napari_gem3d.bundle import load_bundle
from napari_gem3d.bundle.conditioning import Conditions, condition_channels
from napari_gem3d.cli.main import main


@pytest.fixture(scope="module")
def baseline(tiny_baseline) -> Path:
    return tiny_baseline


@pytest.fixture(scope="module")
def other(tiny_patient, tmp_path_factory) -> Path:
    """The scan with its left on its right: the same intensities, another picture."""
    scan = read_volume(tiny_patient.scan)
    path = tmp_path_factory.mktemp("other") / "scan.nii.gz"
    write_volume(Volume(np.ascontiguousarray(scan.voxels[..., ::-1]), scan.affine, "MR"), path)
    return path


def drawn(patient, scan, model, out, **options) -> np.ndarray:
    written = run_recipe(make_recipe(patient.labels, scan, model=model, seed=3, device="cpu", **options), out)
    assert written is not None
    return read_volume(written).voxels


def test_the_baseline_does_not_see_the_informed_slice_and_gem3d_does(
    tiny_patient, tiny_model, baseline, other, tmp_path
):
    volumes = {
        (name, scan): drawn(tiny_patient, path, model, tmp_path / f"{name}-{scan}.nii.gz")
        for name, model in (("plain", baseline), ("gem3d", tiny_model))
        for scan, path in (("one", tiny_patient.scan), ("two", other))
    }
    np.testing.assert_array_equal(volumes["plain", "one"], volumes["plain", "two"])
    assert volumes["plain", "one"].std() > 0
    assert (volumes["gem3d", "one"] != volumes["gem3d", "two"]).mean() > 0.05


def test_the_informed_scan_still_gives_the_intensity_range(tiny_patient, baseline, tmp_path):
    scan = read_volume(tiny_patient.scan)
    twice = tmp_path / "twice.nii.gz"
    write_volume(Volume(2 * scan.voxels, scan.affine, "MR"), twice)
    one = drawn(tiny_patient, tiny_patient.scan, baseline, tmp_path / "one.nii.gz")
    two = drawn(tiny_patient, twice, baseline, tmp_path / "two.nii.gz")
    np.testing.assert_allclose(two, 2.0 * one, atol=2)


def test_windows_still_share_slices(tiny_patient, baseline, tmp_path):
    """With another window plan other slices are shared, and so the volume is another."""
    middle = drawn(tiny_patient, tiny_patient.scan, baseline, tmp_path / "middle.nii.gz", position=0.5)
    low = drawn(tiny_patient, tiny_patient.scan, baseline, tmp_path / "low.nii.gz", position=0.1)
    assert (middle != low).any()


def test_conditions_are_the_labels_and_the_position(baseline):
    plan = load_bundle(baseline).plan
    labels = np.random.default_rng(0).choice(np.array([0, 1, 3, 4], np.uint8), (5, 32, 32))
    conditions = Conditions(plan, labels, torch.device("cpu"))
    window = conditions.window(range(1, 4), torch.randn(1, 4, 4, 4), origin=1)
    assert window.shape == (3, condition_channels(plan), 4, 4) == (3, len(plan.labels) + 1, 4, 4)
    assert torch.equal(window, conditions.window(range(1, 4), torch.randn(1, 4, 4, 4), origin=3))
    assert window[:, -1, 0, 0].tolist() == [-0.5, 0, 0.5]


def test_the_command_line_says_that_it_is_the_baseline(tiny_patient, baseline, tmp_path, capsys):
    paths = ["--mask", tiny_patient.labels, "--informed", tiny_patient.scan, "--model", baseline]
    assert main([str(part) for part in ("generate", *paths, "--seed", 1, "--out", tmp_path / "out.nii.gz")]) == 0
    assert "plain is a baseline without informed slice (Make-A-Volume)" in capsys.readouterr().err


def test_a_local_edit_works_with_the_baseline_too(tiny_patient, baseline, tmp_path):
    labels = read_label_map(tiny_patient.labels)
    edited = labels.voxels.copy()
    edited[12:15, 15:19, 14:18] = 1
    after = tmp_path / "after.nii.gz"
    write_volume(LabelMap(edited, labels.affine), after)
    recipe = make_edit_recipe(tiny_patient.scan, tiny_patient.labels, after, model=baseline, margin_mm=4, seed=1)
    written = run_recipe(recipe, tmp_path / "out.nii.gz")
    assert written is not None
    drawn, scan = read_volume(written).voxels, read_volume(tiny_patient.scan).voxels
    far = np.ones(scan.shape, bool)
    far[12 - 4 : 15 + 4, 15 - 4 : 19 + 4, 14 - 4 : 18 + 4] = False
    np.testing.assert_array_equal(drawn[far], scan[far])
    assert (drawn[13, 16:18, 15:17] != scan[13, 16:18, 15:17]).any()
