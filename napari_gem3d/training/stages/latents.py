"""Latents of the cache: their statistics, and writing them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from napari_gem3d.bundle.conditioning import label_channels
from napari_gem3d.bundle.plan import Plan
from napari_gem3d.device import autocast
from napari_gem3d.networks import SliceVAE
from napari_gem3d.training.data.cache import Cache

_CHUNK = 16


def latent_statistics(cache: Cache, vae: SliceVAE, every: int = 8) -> tuple[list[float], list[float]]:
    """Mean and deviation of each latent channel over every n-th training slice."""
    device = next(vae.parameters()).device
    sums, squares, count = 0.0, 0.0, 0
    with torch.no_grad():
        for case in cache.cases("train"):
            images = torch.from_numpy(cache.array(case, "images")[0, ::every].astype(np.float32))[:, None]
            latents = vae.posterior(images.to(device)).mode().double()
            sums = sums + latents.sum(dim=(0, 2, 3))
            squares = squares + (latents**2).sum(dim=(0, 2, 3))
            count += latents[:, 0].numel()
    mean = torch.as_tensor(sums) / count
    std = (torch.as_tensor(squares) / count - mean**2).sqrt()
    return mean.tolist(), std.tolist()


def encode_cache(
    cache: Cache, plan: Plan, vae: SliceVAE, precision: str, say: Callable[[str], None] = print, redo: bool = False
) -> None:
    """Write normalised ``latents`` (V, Z, c, h, w) and label ``shares`` (V, Z, K, h, w), float16, of every patient."""
    device = next(vae.parameters()).device
    for case in cache.cases("train") + cache.cases("validation"):
        if cache.has(case, "latents") and cache.has(case, "shares") and not redo:
            continue
        images, labels = cache.array(case, "images"), cache.array(case, "labels")
        shares = np.stack([label_channels(plan, variant).numpy() for variant in labels])
        flat = images.reshape(-1, 1, *images.shape[2:])
        encoded = []
        with torch.no_grad(), autocast(precision, device):
            for start in range(0, len(flat), _CHUNK):
                chunk = torch.from_numpy(flat[start : start + _CHUNK].astype(np.float32)).to(device)
                encoded.append(vae.encode(chunk).float().cpu())
        latents = torch.cat(encoded).numpy().reshape(*images.shape[:2], *encoded[0].shape[1:])
        cache.write(case, "shares", shares.astype(np.float16))
        cache.write(case, "latents", latents.astype(np.float16))
        say(f"latents: {case}, {len(flat)} slices")
