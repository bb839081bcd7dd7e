"""Algorithm 1 of the paper: from one informed slice through the whole volume, window by window, in latents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from threading import Event

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_gem3d.bundle import ModelBundle
from napari_gem3d.bundle.conditioning import Conditions
from napari_gem3d.device import autocast
from napari_gem3d.errors import InputError
from napari_gem3d.sampling.noise import correlated_noise
from napari_gem3d.sampling.solver import denoise, make_solver
from napari_gem3d.sampling.windows import Window, plan_windows


@dataclass(frozen=True)
class Sampling:
    """How a volume is drawn; see `make_solver` for the first three.

    Attributes
    ----------
    solver, steps, eta
        The solver and its settings.
    seed
        Decides all noise.
    device
        Where the networks run, such as "cpu".
    precision
        "float32" or "bfloat16", in which the networks run.
    """

    solver: str
    steps: int
    eta: float
    seed: int
    device: str
    precision: str


@dataclass(frozen=True)
class Given:
    """What of a volume is there before anything is generated (a local edit).

    Attributes
    ----------
    latents
        (Z, c, h, w), the scan's latents; anything finite where `keep` is 0.
    keep
        (Z, 1, h, w), 0 … 1: their share in what is predicted at every step, 1 outside the edit and its margin.
    windows
        Which windows are generated, and in which order.
    """

    latents: Tensor
    keep: Tensor
    windows: tuple[Window, ...]


class Propagation:
    """The latents of one volume, generated in both directions from a first window.

    Parameters
    ----------
    bundle
        The networks and their plan.
    labels
        (Z, H, W) label values of the slices that hold body.
    informed
        Latents of the informed slice, (1, c, H / factor, W / factor).
    start
        The slice, 0 … Z − 1, that the informed slice stands for.
    sampling
        Solver, seed, device.
    given
        For a local edit: the scan's latents, what of them stays, and the windows; by default nothing is given and
        the windows are those of `plan_windows`.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        labels: NDArray[np.uint8],
        informed: Tensor,
        start: int,
        sampling: Sampling,
        given: Given | None = None,
    ) -> None:
        plan = bundle.plan
        if bundle.volume_unet is None:
            raise InputError(f"The model {plan.name} has no volume U-Net; choose a bundle that is trained to the end.")
        self.network = bundle.volume_unet
        self.plan, self.sampling = plan, sampling
        self.device = torch.device(sampling.device)
        self._start, self._informed = start, informed.to(self.device)
        self._conditions = Conditions(plan, labels, self.device, bundle.vae, sampling.precision)
        shape = (len(labels), *informed.shape[1:])
        if given is None:
            self.windows = plan_windows(len(labels), start, plan.window, plan.overlap)
            self.latents = torch.zeros(shape, device=self.device)
            self._keep = torch.zeros((len(labels), 1, 1, 1), device=self.device)
        else:
            self.windows = given.windows
            self.latents, self._keep = given.latents.to(self.device).clone(), given.keep.to(self.device)

    def run(self, cancel: Event | None = None) -> Iterator[tuple[tuple[Window, ...], bool]]:
        """Generate all windows in their order; stop before the next denoising step once `cancel` is set.

        Yields
        ------
        tuple of Window
            The one or two windows at work, after every denoising step.
        bool
            Whether their new slices in `latents` are final; told once, after their last step.
        """
        # Drawn on the processor for all slices at once: windows, batches and the device do not change it.
        generator = torch.Generator().manual_seed(self.sampling.seed)
        correlation = self.plan.schedule.slice_correlation
        noise = correlated_noise(self.latents.shape, correlation, generator=generator).to(self.device)
        for batch in batches(self.windows):
            if cancel is not None and cancel.is_set():
                return
            for latents in self._denoise(batch, noise, generator):  # noqa: B007 — the last is the result
                yield batch, False
                if cancel is not None and cancel.is_set():
                    return
            for window, result in zip(batch, latents.split(len(batch[0].slices)), strict=True):
                new = window.new
                self.latents[new.start : new.stop] = result[new.start - window.slices.start :][: len(new)]
            yield batch, True

    def _denoise(self, batch: tuple[Window, ...], noise: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """Denoise windows of equal length together; yield their slices (B * n, c, h, w) after every step."""
        index = torch.tensor([i for window in batch for i in window.slices], device=self.device)
        known = torch.tensor([i in window.known for window in batch for i in window.slices], device=self.device)
        keep = torch.where(known[:, None, None, None], 1.0, self._keep[index])
        conditions = torch.cat([self._condition(window) for window in batch])
        settings, schedule = self.sampling, self.plan.schedule

        @torch.no_grad()
        def network(x: Tensor, timestep: int) -> Tensor:
            t = torch.full((len(x),), timestep, device=x.device)
            with autocast(settings.precision, self.device):
                return self.network(torch.cat([x, conditions], dim=1), t, num_slices=len(batch[0].slices))

        solver = make_solver(schedule, settings.solver, settings.steps, settings.eta)
        return denoise(network, solver, schedule.prediction_type, noise[index], self.latents[index], keep, generator)

    def _condition(self, window: Window) -> Tensor:
        """Condition channels (n, C, h, w): later windows are informed by the known slice nearest their new ones."""
        nearest = window.informed
        origin = self._start if nearest is None else nearest
        informed = self._informed if nearest is None else self.latents[nearest : nearest + 1]
        return self._conditions.window(window.slices, informed, origin)


def batches(windows: tuple[Window, ...]) -> Iterator[tuple[Window, ...]]:
    """Group a plan into batches of one or two windows of equal length that do not need each other's slices.

    In a plan for a whole volume that is the first window, then one up and one down together while both last.
    """
    batch: list[Window] = []
    for window in windows:
        needed = {*window.known, window.informed}
        apart = all(needed.isdisjoint(other.new) and len(other.slices) == len(window.slices) for other in batch)
        if batch and (len(batch) == 2 or not apart):
            yield tuple(batch)
            batch = []
        batch.append(window)
    yield tuple(batch)
