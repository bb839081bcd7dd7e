"""The anatomy that a scan shows, written into its mask as labels, where they can be seen and painted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from napari_gem3d.anatomy.notes import untold
from napari_gem3d.errors import InputError
from napari_gem3d.io import read_label_map
from napari_gem3d.labels import LabelMap, LabelTable
from napari_gem3d.viewer.body.state import BodyState
from napari_gem3d.viewer.layers import METADATA, Origin, origin_of, restored_labels, volume_of
from napari_gem3d.viewer.patients import Patient
from napari_gem3d.viewer.worker import Worker
from napari_gem3d.volume import resample

if TYPE_CHECKING:
    from napari_gem3d.viewer.workbench import Workbench


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
    workbench
        Whose patient and mask it is, and whose session keeps the label map of the scan as it is.
    state
        Tells what is going on.
    worker
        Finds it.
    """

    def __init__(self, workbench: Workbench, state: BodyState, worker: Worker) -> None:
        self._workbench, self._state, self._worker = workbench, state, worker

    @property
    def obstacle(self) -> str:
        """Why no anatomy can be shown with the model that is chosen; empty if it can, or while none is loaded."""
        table = self._workbench.state.table
        if table is None or (table.tissues and table.body is not None):
            return ""
        return f"The model {self._workbench.state.model} knows no labels of anatomy."

    def show(self) -> None:
        """Write the tissue that the scan shows into its mask, where that has no label or says body.

        Tissue that the mask holds already is left alone. Where there is no mask one is made.
        """
        workbench, panel = self._workbench, self._workbench.state
        patient, table = panel.patient, panel.table
        if patient is None or table is None or self._state.finding:
            return
        if self.obstacle:
            panel.say_error(InputError(f"{self.obstacle.removesuffix('.')}; choose one that does."))
            return
        if panel.mask is None:
            workbench.new_mask()
        mask = panel.mask
        origin = origin_of(mask)
        assert origin is not None, "masks are only made of layers that have one"
        inside = workbench.body.of(patient) if workbench.body.is_corrected(patient) else None
        before = workbench.generation.mask_before(patient)
        sought = _Sought(patient, mask, np.array(mask.data), origin, table, panel.model, before, inside)
        self._state.finding = True
        panel.say(f"Finding the anatomy of {patient.name} …")
        self._worker.submit(partial(self._find, sought), self._write, self._fail)

    # --- in the worker's thread --------------------------------------------------------------------------------

    def _find(self, sought: _Sought) -> _Found:
        labels = restored_labels(sought.voxels.copy(), sought.origin, sought.table)
        wanted = [label.value for label in sought.table.tissues if label.value not in labels.values()]
        if not wanted:
            raise InputError("The mask holds every label of anatomy already; undo or erase one to find it again.")
        scan = volume_of(sought.patient.image)
        # As an edit of this scan finds it: the lesions are those that the scan shows. Else the two would differ in
        # voxels all over the brain, and the edit would draw them.
        given = labels if sought.before is None else read_label_map(sought.before, sought.table).aligned_to(scan.grid)
        completed = self._workbench.engine.find_anatomy(sought.model, scan, given)
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
        return self._workbench.session.save_mask(labels)

    # --- on the GUI thread -------------------------------------------------------------------------------------

    def _write(self, found: _Found) -> None:
        self._state.finding = False
        workbench, sought, mask = self._workbench, found.sought, found.sought.mask
        if mask not in workbench.viewer.layers or sought.voxels.shape != mask.data.shape:
            workbench.state.say("")
            return
        origin = origin_of(mask)
        assert origin is not None, "it had one"
        # Painting has gone on meanwhile.
        still = mask.data[found.indices] == sought.voxels[found.indices]
        indices, values = tuple(axis[still] for axis in found.indices), found.values[still]
        if not values.size:
            workbench.state.say(untold(found.notes) or "The scan shows no tissue where the mask says body.")
            return
        mask.metadata[METADATA] = replace(origin, before=found.before)
        workbench.lesions.history.write(mask, indices, values)
        mask.visible = True
        millilitres = float(np.prod(mask.scale)) / 1000
        volumes = [
            f"{label.name} {np.count_nonzero(values == label.value) * millilitres:.0f} ml"
            for label in sought.table.tissues
            if (values == label.value).any()
        ]
        told = f"The mask of {sought.patient.name} now holds {', '.join(volumes)}; Undo takes it back."
        workbench.state.say(f"{told} {untold(found.notes)}".rstrip())

    def _fail(self, error: BaseException) -> None:
        self._state.finding = False
        self._workbench.state.say_error(error)


def _free(voxels: NDArray[Any], table: LabelTable) -> NDArray[np.bool_]:
    """Where a label map (Z, Y, X) may get tissue: its body; where it has no body label, all that has no label."""
    body = table.body
    assert body is not None, "asked only with one"
    where: NDArray[np.bool_] = voxels == body.value
    return where if where.any() else voxels == 0
