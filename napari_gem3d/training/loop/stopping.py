"""Ctrl-C and SIGTERM: a wish to stop after the present step."""

from __future__ import annotations

import signal
import time
from types import FrameType

# A launcher passes a Ctrl-C on to processes that the terminal has already told: one wish may come twice.
_ECHO_S = 1.0


class StopRequest:
    """Turns Ctrl-C and SIGTERM into a wish to stop after the present step; a second Ctrl-C ends at once.

    Attributes
    ----------
    wanted
        Whether to stop.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._since = 0.0

    def __enter__(self) -> StopRequest:
        self._previous = {s: signal.signal(s, self._note) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.wanted and number == signal.SIGINT and time.monotonic() - self._since > _ECHO_S:
            raise KeyboardInterrupt
        if not self.wanted:
            self.wanted, self._since = True, time.monotonic()
