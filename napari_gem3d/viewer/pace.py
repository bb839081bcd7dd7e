"""How often the window may be asked to show something new."""

from __future__ import annotations

import time
from collections.abc import Callable

from qtpy.compat import isalive
from qtpy.QtCore import QTimer

# At most ten refreshes a second. Where one takes long (hundreds of milliseconds in software rendering on a busy
# machine) fewer, so that at least half of the time stays for the user's own clicks and for the generation.
REFRESH_MS = 100
_REST_FACTOR = 2
_shortest = REFRESH_MS


def set_refreshes(per_second: int) -> None:
    """Let the window be refreshed at most so often a second: 1 to 10."""
    global _shortest
    _shortest = max(REFRESH_MS, round(1000 / max(per_second, 1)))


def rest_after(seconds: float) -> int:
    """Milliseconds until the next refresh, after one that took `seconds`."""
    return max(_shortest, round(_REST_FACTOR * seconds * 1000))


class Pace:
    """Calls a function when asked to, at most ten times a second, and rests at least as long as the function took.

    Parameters
    ----------
    act
        What to call, on the GUI thread. Several `ask` before it is called are one.
    milliseconds
        The shortest time between two calls; by default that of `set_refreshes`.
    """

    def __init__(self, act: Callable[[], None], milliseconds: int | None = None) -> None:
        self._act, self._shortest = act, milliseconds
        self._asked = self._resting = False
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._awake)

    def ask(self) -> None:
        """Have the function called soon."""
        self._asked = True
        if not self._resting:
            self._resting = True
            self._timer.start(0)

    def now(self) -> None:
        """Call the function at once if it was asked for."""
        if self._asked:
            self._asked = False
            self._act()

    def stop(self) -> None:
        """Call it no more."""
        if isalive(self._timer):  # the application may have ended
            self._timer.stop()
        self._asked = False
        self._resting = True

    def _awake(self) -> None:
        if not self._asked:
            self._resting = False
            return
        begun = time.perf_counter()
        self.now()
        # A timer of zero comes after the repaint that the function has asked for.
        QTimer.singleShot(0, lambda: self._rest(begun))

    def _rest(self, begun: float) -> None:
        cost = time.perf_counter() - begun
        shortest = (
            rest_after(cost) if self._shortest is None else max(self._shortest, round(_REST_FACTOR * cost * 1000))
        )
        self._timer.start(shortest)


class Rest:
    """Calls a function when it has not been asked to for a while, or when it has been asked to for too long.

    Parameters
    ----------
    act
        What to call, on the GUI thread.
    quiet_ms
        How long nothing has to be asked before.
    longest_ms
        How long after the first `ask` it is called at the latest; None to wait however long.
    """

    def __init__(self, act: Callable[[], None], quiet_ms: int, longest_ms: int | None = None) -> None:
        self._act = act
        self._timers = [QTimer() for _ in ((quiet_ms,) if longest_ms is None else (quiet_ms, longest_ms))]
        for timer, milliseconds in zip(self._timers, (quiet_ms, longest_ms), strict=False):
            timer.setSingleShot(True)
            timer.setInterval(milliseconds)
            timer.timeout.connect(self._on_time)

    def ask(self) -> None:
        """Have the function called some time."""
        quiet, *longest = self._timers
        quiet.start()
        for timer in longest:
            if not timer.isActive():
                timer.start()

    def stop(self) -> None:
        """Call it no more, unless it is asked again."""
        for timer in self._timers:
            if isalive(timer):  # the application may have ended
                timer.stop()

    def _on_time(self) -> None:
        self.stop()
        self._act()
