"""What can be said of an order before it is carried out; in a worker's thread, of the core."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.labels import LabelMap
from napari_gem3d.viewer.engine import Order, Prospect
from napari_gem3d.viewer.layers import restored_labels
from napari_gem3d.volume import resample

if TYPE_CHECKING:
    from napari_gem3d.bundle import ModelBundle
    from napari_gem3d.bundle.plan import Plan
    from napari_gem3d.sampling.forecast import Speeds
    from napari_gem3d.sampling.work import Work


def body_rows(scan: NDArray[np.generic]) -> range:
    """Axial slices (axis 0) of a scan that show more than its background: every fourth row and column is looked at."""
    few = scan[:, ::4, ::4]
    shown = np.flatnonzero((few > few[0, 0, 0]).any(axis=(1, 2)))
    return range(int(shown[0]), int(shown[-1]) + 1) if shown.size else range(len(scan))


def foresee(bundle: ModelBundle, order: Order, rows: range, speeds: Speeds) -> Prospect:
    """Time and memory of an order, as far as they are known on this machine, and what is wrong with its mask.

    Parameters
    ----------
    bundle
        The order's model.
    order
        What is to be generated.
    rows
        Axial slices of the scan's canonical grid that show body.
    speeds
        What was measured on this machine.
    """
    from napari_gem3d.device import choose_device, choose_precision
    from napari_gem3d.sampling.forecast import free_memory, volume_memory

    plan, grid = bundle.plan, order.mask_origin.grid.canonical()
    device = choose_device(order.device)
    labels = restored_labels(order.mask.copy(), order.mask_origin, plan.labels)
    notices = _notices(plan, order, labels)
    speed = speeds.find(speeds.key(bundle.sha256, str(device), choose_precision(order.precision, device)))
    work = _work(plan, order, labels, rows)
    if work is None or speed is None:
        return Prospect(notices=tuple(notices))
    millimetres = np.prod(np.multiply(grid.shape, grid.spacing))
    volumes = volume_memory("edit" if order.mode == "edit" else "whole", int(millimetres / np.prod(plan.spacing)))
    memory = speed.memory + (volumes if device.type == "cpu" else 0)
    return Prospect(speed.time(work), speed.runs, memory, free_memory(device), tuple(notices))


def _notices(plan: Plan, order: Order, labels: LabelMap) -> list[str]:
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


def _work(plan: Plan, order: Order, labels: LabelMap, rows: range) -> Work | None:
    """What is to do; None for an edit that changes nothing."""
    from napari_gem3d.sampling.settings import MARGIN_MM
    from napari_gem3d.sampling.work import work_of_edit, work_of_volume

    grid = order.mask_origin.grid.canonical()
    millimetres = grid.spacing[0]
    body = plan.labels.body
    if body is not None and (shown := np.flatnonzero((order.mask == body.value).any(axis=(1, 2)))).size:
        rows = range(int(shown[0]), int(shown[-1]) + 1)

    def at_plan(row: float) -> int:
        return round((row - rows.start) * millimetres / plan.spacing[0])

    slices = max(at_plan(rows.stop), 1)
    if order.mode == "volume":
        return work_of_volume(plan, order.steps, slices)
    changed = changed_rows(order, labels)
    if changed is None:
        return None
    margin = (order.margin_mm or MARGIN_MM) / millimetres
    low, high = at_plan(changed.start - margin), at_plan(changed.stop + margin)
    low = min(max(low, 0), slices - 1)
    return work_of_edit(plan, order.steps, slices, range(low, min(max(high, low + 1), slices)))


def changed_rows(order: Order, labels: LabelMap) -> range | None:
    """Axial slices, in canonical order, on which the mask is another than before; None if there are none."""
    after = resample(labels, labels.grid.canonical(), order=0).voxels
    before = _before(order.before, labels)
    tissues = () if labels.table is None else tuple(label.value for label in labels.table.tissues)
    # A map that holds nothing of a tissue does not speak of it.
    silent = tissues if order.anatomy == "none" else tuple(set(tissues) - set(labels.values()))
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
