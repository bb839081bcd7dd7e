"""Steps of training that are timed: the published one of stage 2, and those of our own loop, part by part.

What the published step does, on the networks, batch and window of ours: windows of images and of label maps, as grey
pictures, pass the VAE anew at every step, which draws a sample of the posterior; every tensor of the volume U-Net gets
a gradient and a moving average, though the optimiser moves the volumetric ones alone; all in float32. Reading and
resizing a whole volume for each window is left out: another process can do it meanwhile.
"""

from __future__ import annotations

import copy
import math
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from diffusers.training_utils import EMAModel
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils.data import DataLoader

from napari_gem3d.bundle import ModelBundle
from napari_gem3d.bundle.conditioning import condition_channels
from napari_gem3d.device import autocast
from napari_gem3d.training.config.settings import VolumeSettings
from napari_gem3d.training.data.cache import Cache
from napari_gem3d.training.loop.loop import train_stage
from napari_gem3d.training.stages.batches import LatentBatch, WindowSource
from napari_gem3d.training.stages.diffusion import WindowDenoising
from napari_gem3d.training.stages.latents import latent_key
from napari_gem3d.training.stages.stage import Stage, learning
from napari_gem3d.training.stages.timesteps import TimestepDraw

PARTS = ("data", "forward", "backward", "clipping", "optimiser", "average")
_DEVICE = torch.device("cpu")
_WARM_UP = 2  # steps of the loop that are not counted


class EncodedAnew:
    """Windows of images and label maps that pass the VAE whenever they are drawn, as the published code has it.

    Parameters
    ----------
    bundle
        Its VAE, and its plan: window, schedule, number of condition channels.
    cache
        Where images and label maps are read.
    settings
        Of the stage.
    precision
        Of the VAE.
    """

    def __init__(self, bundle: ModelBundle, cache: Cache, settings: VolumeSettings, precision: str) -> None:
        assert bundle.vae is not None
        self.plan, self.vae, self.precision = bundle.plan, bundle.vae, precision
        self.names = cache.cases("train")
        self.images = [cache.array(name, "images") for name in self.names]
        self.labels = [cache.array(name, "labels") for name in self.names]
        published = settings.model_copy(update={"timestep_weighting": "published"})
        self.timesteps = TimestepDraw(self.plan.schedule, published)

    def draw(self, rng: np.random.Generator, count: int) -> LatentBatch:
        """Draw windows, each with one timestep, informed by one of its slices."""
        length, images, masks, origins = self.plan.window, [], [], []
        for _ in range(count):
            patient = int(rng.integers(len(self.names)))
            variants, depth = self.images[patient].shape[:2]
            variant, start = int(rng.integers(variants)), int(rng.integers(depth - length + 1))
            window = slice(start, start + length)
            images.append(self.images[patient][variant, window].astype(np.float32))
            masks.append(self.labels[patient][variant, window].astype(np.float32))
            origins.append(f"{self.names[patient]} slices {start}-{start + length - 1}")
        highest = max(self.plan.labels.values)
        latents = self._sample(np.concatenate(images))
        pictures = self._sample(np.concatenate(masks) / highest * 2 - 1)
        shown = latents[np.arange(count) * length + rng.integers(length, size=count)].repeat_interleave(length, dim=0)
        conditions = torch.cat([pictures, shown], dim=1)
        # Our networks have other condition channels; as many of these stand for them, so that the network is the same.
        wanted = torch.arange(condition_channels(self.plan)) % conditions.shape[1]
        timesteps = torch.tensor([self.timesteps.draw(rng) for _ in range(count)])
        return LatentBatch(
            latents=latents,
            noise=torch.randn_like(latents),
            timesteps=timesteps.repeat_interleave(length),
            conditions=conditions[:, wanted],
            positions=torch.zeros(len(latents)),
            origins=tuple(origins),
        )

    @torch.no_grad()
    def _sample(self, slices: np.ndarray) -> Tensor:
        """A sample of the posterior, normalised, (N, c, h, w) of slices (N, H, W)."""
        with autocast(self.precision, _DEVICE):
            drawn = self.vae.posterior(torch.from_numpy(slices)[:, None]).sample().float()
        return (drawn - self.vae.latent_mean[:, None, None]) / self.vae.latent_std[:, None, None]


