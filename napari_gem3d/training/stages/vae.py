"""The VAE stage: learns to encode and decode slices (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from napari_gem3d.device import autocast
from napari_gem3d.evaluation.texture import mean_step
from napari_gem3d.networks import SliceVAE
from napari_gem3d.training.config.settings import VAESettings
from napari_gem3d.training.data.cache import Cache
from napari_gem3d.training.stages.crops import CropSource
from napari_gem3d.training.stages.pictures import save_rows
from napari_gem3d.training.stages.reconstruction import Judgement, Reconstruction
from napari_gem3d.training.stages.stored import Stored
from napari_gem3d.training.stages.volumes import decode, draw_planes, undisturbed

# Patients and slices of a validation: enough to tell VAEs apart, few beside the steps between two of them.
_VALIDATED_PATIENTS, _VALIDATED_EVERY, _PICTURED_EVERY = 8, 8, 16
_ENCODED_TOGETHER = 4


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


class VAEStage:
    """Learns to encode and decode random crops of slices.

    Parameters
    ----------
    vae
        What learns.
    settings
        Of the stage.
    cache
        With images and labels.
    device, precision
        Where and how the networks run.
    say
        Receives messages for people.
    """

    name = "vae"

    def __init__(
        self,
        vae: SliceVAE,
        settings: VAESettings,
        cache: Cache,
        device: torch.device,
        precision: str,
        say: Callable[[str], None] = print,
    ) -> None:
        self.settings, self.device, self.precision, self.say = settings, device, precision, say
        self.adversary = Judgement().to(device) if settings.adversarial_weight else None
        discriminator = None if self.adversary is None else self.adversary.discriminator
        self.objective = Reconstruction(vae, settings, discriminator, say).to(device)
        self.vae, self.cache = vae, cache
        self.source = CropSource(cache, settings.crop, vae.factor, vae.latent_channels)
        self.watched = cache.cases("monitor")[:_VALIDATED_PATIENTS]

    def validate(self) -> dict[str, float]:
        """What the VAE makes of every eighth whole slice of the held-out patients.

        Errors are pooled over the slices of a patient, then averaged over patients. The background about the body,
        most of a slice and learned at once, is left out: it raises the PSNR by several dB and says nothing.

        Returns
        -------
        dict
            Inside the body: ``loss``, the mean absolute error of intensities in [-1, 1]; ``psnr`` in dB, the peak
            being the whole range; ``sharpness``, the in-plane differences of neighbouring voxels relative to the real
            ones (1 is right, 0.8 looks blurred). ``psnr_crop`` is that over the whole slices, as model cards give it.
            Look at ``sharpness`` and ``psnr`` together: each is easily had at the cost of the other.
        """
        found = [self._figures(case) for case in self.watched]
        return {key: float(np.mean([figures[key] for figures in found])) for key in found[0]}

    def _figures(self, case: str) -> dict[str, float]:
        real, inside = self._slices(case, _VALIDATED_EVERY)
        made = self._reconstructed(real)
        error = made - real
        wanted, got = (sum(mean_step(slices, inside, axis) for axis in (1, 2)) for slices in (real, made))
        return {
            "loss": float(np.abs(error[inside]).mean()),
            "psnr": _psnr(error[inside]),
            "psnr_crop": _psnr(error),
            "sharpness": got / max(wanted, 1e-6),
        }

    def _slices(self, case: str, every: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Every n-th slice (N, H, W) of a patient, and where in it the body is."""
        images, labels = (Stored.of(self.cache, case, kind) for kind in ("images", "labels"))
        depth = images.shape[1]
        wanted = range(min(every, depth) // 2, depth, every)
        chosen, body = (np.concatenate([s.read(0, range(z, z + 1)) for z in wanted]) for s in (images, labels))
        # A model of the whole field of view may know no body.
        return chosen.astype(np.float32), (body > 0) | (not body.any())

    @torch.no_grad()
    def _reconstructed(self, real: NDArray[np.float32]) -> NDArray[np.float32]:
        """Encode and decode slices (N, H, W), a few at a time."""
        with undisturbed(self.device, self.vae), autocast(self.precision, self.device):
            few = torch.from_numpy(real)[:, None].split(_ENCODED_TOGETHER)
            latents = torch.cat([self.vae.encode(part.to(self.device)).float() for part in few])
            return decode(self.vae, latents, self.device, self.precision)

    def picture(self, path: Path) -> None:
        """Write rows of held-out slices and their reconstructions."""
        real, _ = self._slices(self.watched[0], _PICTURED_EVERY)
        save_rows([real, self._reconstructed(real)], path)

    def planes(self, path: Path) -> None:
        """Write a PNG of a held-out patient and, below, of its reconstruction; what goes wrong is said, not raised."""
        case = self.watched[0]

        def reconstructed() -> NDArray[np.float32]:
            return self._reconstructed(self._slices(case, 1)[0])

        draw_planes(self.cache, self.cache.plan, case, reconstructed, path, self.say)


def _psnr(error: NDArray[np.float32]) -> float:
    """In dB, of errors of intensities in [-1, 1]."""
    return float(-10 * np.log10(max(float(np.square(error / 2, dtype=np.float64).mean()), 1e-12)))
