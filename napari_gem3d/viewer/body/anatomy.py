"""The anatomy that a scan shows, written into its mask as labels, where they can be seen and painted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from napari_gem3d.anatomy.notes import untold
from napari_gem3d.errors import InputError
from napari_gem3d.io import read_label_map
from napari_gem3d.labels import LabelMap, LabelTable
from napari_gem3d.viewer.body.controller import Bodies
from napari_gem3d.viewer.context import Context
from napari_gem3d.viewer.layers import METADATA, Origin, required_origin, restored_labels, volume_of
from napari_gem3d.viewer.masks import Masks, mask_before
from napari_gem3d.viewer.patients import Patient
from napari_gem3d.volume import resample


@dataclass(frozen=True, eq=False)
class _Sought:
    """What is sought, and for whom: everything that the worker's thread needs of the viewer.

    `voxels` are a copy of those of `mask`, `inside` is the body as it was corrected, None if it was not.
    """

    patient: Patient
    mask: Labels
    voxels: NDArray[Any]
    origin: Origin
    table: LabelTable
    model: str
    before: Path | None
    inside: NDArray[np.bool_] | None


@dataclass(frozen=True, eq=False)
class _Found:
    """Voxels of the mask's canonical grid that get a tissue, the map of the scan as it is with them, and the notes."""

    sought: _Sought
    indices: tuple[NDArray[np.intp], ...]
    values: NDArray[np.uint8]
    before: Path | None
    notes: tuple[str, ...]


class ScanAnatomy:
    """Finds the tissue of a patient's scan in the background and writes it into the mask, as one undo step.

    Parameters
    ----------
    bodies
        Knows the body as it was corrected; its state says what is going on, its worker finds the tissue.
    masks
        Makes a mask where there is none.
    write
        Changes voxels of a mask, as one undo step.
    """

    def __init__(self, context: Context, bodies: Bodies, masks: Masks, write: Callable[..., None]) -> None:
        self._context, self._panel = context, context.state
        self._bodies, self._state, self._masks, self._write_voxels = bodies, bodies.state, masks, write

    def show(self) -> None:
        """Write the tissue that the scan shows into its mask, where that has no label or says body.

        Tissue that the mask holds already is left alone. Where there is no mask one is made.
        """
        panel = self._panel
        patient, table = panel.patient, panel.table
        if patient is None or table is None or self._state.finding:
            return
        if panel.no_anatomy:
            panel.say_error(InputError(f"{panel.no_anatomy.removesuffix('.')}; choose one that does."))
            return
        if panel.mask is None:
            self._masks.new()
        mask = panel.mask
        origin = required_origin(mask)
        inside = self._bodies.of(patient) if self._bodies.is_corrected(patient) else None
        before = mask_before(patient, table, self._context.session.root)
        sought = _Sought(patient, mask, np.array(mask.data), origin, table, panel.model, before, inside)
        self._state.finding = True
        panel.say(f"Finding the anatomy of {patient.name} …")
        self._bodies.worker.submit(partial(self._find, sought), self._write, self._fail)

    def _find(self, sought: _Sought) -> _Found:
        labels = restored_labels(sought.voxels.copy(), sought.origin, sought.table)
        wanted = [label.value for label in sought.table.tissues if label.value not in labels.values()]
        if not wanted:
            raise InputError("The mask holds every label of anatomy already; undo or erase one to find it again.")
        scan = volume_of(sought.patient.image)
        # As an edit of this scan finds it: the lesions are those that the scan shows. Else the two would differ in
        # voxels all over the brain, and the edit would draw them.
        given = labels if sought.before is None else read_label_map(sought.before, sought.table).aligned_to(scan.grid)
        completed = self._context.engine.find_anatomy(sought.model, scan, given)
        shown = resample(completed.labels, scan.grid.canonical(), order=0).voxels
        inside = np.isin(shown, wanted)
        if sought.inside is not None:
            inside &= sought.inside
        places = inside & _free(resample(labels, labels.grid.canonical(), order=0).voxels, sought.table)
        indices = np.nonzero(places)
        path = self._keep(sought, given, np.where(inside, shown, 0)) if indices[0].size else None
        return _Found(sought, indices, shown[places].astype(np.uint8), path, completed.notes)

    def _keep(self, sought: _Sought, given: LabelMap, tissue: NDArray[Any]) -> Path:
        """Write the label map of the scan as it is with its tissue (Z, Y, X), canonical; returns the file.

        An edit compares with it, so that only what is painted from here on counts as changed.
        """
        was = resample(given, given.grid.canonical(), order=0)
        voxels = was.voxels.astype(np.uint8)
        if sought.before is None:  # nothing says that the lesions of the mask are in the scan
            voxels[np.isin(voxels, [label.value for label in sought.table.lesions])] = 0
        free = _free(voxels, sought.table) & (tissue > 0)
        voxels[free] = tissue[free]
        labels = resample(LabelMap(voxels, was.affine, table=sought.table), given.grid, order=0)
        return self._context.session.save_mask(labels)

    def _write(self, found: _Found) -> None:
        self._state.finding = False
        sought, mask = found.sought, found.sought.mask
        if mask not in self._context.viewer.layers or sought.voxels.shape != mask.data.shape:
            self._panel.say("")
            return
        origin = required_origin(mask)
        # Painting has gone on meanwhile.
        still = mask.data[found.indices] == sought.voxels[found.indices]
        indices, values = tuple(axis[still] for axis in found.indices), found.values[still]
        if not values.size:
            self._panel.say(untold(found.notes) or "The scan shows no tissue where the mask says body.")
            return
        mask.metadata[METADATA] = replace(origin, before=found.before)
        self._write_voxels(mask, indices, values)
        mask.visible = True
        millilitres = float(np.prod(mask.scale)) / 1000
        volumes = [
            f"{label.name} {np.count_nonzero(values == label.value) * millilitres:.0f} ml"
            for label in sought.table.tissues
            if (values == label.value).any()
        ]
        message = f"The mask of {sought.patient.name} now holds {', '.join(volumes)}; Undo takes it back."
        self._panel.say(f"{message} {untold(found.notes)}".rstrip())

    def _fail(self, error: BaseException) -> None:
        self._state.finding = False
        self._panel.say_error(error)


def _free(voxels: NDArray[Any], table: LabelTable) -> NDArray[np.bool_]:
    """Where a label map (Z, Y, X) may get tissue: its body; where it has no body label, all that has no label."""
    body = table.body
    assert body is not None, "asked only with one"
    where: NDArray[np.bool_] = voxels == body.value
    return where if where.any() else voxels == 0
