"""Label maps that do not fit: what differs is said, and resampling is offered, never done unasked."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari.types import LayerDataTuple
from psygnal import Signal

from napari_gem3d.labels import LabelMap, LabelTable
from napari_gem3d.viewer.layers import label_map_of, labels_layer
from napari_gem3d.viewer.patients import Misfit, find_misfits, id_of

if TYPE_CHECKING:
    from napari_gem3d.viewer.workbench import Workbench


class Fitting:
    """Watches for label maps on another grid than every scan.

    Parameters
    ----------
    workbench
        Whose layers and patients these are.

    Attributes
    ----------
    misfits
        The maps that belong to nobody although there are patients.
    changed
        Emitted when `misfits` has changed.
    """

    changed = Signal()

    def __init__(self, workbench: Workbench) -> None:
        self._workbench, self._panel = workbench, workbench.state
        self.misfits: tuple[Misfit, ...] = ()
        self._settled: set[int] = set()
        for event in (self._panel.events.patients, self._panel.events.patient):
            event.connect(self._find)

    def _find(self) -> None:
        found = find_misfits(self._workbench.viewer.layers, self._panel.patients, self._panel.patient)
        misfits = tuple(misfit for misfit in found if id_of(misfit.layer) not in self._settled)
        before = [(id_of(misfit.layer), misfit.patient) for misfit in self.misfits]
        if [(id_of(misfit.layer), misfit.patient) for misfit in misfits] != before:
            self.misfits = misfits
            self.changed.emit()

    def resample(self, misfit: Misfit) -> None:
        """Bring a map to its patient's grid, nearest voxel by the position in the patient; the map itself stays."""
        labels = label_map_of(misfit.layer, self._panel.table)
        self._panel.say(f"Resampling {misfit.layer.name} …")
        work = partial(_resampled, labels, misfit)
        self._workbench.files.submit(work, partial(self._show, misfit), self._panel.say_error)

    def _show(self, misfit: Misfit, made: tuple[LayerDataTuple, str]) -> None:
        layer, told = made
        self._settled.add(id_of(misfit.layer))
        misfit.layer.visible = False
        self._workbench.show([layer])
        self._panel.patient = misfit.patient
        self._find()
        self._panel.say(told)


def _resampled(labels: LabelMap, misfit: Misfit) -> tuple[LayerDataTuple, str]:
    """In the worker's thread: the layer, and a sentence with the volumes before and after."""
    fitted = labels.aligned_to(misfit.patient.grid)
    table = labels.table or LabelTable.from_values(labels.values())
    before, after = labels.volumes_ml(), fitted.volumes_ml()
    names = {label.value: label.name for label in table}
    changes = [f"{names.get(v, v)} {before[v]:.4g} → {after.get(v, 0.0):.4g} ml" for v in sorted(before)]
    told = f"{misfit.layer.name} is now on the grid of {misfit.patient.name}: {', '.join(changes) or 'it is empty'}."
    return labels_layer(fitted, f"{misfit.layer.name} on {misfit.patient.name}"), told
