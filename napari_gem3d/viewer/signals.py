"""Models that announce their changes, and connections to signals of psygnal and napari."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psygnal import EventedModel
from pydantic import ConfigDict


class State(EventedModel):
    """Fields that are checked when they are set; ``events.NAME`` tells of a change."""

    model_config = ConfigDict(arbitrary_types_allowed=True, validate_assignment=True)


class Connections:
    """Callbacks that are disconnected together."""

    def __init__(self) -> None:
        self._made: list[tuple[Any, Callable[..., Any]]] = []

    def add(self, callback: Callable[..., Any], *signals: Any) -> None:
        """Have a callback called by each of the signals."""
        for signal in signals:
            signal.connect(callback)
            self._made.append((signal, callback))

    def close(self) -> None:
        """Disconnect everything; more can be added afterwards."""
        made, self._made = self._made, []
        for signal, callback in made:
            signal.disconnect(callback)