class WindowStep:
    """Steps of stage 2 with some of our measures; with none of them, the published step.

    Parameters
    ----------
    bundle, cache
        Networks and data.
    settings
        The batch, in windows.
    frozen
        The 2D tensors have no gradients (nor averages).
    cached
        Latents and label shares come from the cache.
    precision
        Of the networks.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        cache: Cache,
        settings: VolumeSettings,
        *,
        frozen: bool = False,
        cached: bool = False,
        precision: str = "float32",
    ) -> None:
        network = copy.deepcopy(bundle.volume_unet)
        assert network is not None and bundle.vae is not None
        self.objective = WindowDenoising(network, bundle.plan.schedule, settings)
        if not frozen:
            network.requires_grad_(True)
        self.source: WindowSource | EncodedAnew
        if cached:
            self.source = WindowSource(cache, bundle.plan, "train", settings, latent_key(bundle.vae))
        else:
            self.source = EncodedAnew(bundle, cache, settings, precision)
        self.batch, self.precision, self.rng = settings.batch, precision, np.random.default_rng(0)
        tuned = [parameter for _, parameter in network.volumetric_parameters()]
        self.optimiser = torch.optim.AdamW(tuned, settings.learning_rate)
        self.averaged = learning(self.objective)
        self.average = EMAModel(self.averaged, decay=0.9999)

    def __call__(self) -> float:
        """Take a step; returns its loss."""
        if isinstance(self.source, EncodedAnew):
            batch = self.source.draw(self.rng, self.batch)
        else:
            batch = self.source.join([self.source.draw(self.rng) for _ in range(self.batch)])
        with autocast(self.precision, _DEVICE):
            loss = self.objective(batch, 0).loss
        self.objective.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.average.step(self.averaged)
        return float(loss.detach())


class _Clock:
    """Seconds of the parts of steps."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self._running: dict[str, float] = {}
        self._parts: dict[str, float] = defaultdict(float)
        self._begun = math.nan

    def start(self, part: str) -> None:
        self._running[part] = time.perf_counter()

    def stop(self, part: str) -> None:
        self._parts[part] += time.perf_counter() - self._running.pop(part)

    def end_step(self) -> None:
        if not math.isnan(self._begun):
            whole = time.perf_counter() - self._begun
            self.steps.append({**{part: self._parts[part] for part in PARTS}, "step": whole})

    def begin_step(self) -> None:
        self._parts.clear()
        self._begun = time.perf_counter()

    @contextmanager
    def timing(self, owner: object, name: str, part: str) -> Iterator[None]:
        """Count the calls of a function that the loop uses as a part."""
        called = getattr(owner, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            self.start(part)
            try:
                return called(*arguments, **options)
            finally:
                self.stop(part)

        with patch.object(owner, name, timed):
            yield


def time_loop(
    stage: Stage, folder: Path, steps: int, between: Callable[[], object] = lambda: None
) -> list[dict[str, float]]:
    """Train a stage in the real loop for some steps, from outside, and time their parts.

    Parameters
    ----------
    stage
        Its settings must allow more steps than are wanted, and no validation before.
    folder
        Where the loop writes.
    steps
        That are counted.
    between
        Called before every step but the last, at which the loop ends; its time does not count.

    Returns
    -------
    list of dict
        Seconds by part, and of the whole ``step``.
    """
    clock = _Clock()
    read = DataLoader.__iter__

    def batches(loader: DataLoader) -> Iterator[Any]:
        iterator = read(loader)
        while True:
            clock.end_step()
            if len(clock.steps) < _WARM_UP + steps:
                between()
            else:
                signal.raise_signal(signal.SIGTERM)  # at which the loop ends after the step that begins
            clock.begin_step()
            clock.start("data")
            batch = next(iterator)
            clock.stop("data")
            yield batch

    with ExitStack() as stack:
        stack.enter_context(patch.object(DataLoader, "__iter__", batches))
        for owner, name, part in (
            (torch.Tensor, "backward", "backward"),
            (torch.nn.utils, "clip_grad_norm_", "clipping"),
            (EMAModel, "step", "average"),
        ):
            stack.enter_context(clock.timing(owner, name, part))
        for handle in (
            stage.objective.register_forward_pre_hook(lambda *_: clock.start("forward")),
            stage.objective.register_forward_hook(lambda *_: clock.stop("forward")),
            register_optimizer_step_pre_hook(lambda *_: clock.start("optimiser")),
            register_optimizer_step_post_hook(lambda *_: clock.stop("optimiser")),
        ):
            stack.callback(handle.remove)
        train_stage(stage, folder, seed=0, resume=False, say=lambda _: None)
    return clock.steps[_WARM_UP : _WARM_UP + steps]
