"""Caches made by hand, as preparing would leave them, and small networks."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_gem3d.bundle import Plan
from napari_gem3d.labels import Label, LabelTable
from napari_gem3d.networks import SliceVAE
from napari_gem3d.training.data.cache import Cache

TABLE = LabelTable((Label(1, "yolk"), Label(2, "egg", meaning="body")))
SIZE = (32, 48)


@pytest.fixture
def depths() -> dict[str, int]:
    """Slices of the patients of `cache`."""
    return {"egg0": 11, "egg1": 9, "egg2": 12}


@pytest.fixture
def plan() -> Plan:
    """Slices of 32 × 48 at 2 × 1 × 1 mm, latents of 2 channels at an eighth, windows of 4."""
    latents = {"channels": 2, "factor": 8, "unshuffle": 2, "mean": (0.0, 0.0), "std": (1.0, 1.0)}
    return Plan(name="eggs", spacing=(2.0, 1.0, 1.0), size=SIZE, labels=TABLE, window=4, latents=latents)


def egg(depth: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Image (Z, H, W) in [-1, 1] and labels of a noisy ellipsoid with a bright yolk."""
    rng = np.random.default_rng(seed)
    z, y, x = np.mgrid[:depth, : SIZE[0], : SIZE[1]]
    z = (z - (depth - 1) / 2) / depth
    body = (1.6 * z) ** 2 + ((y - 16) / 14) ** 2 + ((x - 24) / 20) ** 2 < 1
    yolk = (4 * z) ** 2 + ((y - 18) / 5) ** 2 + ((x - 20 - seed) / 5) ** 2 < 1
    image = np.where(body, 0.5 * yolk - 0.2 + rng.normal(0, 0.1, body.shape), -1.0)
    return np.clip(image, -1, 1), np.where(yolk & body, 1, np.where(body, 2, 0)).astype(np.uint8)


@pytest.fixture
def make_cache(tmp_path: Path, plan: Plan) -> Callable[..., Cache]:
    """Write a cache with images and labels of patients with so many slices; the last one is held out."""

    def make(depths: dict[str, int], name: str = "run", variants: int = 2) -> Cache:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "plan.json").write_text(plan.model_dump_json())
        names = list(depths)
        (folder / "split.json").write_text(json.dumps({"train": names[:-1], "validation": names[-1:]}))
        cache = Cache(folder)
        for number, (case, depth) in enumerate(depths.items()):
            image, labels = egg(depth, number)
            turns = [slice(None), slice(None, None, -1), slice(None)][:variants]
            cache.write(case, "images", np.stack([image[..., turn] for turn in turns]).astype(np.float16))
            cache.write(case, "labels", np.stack([labels[..., turn] for turn in turns]))
        return cache

    return make


@pytest.fixture
def cache(make_cache: Callable[..., Cache], depths: dict[str, int]) -> Cache:
    return make_cache(depths)


@pytest.fixture
def make_vae() -> Callable[..., SliceVAE]:
    """Build a small VAE; the same seed gives the same weights."""

    def make(seed: int = 0, channels: Sequence[int] = (8, 8, 16), latents: int = 2, unshuffle: int = 2) -> SliceVAE:
        torch.manual_seed(seed)
        levels = len(channels)
        config = {
            "block_out_channels": tuple(channels),
            "latent_channels": latents,
            "down_block_types": ("DownEncoderBlock2D",) * levels,
            "up_block_types": ("UpDecoderBlock2D",) * levels,
            "layers_per_block": 1,
            "norm_num_groups": 4,
            "mid_block_add_attention": False,
        }
        return SliceVAE.build(config, unshuffle).eval()

    return make


@pytest.fixture
def vae(make_vae: Callable[..., SliceVAE]) -> SliceVAE:
    return make_vae()
