"""Latents of the cache: which VAE made them, their statistics, and writing them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_gem3d.device import autocast
from napari_gem3d.networks import SliceVAE
from napari_gem3d.training.data.cache import Cache
from napari_gem3d.training.stages.stored import Stored

# Voxels that pass the encoder together (16 slices of 192 × 160), which bounds its memory whatever the slices' size.
_TOGETHER = 16 * 192 * 160
_KEY_LENGTH = 12
# A channel that the KL term has switched off is constant; it is not blown up to unit scale.
_LEAST_STD = 1e-3


def latent_key(vae: SliceVAE) -> str:
    """Name the latents that a VAE makes: a short hash of its encoder and of the latent statistics.

    It is the same in every process, on every device, and for the float16 copy of the weights that a bundle holds.
    """
    settings = vae.autoencoder.config
    digest = hashlib.sha256(f"{vae.unshuffle} {settings['norm_num_groups']} {settings['act_fn']}".encode())
    for part in (vae.autoencoder.encoder, vae.autoencoder.quant_conv):
        for name, tensor in () if part is None else part.state_dict().items():
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().half().contiguous().numpy().tobytes())
    for statistics in (vae.latent_mean, vae.latent_std):
        digest.update(" ".join(f"{value:.4g}" for value in statistics.tolist()).encode())
    return digest.hexdigest()[:_KEY_LENGTH]


def latents_kind(key: str) -> str:
    """Name in the cache of the latents of a VAE."""
    return f"latents-{key}"


@torch.no_grad()
def latent_statistics(
    cache: Cache, vae: SliceVAE, precision: str = "float32", every: int = 8
) -> tuple[list[float], list[float]]:
    """Mean and deviation of each latent channel over every n-th slice of the training patients."""
    device = vae.latent_mean.device
    sums, squares = torch.zeros(2, vae.latent_channels, dtype=torch.float64)
    count = 0
    for case in cache.cases("train"):
        images = Stored.of(cache, case, "images")
        every_nth = (images.read(0, range(z, z + 1)) for z in range(0, images.shape[1], every))
        for slices in _together(every_nth):
            with autocast(precision, device):
                latents = vae.posterior(_pictures(slices, device)).mode()
            latents = latents.double().cpu()
            sums += latents.sum(dim=(0, 2, 3))
            squares += latents.square().sum(dim=(0, 2, 3))
            count += latents[:, 0].numel()
    mean = sums / count
    std = (squares / count - mean**2).clamp(min=0).sqrt()
    return mean.tolist(), std.clamp(min=_LEAST_STD).tolist()


def encode_cache(cache: Cache, vae: SliceVAE, precision: str, say: Callable[[str], None] = print) -> str:
    """Write the latents of every patient that the VAE has not made yet, then remove those of other VAEs.

    Normalised ``latents-KEY`` (V, Z, c, h, w), float16. Each appears whole; after an interruption the next call goes on
    where this one was.

    Parameters
    ----------
    cache
        With images.
    vae
        With the latent statistics set; it stays on its device.
    precision
        In which it encodes.
    say
        Receives messages for people.

    Returns
    -------
    str
        The key, see `latent_key`.
    """
    key = latent_key(vae)
    latents = latents_kind(key)
    cases = cache.cases("train") + cache.cases("validation")
    training = vae.training
    vae.eval()
    for number, case in enumerate(cases, start=1):
        if not cache.has(case, latents):
            slices = _write_latents(cache, case, latents, vae, precision)
            say(f"latents: {case}, {slices} slices ({number} of {len(cases)} patients)")
    vae.train(training)
    for case in cases:
        _remove_others(cache.path(case, latents))
    return key


@torch.no_grad()
def _write_latents(cache: Cache, case: str, kind: str, vae: SliceVAE, precision: str) -> int:
    """Write the latents of all variants of a patient; returns of how many slices."""
    images, device = Stored.of(cache, case, "images"), vae.latent_mean.device
    rows, columns = (length // vae.factor for length in images.shape[2:])
    shape = (*images.shape[:2], vae.latent_channels, rows, columns)
    with cache.writing(case, kind, shape, np.float16) as append:
        for slices in _together(_each(images)):
            with autocast(precision, device):
                append(vae.encode(_pictures(slices, device)).half().cpu().numpy())
    return shape[0] * shape[1]


def _each(stored: Stored) -> Iterator[NDArray[np.generic]]:
    """Every slice (1, H, W) of every variant."""
    for variant in range(stored.shape[0]):
        for z in range(stored.shape[1]):
            yield stored.read(variant, range(z, z + 1))


def _together(slices: Iterator[NDArray[np.generic]]) -> Iterator[NDArray[np.generic]]:
    """Slices (1, H, W) in stacks (n, H, W) of bounded size."""
    few: list[NDArray[np.generic]] = []
    for one in slices:
        few.append(one)
        if (len(few) + 1) * one.size > _TOGETHER:
            yield np.concatenate(few)
            few = []
    if few:
        yield np.concatenate(few)


def _pictures(slices: NDArray[np.generic], device: torch.device) -> Tensor:
    return torch.from_numpy(slices.astype(np.float32))[:, None].to(device)


def _remove_others(kept: Path) -> None:
    """Remove the latents of a patient that another VAE made, and what an interruption left half-written."""
    for path in kept.parent.glob("*.npy"):
        if path.name.startswith(".") or (path.name.startswith("latents") and path != kept):
            path.unlink(missing_ok=True)
