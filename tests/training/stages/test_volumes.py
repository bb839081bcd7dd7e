"""Sample volumes: drawn by the real sampler, without disturbing the training."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from napari_gem3d.bundle import Plan
from napari_gem3d.bundle.conditioning import condition_channels
from napari_gem3d.networks import PositionUNet, SliceUNet, SliceVAE, VolumeUNet
from napari_gem3d.training.config.settings import PositionSettings, SliceSettings, VAESettings, VolumeSettings
from napari_gem3d.training.data.cache import Cache
from napari_gem3d.training.stages import volumes
from napari_gem3d.training.stages.batches import PositionSource, SliceSource, WindowSource
from napari_gem3d.training.stages.diffusion import (
    DiffusionStage,
    PositionDenoising,
    SliceDenoising,
    WindowDenoising,
)
from napari_gem3d.training.stages.latents import encode_cache
from napari_gem3d.training.stages.vae import VAEStage
from napari_gem3d.training.stages.volumes import sample_volume

CPU = torch.device("cpu")
VAE = VAESettings(batch=2, crop=32, perceptual_weight=0)


@pytest.fixture
def stages(cache: Cache, plan: Plan, vae: SliceVAE) -> tuple[dict[str, DiffusionStage | VAEStage], list[str]]:
    """All four, and what they say."""
    said: list[str] = []
    key = encode_cache(cache, vae, "float32", lambda _: None)
    channels = plan.latents.channels
    unet = SliceUNet.build(channels + condition_channels(plan), channels, (8, 16), (False, True), 1, 8, 4)
    drawer = PositionUNet.build(channels, (8, 16), (True, True), 1, 8, 4, 16)
    parts = {
        "slice": (SliceSettings(), SliceSource, SliceDenoising, unet),
        "volume": (VolumeSettings(), WindowSource, WindowDenoising, VolumeUNet.inflate(unet)),
        "position": (PositionSettings(), PositionSource, PositionDenoising, drawer),
    }
    made: dict[str, DiffusionStage | VAEStage] = {"vae": VAEStage(vae, VAE, cache, CPU, "float32", said.append)}
    for name, (settings, source, denoising, network) in parts.items():
        sources = [source(cache, plan, split, settings, key) for split in ("train", "monitor")]
        objective = denoising(network, plan.schedule, settings)
        made[name] = DiffusionStage(name, objective, settings, sources, vae, CPU, "float32", said.append)
    return made, said


@pytest.mark.parametrize("name", ["vae", "slice", "volume"])
def test_a_volume_is_drawn_and_nothing_is_disturbed(
    stages: tuple[dict[str, DiffusionStage | VAEStage], list[str]], tmp_path: Path, name: str
) -> None:
    made, said = stages
    stage = made[name]
    torch.manual_seed(3)
    modes = {n: module.training for n, module in stage.objective.named_modules()}
    weights = [p.detach().clone() for p in stage.objective.parameters()]
    learns = [p.requires_grad for p in stage.objective.parameters()]
    state = torch.get_rng_state()
    stage.planes(tmp_path / "p.png")
    assert torch.equal(torch.get_rng_state(), state)
    assert (tmp_path / "p.png").is_file()
    assert {n: module.training for n, module in stage.objective.named_modules()} == modes
    assert modes[""]
    assert all(torch.equal(p, w) for p, w in zip(stage.objective.parameters(), weights, strict=True))
    assert [p.requires_grad for p in stage.objective.parameters()] == learns
    assert not said
    # What follows a picture learns as if there had been none.
    loss = stage.objective(stage.source.join([stage.source.draw(np.random.default_rng(0))]), 0).loss
    loss.backward()
    assert any(p.grad is not None for p in stage.objective.parameters())


def test_the_picture_has_the_real_volume_above_the_one_that_is_made(
    stages: tuple[dict[str, DiffusionStage | VAEStage], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = stages[0]["vae"]
    real = stage.cache.array("egg2", "images")[0].astype(np.float32)
    monkeypatch.setattr(VAEStage, "_reconstructed", lambda *_: np.where(real > -1, np.float32(1), np.float32(-1)))
    stage.planes(tmp_path / "p.png")
    sheet = np.asarray(Image.open(tmp_path / "p.png").convert("L")).astype(float)
    row = (sheet.shape[0] - 24) // 3
    above, below = (sheet[top : top + row - 8] for top in (0, row + 3))
    assert np.percentile(above, 90) < 200
    assert (below > 250).mean() > 1.5 * (above > 250).mean()
    assert (below > 250).mean() > 0.3


def test_the_sampled_volume_is_that_of_the_weights_as_they_are(cache: Cache, plan: Plan, vae: SliceVAE) -> None:
    key = encode_cache(cache, vae, "float32", lambda _: None)
    patient = WindowSource(cache, plan, "monitor", VolumeSettings(), key).patients[0]
    channels = plan.latents.channels
    torch.manual_seed(0)
    unet = SliceUNet.build(channels + condition_channels(plan), channels, (8, 16), (False, True), 1, 8, 4)
    args = (vae, CPU, "float32")
    by_slices, by_volume = (
        sample_volume(cache, plan, patient, network, *args) for network in (unet, VolumeUNet.inflate(unet))
    )
    assert by_slices.shape == (12, 32, 48)
    np.testing.assert_allclose(by_slices, by_volume, atol=1e-4)
    outside = cache.array("egg2", "labels")[0] == 0
    assert (by_slices[outside] == -1).all() and by_slices[~outside].std() > 0
    with torch.no_grad():
        unet.unet.conv_out.bias.add_(0.5)
    assert np.abs(sample_volume(cache, plan, patient, unet, *args) - by_slices).max() > 0.01


def test_ct_volumes_are_shown_in_hu(cache: Cache, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    window = plan.intensity.model_copy(update={"kind": "window", "low": -1000.0, "high": 1000.0})
    ct = plan.model_copy(update={"modality": "CT", "intensity": window, "background_outside_body": False})
    shown = []
    monkeypatch.setattr(volumes, "three_planes", lambda real, labels, path, below: shown.append((real, *below)))
    volumes.draw_planes(cache, ct, "egg2", lambda: np.full((12, 32, 48), 0.1, np.float32), tmp_path / "p.png", print)
    ((real, made),) = shown
    assert made.modality == real.modality == "CT"
    assert made.spacing == (2.0, 1.0, 1.0)
    np.testing.assert_allclose(made.voxels, 100.0, atol=0.1)
    np.testing.assert_allclose(real.voxels.min(), -1000.0)


def test_the_position_unet_draws_no_volumes(
    stages: tuple[dict[str, DiffusionStage | VAEStage], list[str]], tmp_path: Path
) -> None:
    stages[0]["position"].planes(tmp_path / "p.png")
    assert not list(tmp_path.glob("*.png")) and not stages[1]


def fails(*_: object, **__: object) -> None:
    raise RuntimeError("no such luck")


@pytest.mark.parametrize("name", ["vae", "slice", "volume"])
def test_a_failure_is_said_and_leaves_the_networks_learning(
    stages: tuple[dict[str, DiffusionStage | VAEStage], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    made, said = stages
    monkeypatch.setattr(SliceVAE, "decode", fails)
    made[name].planes(tmp_path / "p.png")
    assert said == ["no sample volume of egg2 (no such luck); training goes on"]
    assert made[name].objective.training
    assert not list(tmp_path.glob("*.png"))


def test_a_picture_that_cannot_be_written_is_said(
    stages: tuple[dict[str, DiffusionStage | VAEStage], list[str]], tmp_path: Path
) -> None:
    made, said = stages
    made["vae"].planes(tmp_path / "missing" / "p.png")
    assert len(said) == 1 and said[0].startswith("no sample volume of egg2")


def test_networks_that_the_sampler_moved_come_back(vae: SliceVAE, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sampler takes its networks to the processor when a device's memory is full."""
    moved: list[torch.device] = []
    monkeypatch.setattr(SliceVAE, "to", lambda self, device: moved.append(device) or self)
    vae.train()
    with volumes.undisturbed(CPU, vae):
        assert not vae.training
    assert moved == [CPU] and vae.training
