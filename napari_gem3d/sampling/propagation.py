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
from napari_gem3d.networks.volume_unet import IN_TURN
from napari_gem3d.sampling.compiled import Compiled
from napari_gem3d.sampling.corrections import Corrections, kriging_weights, persistence_weights
from napari_gem3d.sampling.memory import Workplace
from napari_gem3d.sampling.noise import correlated_noise
from napari_gem3d.sampling.settings import Drawing
from napari_gem3d.sampling.solver import denoise, make_solver, published_known_levels
from napari_gem3d.sampling.stopping import Stopped, stoppable
from napari_gem3d.sampling.windows import Window, plan_windows


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
        Latents of the informed slice, (1, c, H / factor, W / factor); a baseline without one takes only their shape.
    start
        The slice, 0 … Z − 1, that the informed slice stands for.
    drawing
        Solver, seed, device.
    given
        For a local edit: the scan's latents, what of them stays, and the windows; by default nothing is given and
        the windows are those of `plan_windows`.
    unknown
        Values of tissue labels that are known nowhere.

    Attributes
    ----------
    start
        The slice that the informed slice stands for.
    windows
        All windows, in their order.
    finished
        Those whose slices are generated.
    latents
        (Z, c, h, w), what is generated so far.
    place
        Where the networks run, and on how much at once.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        labels: NDArray[np.uint8],
        informed: Tensor,
        start: int,
        drawing: Drawing,
        given: Given | None = None,
        unknown: tuple[int, ...] = (),
    ) -> None:
        plan = bundle.plan
        if bundle.volume_unet is None:
            raise InputError(f"The model {plan.name} has no volume U-Net; choose a bundle that is trained to the end.")
        self._bundle, self._labels, self._unknown = bundle, labels, unknown
        self.plan, self.drawing = plan, drawing
        self.place = Workplace(bundle, torch.device(drawing.device), drawing.precision)
        self._volume_unet = bundle.volume_unet
        self.network = Compiled(self._volume_unet, self.place.say) if drawing.compiled else self._volume_unet
        self.start, self._informed = start, informed
        shape = (len(labels), *informed.shape[1:])
        self._given = given
        if given is None:
            self.windows = plan_windows(len(labels), start, plan.window, plan.overlap)
            self._first, self._keep = torch.zeros(shape), torch.zeros((len(labels), 1, 1, 1))
        else:
            self.windows = given.windows
            self._first, self._keep = given.latents, given.keep
        self.reset()
        # Drawn on the processor for all slices at once: windows, batches and the device do not change it.
        self._generator = torch.Generator()
        self._noise = torch.zeros_like(self.latents)
        self._settle()

    def reset(self) -> None:
        """Go back to the beginning."""
        self.latents = self._first.to(self.place.device, copy=True)
        self.finished: list[Window] = []
        self._drawn: Tensor | None = None  # the generator's state after the last finished window

    def state(self) -> dict[str, Tensor]:
        """Which windows are finished, their latents, and where the noise stands: all on the processor."""
        done = torch.tensor([self.windows.index(window) for window in self.finished], dtype=torch.int64)
        drawn = torch.empty(0, dtype=torch.uint8) if self._drawn is None else self._drawn
        return {"latents": self.latents.cpu().contiguous(), "windows": done, "generator": drawn}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over the `state` of another propagation of the same recipe."""
        self.latents = state["latents"].to(self.place.device)
        self.finished = [self.windows[i] for i in state["windows"].tolist()]
        self._drawn = state["generator"] if len(state["generator"]) else None

    def _settle(self) -> None:
        """Bring everything to where the networks run."""
        device = self._settled = self.place.device
        self._informed, self.latents, self._keep = (t.to(device) for t in (self._informed, self.latents, self._keep))
        self._noise = self._noise.to(device)
        how = (device, self._bundle.vae, self.place.precision, self._unknown)
        self._conditions = Conditions(self.plan, self._labels, *how)

    def run(self, cancel: Event | None = None) -> Iterator[tuple[tuple[Window, ...], bool]]:
        """Generate the windows that are not finished, in their order; stop within a step once `cancel` is set.

        Yields
        ------
        tuple of Window
            The one or two windows at work, after every denoising step.
        bool
            Whether their new slices in `latents` are final; told once, after their last step.
        """
        self._generator.manual_seed(self.drawing.seed)
        schedule, generator = self.plan.schedule, self._generator
        noise = correlated_noise(
            self.latents.shape, schedule.slice_correlation, generator=generator, decay=schedule.slice_decay
        )
        self._noise = noise.to(self.latents.device)
        if self._drawn is not None:
            generator.set_state(self._drawn)
        for batch in batches(self.windows):
            left = tuple(window for window in batch if window not in self.finished)
            if left:
                yield from self._finish(left, cancel)
            if cancel is not None and cancel.is_set():
                return

    def _finish(self, batch: tuple[Window, ...], cancel: Event | None) -> Iterator[tuple[tuple[Window, ...], bool]]:
        """Generate the new slices of windows; if the memory does not hold them, in smaller batches or elsewhere."""
        if len(batch) > self.place.windows:
            for window in batch:
                yield from self._finish((window,), cancel)
            return
        if cancel is not None and cancel.is_set():
            return
        if self.place.device != self._settled:
            self._settle()
        drawn = self._generator.get_state()
        try:
            with stoppable(self._volume_unet, None if self.drawing.compiled else cancel):
                for latents in self._denoise(batch):  # noqa: B007 — the last is the result
                    yield batch, False
                    if cancel is not None and cancel.is_set():
                        return
        except Stopped:
            return
        except (RuntimeError, MemoryError) as error:
            self.place.give_way(error, denoising=True)
        else:
            for window, result in zip(batch, latents.split(len(batch[0].slices)), strict=True):
                new = window.new
                self.latents[new.start : new.stop] = result[new.start - window.slices.start :][: len(new)]
            self.finished.extend(batch)
            self._drawn = self._generator.get_state()
            yield batch, True
            return
        self.place.free()
        self._generator.set_state(drawn)
        yield from self._finish(batch, cancel)

    def _denoise(self, batch: tuple[Window, ...]) -> Iterator[Tensor]:
        """Denoise windows of equal length together; yield their slices (B * n, c, h, w) after every step."""
        device = self.latents.device
        index = torch.tensor([i for window in batch for i in window.slices], device=device)
        known = torch.tensor([i in window.known for window in batch for i in window.slices], device=device)
        keep = torch.where(known[:, None, None, None], 1.0, self._keep[index])
        conditions = torch.cat([self._condition(window) for window in batch])
        settings, schedule = self.drawing, self.plan.schedule

        @torch.inference_mode()
        def network(x: Tensor, timestep: int) -> Tensor:
            t = torch.full((len(x),), timestep, device=x.device)
            with IN_TURN, autocast(self.place.precision, device):
                return self.network(torch.cat([x, conditions], dim=1), t, num_slices=len(batch[0].slices))

        solver = make_solver(schedule, settings.solver, settings.steps, settings.eta)
        levels = published_known_levels(schedule, settings.steps) if settings.known_level == "published" else None
        noise, latents = self._noise[index], self.latents[index]
        return denoise(
            network,
            solver,
            schedule.prediction_type,
            noise,
            latents,
            keep,
            self._generator,
            schedule.slice_correlation,
            len(batch),
            levels,
            schedule.slice_decay,
            self._corrections(batch, known, latents),
        )

    def _corrections(self, batch: tuple[Window, ...], known: Tensor, latents: Tensor) -> Corrections | None:
        """What is corrected in predictions of windows, of which slices (B * n,) are known or not; None for nothing."""
        plan, n = self.plan, len(batch[0].slices)
        if plan.residual_mm == plan.persistence_mm == 0:
            return None
        carry = torch.stack([kriging_weights(part, plan.spacing[0], plan.residual_mm) for part in known.split(n)])
        weights, starts = zip(*(self._persistence(window) for window in batch), strict=True)
        first = torch.arange(0, len(known), n, device=latents.device)
        begins = first + torch.tensor(starts, device=latents.device)
        return Corrections(latents, carry, torch.cat(weights), begins, self.drawing.steps)

    def _persistence(self, window: Window) -> tuple[Tensor, int]:
        """How far the slices of a window keep to its start slice, and which of them that is."""
        plan, labels = self.plan, self._conditions.labels(window.slices)
        # An edit is informed by the scan's own slices; in later windows known slices do what the start slice does.
        if self._given is None and window.direction == "first" and plan.informed and plan.conditioning != "grey":
            start = self.start - window.slices.start
            return persistence_weights(labels, start, plan.spacing[0], plan.persistence_mm), start
        return torch.zeros_like(labels[:, :1]), 0

    def _condition(self, window: Window) -> Tensor:
        """Condition channels (n, C, h, w): later windows are informed by the known slice nearest their new ones."""
        nearest = window.informed
        origin = self.start if nearest is None else nearest
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
