"""The benchmark of training runs at the smallest scale, and its steps are what they are said to be."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from benchmarks.cases import write_cache
from benchmarks.training import BFLOAT16, FLOAT32, OURS, PUBLISHED, STAGES, main, make_stage, published_small
from benchmarks.training_steps import PARTS, EncodedAnew, WindowStep, time_loop
from napari_gem3d.bundle import ModelBundle, load_bundle, save_bundle
from napari_gem3d.device import choose_precision
from napari_gem3d.networks import PositionUNet
from napari_gem3d.training.config.loading import load_config
from napari_gem3d.training.data.cache import Cache

CONFIG = load_config("tiny")


@pytest.fixture(scope="module")
def bundle(tiny_model: Path) -> ModelBundle:
    position = PositionUNet.build(4, (8, 8), (False, True), head_channels=8, norm_groups=4)
    return replace(load_bundle(tiny_model), position_unet=position.eval())


@pytest.fixture(scope="module")
def cache(bundle: ModelBundle, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return write_cache(bundle, tmp_path_factory.mktemp("run"), patients=2, slices=9)


def with_gradient(network: torch.nn.Module) -> set[str]:
    return {name for name, parameter in network.named_parameters() if parameter.grad is not None}


def test_the_published_step_has_gradients_everywhere_and_moves_the_volumetric_tensors(bundle, cache) -> None:
    step = WindowStep(bundle, cache, CONFIG.volume)
    network = step.objective.network
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    assert np.isfinite(step())
    volumetric = {name for name, _ in network.volumetric_parameters()}
    assert with_gradient(network) == set(before) > volumetric
    moved = {name for name, parameter in network.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved <= volumetric and len(moved) > len(volumetric) / 2
    assert len(step.averaged) == len(before)
    assert isinstance(step.source, EncodedAnew)


def test_our_step_has_gradients_in_the_volumetric_tensors_alone(bundle, cache, tmp_path: Path) -> None:
    stage = make_stage("volume", bundle, cache, CONFIG)
    assert stage is not None
    network = stage.objective.network
    turns: list[int] = []
    seen: list[set[str]] = []
    with register_optimizer_step_pre_hook(lambda *_: seen.append(with_gradient(network))):
        steps = time_loop(stage, tmp_path / "loop", 3, between=lambda: turns.append(len(seen)))
    assert seen[-1] == {name for name, _ in network.volumetric_parameters()}
    assert len(steps) == 3 and turns == [0, 1, 2, 3, 4], "two to warm up, three that count, one at which it ends"
    for step in steps:
        assert all(step[part] > 0 for part in PARTS)
        assert sum(step[part] for part in PARTS) < step["step"]


def test_what_is_encoded_anew_is_like_the_cache(bundle, cache) -> None:
    torch.manual_seed(0)
    source = EncodedAnew(bundle, cache, CONFIG.volume, "float32")
    drawn = source.draw(np.random.default_rng(0), 2)
    assert drawn.latents.shape == (2 * bundle.plan.window, 4, 4, 4) and drawn.windows == 2
    other = source.draw(np.random.default_rng(0), 2)
    assert drawn.origins == other.origins and not torch.equal(drawn.latents, other.latents), "samples, not modes"
    cached = WindowStep(bundle, cache, CONFIG.volume, cached=True).source
    batch = cached.join([cached.draw(np.random.default_rng(0))])
    assert drawn.conditions.shape[1:] == batch.conditions.shape[1:]
    assert drawn.timesteps.unique().numel() == 2 and drawn.timesteps.dtype == batch.timesteps.dtype
    rng = np.random.default_rng(0)
    assert np.mean([source.timesteps.draw(rng) for _ in range(2000)]) == pytest.approx(444, abs=25), "low noise rather"


def test_the_published_layout(bundle) -> None:
    small = published_small(bundle)
    assert small.vae is not None and small.vae.factor == 8 and small.vae.latent_channels == 4
    assert len(small.volume_unet.config["block_out_channels"]) == 4


def test_the_whole_benchmark_writes_its_results(bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, page, out = save_bundle(bundle, tmp_path / "model"), tmp_path / "page.md", tmp_path / "training.json"
    page.write_text("# Speed\n")
    main(["--model", str(model), "--config", "tiny", "--steps", "2", "--out", str(out), "--write-docs", str(page)])
    results = json.loads(out.read_text())
    names = {PUBLISHED, *FLOAT32, OURS}
    if choose_precision("auto", torch.device("cpu")) == "bfloat16":
        names |= set(BFLOAT16)
    assert set(results["seconds"]) == names
    assert all(len(taken) == 2 and min(taken) > 0 for taken in results["seconds"].values())
    assert set(results["stages"]) == set(STAGES)
    assert all(run["peak_mb"] >= run["loaded_mb"] > 50 for run in results["memory"].values())
    text = page.read_text()
    assert all(f"\n| {name} | " in text for name in (*names, *STAGES)) and capsys.readouterr().out.strip() in text
