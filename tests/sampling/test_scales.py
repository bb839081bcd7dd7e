"""Scans whose intensities do not begin at 0 give what the same scan gives that does."""

from pathlib import Path

import numpy as np
import pytest

import napari_gem3d as gem
from napari_gem3d.bundle.preprocessing import prepare_labels, prepare_scan
from napari_gem3d.foreground import foreground
from napari_gem3d.sampling.generation import edit, generate

# How a scan is stored: factor, offset, and what is around the patient (None: as all else).
STORED = {
    "z-score": (1 / 250, -2.4, None),
    "minus one to one": (2 / 1000, -1, None),
    "times ten thousand": (1e4, 0, None),
    "offset": (1, 300, None),
}


def stored(scan, how):
    factor, offset, _ = STORED[how]
    return scan.with_voxels((scan.voxels * factor + offset).astype(np.float64))


def back(voxels, how):
    factor, offset, _ = STORED[how]
    return (voxels - offset) / factor


@pytest.fixture(scope="module")
def bundle(tiny_model):
    return gem.load_bundle(tiny_model)


@pytest.fixture(scope="module")
def inputs(tiny_patient):
    return gem.read_volume(tiny_patient.scan), gem.read_label_map(tiny_patient.labels)


@pytest.mark.parametrize("how", STORED)
def test_a_volume_is_the_same_whatever_the_scale(bundle, inputs, how):
    scan, labels = inputs
    plain = scan.with_voxels(scan.voxels.astype(np.float64))
    settings = gem.Settings(seed=1, steps=2)
    wanted = generate(bundle, gem.Inputs(labels, informed=plain, body=plain), settings).result().voxels
    other = stored(scan, how)
    found = generate(bundle, gem.Inputs(labels, informed=other, body=other), settings).result().voxels
    np.testing.assert_allclose(back(found, how), wanted, atol=0.5)  # of 1000


@pytest.mark.parametrize("how", STORED)
def test_an_edit_is_the_same_whatever_the_scale(bundle, inputs, how):
    scan, labels = inputs
    edited = labels.with_voxels(np.where(labels.voxels == 1, np.uint8(4), labels.voxels))
    settings = gem.Settings(seed=1, steps=2)
    plain = scan.with_voxels(scan.voxels.astype(np.float64))
    wanted = edit(bundle, gem.EditInputs(plain, labels, edited), settings).result().voxels
    found = edit(bundle, gem.EditInputs(stored(scan, how), labels, edited), settings).result().voxels
    assert (wanted != scan.voxels).any()
    np.testing.assert_allclose(back(found, how), wanted, atol=0.5)


@pytest.mark.parametrize("how", STORED)
def test_what_training_caches_is_the_same_whatever_the_scale(bundle, inputs, how):
    scan, labels = inputs
    case = prepare_labels(bundle.plan, labels)
    wanted, found = (
        prepare_scan(bundle.plan, shown, case.box, foreground(shown)) for shown in (scan, stored(scan, how))
    )
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_a_z_score_of_the_brain_alone_keeps_its_background(bundle, inputs):
    """As nnU-Net and MONAI store scans: 0 around the brain, and dark tissue below it."""
    scan, labels = inputs
    inside = scan.voxels != 0
    values = scan.voxels[inside]
    scored = np.where(inside, (scan.voxels - values.mean()) / values.std(), 0).astype(np.float32)
    other = scan.with_voxels(scored)
    made = (
        generate(bundle, gem.Inputs(labels, informed=other, body=other), gem.Settings(seed=1, steps=2)).result().voxels
    )
    assert (made[labels.voxels == 0] == 0).all()
    assert made[labels.voxels > 0].min() < -1.5
    case = prepare_labels(bundle.plan, labels)
    cached = prepare_scan(bundle.plan, other, case.box, foreground(other))
    assert (cached[case.labels == 0] == -1).all() and np.mean(cached[case.labels > 0] == -1) < 0.02


def test_a_training_run_on_z_scores_says_so(tmp_path: Path, inputs):
    from napari_gem3d.training.config.settings import TrainingConfig
    from napari_gem3d.training.data.prepare import prepare

    scan, labels = inputs
    inside = scan.voxels != 0
    voxels = np.where(inside, (scan.voxels - 700.0) / 150, 0).astype(np.float32)
    lines = ["image,labels"]
    for number in range(2):
        gem.write_volume(scan.with_voxels(voxels + 0 * number), tmp_path / f"s{number}.nii.gz")
        gem.write_volume(labels.with_voxels(labels.voxels), tmp_path / f"l{number}.nii.gz")
        lines.append(f"s{number}.nii.gz,l{number}.nii.gz")
    (tmp_path / "data.csv").write_text("\n".join(lines), encoding="utf-8")
    said: list[str] = []
    config = TrainingConfig.model_validate({"data": {"variants": 1, "workers": 1, "anatomy": False}})
    prepare(tmp_path / "data.csv", tmp_path / "run", config, said.append)
    assert '"low_end": "scan"' in (tmp_path / "run" / "plan.json").read_text(encoding="utf-8")
    assert "where each scan begins (2 not at 0)" in " ".join("\n".join(said).split())
