"""Latents of the cache, and the batches that the U-Nets learn from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from napari_gem3d.bundle.conditioning import body_positions, condition, label_channels
from napari_gem3d.bundle.plan import Plan
from napari_gem3d.device import autocast
from napari_gem3d.errors import InputError
from napari_gem3d.networks import SliceVAE
from napari_gem3d.training.config.settings import DiffusionSettings, PositionSettings
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


@dataclass(frozen=True)
class Batch:
    """N slices: windows of equal length in a row.

    Attributes
    ----------
    latents
        Clean latents (N, c, h, w).
    conditions
        Condition channels (N, C, h, w); none (C = 0) for the position U-Net.
    positions
        (N,), -1 for the lowest slice of the body to 1 for the highest.
    windows
        How many windows.
    """

    latents: Tensor
    conditions: Tensor
    positions: Tensor
    windows: int


class LatentBatches:
    """Draws slices and windows from the latents of a split, all held in memory.

    Parameters
    ----------
    cache
        A cache with latents.
    plan
        The plan it was prepared by.
    split
        ``train`` draws from all variants, ``validation`` from the patients as they are.
    settings
        How far from a slice its informed slice is taken (the position U-Net has none).
    """

    def __init__(self, cache: Cache, plan: Plan, split: str, settings: DiffusionSettings | PositionSettings) -> None:
        variants = None if split == "train" else 1
        names = cache.cases(split)
        self.latents = [torch.from_numpy(np.array(cache.array(name, "latents")[:variants])) for name in names]
        self.shares = [torch.from_numpy(np.array(cache.array(name, "shares")[:variants])) for name in names]
        if self.shortest < 2:
            raise InputError("A patient of the dataset has fewer than two slices with body; take it out.")
        self.settings = settings if isinstance(settings, DiffusionSettings) else DiffusionSettings()
        self.spacing = plan.spacing[0]

    def slices(self, rng: np.random.Generator, count: int) -> Batch:
        """Slices of different patients, each with its own informed slice."""
        picked = [self._patient(rng) for _ in range(count)]
        drawn = []
        for patient, variant in picked:
            depth = self.latents[patient].shape[1]
            target = int(rng.integers(depth))
            informed = self._informed(rng, target, depth)
            drawn.append(self._gather(rng, patient, variant, range(target, target + 1), informed))
        return _joined(drawn)

    def positions(self, rng: np.random.Generator, count: int) -> Batch:
        """Slices of different patients with nothing but their position."""
        drawn = []
        for _ in range(count):
            patient, variant = self._patient(rng)
            latents = self.latents[patient][variant]
            target = int(rng.integers(len(latents)))
            shown = latents[target : target + 1].float()
            position = torch.from_numpy(body_positions(len(latents))[target : target + 1])
            drawn.append(Batch(shown, shown[:, :0], position, windows=1))
        return _joined(drawn)

    @property
    def shortest(self) -> int:
        """Number of slices of the shortest patient."""
        return min(latents.shape[1] for latents in self.latents)

    def windows(self, rng: np.random.Generator, count: int, length: int, edge_share: float) -> Batch:
        """Windows of neighbouring slices, each of one patient with one informed slice from its window.

        As in propagation, where the informed slice is the known slice nearest the frontier, a share of them is
        informed by the first or the last slice; the others by any.
        """
        drawn = []
        for _ in range(count):
            patient, variant = self._patient(rng)
            depth = self.latents[patient].shape[1]
            start = int(rng.integers(depth - length + 1))
            window = range(start, start + length)
            at_edge = rng.random() < edge_share
            informed = window[int(rng.choice([0, -1]))] if at_edge else int(rng.choice(window))
            drawn.append(self._gather(rng, patient, variant, window, informed))
        return _joined(drawn)

    def _patient(self, rng: np.random.Generator) -> tuple[int, int]:
        patient = int(rng.integers(len(self.latents)))
        return patient, int(rng.integers(self.latents[patient].shape[0]))

    def _informed(self, rng: np.random.Generator, target: int, depth: int) -> int:
        if rng.random() < self.settings.far_share:
            return int(rng.integers(depth))
        reach = max(1, round(self.settings.near_mm / self.spacing))
        return int(np.clip(target + rng.integers(-reach, reach + 1), 0, depth - 1))

    def _gather(self, rng: np.random.Generator, patient: int, variant: int, window: range, informed: int) -> Batch:
        latents, shares = self.latents[patient][variant], self.shares[patient][variant]
        # Variants 0 and 1 are mirror images of each other; the other variants have none.
        has_mirror = variant < 2 <= self.latents[patient].shape[0]
        mirrored = has_mirror and rng.random() < self.settings.mirrored_share
        shown = self.latents[patient][1 - variant if mirrored else variant][informed : informed + 1]
        inside = slice(window.start, window.stop)
        positions = torch.from_numpy(body_positions(latents.shape[0])[inside])
        offsets = (torch.arange(window.start, window.stop) - informed) * self.spacing
        conditions = condition(shares[inside].float(), shown.float(), positions, offsets)
        return Batch(latents[inside].float(), conditions, positions, windows=1)


def _joined(batches: list[Batch]) -> Batch:
    return Batch(
        torch.cat([b.latents for b in batches]),
        torch.cat([b.conditions for b in batches]),
        torch.cat([b.positions for b in batches]),
        sum(b.windows for b in batches),
    )
