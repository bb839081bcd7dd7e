"""Keeps the forecast of the next generation up to date with what is chosen."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Labels
from qtpy.compat import isalive
from qtpy.QtCore import QTimer

from napari_gem3d.errors import InputError
from napari_gem3d.viewer.engine import Order, Prospect
from napari_gem3d.viewer.patients import Patient
from napari_gem3d.viewer.prospect import body_rows

if TYPE_CHECKING:
    from napari_gem3d.viewer.generation import Generation
    from napari_gem3d.viewer.workbench import Workbench

logger = logging.getLogger(__name__)

# Strokes of the brush and turns of a wheel come in numbers; what is known is told when they rest.
_REST_MS = 400


class Outlook:
    """Asks the engine what is known of the order that a click would give, whenever something about it changes.

    Parameters
    ----------
    workbench
        Whose state and engine are meant.
    generation
        Makes the order, and shows what is known of it in its `choices.prospect`.
    """

    def __init__(self, workbench: Workbench, generation: Generation) -> None:
        self._workbench = workbench
        self._generation, self._choices = generation, generation.choices
        self._rows: WeakKeyDictionary[Patient, range] = WeakKeyDictionary()
        self._mask: Labels | None = None
        self._asked = 0
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_REST_MS)
        self._timer.timeout.connect(self._ask)
        state, choices = workbench.state, self._choices
        for event in (state.events.patient, state.events.steps, state.events.model, state.events.table):
            event.connect(self._later)
        for event in (choices.events.mode, choices.events.device, choices.events.precision, choices.events.anatomy):
            event.connect(self._later)
        state.events.mask.connect(self._on_mask)
        state.events.activity.connect(self._later)

    def close(self) -> None:
        """Ask no more."""
        if isalive(self._timer):  # the application may have ended
            self._timer.stop()
        self._watch(None)

    def _later(self, value: Any = None) -> None:
        self._timer.start()

    def _on_mask(self, mask: Labels | None) -> None:
        self._watch(mask)
        self._later()

    def _watch(self, mask: Labels | None) -> None:
        for layer, action in ((self._mask, "disconnect"), (mask, "connect")):
            if layer is not None:
                for event in (layer.events.paint, layer.events.labels_update, layer.events.data):
                    getattr(event, action)(self._later)
        self._mask = mask

    def _ask(self) -> None:
        self._asked += 1
        workbench, patient = self._workbench, self._workbench.state.patient
        try:
            order = self._generation.order()
        except InputError:
            self._choices.prospect = None
            return
        if patient is None or workbench.state.table is None:
            return
        answer = partial(self._answer, self._asked)
        if workbench.state.activity == "idle":
            # In the worker's own thread, which generates: another one would be slower.
            workbench.worker.submit(partial(workbench.engine.measure, order), failed=logger.debug)
            workbench.worker.submit(partial(self._foresee, order, patient), answer, partial(answer, None))
        else:
            workbench.files.submit(partial(self._foresee, order, patient), answer, partial(answer, None))

    def _foresee(self, order: Order, patient: Patient) -> Prospect:
        image = patient.image
        rows = self._rows.get(patient)
        if rows is None:
            rows = self._rows[patient] = body_rows(np.asarray(image.data))
        return self._workbench.engine.foresee(order, rows)

    def _answer(self, asked: int, prospect: Prospect | None, error: Exception | None = None) -> None:
        if asked == self._asked:
            self._choices.prospect = prospect
