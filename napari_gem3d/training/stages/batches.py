"""Samples and batches of latents that the U-Nets learn from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from napari_gem3d.bundle.conditioning import body_positions, condition, label_channels
from napari_gem3d.bundle.plan import Plan
from napari_gem3d.errors import InputError
from napari_gem3d.sampling.noise import correlated_noise
from napari_gem3d.training.config.settings import DenoisingSettings, DiffusionSettings, VolumeSettings
from napari_gem3d.training.data.cache import Cache
from napari_gem3d.training.stages.forgetting import Knowledge, forget
from napari_gem3d.training.stages.latents import latents_kind
from napari_gem3d.training.stages.stage import TensorBatch
from napari_gem3d.training.stages.stored import Stored
from napari_gem3d.training.stages.timesteps import TimestepDraw


@dataclass(frozen=True, kw_only=True)
class LatentBatch(TensorBatch):
    """N slices: windows of equal length in a row, each with an entry in ``origins``.

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
    """

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    conditions: Tensor
    positions: Tensor

    @property
    def windows(self) -> int:
        """How many windows."""
        return len(self.origins)


@dataclass(frozen=True)
class Patient:
    """What the U-Nets learn from a patient: latents (V, Z, c, h, w) and label values (V, Z, H, W).

    Attributes
    ----------
    name
        Of the patient.
    latents, labels
        On disk.
    variants
        How many of the V variants are drawn from.
    unknown
        Values of tissue labels that the patient's scan does not show.
    """

    name: str
    latents: Stored
    labels: Stored
    variants: int
    unknown: tuple[int, ...] = ()

    @property
    def depth(self) -> int:
        """Slices with body, Z."""
        return self.latents.shape[1]


class LatentSource(ABC):
    """Draws samples from the latents of a split.

    Parameters
    ----------
    cache
        A cache with latents.
    plan
        The plan it was prepared by; its schedule noises the samples.
    split
        ``train`` draws from all variants, any other from the patients as they are.
    settings
        Of the stage.
    key
        Which VAE's latents, see `latent_key`.

    Raises
    ------
    InputError
        If latents are missing, a patient has fewer than two slices with body or slices of another size than the rest,
        or the plan's label maps are grey pictures, which only imported weights know.
    """

    def __init__(self, cache: Cache, plan: Plan, split: str, settings: DenoisingSettings, key: str) -> None:
        if plan.conditioning == "grey":
            raise InputError("Networks are trained with a channel a label; set conditioning in plan.json to that.")
        self.cache, self.plan, self.settings = cache, plan, settings
        self.patients = [_patient(cache, name, key, split == "train") for name in cache.cases(split)]
        self.timesteps = TimestepDraw(plan.schedule, settings)
        # Variant 1 is the mirror image where the cache has mirror images.
        self._native = 2 if cache.mirrored else 1
        _check(self.patients)

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> LatentBatch:
        """Draw one sample."""

    def join(self, samples: Sequence[LatentBatch]) -> LatentBatch:
        """Make a batch of samples."""
        return LatentBatch.join(samples)

    def _choose(self, rng: np.random.Generator) -> tuple[Patient, int]:
        """A patient and one of its variants."""
        patient = self.patients[int(rng.integers(len(self.patients)))]
        share = self.settings.native_share
        # Nothing is drawn where it decides nothing, so held-out patients give the same samples whatever the share.
        native = share > 0 and patient.variants > self._native and rng.random() < share
        return patient, int(rng.integers(self._native if native else patient.variants))

    def _noised(
        self,
        rng: np.random.Generator,
        patient: Patient,
        variant: int,
        window: range,
        conditions: Tensor | None = None,
    ) -> LatentBatch:
        """A window of a patient with noise and one timestep."""
        latents = _tensor(patient.latents.read(variant, window))
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        schedule = self.plan.schedule
        return LatentBatch(
            latents=latents,
            noise=correlated_noise(
                latents.shape, schedule.slice_correlation, generator=generator, decay=schedule.slice_decay
            ),
            timesteps=torch.full((len(window),), self.timesteps.draw(rng)),
            conditions=latents[:, :0] if conditions is None else conditions,
            positions=_positions(patient, window),
            origins=(_origin(patient.name, variant, window),),
        )


class InformedSource(LatentSource):
    """Draws samples under the conditions of the plan's scheme; the settings say how far informed slices are taken from.

    A scheme without informed slice (the Make-A-Volume baseline) draws one too and leaves it out of the conditions: so
    both learn from the same slices, timesteps and noise.

    Attributes
    ----------
    knowledge
        How much of the anatomy labels the networks are told, see `forget`: "varied" of patients to learn from, "all" of
        the others, "none" to see how well they do without.
    """

    settings: DiffusionSettings

    def __init__(self, cache: Cache, plan: Plan, split: str, settings: DiffusionSettings, key: str) -> None:
        super().__init__(cache, plan, split, settings, key)
        self._spacing, self._mirrored = plan.spacing[0], cache.mirrored
        self.knowledge: Knowledge = "varied" if split == "train" else "all"

    def _conditions(
        self, rng: np.random.Generator, patient: Patient, variant: int, window: range, informed: int
    ) -> Tensor:
        # Where the cache has mirror images, variants 0 and 1 are such of each other; the other variants have none.
        has_mirror = self._mirrored and variant < 2 <= patient.variants
        mirrored = has_mirror and rng.random() < self.settings.mirrored_share
        shown = None
        if self.plan.informed:
            origin = 1 - variant if mirrored else variant
            shown = _tensor(patient.latents.read(origin, range(informed, informed + 1)))
        labels, unknown = forget(self.plan, patient.labels.read(variant, window), self.settings, self.knowledge, rng)
        shares = label_channels(self.plan, labels, {*unknown, *patient.unknown})
        offsets = (torch.arange(window.start, window.stop) - informed) * self._spacing
        return condition(shares, shown, _positions(patient, window), offsets)


class SliceSource(InformedSource):
    """Stage 1: single slices, each with an informed slice mostly from near it."""

    @override
    def draw(self, rng: np.random.Generator) -> LatentBatch:
        patient, variant = self._choose(rng)
        target = int(rng.integers(patient.depth))
        window = range(target, target + 1)
        conditions = self._conditions(rng, patient, variant, window, self._informed(rng, target, patient.depth))
        return self._noised(rng, patient, variant, window, conditions)

    def _informed(self, rng: np.random.Generator, target: int, depth: int) -> int:
        if rng.random() < self.settings.far_share:
            return int(rng.integers(depth))
        reach = max(1, round(self.settings.near_mm / self._spacing))
        return int(np.clip(target + rng.integers(-reach, reach + 1), 0, depth - 1))


class WindowSource(InformedSource):
    """Stage 2: windows of neighbouring slices, each of one patient with one informed slice from its window.

    As in propagation, where the informed slice is the known slice nearest the frontier, a share of them is informed by
    the first or the last slice; the others by any.

    Attributes
    ----------
    length
        Slices of a window: the plan's, or what at least half of the patients have, if that is fewer.
    left_out
        Names of the patients with fewer slices than that.
    """

    settings: VolumeSettings

    def __init__(self, cache: Cache, plan: Plan, split: str, settings: VolumeSettings, key: str) -> None:
        super().__init__(cache, plan, split, settings, key)
        self.length = min(plan.window, median_low([patient.depth for patient in self.patients]))
        self.left_out = tuple(patient.name for patient in self.patients if patient.depth < self.length)
        self.patients = [patient for patient in self.patients if patient.depth >= self.length]

    @override
    def draw(self, rng: np.random.Generator) -> LatentBatch:
        patient, variant = self._choose(rng)
        start = int(rng.integers(patient.depth - self.length + 1))
        window = range(start, start + self.length)
        at_edge = rng.random() < self.settings.edge_share
        informed = window[int(rng.choice([0, -1]))] if at_edge else int(rng.choice(window))
        conditions = self._conditions(rng, patient, variant, window, informed)
        return self._noised(rng, patient, variant, window, conditions)


class PositionSource(LatentSource):
    """The position U-Net: single slices with nothing but their position."""

    @override
    def draw(self, rng: np.random.Generator) -> LatentBatch:
        patient, variant = self._choose(rng)
        target = int(rng.integers(patient.depth))
        return self._noised(rng, patient, variant, range(target, target + 1))


def _patient(cache: Cache, name: str, key: str, all_variants: bool) -> Patient:
    latents = Stored.of(cache, name, latents_kind(key))
    labels = Stored.of(cache, name, "labels")
    unknown = tuple(cache.stamp(name).get("unknown", ()))
    return Patient(name, latents, labels, latents.shape[0] if all_variants else 1, unknown)


def _check(patients: Sequence[Patient]) -> None:
    """Raise InputError if there is a patient that cannot be learned from beside the others."""
    if not patients:
        raise InputError("There is no patient to learn from or to watch; run napari-gem3d-train prepare again.")
    for patient in patients:
        if patient.depth < 2:
            raise InputError(f"The patient {patient.name} has fewer than two slices with body; take it out.")
        if patient.latents.shape[2:] != patients[0].latents.shape[2:]:
            raise InputError(
                f"The slices of patient {patient.name} are not as large as those of {patients[0].name}; enlarge size "
                "in plan.json, or remove it, and run napari-gem3d-train prepare again."
            )


def _positions(patient: Patient, window: range) -> Tensor:
    return torch.from_numpy(body_positions(patient.depth)[window.start : window.stop])


def _tensor(stored: NDArray[Any]) -> Tensor:
    return torch.from_numpy(stored.astype(np.float32))


def _origin(name: str, variant: int, window: range) -> str:
    slices = f"slice {window.start}" if len(window) == 1 else f"slices {window.start}-{window.stop - 1}"
    return f"{name} {slices}" + (f" (variant {variant})" if variant else "")
