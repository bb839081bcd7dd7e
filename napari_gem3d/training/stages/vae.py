"""The VAE stage: L1, L2, gradients, KL, and optionally perceptual and adversarial terms (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from napari_gem3d.device import autocast
from napari_gem3d.networks import SliceVAE
from napari_gem3d.training.config.settings import VAESettings
from napari_gem3d.training.data.cache import Cache
from napari_gem3d.training.stages.perceptual import PatchDiscriminator, PerceptualLoss
from napari_gem3d.training.stages.pictures import save_rows
from napari_gem3d.training.stages.stage import Outcome

# Crops with less tissue than this teach little but the background, which is learned at once.
_LEAST_TISSUE = 0.15


def build_vae(settings: VAESettings) -> SliceVAE:
    """Make a VAE with fresh weights by the settings."""
    levels = len(settings.channels)
    return SliceVAE.build(
        {
            "block_out_channels": settings.channels,
            "latent_channels": settings.latent_channels,
            "down_block_types": ("DownEncoderBlock2D",) * levels,
            "up_block_types": ("UpDecoderBlock2D",) * levels,
            "layers_per_block": settings.layers_per_block,
            "norm_num_groups": settings.norm_groups,
            "mid_block_add_attention": settings.middle_attention,
        },
        settings.unshuffle,
    )


def gradients(slices: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of neighbouring voxels of (N, 1, H, W) along rows and columns."""
    return slices[..., 1:, :] - slices[..., :-1, :], slices[..., 1:] - slices[..., :-1]


@dataclass(frozen=True)
class CropBatch:
    """N crops of slices.

    Attributes
    ----------
    crops
        (N, 1, crop, crop) in [-1, 1].
    noise
        (N, c, h, w), which draws from the posterior.
    origins
        Patient and slice of each crop, for people.
    """

    crops: Tensor
    noise: Tensor
    origins: tuple[str, ...]

    def to(self, device: torch.device) -> CropBatch:
        """The same batch on a device."""
        crops, noise = (tensor.to(device, non_blocking=True) for tensor in (self.crops, self.noise))
        return CropBatch(crops, noise, self.origins)


