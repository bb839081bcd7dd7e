"""Latents of the cache: whose they are, their statistics, and what an interruption leaves."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_gem3d.bundle import ModelBundle, Plan, load_bundle, save_bundle
from napari_gem3d.networks import SliceVAE
from napari_gem3d.training.data.cache import Cache
from napari_gem3d.training.stages import latents as latents_module
from napari_gem3d.training.stages.latents import encode_cache, latent_key, latent_statistics


def nothing(_: str) -> None:
    pass


def kinds(cache: Cache, case: str) -> set[str]:
    return {path.stem for path in cache.path(case, "x").parent.glob("*.npy")}


def test_the_key_names_encoder_and_statistics_alone(vae: SliceVAE) -> None:
    key = latent_key(vae)
    with torch.no_grad():
        vae.autoencoder.decoder.conv_in.weight.add_(1)
    assert latent_key(vae) == key
    vae.set_latent_statistics([0.0, 0.1], [1.0, 1.0])
    other = latent_key(vae)
    vae.set_latent_statistics([0.0, 0.0], [1.0, 1.0])
    assert latent_key(vae) == key != other
    with torch.no_grad():
        vae.autoencoder.encoder.conv_in.weight[0, 0, 0, 0] += 0.1
    assert latent_key(vae) != key


def test_the_key_is_that_of_the_bundle_and_of_any_process(vae: SliceVAE, plan: Plan, tmp_path: Path) -> None:
    folder = save_bundle(ModelBundle(plan, vae=vae), tmp_path / "bundle")
    stored = load_bundle(folder).vae
    assert stored is not None
    assert not torch.equal(stored.autoencoder.encoder.conv_in.weight, vae.autoencoder.encoder.conv_in.weight)
    assert latent_key(stored) == latent_key(vae)
    script = (
        "import sys; from napari_gem3d import load_bundle; from napari_gem3d.training.stages.latents import latent_key;"
        "print(latent_key(load_bundle(sys.argv[1]).vae))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    told = subprocess.run([sys.executable, "-c", script, folder], capture_output=True, text=True, env=environment)
    assert told.stdout.strip() == latent_key(vae), told.stderr


def test_statistics_are_those_of_the_training_slices(cache: Cache, vae: SliceVAE) -> None:
    mean, std = latent_statistics(cache, vae, every=3)
    slices = np.concatenate([cache.array(case, "images")[0, ::3] for case in cache.cases("train")])
    with torch.no_grad():
        modes = vae.posterior(torch.from_numpy(slices.astype(np.float32))[:, None]).mode().double()
    np.testing.assert_allclose(mean, modes.mean(dim=(0, 2, 3)), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(std, modes.std(dim=(0, 2, 3), correction=0), rtol=1e-4)


def test_a_channel_that_is_constant_is_not_blown_up(cache: Cache, vae: SliceVAE) -> None:
    with torch.no_grad():
        vae.autoencoder.quant_conv.weight[0] = 0
    _, std = latent_statistics(cache, vae)
    assert std[0] == pytest.approx(1e-3)


def test_latents_are_those_of_every_slice_and_variant(cache: Cache, vae: SliceVAE, depths: dict[str, int]) -> None:
    vae.set_latent_statistics([0.1, -0.2], [0.5, 2.0])
    key = encode_cache(cache, vae.train(), "float32", nothing)
    assert vae.training
    for case, depth in depths.items():
        latents = cache.array(case, f"latents-{key}")
        assert latents.shape == (2, depth, 2, 4, 6)
        with torch.no_grad():
            wanted = vae.encode(torch.from_numpy(cache.array(case, "images")[1, 2:4].astype(np.float32))[:, None])
        np.testing.assert_allclose(latents[1, 2:4].astype(np.float32), wanted, atol=2e-3)


def test_memory_is_bounded_by_a_few_slices(
    cache: Cache, vae: SliceVAE, depths: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latents_module, "_TOGETHER", 4 * 32 * 48)
    seen, encode = [], SliceVAE.encode

    def note(self: SliceVAE, slices: torch.Tensor) -> torch.Tensor:
        seen.append(len(slices))
        return encode(self, slices)

    monkeypatch.setattr(SliceVAE, "encode", note)
    encode_cache(cache, vae, "float32", nothing)
    assert max(seen) == 4
    assert sum(seen) == 2 * sum(depths.values())


def test_encoding_goes_on_where_it_was_interrupted_and_removes_the_old_last(
    cache: Cache,
    vae: SliceVAE,
    make_vae: Callable[..., SliceVAE],
    depths: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = encode_cache(cache, vae, "float32", nothing)
    cache.write("egg0", "latents", np.zeros(3))
    newer, calls, encode = make_vae(seed=1), iter(range(100)), SliceVAE.encode
    new = latent_key(newer)

    def interrupted(self: SliceVAE, slices: torch.Tensor) -> torch.Tensor:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return encode(self, slices)

    monkeypatch.setattr(SliceVAE, "encode", interrupted)
    monkeypatch.setattr(latents_module, "_TOGETHER", 22 * 32 * 48)
    with pytest.raises(KeyboardInterrupt):
        encode_cache(cache, newer, "float32", nothing)
    # One patient is done, the next was interrupted, all that there was is still there.
    assert kinds(cache, "egg0") == {"images", "labels", "latents", f"latents-{old}", f"latents-{new}"}
    assert f"latents-{new}" not in kinds(cache, "egg1") and f"latents-{old}" in kinds(cache, "egg1")
    (cache.path("egg1", "x").parent / ".99-latents.npy").write_bytes(b"left by a kill")
    said: list[str] = []
    assert encode_cache(cache, newer, "float32", said.append) == new
    assert [line.split(",")[0] for line in said] == ["latents: egg1", "latents: egg2"]
    for case in depths:
        assert kinds(cache, case) == {"images", "labels", f"latents-{new}"}
    assert encode_cache(cache, newer, "float32", said.append) == new
    assert len(said) == 2
