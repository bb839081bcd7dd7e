"""Samples and batches of latents that the U-Nets learn from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from napari_gem3d.bundle.conditioning import body_positions, condition
from napari_gem3d.bundle.plan import Plan
from napari_gem3d.errors import InputError
from napari_gem3d.sampling.noise import correlated_noise
from napari_gem3d.training.config.settings import DiffusionSettings, VolumeSettings
from napari_gem3d.training.data.cache import Cache


@dataclass(frozen=True)
class LatentBatch:
    """N slices: windows of equal length in a row.

    Attributes
    ----------
    latents
        Clean latents (N, c, h, w).
    noise
        (N, c, h, w), what they are noised with.
    timesteps
        (N,) int64, to which level.
    conditions
        Condition channels (N, C, h, w); none (C = 0) for the position U-Net.
    positions
        (N,), -1 for the lowest slice of the body to 1 for the highest.
    origins
        The patient and the slices of each window, for people.
    """

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    conditions: Tensor
    positions: Tensor
    origins: tuple[str, ...]

    @property
    def windows(self) -> int:
        """How many windows."""
        return len(self.origins)

    def to(self, device: torch.device) -> LatentBatch:
        """The same batch on a device."""
        tensors = ("latents", "noise", "timesteps", "conditions", "positions")
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in tensors})


class LatentSource(ABC):
    """Draws samples from the latents of a split.

    Parameters
    ----------
    cache
        A cache with latents.
    plan
        The plan it was prepared by; its schedule noises the samples.
    split
        ``train`` draws from all variants, ``validation`` from the patients as they are.
    """

    def __init__(self, cache: Cache, plan: Plan, split: str) -> None:
        variants = None if split == "train" else 1
        self.plan = plan
        self.names = cache.cases(split)
        self.latents = [cache.array(name, "latents")[:variants] for name in self.names]
        self.shares = [cache.array(name, "shares")[:variants] for name in self.names]
        if self.shortest < 2:
            raise InputError("A patient of the dataset has fewer than two slices with body; take it out.")

    @property
    def shortest(self) -> int:
        """Number of slices of the shortest patient."""
        return min(latents.shape[1] for latents in self.latents)

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> LatentBatch:
        """Draw one sample."""

    def join(self, samples: Sequence[LatentBatch]) -> LatentBatch:
        """Make a batch of samples."""
        tensors = ("latents", "noise", "timesteps", "conditions", "positions")
        joined = {name: torch.cat([getattr(sample, name) for sample in samples]) for name in tensors}
        return LatentBatch(**joined, origins=tuple(origin for sample in samples for origin in sample.origins))

    def _patient(self, rng: np.random.Generator) -> tuple[int, int]:
        patient = int(rng.integers(len(self.latents)))
        return patient, int(rng.integers(self.latents[patient].shape[0]))

    def _noised(
        self,
        rng: np.random.Generator,
        patient: int,
        variant: int,
        window: range,
        conditions: Tensor | None = None,
        correlation: float = 0.0,
    ) -> LatentBatch:
        """A window of a patient with noise and one timestep."""
        latents = _tensor(self.latents[patient][variant, window.start : window.stop])
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        timestep = int(rng.integers(self.plan.schedule.num_train_timesteps))
        return LatentBatch(
            latents,
            correlated_noise(latents.shape, correlation, generator=generator),
            torch.full((len(window),), timestep),
            latents[:, :0] if conditions is None else conditions,
            self._positions(patient, window),
            (_origin(self.names[patient], variant, window),),
        )

    def _positions(self, patient: int, window: range) -> Tensor:
        return torch.from_numpy(body_positions(self.latents[patient].shape[1])[window.start : window.stop])


class InformedSource(LatentSource):
    """Draws samples that have an informed slice; the settings say how far it is taken from."""

    def __init__(self, cache: Cache, plan: Plan, split: str, settings: DiffusionSettings) -> None:
        super().__init__(cache, plan, split)
        self.settings = settings
        self.spacing = plan.spacing[0]

    def _conditions(self, rng: np.random.Generator, patient: int, variant: int, window: range, informed: int) -> Tensor:
        # Variants 0 and 1 are mirror images of each other; the other variants have none.
        has_mirror = variant < 2 <= self.latents[patient].shape[0]
        mirrored = has_mirror and rng.random() < self.settings.mirrored_share
        shown = self.latents[patient][1 - variant if mirrored else variant, informed : informed + 1]
        shares = _tensor(self.shares[patient][variant, window.start : window.stop])
        offsets = (torch.arange(window.start, window.stop) - informed) * self.spacing
        # A baseline without informed slice has none to see.
        return condition(
            shares, _tensor(shown) if self.plan.informed else None, self._positions(patient, window), offsets
        )


class SliceSource(InformedSource):
    """Stage 1: single slices, each with an informed slice mostly from near it."""

    @override
    def draw(self, rng: np.random.Generator) -> LatentBatch:
        patient, variant = self._patient(rng)
        depth = self.latents[patient].shape[1]
        target = int(rng.integers(depth))
        window = range(target, target + 1)
        conditions = self._conditions(rng, patient, variant, window, self._informed(rng, target, depth))
        return self._noised(rng, patient, variant, window, conditions)

    def _informed(self, rng: np.random.Generator, target: int, depth: int) -> int:
        if rng.random() < self.settings.far_share:
            return int(rng.integers(depth))
        reach = max(1, round(self.settings.near_mm / self.spacing))
        return int(np.clip(target + rng.integers(-reach, reach + 1), 0, depth - 1))


class WindowSource(InformedSource):
    """Stage 2: windows of neighbouring slices, each of one patient with one informed slice from its window.

    As in propagation, where the informed slice is the known slice nearest the frontier, a share of them is informed by
    the first or the last slice; the others by any.
    """

    settings: VolumeSettings

    @override
    def draw(self, rng: np.random.Generator) -> LatentBatch:
        length = min(self.plan.window, self.shortest)
        patient, variant = self._patient(rng)
        start = int(rng.integers(self.latents[patient].shape[1] - length + 1))
        window = range(start, start + length)
        at_edge = rng.random() < self.settings.edge_share
        informed = window[int(rng.choice([0, -1]))] if at_edge else int(rng.choice(window))
        conditions = self._conditions(rng, patient, variant, window, informed)
        return self._noised(rng, patient, variant, window, conditions, self.plan.schedule.slice_correlation)


class PositionSource(LatentSource):
    """The position U-Net: single slices with nothing but their position."""

    @override
    def draw(self, rng: np.random.Generator) -> LatentBatch:
        patient, variant = self._patient(rng)
        target = int(rng.integers(self.latents[patient].shape[1]))
        return self._noised(rng, patient, variant, range(target, target + 1))


def _tensor(stored: NDArray[np.float16]) -> Tensor:
    return torch.from_numpy(stored.astype(np.float32))


def _origin(name: str, variant: int, window: range) -> str:
    slices = f"slice {window.start}" if len(window) == 1 else f"slices {window.start}-{window.stop - 1}"
    return f"{name} {slices}" + (f" (variant {variant})" if variant else "")
