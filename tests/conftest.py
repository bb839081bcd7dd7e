"""What many tests need: the real data beside the checkout, a small patient and model, a display for the viewer."""

import gc
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real scans beside the checkout (``GEM3D_SHARED`` overrides its place); skips without it."""
    folder = Path(os.environ.get("GEM3D_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip("the shared scans are not beside this checkout")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything under tests/viewer, and skip it on Linux without a display."""
    no_display = sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    for item in items:
        if "viewer" in item.path.relative_to(ROOT).parts:
            item.add_marker(pytest.mark.viewer)
        if no_display and item.get_closest_marker("viewer"):
            item.add_marker(pytest.mark.skip(reason="no display; run under xvfb-run"))


def pytest_collection_finish() -> None:
    """What the imports made stays: napari's fixture collects garbage twice a window and need not walk through it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # no cycles of a test are large


@pytest.fixture(autouse=True)
def _few_slices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """MS-SSIM at the paper's size takes a quarter of a second a slice; one is enough where it is not the subject."""
    parts = request.path.relative_to(ROOT).parts
    if {"evaluation", "benchmarks"} & set(parts) and parts[-1] not in ("test_similarity.py", "test_judging.py"):
        monkeypatch.setattr("napari_gem3d.evaluation.similarity.EVERY", 1000)


@dataclass(frozen=True)
class TinyPatient:
    """Files of a small made-up patient, stored LPS: a scan, its label map with the body, and one without."""

    scan: Path
    labels: Path
    lesions: Path


@pytest.fixture(scope="session")
def tiny_patient(tmp_path_factory: pytest.TempPathFactory) -> TinyPatient:
    """An egg of 26 slices, 1 mm, with a lesion; int16 from 0 to about 1000; 2 empty slices below, 4 above."""
    from napari_gem3d import LabelMap, Volume, write_volume

    z, y, x = np.mgrid[:32, :36, :40].astype(np.float32)
    inside = ((z - 14.5) / 13.2) ** 2 + ((y - 17) / 13) ** 2 + ((x - 21) / 11) ** 2 < 1
    lesion = ((z - 18) / 3) ** 2 + ((y - 20) / 4) ** 2 + ((x - 24) / 4) ** 2 < 1
    texture = np.random.default_rng(0).normal(0, 30, inside.shape)
    voxels = np.where(inside, 500 + 15 * z + 8 * x + 200 * lesion + texture, 0).astype(np.int16)
    affine = np.array([[-1.0, 0, 0, 20], [0, -1, 0, 30], [0, 0, 1, -7], [0, 0, 0, 1]])
    folder = tmp_path_factory.mktemp("patient")
    patient = TinyPatient(folder / "scan.nii.gz", folder / "labels.nii.gz", folder / "lesions.nii.gz")
    write_volume(Volume(voxels, affine, "MR"), patient.scan)
    write_volume(LabelMap((4 * inside).astype(np.uint8) - 3 * lesion.astype(np.uint8), affine), patient.labels)
    write_volume(LabelMap(lesion.astype(np.uint8), affine), patient.lesions)
    return patient


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a bundle with random weights, small enough to generate a `tiny_patient` in a second."""
    import torch

    from napari_gem3d.bundle import ModelBundle, Plan, save_bundle
    from napari_gem3d.bundle.conditioning import condition_channels
    from napari_gem3d.labels import Label, LabelTable
    from napari_gem3d.networks import SliceUNet, SliceVAE, VolumeUNet

    table = LabelTable((Label(1, "edema"), Label(3, "enhancing"), Label(4, "brain", meaning="body")))
    latents = {"channels": 4, "factor": 8, "mean": [0.0] * 4, "std": [1.0] * 4}
    plan = Plan(name="tiny", size=(32, 32), window=6, labels=table, latents=latents, default_steps=3)
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3}
    vae = SliceVAE.build(
        {"block_out_channels": (8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4, "latent_channels": 4, **blocks}
    )
    inputs = plan.latents.channels + condition_channels(plan)
    slice_unet = SliceUNet.build(inputs, 4, (16, 16, 16), (False, False, True), 1, head_channels=8, norm_groups=8)
    volume_unet = VolumeUNet.inflate(slice_unet)
    with torch.no_grad():  # an inflated network does not mix slices before it is trained
        for _, parameter in volume_unet.volumetric_parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return save_bundle(ModelBundle(plan, vae, slice_unet, volume_unet), tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def steady_model(tiny_model: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of `tiny_model` whose plan corrects seams and filters streaks, or has the fields it is given."""

    def make(**fields: Any) -> Path:
        folder = tmp_path / ("steady" + "-".join(map(str, fields.values())))
        shutil.copytree(tiny_model, folder)
        plan = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        changed = {**plan, "residual_mm": 4.0, "streak_filter": True, **fields}
        (folder / "model.json").write_text(json.dumps(changed), encoding="utf-8")
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_baseline(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of `tiny_model` with U-Nets of the scheme ``labels``, without informed slice; their weights are random."""
    import torch

    from napari_gem3d.bundle import load_bundle, save_bundle
    from napari_gem3d.bundle.conditioning import condition_channels
    from napari_gem3d.networks import SliceUNet, VolumeUNet

    bundle = load_bundle(tiny_model)
    bundle.plan = bundle.plan.model_copy(update={"conditioning": "labels", "name": "plain"})
    channels = bundle.plan.latents.channels
    torch.manual_seed(0)
    inputs = channels + condition_channels(bundle.plan)
    bundle.slice_unet = SliceUNet.build(inputs, channels, (16, 16, 16), (False, False, True), 1, 8, 8)
    bundle.volume_unet = VolumeUNet.inflate(bundle.slice_unet)
    with torch.no_grad():  # an inflated network does not mix slices before it is trained
        for _, parameter in bundle.volume_unet.volumetric_parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return save_bundle(bundle, tmp_path_factory.mktemp("models") / "plain")
