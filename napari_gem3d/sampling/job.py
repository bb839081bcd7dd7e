"""Job: one generation being carried out, slice by slice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_gem3d.bundle import ModelBundle
from napari_gem3d.bundle.preprocessing import fit_intensities
from napari_gem3d.device import autocast
from napari_gem3d.errors import InputError
from napari_gem3d.grid import Grid
from napari_gem3d.labels import LabelMap
from napari_gem3d.sampling.informed import informed_latents
from napari_gem3d.sampling.prepare import Prepared
from napari_gem3d.sampling.propagation import Given, Propagation
from napari_gem3d.sampling.recipe import Recipe
from napari_gem3d.sampling.stopping import Stopped, stoppable
from napari_gem3d.sampling.streaks import Box, Waiting, runs_of, streak_reach, streaks, surroundings
from napari_gem3d.sampling.windows import Window
from napari_gem3d.sampling.work import Work
from napari_gem3d.volume import Volume, resample

# Slices encoded, or decoded and handed on, at once: few enough to arrive smoothly.
_TOGETHER = 4


@dataclass(frozen=True)
class Part:
    """What has just been finished.

    Attributes
    ----------
    indices
        Axial slices on axis 0 of the job's grid; none if the part only tells progress.
    voxels
        (len(indices), Y, X) on the job's grid, in the intensity units of the informed scan.
    progress
        Share of all work that is done, 0 … 1.
    message
        What people should know of how it goes on, such as that memory ran out; mostly empty.
    """

    indices: list[int]
    voxels: NDArray[np.float32]
    progress: float
    message: str = ""


class Job:
    """One generation, ready to run; `generation` makes it.

    Attributes
    ----------
    recipe
        What is carried out.
    prepared
        The inputs on the grid of the model.
    grid
        Canonical (RAS) grid of the label map at the plan's spacing; its axial slices are what the parts hold.
    informed_picture
        (H, W), the informed slice as the model sees it, in the intensity units of its scan.
    total
        Number of axial slices of `grid`.
    todo
        Those of them that are generated; the others are there from the start.
    generated
        (total,) bool, which slices are finished.
    cancelled
        Whether the last run was stopped before its end.
    """

    def __init__(self, recipe: Recipe, prepared: Prepared, bundle: ModelBundle) -> None:
        if bundle.vae is None:
            raise InputError(f"The model {bundle.plan.name} has no VAE; choose a bundle that is trained to the end.")
        if recipe.start not in prepared.case.slices:
            raise InputError(f"The recipe starts at slice {recipe.start}, which holds no body; generate anew.")
        self.recipe, self.prepared = recipe, prepared
        self.grid: Grid = prepared.case.grid
        self.total = self.grid.shape[0]
        self.todo: Sequence[int] = prepared.case.slices
        self._device = torch.device(recipe.device)
        bundle.to(self._device)
        # Its convolutions, at full resolution, are faster so; the U-Nets' GroupNorms are much slower.
        self._vae = bundle.vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # its stubs lack it
        self._plan = bundle.plan
        self._intensities = fit_intensities(bundle.plan, prepared.informed, prepared.inside)
        case, start = prepared.case, recipe.start - prepared.case.slices.start
        informed, picture = informed_latents(bundle, prepared)
        self.informed_picture = self._intensities.inverse(picture)
        self._propagation = Propagation(
            bundle, case.labels, informed, start, prepared.drawing, self._given(), case.unknown
        )
        if self._filtered:
            inside = LabelMap(case.labels > 0, case.box.affine)
            self._body = resample(inside, self.grid, order=0).voxels > 0
        self._reset()

    def _given(self) -> Given | None:
        """What is there before anything is generated; nothing, for a whole volume."""
        return None

    @property
    def _filtered(self) -> bool:
        """Whether streaks are taken out, for which slices wait for their neighbours."""
        return self._plan.streak_filter

    def _reset(self) -> None:
        self._decoded = set[range]()  # slices of the box that are in the volume
        self._waiting = Waiting(self.todo, streak_reach(self.grid.spacing)[0] if self._filtered else 0)
        self._voxels = np.full(self.grid.shape, self._intensities.around, np.float32)
        self._raw = self._voxels.copy() if self._filtered else self._voxels  # as decoded
        self.generated = np.isin(range(self.total), self.todo, invert=True)
        self.cancelled = False

    @property
    def voxels(self) -> NDArray[np.float32]:
        """(Z, Y, X) on `grid`, what is there so far: to be looked at, not changed."""
        return self._voxels

    @property
    def work(self) -> Work:
        """How much there is to do in all."""
        return Work(self.recipe.steps, len(self._propagation.windows), len(self.todo))

    @property
    def finished(self) -> bool:
        """Whether all slices are generated."""
        return bool(self.generated.all())

    def state(self) -> dict[str, Tensor]:
        """What is finished, as tensors on the processor; see `save_state`."""
        return self._propagation.state()

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over what another job of the same recipe had finished; go on by ``run(resume=True)``."""
        self._reset()
        self._propagation.restore(state)

    def run(self, cancel: Event | None = None, *, resume: bool = False) -> Iterator[Part]:
        """Generate the volume, from the beginning or from where an earlier run was stopped.

        What is there already comes first (slices without body, as background); then windows as they are finished, from
        the start slice in both directions. Over a run that is not cancelled every slice comes exactly once.

        Parameters
        ----------
        cancel
            Once it is set the run ends within its denoising step, or within the few slices that it decodes.
        resume
            Go on with what the last run, or `load_state`, has left. Windows that were not finished begin anew, with
            the noise that they had, so that the result is that of a run that was never stopped (on a processor to the
            bit).

        Yields
        ------
        Part
            After every denoising step, and whenever slices are finished.
        """
        propagation = self._propagation
        if not resume:
            self._reset()
            propagation.reset()
        self.cancelled = False
        stepped, there = self.recipe.steps * len(propagation.finished), np.flatnonzero(self.generated).tolist()
        yield Part(there, self._voxels[there], self._share(stepped))
        for window in tuple(propagation.finished):
            yield from self._decode_window(window, stepped, cancel)
        for batch, final in propagation.run(cancel):
            if not final:
                stepped += len(batch)
                yield Part([], self._voxels[:0], self._share(stepped), propagation.place.news())
            for window in batch if final else ():
                yield from self._decode_window(window, stepped, cancel)
        self.cancelled = not self.finished

    def _share(self, stepped: int) -> float:
        """How much of the work is done."""
        return min(Work.units_of(stepped, sum(map(len, self._decoded))) / self.work.units, 1.0)

    def _decode_window(self, window: Window, stepped: int, cancel: Event | None) -> Iterator[Part]:
        """Hand on the slices of a window whose latents are final, those that are not in the volume yet."""
        for chunk in _chunks(window, self._propagation.start):
            if chunk in self._decoded:
                continue
            if cancel is not None and cancel.is_set():
                return
            try:
                with stoppable(self._vae, cancel):
                    indices, voxels = self._put(chunk)
            except Stopped:
                return
            self._decoded.add(chunk)
            yield Part(indices, voxels, self._share(stepped), self._propagation.place.news())

    def _encode(self, slices: NDArray[np.float32]) -> Tensor:
        """Latents (N, c, h, w) of slices (N, H, W) in [-1, 1]."""
        pictures = torch.from_numpy(slices)[:, None]
        with torch.no_grad(), autocast(self.recipe.precision, self._device):
            chunks = [self._vae.encode(chunk.to(self._device)).float() for chunk in pictures.split(_TOGETHER)]
        return torch.cat(chunks)

    def _put(self, chunk: range) -> tuple[list[int], NDArray[np.float32]]:
        """Decode neighbouring slices of the box and put them in their place in the volume; what that finishes."""
        case = self.prepared.case
        scaled = self._decode(self._propagation.latents[chunk.start : chunk.stop])
        voxels = self._intensities.inverse(scaled)
        if self._plan.background_outside_body:
            inside = case.labels[chunk.start : chunk.stop] > 0
            voxels = np.where(inside, voxels, np.float32(self._intensities.around))
        box = case.box.box((chunk.start, 0, 0), voxels.shape)
        first = case.slices.start + chunk.start
        place = case.grid.box((first, 0, 0), (len(chunk), *case.grid.shape[1:]))
        placed = resample(Volume(voxels, box.affine), place, fill=self._intensities.around).voxels
        indices, finished = self._place(first, placed)
        self.generated[indices] = True
        return indices, finished

    def _decode(self, latents: Tensor) -> NDArray[np.float32]:
        """Slices (N, H, W), about [-1, 1]; fewer at once or on the processor if the memory does not hold them."""
        place = self._propagation.place
        while True:
            try:
                with torch.inference_mode(), autocast(place.precision, place.device):
                    few = latents.to(place.device).split(place.slices)
                    return torch.cat([self._vae.decode(part)[:, 0].float().cpu() for part in few]).numpy()
            except (RuntimeError, MemoryError) as error:
                place.give_way(error, denoising=False)
            place.free()

    def _place(self, first: int, slices: NDArray[np.float32]) -> tuple[list[int], NDArray[np.float32]]:
        """Put slices (n, Y, X) of the grid, decoded from slice `first` on, into the volume; what that finishes."""
        self._raw[first : first + len(slices)] = slices
        ready = self._waiting.take(range(first, first + len(slices)))
        if self._filtered:
            for run in runs_of(ready, 1):
                self._finish(run)
        return ready, self._voxels[ready]

    def _finish(self, run: range) -> None:
        """Take the streaks out of slices whose neighbours are known."""
        part = (slice(run.start, run.stop), *(slice(0, length) for length in self.grid.shape[1:]))
        around, inner = surroundings(part, self.grid.spacing)
        self._voxels[part] = self._without_streaks(part, around, inner, self._raw[around])

    def _without_streaks(self, part: Box, around: Box, inner: Box, shown: NDArray[np.float32]) -> NDArray[np.float32]:
        """A part as decoded, without the streaks that there are in what is `shown` around it."""
        found = streaks(shown, self._body[around], self.grid.spacing)[inner]
        clean = np.clip(self._raw[part] - found, self._intensities.low, self._intensities.high)
        return clean if self._intensities.background is None else np.where(self._body[part], clean, self._raw[part])

    def result(self) -> Volume:
        """What is generated so far, the rest background.

        Returns
        -------
        Volume
            On the label map's own grid, in the dtype and intensity units of the informed scan.
        """
        mask, scan = self.prepared.mask, self.prepared.informed
        volume = Volume(self._voxels, self.grid.affine, scan.modality, meta=mask.meta)
        voxels = resample(volume, mask.grid, fill=self._intensities.around).voxels
        return Volume(as_dtype(voxels, scan.voxels.dtype), mask.affine, scan.modality, meta=mask.meta)


def as_dtype(voxels: NDArray[np.floating[Any]], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Intensities of any shape in another dtype, rounded and clipped to its range where it holds whole numbers."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        voxels = np.clip(np.rint(voxels), limits.min, limits.max)
    return voxels.astype(dtype)


def _chunks(window: Window, start: int) -> list[range]:
    """The new slices of a window in runs of a few, those nearest the start slice or the known slices first."""
    new, origin = window.new, start if window.informed is None else window.informed
    runs = [new[i : i + _TOGETHER] for i in range(0, len(new), _TOGETHER)]
    return sorted(runs, key=lambda run: min(abs(i - origin) for i in run))
