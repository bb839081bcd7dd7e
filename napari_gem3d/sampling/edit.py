"""Local edit: a scan in which only what a changed label map reaches is generated anew.

The scan is the known part all the way: slices that the edit does not reach are the known slices of the windows, and
within the slices that it does reach, the scan's latents replace what the network predicts at every step, softly
towards the change (latent blending). After decoding, voxels are blended into the scan in the same manner. Voxels that
are further from the change than the margin are the scan's own, bit by bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from napari_gem3d.bundle import ModelBundle
from napari_gem3d.bundle.preprocessing import prepare_scan
from napari_gem3d.sampling.job import Job, as_dtype
from napari_gem3d.sampling.prepare_edit import PreparedEdit
from napari_gem3d.sampling.propagation import Given
from napari_gem3d.sampling.recipe import Recipe
from napari_gem3d.sampling.streaks import runs_of, surroundings
from napari_gem3d.sampling.windows import Window, plan_edit_windows, plan_windows
from napari_gem3d.volume import Volume, resample


class EditJob(Job):
    """One local edit, ready to run; `generation` makes it.

    Its parts hold the slices that the edit does not reach first, as the scan has them, then those that it reaches,
    already blended into the scan. `grid` is the canonical grid of the scan at the plan's spacing.
    """

    def __init__(self, recipe: Recipe, prepared: PreparedEdit, bundle: ModelBundle) -> None:
        self._edit, self._bundle = prepared, bundle
        whole = prepared.case.grid
        self._scan = resample(prepared.image, whole).voxels.astype(np.float32)
        box = prepared.case.box.affine
        self._weight = resample(Volume(prepared.box_weight, box), whole).voxels
        self._plane = _extent(self._weight)[1:]
        super().__init__(recipe, prepared, bundle)
        # The informed slice may come from another scan; what is drawn has the intensities of the edited one.
        self._intensities = prepared.intensities

    def _given(self) -> Given:
        """The scan's latents where windows need them, and how much of them stays."""
        case, plan = self._edit.case, self._bundle.plan
        bottom = case.slices.start
        runs = runs_of(self._edit.reach - bottom, plan.window)
        self.todo = [bottom + i for run in runs for i in run]
        windows = self._windows(runs)
        needed = sorted({i for window in windows for i in window.slices})
        latents: Tensor | None = None
        for run in runs_of(needed, 1):
            box = case.box.box((run.start, 0, 0), (len(run), *case.box.shape[1:]))
            slices = prepare_scan(plan, self._edit.image, box, self._edit.image_inside, self._edit.intensities)
            encoded = self._encode(slices)
            if latents is None:
                latents = torch.zeros((len(case.slices), *encoded.shape[1:]), device=self._device)
            latents[run.start : run.stop] = encoded
        assert latents is not None, "an edit has windows"
        weight = torch.from_numpy(self._edit.box_weight)[:, None]
        keep = 1 - functional.max_pool2d(weight, plan.latents.factor)
        return Given(latents, keep, windows)

    def _windows(self, runs: Sequence[range]) -> tuple[Window, ...]:
        """Windows for runs of slices, counted from the lowest with body."""
        plan, bottom, recipe = self._bundle.plan, self._edit.case.slices.start, self.recipe
        count = len(self._edit.case.slices)
        if runs[0] == range(count):
            return plan_windows(count, recipe.start - bottom, plan.window, plan.overlap)
        windows = [
            window
            for run in runs
            for window in plan_edit_windows(count, run.start, run.stop - 1, plan.window, plan.overlap)
        ]
        if self._edit.own_neighbours:
            return tuple(windows)
        generated = {i for run in runs for i in run}
        # Instead of the scan's own slices beside the edit, the chosen one informs.
        return tuple(w if w.informed in generated else replace(w, direction="first") for w in windows)

    def _reset(self) -> None:
        super()._reset()
        # As decoded; without streaks; blended into the scan.
        self._raw, self._drawn, self._voxels = self._scan.copy(), self._scan.copy(), self._scan.copy()

    @property
    @override
    def _filtered(self) -> bool:
        return True

    @override
    def _finish(self, run: range) -> None:
        """Take the streaks out of slices whose neighbours are known, and blend them into the scan."""
        part = (slice(run.start, run.stop), *self._plane)
        around, inner = surroundings(part, self.grid.spacing)
        scan, weight = self._scan[around], self._weight[around]
        blended = scan + weight * (self._raw[around] - scan)
        self._drawn[part] = self._without_streaks(part, around, inner, blended)
        self._voxels[part] = scan[inner] + weight[inner] * (self._drawn[part] - scan[inner])

    def result(self) -> Volume:
        """The scan with what is edited so far.

        Returns
        -------
        Volume
            On the scan's own grid, in its dtype and intensity units. Voxels beyond the margin are the scan's own.
        """
        scan, weight = self._edit.image, self._edit.weight
        part = _extent(weight)
        share = weight[part]
        box = scan.grid.box([where.start for where in part], share.shape)
        if not self.finished:
            done = np.broadcast_to(self.generated[:, None, None], self.grid.shape)
            share = share * resample(Volume(done, self.grid.affine), box, order=0).voxels
        drawn = resample(Volume(self._drawn, self.grid.affine), box).voxels
        voxels = scan.voxels.copy()
        own = voxels[part].astype(np.float64)
        blended = as_dtype(own + share * (drawn - own), voxels.dtype)
        voxels[part] = np.where(share > 0, blended, voxels[part])
        return Volume(voxels, scan.affine, scan.modality, meta=scan.meta)


def _extent(weight: NDArray[np.float32]) -> tuple[slice, slice, slice]:
    """The box (z, y, x) of all that is above 0."""
    ends = [np.flatnonzero(weight.any(axis=tuple(a for a in range(3) if a != axis)))[[0, -1]] for axis in range(3)]
    z, y, x = (slice(int(first), int(last) + 1) for first, last in ends)
    return z, y, x
