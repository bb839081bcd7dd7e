"""The slice that the model draws, drawn as soon as it is asked for and shown when it is there."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

from napari_gem3d.errors import InputError
from napari_gem3d.viewer.informed.state import DrawnSlice, InformedState

if TYPE_CHECKING:
    from napari_gem3d.viewer.engine import Order
    from napari_gem3d.viewer.workbench import Workbench

# Milliseconds without a change of position or seed, before the model is asked: a slider passes many positions.
_PAUSE = 300


class Drawing:
    """Asks the core for the slice whenever its settings have changed, one request at a time.

    Parameters
    ----------
    workbench
        Whose patient, model and worker serve. A generation that runs there goes first.
    state
        Position and seed; `drawn` and `drawing` are kept here.
    """

    def __init__(self, workbench: Workbench, state: InformedState) -> None:
        self._workbench, self._state = workbench, state
        self._asked: tuple[Any, ...] | None = None
        self._pause = QTimer()
        self._pause.setSingleShot(True)
        self._pause.setInterval(_PAUSE)
        self._pause.timeout.connect(self._ask)
        panel = workbench.state.events
        self._events = (
            *(state.events.source, state.events.position, state.events.seed, state.events.obstacle),
            *(panel.patient, panel.mask, panel.model),
        )
        for event in self._events:
            event.connect(self._changed)

    def close(self) -> None:
        """Ask no more."""
        self._pause.stop()
        for event in self._events:
            event.disconnect(self._changed)

    def _wanted(self) -> tuple[Any, ...] | None:
        """What decides the picture; None if none is wanted."""
        state, panel = self._state, self._workbench.state
        if state.source != "generated" or state.obstacle or panel.patient is None:
            return None
        return panel.patient, panel.mask, state.position, state.seed, panel.model

    def _changed(self) -> None:
        wanted = self._wanted()
        if wanted == self._asked and wanted is not None:
            return
        self._state.drawn = None
        self._state.drawing = wanted is not None
        if wanted is None:
            self._asked = None
            self._pause.stop()
        else:
            self._pause.start()

    def _ask(self) -> None:
        wanted = self._wanted()
        if wanted is None or wanted == self._asked:
            return
        self._asked = wanted
        try:
            order = self._workbench.generation.order("volume")
        except InputError as error:
            self._failed(wanted, error)
            return
        self._workbench.worker.submit(
            partial(self._draw, wanted, order), partial(self._show, wanted), partial(self._failed, wanted)
        )

    def _draw(self, wanted: tuple[Any, ...], order: Order) -> DrawnSlice | None:
        """In the worker's thread; requests that nobody waits for any more are passed over."""
        return self._workbench.engine.draw(order) if self._asked == wanted else None

    def _show(self, wanted: tuple[Any, ...], drawn: DrawnSlice | None) -> None:
        if self._asked == wanted and drawn is not None:
            self._state.drawn = drawn
            self._state.drawing = False

    def _failed(self, wanted: tuple[Any, ...], error: BaseException) -> None:
        if self._asked == wanted:
            self._asked = None
            self._state.drawing = False
            self._workbench.state.say_error(error)
