"""How long a generation will take and how much memory it needs, by what this machine was measured to do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from pydantic import BaseModel, TypeAdapter, ValidationError

from napari_gem3d.bundle import ModelBundle
from napari_gem3d.bundle.conditioning import condition_channels
from napari_gem3d.device import autocast
from napari_gem3d.errors import InputError
from napari_gem3d.io import replacing
from napari_gem3d.io.files import private_folder
from napari_gem3d.networks.volume_unet import IN_TURN
from napari_gem3d.sampling.work import Work

# Bytes a voxel of what a job holds on its grid: scans, label maps, masks, the result, and for an edit what was drawn.
_BYTES_A_VOXEL = {"whole": 16, "edit": 40}
_LOOK_EVERY = 0.02


class Speed(BaseModel):
    """What was measured of one model on one device.

    Attributes
    ----------
    seconds
        For one denoising step of one window.
    opening
        Seconds from the order to the first step.
    memory
        Bytes that the networks took at their peak, beside the volumes.
    runs
        How many generations were measured; 0 if it was a single step.
    """

    seconds: float
    opening: float = 0.0
    memory: int = 0
    runs: int = 0

    def time(self, work: Work) -> float:
        """Seconds that a generation will take."""
        return self.opening + self.seconds * work.units


def volume_memory(task: str, voxels: int) -> int:
    """Bytes of the volumes that a job of "whole" or "edit" holds, by the number of voxels of its grid."""
    return _BYTES_A_VOXEL[task] * voxels


class Speeds:
    """The speeds measured on this machine, remembered in a file.

    Parameters
    ----------
    path
        JSON; made when the first speed is remembered. One that cannot be read counts as empty.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._adapter = TypeAdapter(dict[str, Speed])

    @staticmethod
    def key(model: str, device: str, precision: str) -> str:
        """Under which a model (by its hash) on a device is remembered."""
        return f"{model[:16]} {device} {precision} {torch.get_num_threads()} threads"

    def find(self, key: str) -> Speed | None:
        """What was measured last, None if nothing was."""
        return self._all().get(key)

    def remember(self, key: str, speed: Speed) -> None:
        """Keep a measurement: a run counts half, all before it the other half; a single step is soon forgotten."""
        speeds = self._all()
        before = speeds.get(key)
        if before is not None and speed.runs == 0:
            return
        if before is not None:
            memory, runs = max(before.memory, speed.memory), before.runs + speed.runs
            if before.runs:
                seconds, opening = (before.seconds + speed.seconds) / 2, (before.opening + speed.opening) / 2
                speed = Speed(seconds=seconds, opening=opening)
            speed = speed.model_copy(update={"memory": memory, "runs": runs})
        private_folder(self._path.parent)
        with replacing(self._path) as temporary:
            temporary.write_bytes(self._adapter.dump_json({**speeds, key: speed}, indent=2))

    def _all(self) -> dict[str, Speed]:
        try:
            return self._adapter.validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            return {}


def measure_step(bundle: ModelBundle, device: torch.device, precision: str) -> Speed:
    """Time one denoising step of one window of a bundle; takes the time of two (the first one warms up)."""
    network, plan = bundle.volume_unet, bundle.plan
    if network is None:
        raise InputError(f"The model {plan.name} has no volume U-Net; choose a bundle that is trained to the end.")
    bundle.to(device)
    height, width = (size // plan.latents.factor for size in plan.size)
    x = torch.zeros(plan.window, plan.latents.channels + condition_channels(plan), height, width, device=device)
    t = torch.full((plan.window,), plan.schedule.num_train_timesteps // 2, device=device)
    with peak_memory(device) as peak, torch.inference_mode(), autocast(precision, device):
        for _ in range(2):
            begun = time.perf_counter()
            with IN_TURN:
                network(x, t, num_slices=plan.window).sum().item()  # waits for the device
            seconds = time.perf_counter() - begun
    return Speed(seconds=seconds, memory=peak.growth)


@dataclass
class Peak:
    """How many bytes more were taken at most than at the beginning."""

    growth: int = 0


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Measure the growth of memory: of a GPU's own, else of this process, looking fifty times a second."""
    peak = Peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield peak
        peak.growth = torch.cuda.max_memory_allocated(device) - before
        return
    process, over = psutil.Process(), threading.Event()
    begin = process.memory_info().rss

    def look() -> None:
        while not over.wait(_LOOK_EVERY):
            peak.growth = max(peak.growth, process.memory_info().rss - begin)

    thread = threading.Thread(target=look, name="gem3d-memory", daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)
