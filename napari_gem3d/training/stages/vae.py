"""The VAE stage: L1, L2, gradients, KL, and optionally perceptual and adversarial terms (paper, section 3.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from napari_gem3d.device import autocast
from napari_gem3d.errors import InputError
from napari_gem3d.networks import SliceVAE
from napari_gem3d.training.config.settings import VAESettings
from napari_gem3d.training.data.cache import Cache
from napari_gem3d.training.stages.perceptual import PatchDiscriminator, PerceptualLoss
from napari_gem3d.training.stages.pictures import save_rows

# Crops with less tissue than this teach little but the background, which is learned at once.
_LEAST_TISSUE = 0.15


def build_vae(settings: VAESettings) -> SliceVAE:
    """Make a VAE by the settings: fresh, or from a folder of ``AutoencoderKL``.

    Raises
    ------
    InputError
        If the folder to start from is not one.
    """
    if settings.init is not None:
        if not (settings.init / "config.json").is_file():
            raise InputError(
                f"There is no VAE in {settings.init}; give a folder written by diffusers' save_pretrained."
            )
        return SliceVAE(AutoencoderKL.from_pretrained(settings.init), settings.unshuffle)
    levels = len(settings.channels)
    return SliceVAE.build(
        {
            "block_out_channels": settings.channels,
            "latent_channels": settings.latent_channels,
            "down_block_types": ("DownEncoderBlock2D",) * levels,
            "up_block_types": ("UpDecoderBlock2D",) * levels,
            "layers_per_block": 1,
            "norm_num_groups": settings.norm_groups,
            "mid_block_add_attention": False,
        },
        settings.unshuffle,
    )


def gradients(slices: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of neighbouring voxels of (N, 1, H, W) along rows and columns."""
    return slices[..., 1:, :] - slices[..., :-1, :], slices[..., 1:] - slices[..., :-1]


class VAEStage:
    """Learns to encode and decode random crops of slices."""

    name = "vae"

    def __init__(
        self, vae: SliceVAE, settings: VAESettings, cache: Cache, device: torch.device, precision: str
    ) -> None:
        self.vae, self.settings, self.device, self.precision = vae.to(device).train(), settings, device, precision
        self.images = [cache.array(case, "images") for case in cache.cases("train")]
        self.held_out = [cache.array(case, "images")[0] for case in cache.cases("validation")]
        self.perceptual = PerceptualLoss().to(device) if settings.perceptual_weight else None
        self.discriminator = PatchDiscriminator().to(device) if settings.adversarial_weight else None
        if self.discriminator is not None:
            rate = settings.learning_rate
            self.judge = torch.optim.AdamW(self.discriminator.parameters(), rate, betas=(0.5, 0.9), weight_decay=1e-4)
        if not settings.train_encoder:
            for part in (vae.autoencoder.encoder, vae.autoencoder.quant_conv):
                if part is not None:
                    part.requires_grad_(False)

    def parameters(self) -> list[nn.Parameter]:
        """What learns: everything, or the decoder alone."""
        return [parameter for parameter in self.vae.parameters() if parameter.requires_grad]

    def _crops(self, rng: np.random.Generator) -> Tensor:
        """A batch (N, 1, crop, crop) of random crops, mirrored and with other contrast half of the time."""
        crops: list[np.ndarray] = []
        size = self.settings.crop
        while len(crops) < self.settings.batch:
            images = self.images[rng.integers(len(self.images))]
            image = images[rng.integers(images.shape[0]), rng.integers(images.shape[1])]
            top, left = (int(rng.integers(max(1, length - size + 1))) for length in image.shape)
            crop = image[top : top + size, left : left + size].astype(np.float32)
            if (crop > -1).mean() < _LEAST_TISSUE and rng.random() < 0.8:
                continue
            if rng.random() < 0.5:
                crop = crop[:, ::-1]
            if rng.random() < 0.5:
                share = np.clip((crop + 1) / 2 * rng.uniform(0.8, 1.15), 0, 1)
                crop = share ** rng.uniform(0.85, 1.2) * 2 - 1
            crops.append(np.ascontiguousarray(crop))
        return torch.from_numpy(np.stack(crops))[:, None].to(self.device)

    def loss(self, rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        """Reconstruct a batch of crops; the discriminator, if there is one, takes its own step here."""
        settings, real = self.settings, self._crops(rng)
        with autocast(self.precision, self.device):
            posterior = self.vae.posterior(real)
            made = self.vae.decode_raw(posterior.sample())
            perceptual = self.perceptual(made, real) if self.perceptual is not None else torch.zeros(())
        made, mean, logvar = made.float(), posterior.mean.float(), posterior.logvar.float()
        edges = sum((a - b).abs().mean() for a, b in zip(gradients(made), gradients(real), strict=True))
        terms = {
            "l1": (made - real).abs().mean(),
            "l2": (made - real).square().mean() * settings.l2_weight,
            "gradient": edges * settings.gradient_weight,
            "kl": (mean**2 + logvar.exp() - 1 - logvar).mean() / 2 * settings.kl_weight,
            "perceptual": perceptual * settings.perceptual_weight,
        }
        if self.discriminator is not None:
            terms["adversarial"] = self._adversarial(made, real, step)
        total = torch.stack([torch.as_tensor(term).to(made) for term in terms.values()]).sum()
        return total, {name: float(torch.as_tensor(term).detach()) for name, term in terms.items()}

    def _adversarial(self, made: Tensor, real: Tensor, step: int) -> Tensor:
        """Train the discriminator by one step, then return the decoder's adversarial loss, ramped up."""
        assert self.discriminator is not None
        with autocast(self.precision, self.device):
            judged = self.discriminator.loss(
                self.discriminator(real).float(), self.discriminator(made.detach()).float()
            )
        self.judge.zero_grad()
        judged.backward()
        self.judge.step()
        start = self.settings.adversarial_start
        weight = self.settings.adversarial_weight * min(1.0, max(0.0, (step - start) / max(start, 1)))
        self.discriminator.requires_grad_(False)
        with autocast(self.precision, self.device):
            loss = -self.discriminator(made).float().mean() * weight
        self.discriminator.requires_grad_(True)
        return loss

    def _reconstructed(self, every: int) -> list[tuple[Tensor, Tensor]]:
        """Every n-th slice of the held-out patients, and what the VAE makes of it."""
        pairs = []
        for images in self.held_out:
            real = torch.from_numpy(np.array(images[every // 2 :: every], np.float32))[:, None].to(self.device)
            with autocast(self.precision, self.device):
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

    def extra_state(self) -> dict[str, Any]:
        """The discriminator and its optimiser."""
        if self.discriminator is None:
            return {}
        return {"discriminator": self.discriminator.state_dict(), "judge": self.judge.state_dict()}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """The inverse of `extra_state`."""
        if self.discriminator is not None and state:
            self.discriminator.load_state_dict(state["discriminator"])
            self.judge.load_state_dict(state["judge"])
