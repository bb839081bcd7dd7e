"""One thread for everything slow, and the way back to the GUI thread."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, Signal, Slot

logger = logging.getLogger(__name__)

_NICENESS = 5

Work = Callable[[], Any]
Then = Callable[[Any], None]


class Worker(QObject):
    """Runs pieces of work one after the other in one lasting thread.

    The thread outlives the runs on purpose: the backends of PyTorch keep caches for each thread, and a fresh one would
    be slow again. Create it on the GUI thread; everything handed to `call` or given as `then` runs there.
    """

    _called = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._called.connect(self._run_on_gui_thread)
        self._queue: queue.SimpleQueue[tuple[Work, Then | None, Then | None] | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="gem3d-worker", daemon=True)
        self._thread.start()

    def submit(self, work: Work, then: Then | None = None, failed: Then | None = None) -> None:
        """Queue `work`; on the GUI thread its result goes to `then`, or its exception to `failed`."""
        self._queue.put((work, then, failed))

    def call(self, function: Callable[[], None]) -> None:
        """From any thread: run `function` on the GUI thread soon. After `close` nothing is run any more."""
        if self._closed.is_set():
            return
        try:
            self._called.emit(function)
        except RuntimeError:  # the window, and with it this object, was deleted meanwhile
            self._closed.set()

    def close(self, timeout: float = 2.0) -> None:
        """Finish the work that is running, drop the rest, end the thread. Cancel the running work before."""
        self._closed.set()
        self._queue.put(None)
        self._thread.join(timeout)

    def _loop(self) -> None:
        _yield_to_the_window()
        while (task := self._queue.get()) is not None:
            if self._closed.is_set():
                continue
            self._do(*task)

    def _do(self, work: Work, then: Then | None, failed: Then | None) -> None:
        try:
            result = work()
        except Exception as error:  # the thread must live on, and nothing may be lost
            logger.exception("work in the viewer's thread failed")
            if failed is not None:
                self._deliver(failed, error)
            return
        if then is not None:
            self._deliver(then, result, failed)

    def _deliver(self, receiver: Then, value: Any, failed: Then | None = None) -> None:
        def deliver() -> None:
            try:
                receiver(value)
            except Exception as error:
                if failed is None:
                    raise
                logger.exception("the result of work in the viewer's thread could not be shown")
                failed(error)

        self.call(deliver)

    @Slot(object)
    def _run_on_gui_thread(self, function: Callable[[], None]) -> None:
        if not self._closed.is_set():
            function()


def _yield_to_the_window() -> None:
    """Lower the priority of this thread, and of those that the backends start from it, below the window's.

    Linux alone has priorities of single threads under this call; elsewhere it is left to the system.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
