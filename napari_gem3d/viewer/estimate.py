"""How long a request will take and what is wrong with it, asked for whenever something about it changes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from napari_gem3d.errors import InputError
from napari_gem3d.labels import LabelMap
from napari_gem3d.viewer.context import Context
from napari_gem3d.viewer.core import Estimate, Request
from napari_gem3d.viewer.layers import mask_changes, restored_labels
from napari_gem3d.viewer.pace import Rest
from napari_gem3d.viewer.patients import Patient
from napari_gem3d.viewer.signals import Connections
from napari_gem3d.volume import resample

if TYPE_CHECKING:
    from napari_gem3d.bundle import ModelBundle
    from napari_gem3d.bundle.plan import Plan
    from napari_gem3d.sampling.forecast import Speeds
    from napari_gem3d.sampling.work import Work

logger = logging.getLogger(__name__)

# Strokes of the brush and turns of a wheel come in numbers; what is known is shown when they rest.
_REST_MS = 400


class Estimates:
    """Keeps `state.estimate` that of the request which a click would make.

    Parameters
    ----------
    request
        Makes the request; InputError while something is missing.
    """

    def __init__(self, context: Context, request: Callable[[], Request]) -> None:
        self._context, self._state, self._request = context, context.state, request
        self._rows: WeakKeyDictionary[Patient, range] = WeakKeyDictionary()
        self._asked = 0
        self._rest = Rest(self._ask, _REST_MS)
        self._mask = Connections()
        events = self._state.events
        for event in (events.patient, events.steps, events.model, events.table, events.activity):
            event.connect(self._rest.ask)
        for event in (events.mode, events.device, events.precision, events.anatomy):
            event.connect(self._rest.ask)
        events.mask.connect(self._on_mask)

    def close(self) -> None:
        """Ask no more."""
        self._rest.stop()
        self._mask.close()

    def _on_mask(self, mask: Labels | None) -> None:
        self._mask.close()
        if mask is not None:
            self._mask.add(self._rest.ask, *mask_changes(mask))
        self._rest.ask()

    def _ask(self) -> None:
        self._asked += 1
        context, patient = self._context, self._state.patient
        try:
            request = self._request()
        except InputError:
            self._state.estimate = None
            return
        if patient is None or self._state.table is None:
            return
        answer = partial(self._answer, self._asked)
        work = partial(self._estimate, request, patient)
        if self._state.activity == "idle":
            # In the worker's own thread, which generates: another one would be slower.
            context.worker.submit(partial(context.engine.measure, request), failed=logger.debug)
            context.worker.submit(work, answer, partial(answer, None))
        else:
            context.files.submit(work, answer, partial(answer, None))

    def _estimate(self, request: Request, patient: Patient) -> Estimate:
        rows = self._rows.get(patient)
        if rows is None:
            rows = self._rows[patient] = body_rows(np.asarray(patient.image.data))
        return self._context.engine.estimate(request, rows)

    def _answer(self, asked: int, estimate: Estimate | None, error: BaseException | None = None) -> None:
        if asked == self._asked:
            self._state.estimate = estimate


def body_rows(scan: NDArray[np.generic]) -> range:
    """Axial slices (axis 0) of a scan that show more than its background: every fourth row and column is looked at."""
    few = scan[:, ::4, ::4]
    shown = np.flatnonzero((few > few[0, 0, 0]).any(axis=(1, 2)))
    return range(int(shown[0]), int(shown[-1]) + 1) if shown.size else range(len(scan))


def estimate(bundle: ModelBundle, request: Request, rows: range, speeds: Speeds) -> Estimate:
    """Time and memory of a request, as far as they are known on this machine, and what is wrong with its mask.

    Parameters
    ----------
    bundle
        The request's model.
    request
        What is to be generated.
    rows
        Axial slices of the scan's canonical grid that show body.
    speeds
        What was measured on this machine.
    """
    from napari_gem3d.device import choose_device, choose_precision
    from napari_gem3d.sampling.forecast import free_memory, volume_memory

    plan, grid = bundle.plan, request.mask_origin.grid.canonical()
    device = choose_device(request.device)
    labels = restored_labels(request.mask.copy(), request.mask_origin, plan.labels)
    notices = _notices(plan, request, labels)
    speed = speeds.find(speeds.key(bundle.sha256, str(device), choose_precision(request.precision, device)))
    work = _work(plan, request, labels, rows)
    if work is None or speed is None:
        return Estimate(notices=tuple(notices))
    millimetres = np.prod(np.multiply(grid.shape, grid.spacing))
    volumes = volume_memory("edit" if request.mode == "edit" else "whole", int(millimetres / np.prod(plan.spacing)))
    memory = speed.memory + (volumes if device.type == "cpu" else 0)
    return Estimate(speed.time(work), speed.runs, memory, free_memory(device), tuple(notices))


def _notices(plan: Plan, request: Request, labels: LabelMap) -> list[str]:
    notices = []
    if not plan.informed:
        notices.append(
            f"{plan.name} is a baseline (Make-A-Volume): it does not look at the informed slice, which only gives the "
            "intensities and where it begins."
        )
    unknown = sorted(set(labels.values()) - set(plan.labels.values))
    if unknown:
        known = ", ".join(f"{label.value} {label.name}" for label in plan.labels)
        values = ", ".join(map(str, unknown))
        notices.append(f"The mask has labels that {plan.name} does not know: {values} (known: {known}).")
    return notices


def _work(plan: Plan, request: Request, labels: LabelMap, rows: range) -> Work | None:
    """What is to do; None for an edit that changes nothing."""
    from napari_gem3d.sampling.settings import MARGIN_MM
    from napari_gem3d.sampling.work import work_of_edit, work_of_volume

    grid = request.mask_origin.grid.canonical()
    millimetres = grid.spacing[0]
    body = plan.labels.body
    if body is not None and (shown := np.flatnonzero((request.mask == body.value).any(axis=(1, 2)))).size:
        rows = range(int(shown[0]), int(shown[-1]) + 1)

    def at_plan(row: float) -> int:
        return round((row - rows.start) * millimetres / plan.spacing[0])

    slices = max(at_plan(rows.stop), 1)
    if request.mode == "volume":
        return work_of_volume(plan, request.steps, slices)
    changed = changed_rows(request, labels)
    if changed is None:
        return None
    margin = (request.margin_mm or MARGIN_MM) / millimetres
    low, high = at_plan(changed.start - margin), at_plan(changed.stop + margin)
    low = min(max(low, 0), slices - 1)
    return work_of_edit(plan, request.steps, slices, range(low, min(max(high, low + 1), slices)))


def changed_rows(request: Request, labels: LabelMap) -> range | None:
    """Axial slices, in canonical order, on which the mask is another than before; None if there are none."""
    after = resample(labels, labels.grid.canonical(), order=0).voxels
    before = _before(request.before, labels)
    tissues = () if labels.table is None else tuple(label.value for label in labels.table.tissues)
    # A map that holds nothing of a tissue does not speak of it.
    silent = tissues if request.anatomy == "none" else tuple(set(tissues) - set(labels.values()))
    differs = after != before
    if silent:
        plain = (0, *silent, *(label.value for label in labels.table or () if label.meaning == "body"))
        differs &= ~(np.isin(before, plain) & np.isin(after, plain))
    changed = np.flatnonzero(differs.any(axis=(1, 2)))
    return range(int(changed[0]), int(changed[-1]) + 1) if changed.size else None


def _before(path: Path | None, labels: LabelMap) -> NDArray[np.generic]:
    """The label map as it was, on the canonical grid of `labels`."""
    grid = labels.grid.canonical()
    if path is None:
        return np.zeros(grid.shape, labels.voxels.dtype)
    return _read(path).aligned_to(grid).voxels


@lru_cache(maxsize=1)
def _read(path: Path) -> LabelMap:
    """The file of a mask, which is asked for after every stroke of the brush."""
    from napari_gem3d.io import read_label_map

    return read_label_map(path)
