"""Waiting until the hand rests, but not for ever."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QTimer


class Rest:
    """Calls a function when it has not been asked to for a while, or when it has been asked to for too long.

    Parameters
    ----------
    act
        What to call, on the GUI thread.
    quiet_ms
        How long nothing has to be asked before.
    longest_ms
        How long after the first `ask` it is called at the latest.
    """

    def __init__(self, act: Callable[[], None], quiet_ms: int, longest_ms: int) -> None:
        self._act = act
        self._quiet, self._longest = QTimer(), QTimer()
        for timer, milliseconds in ((self._quiet, quiet_ms), (self._longest, longest_ms)):
            timer.setSingleShot(True)
            timer.setInterval(milliseconds)
            timer.timeout.connect(self._on_time)

    def ask(self) -> None:
        """Have the function called some time."""
        self._quiet.start()
        if not self._longest.isActive():
            self._longest.start()

    def stop(self) -> None:
        """Call it no more, unless it is asked again."""
        self._quiet.stop()
        self._longest.stop()

    def _on_time(self) -> None:
        self.stop()
        self._act()
