"""The slice that the model draws, drawn as soon as it is asked for and shown when it is there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from napari_gem3d.errors import InputError
from napari_gem3d.viewer.context import Context
from napari_gem3d.viewer.core import DrawnSlice, Mode, Request
from napari_gem3d.viewer.informed.controller import InformedState
from napari_gem3d.viewer.pace import Rest
from napari_gem3d.viewer.signals import Connections

# Milliseconds without a change of position or seed, before the model is asked: a slider passes many positions.
_PAUSE = 300


class Drawing:
    """Asks the core for the slice whenever its settings have changed, one request at a time.

    Parameters
    ----------
    state
        Position and seed; `drawn` and `drawing` are kept here.
    request
        What a generation would be of what is chosen now.
    """

    def __init__(self, context: Context, state: InformedState, request: Callable[[Mode], Request]) -> None:
        self._context, self._panel, self._state, self._request = context, context.state, state, request
        self._asked: tuple[Any, ...] | None = None
        self._pause = Rest(self._ask, _PAUSE)
        self._connections = Connections()
        own, panel = state.events, context.state.events
        self._connections.add(self._changed, own.source, own.position, own.seed, own.obstacle)
        self._connections.add(self._changed, panel.patient, panel.mask, panel.model)

    def close(self) -> None:
        """Ask no more."""
        self._pause.stop()
        self._connections.close()

    def _wanted(self) -> tuple[Any, ...] | None:
        """What decides the picture; None if none is wanted."""
        state, panel = self._state, self._panel
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
            self._pause.ask()

    def _ask(self) -> None:
        wanted = self._wanted()
        if wanted is None or wanted == self._asked:
            return
        self._asked = wanted
        try:
            request = self._request("volume")
        except InputError as error:
            self._failed(wanted, error)
            return
        self._context.worker.submit(
            partial(self._draw, wanted, request), partial(self._show, wanted), partial(self._failed, wanted)
        )

    def _draw(self, wanted: tuple[Any, ...], request: Request) -> DrawnSlice | None:
        """In the worker's thread; requests that nobody waits for any more are passed over."""
        return self._context.engine.draw(request) if self._asked == wanted else None

    def _show(self, wanted: tuple[Any, ...], drawn: DrawnSlice | None) -> None:
        if self._asked == wanted and drawn is not None:
            self._state.drawn = drawn
            self._state.drawing = False

    def _failed(self, wanted: tuple[Any, ...], error: BaseException) -> None:
        if self._asked == wanted:
            self._asked = None
            self._state.drawing = False
            self._panel.say_error(error)