class CropSource:
    """Draws random crops of slices, mirrored and with other contrast half of the time."""

    def __init__(self, cache: Cache, size: int, factor: int, channels: int) -> None:
        self.names = cache.cases("train")
        self.images = [cache.array(case, "images") for case in self.names]
        self.size = tuple(min(size, length) // factor * factor for length in self.images[0].shape[2:])
        self.latent_shape = (1, channels, *(length // factor for length in self.size))

    def draw(self, rng: np.random.Generator) -> CropBatch:
        """Draw a crop that is rarely empty."""
        while True:
            patient = int(rng.integers(len(self.images)))
            images = self.images[patient]
            variant, index = int(rng.integers(images.shape[0])), int(rng.integers(images.shape[1]))
            image = images[variant, index]
            top, left = (
                int(rng.integers(whole - part + 1)) for whole, part in zip(image.shape, self.size, strict=True)
            )
            crop = image[top : top + self.size[0], left : left + self.size[1]].astype(np.float32)
            if (crop > -1).mean() >= _LEAST_TISSUE or rng.random() >= 0.8:
                break
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        if rng.random() < 0.5:
            share = np.clip((crop + 1) / 2 * rng.uniform(0.8, 1.15), 0, 1)
            crop = share ** rng.uniform(0.85, 1.2) * 2 - 1
        noise = torch.from_numpy(rng.standard_normal(self.latent_shape, dtype=np.float32))
        pixels = torch.from_numpy(np.ascontiguousarray(crop, np.float32))[None, None]
        return CropBatch(pixels, noise, (f"{self.names[patient]} slice {index} (variant {variant})",))

    def join(self, samples: Sequence[CropBatch]) -> CropBatch:
        """Make a batch of samples."""
        return CropBatch(
            torch.cat([sample.crops for sample in samples]),
            torch.cat([sample.noise for sample in samples]),
            tuple(origin for sample in samples for origin in sample.origins),
        )


class Reconstruction(nn.Module):
    """Encodes and decodes crops; the loss has the terms of the settings.

    Parameters
    ----------
    vae
        What learns.
    settings
        Weights of the terms.
    discriminator
        Judges what is made, in its present state; its parameters are not part of this module.
    """

    def __init__(self, vae: SliceVAE, settings: VAESettings, discriminator: PatchDiscriminator | None) -> None:
        super().__init__()
        self.vae, self.settings = vae.train(), settings
        self.perceptual = PerceptualLoss() if settings.perceptual_weight else None
        # In a tuple, where it is no submodule: it has its own optimiser.
        self._judges = tuple(judge for judge in (discriminator,) if judge is not None)
        if not settings.train_encoder:
            for part in (vae.autoencoder.encoder, vae.autoencoder.quant_conv):
                if part is not None:
                    part.requires_grad_(False)

    @override
    def forward(self, batch: CropBatch, step: int) -> Outcome:
        settings, real = self.settings, batch.crops
        posterior = self.vae.posterior(real)
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        made = self.vae.decode_raw(mean + (logvar / 2).exp() * batch.noise)
        terms: dict[str, Tensor] = {}
        if self.perceptual is not None:
            terms["perceptual"] = self.perceptual(made, real) * settings.perceptual_weight
        for judge in self._judges:
            terms["adversarial"] = self._adversarial(judge, made, step)
        made = made.float()
        pairs = zip(gradients(made), gradients(real), strict=True)
        edges = torch.stack([(a - b).abs().mean() for a, b in pairs]).sum()
        terms |= {
            "l1": (made - real).abs().mean(),
            "l2": (made - real).square().mean() * settings.l2_weight,
            "gradient": edges * settings.gradient_weight,
            "kl": (mean**2 + logvar.exp() - 1 - logvar).mean() / 2 * settings.kl_weight,
        }
        total = torch.stack([term.float() for term in terms.values()]).sum()
        return Outcome(total, {name: term.detach() for name, term in terms.items()}, made)

    def _adversarial(self, judge: PatchDiscriminator, made: Tensor, step: int) -> Tensor:
        """The adversarial loss, ramped up."""
        start = self.settings.adversarial_start
        weight = self.settings.adversarial_weight * min(1.0, max(0.0, (step - start) / max(start, 1)))
        judge.requires_grad_(False)
        loss = -judge(made).float().mean() * weight
        judge.requires_grad_(True)
        return loss


class Judgement(nn.Module):
    """The discriminator's own loss (hinge) on real crops and what was made of them."""

    def __init__(self) -> None:
        super().__init__()
        self.discriminator = PatchDiscriminator()

    @override
    def forward(self, batch: CropBatch, made: Tensor) -> Tensor:
        return PatchDiscriminator.loss(self.discriminator(batch.crops).float(), self.discriminator(made).float())


class VAEStage:
    """Learns to encode and decode random crops of slices."""

    name = "vae"

    def __init__(
        self, vae: SliceVAE, settings: VAESettings, cache: Cache, device: torch.device, precision: str
    ) -> None:
        self.settings, self.device, self.precision = settings, device, precision
        self.adversary = Judgement().to(device) if settings.adversarial_weight else None
        discriminator = None if self.adversary is None else self.adversary.discriminator
        self.objective = Reconstruction(vae, settings, discriminator).to(device)
        self.vae = vae
        self.source = CropSource(cache, settings.crop, vae.factor, vae.latent_channels)
        self.held_out = [cache.array(case, "images")[0] for case in cache.cases("validation")]

    def _reconstructed(self, every: int) -> list[tuple[Tensor, Tensor]]:
        """Every n-th slice of the held-out patients, and what the VAE makes of it."""
        pairs = []
        for images in self.held_out:
            real = torch.from_numpy(np.array(images[every // 2 :: every], np.float32))[:, None].to(self.device)
            with torch.no_grad(), autocast(self.precision, self.device):
                made = self.vae.decode(self.vae.encode(real)).float().clamp(-1, 1)
            pairs.append((real, made))
        return pairs

    def validate(self) -> dict[str, float]:
        """PSNR in dB, and sharpness: in-plane gradients of the reconstruction relative to the real ones."""
        self.vae.eval()
        psnr, sharpness, error = [], [], []
        for real, made in self._reconstructed(every=8):
            error.append((made - real).abs().mean().item())
            psnr.append(-10 * torch.log10(((made - real) / 2).square().mean()).item())
            wanted, got = (sum(g.abs().mean().item() for g in gradients(x)) for x in (real, made))
            sharpness.append(got / wanted)
        self.vae.train()
        return {"loss": float(np.mean(error)), "psnr": float(np.mean(psnr)), "sharpness": float(np.mean(sharpness))}

    def picture(self, path: Path) -> None:
        """Write rows of held-out slices and their reconstructions."""
        self.vae.eval()
        real, made = self._reconstructed(every=16)[0]
        self.vae.train()
        save_rows([real[:, 0].cpu().numpy(), made[:, 0].cpu().numpy()], path)
