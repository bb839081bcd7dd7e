"""Label maps that do not fit: what differs is said, and resampling is offered, never done unasked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from napari.types import LayerDataTuple
from psygnal import Signal

from napari_gem3d.errors import InputError
from napari_gem3d.labels import LabelMap, LabelTable
from napari_gem3d.viewer.context import Context
from napari_gem3d.viewer.layers import label_map_of, labels_layer, require_numbered
from napari_gem3d.viewer.patients import Misfit, find_misfits, id_of


class Fitting:
    """Watches for label maps on another grid than every scan.

    Parameters
    ----------
    show
        Adds layers to the viewer.

    Attributes
    ----------
    misfits
        The maps that belong to no patient although there are some.
    changed
        Emitted when `misfits` has changed.
    """

    changed = Signal()

    def __init__(self, context: Context, show: Callable[[Iterable[LayerDataTuple]], None]) -> None:
        self._context, self._state, self._show = context, context.state, show
        self.misfits: tuple[Misfit, ...] = ()
        self._settled: set[int] = set()
        for event in (self._state.events.patients, self._state.events.patient):
            event.connect(self._find)

    def _find(self) -> None:
        found = find_misfits(self._context.viewer.layers, self._state.patients, self._state.patient)
        misfits = tuple(misfit for misfit in found if id_of(misfit.layer) not in self._settled)
        before = [(id_of(misfit.layer), misfit.patient) for misfit in self.misfits]
        if [(id_of(misfit.layer), misfit.patient) for misfit in misfits] != before:
            self.misfits = misfits
            self.changed.emit()

    def resample(self, misfit: Misfit) -> None:
        """Bring a map to its patient's grid, nearest voxel by the position in the patient; the map itself stays."""
        try:
            require_numbered(misfit.layer, self._state.table)
        except InputError as error:
            self._state.say_error(error)
            return
        labels = label_map_of(misfit.layer, self._state.table)
        self._state.say(f"Resampling {misfit.layer.name} …")
        work = partial(_resampled, labels, misfit)
        self._context.files.submit(work, partial(self._show_resampled, misfit), self._state.say_error)

    def _show_resampled(self, misfit: Misfit, resampled: tuple[LayerDataTuple, str]) -> None:
        layer, message = resampled
        self._settled.add(id_of(misfit.layer))
        misfit.layer.visible = False
        self._show([layer])
        self._state.patient = misfit.patient
        self._find()
        self._state.say(message)


def _resampled(labels: LabelMap, misfit: Misfit) -> tuple[LayerDataTuple, str]:
    """In the worker's thread: the layer, and a sentence with the volumes before and after."""
    fitted = labels.aligned_to(misfit.patient.grid)
    table = labels.table or LabelTable.from_values(labels.values())
    before, after = labels.volumes_ml(), fitted.volumes_ml()
    names = {label.value: label.name for label in table}
    changes = [f"{names.get(v, v)} {before[v]:.4g} → {after.get(v, 0.0):.4g} ml" for v in sorted(before)]
    message = f"{misfit.layer.name} is now on the grid of {misfit.patient.name}: {', '.join(changes) or 'it is empty'}."
    return labels_layer(fitted, f"{misfit.layer.name} on {misfit.patient.name}"), message
