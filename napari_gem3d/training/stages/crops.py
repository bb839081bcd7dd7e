"""Crops of slices that the VAE learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_gem3d.errors import InputError
from napari_gem3d.training.data.cache import Cache
from napari_gem3d.training.stages.stage import TensorBatch
from napari_gem3d.training.stages.stored import Stored

# Crops with less tissue than this teach little but the background, which is learned at once.
_LEAST_TISSUE, _EMPTY_SHARE = 0.15, 0.2


@dataclass(frozen=True, kw_only=True)
class CropBatch(TensorBatch):
    """N crops of slices, each with an entry in ``origins``.

    Attributes
    ----------
    crops
        (N, 1, H, W) in [-1, 1].
    noise
        (N, c, h, w), which draws from the posterior.
    """

    crops: Tensor
    noise: Tensor


class CropSource:
    """Draws random crops of slices, mirrored and with other contrast half of the time.

    Parameters
    ----------
    cache
        With images.
    size
        Rows and columns of a crop; made a multiple of `factor`, and no larger than the slices.
    factor, channels
        Of the VAE's latents.

    Raises
    ------
    InputError
        If there is no patient, or its images are missing.
    """

    def __init__(self, cache: Cache, size: int, factor: int, channels: int) -> None:
        self.names = cache.cases("train")
        self.images = [Stored.of(cache, case, "images") for case in self.names]
        if not self.images:
            raise InputError("There is no patient to learn from; run napari-gem3d-train prepare again.")
        smallest = np.min([images.shape[2:] for images in self.images], axis=0)
        self.size = tuple(max(1, min(size, int(length)) // factor) * factor for length in smallest)
        self.latent_shape = (1, channels, *(length // factor for length in self.size))

    def draw(self, rng: np.random.Generator) -> CropBatch:
        """Draw a crop that is rarely empty."""
        while True:
            patient = int(rng.integers(len(self.images)))
            variants, slices = self.images[patient].shape[:2]
            variant, index = int(rng.integers(variants)), int(rng.integers(slices))
            crop = self._crop(rng, self.images[patient].read(variant, range(index, index + 1))[0])
            if (crop > -1).mean() >= _LEAST_TISSUE or rng.random() < _EMPTY_SHARE:
                break
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        if rng.random() < 0.5:
            share = np.clip((crop + 1) / 2 * rng.uniform(0.8, 1.15), 0, 1)
            crop = share ** rng.uniform(0.85, 1.2) * 2 - 1
        return CropBatch(
            crops=torch.from_numpy(np.ascontiguousarray(crop, np.float32))[None, None],
            noise=torch.from_numpy(rng.standard_normal(self.latent_shape, dtype=np.float32)),
            origins=(f"{self.names[patient]} slice {index}" + (f" (variant {variant})" if variant else ""),),
        )

    def join(self, samples: Sequence[CropBatch]) -> CropBatch:
        """Make a batch of samples."""
        return CropBatch.join(samples)

    def _crop(self, rng: np.random.Generator, image: NDArray[Any]) -> NDArray[Any]:
        top, left = (int(rng.integers(whole - part + 1)) for whole, part in zip(image.shape, self.size, strict=True))
        return image[top : top + self.size[0], left : left + self.size[1]].astype(np.float32)
