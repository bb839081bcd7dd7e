"""Take the pictures of the documentation: the real panel, in a real window, at work.

    python docs/tour.py                       the sample phantoms and the bundled model
    python docs/tour.py SCAN LABELS SCAN …    these files instead; the first scan is the patient

Without a display it starts Xvfb for itself (Debian: apt-get install xvfb).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_gem3d.viewer.state import PanelState

SIZE = (1600, 1000)
IMAGES = Path(__file__).resolve().parent / "images"


@contextmanager
def display() -> Iterator[None]:
    """Have a display: the one there is, or an Xvfb of one's own."""
    if sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        yield
        return
    if shutil.which("Xvfb") is None:
        sys.exit("There is no display, and Xvfb is not installed; install it (Debian: apt-get install xvfb).")
    read, write = os.pipe()
    screen = f"{SIZE[0]}x{SIZE[1]}x24"
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", screen, "-nolisten", "tcp"], pass_fds=[write]
    )
    os.close(write)
    with os.fdopen(read) as pipe:
        os.environ["DISPLAY"] = f":{pipe.readline().strip()}"
    try:
        yield
    finally:
        server.terminate()
        server.wait()


class Tour:
    """A window to photograph.

    Parameters
    ----------
    files
        Scans and label maps; the sample patients if there are none.
    model
        Another bundle than the default one, a folder or a name.
    out
        Folder for the pictures.
    """

    def __init__(self, files: list[Path], model: str | None, out: Path) -> None:
        from qtpy.QtWidgets import QApplication

        from napari_gem3d.viewer.app import open_window

        self._out = out
        self.viewer, self.panel = open_window(files, demo=not files)
        self._window = self.viewer.window._qt_window
        self._window.setGeometry(0, 0, *SIZE)
        self._application = QApplication.instance()
        if model is not None:
            self.state.model = model
        self.until(lambda: self.state.table is not None, 120, "Load the model")
        self.wait(1)  # for the window to take its size
        assert self.state.patient is not None, "a scan was opened"
        self.viewer.reset_view(layers=[self.state.patient.image])
        self.wait(0.5)

    @property
    def state(self) -> PanelState:
        """The panel's state."""
        return self.panel.workbench.state

    def wait(self, seconds: float) -> None:
        """Let the window live."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._application.processEvents()
            time.sleep(0.005)

    def until(self, done: Callable[[], bool], seconds: float, what: str) -> None:
        """Let the window live until something has happened; stop the tour if it fails or takes too long."""
        end = time.monotonic() + seconds
        while not done():
            if self.state.failed and not self.state.message.startswith("There is no model"):
                sys.exit(f"{what}: {self.state.message}")
            if time.monotonic() > end:
                sys.exit(f"{what}: not within {seconds} s.")
            self.wait(0.05)

    def picture(self, name: str) -> None:
        """Photograph the window."""
        path = self._out / f"{name}.png"
        self._application.processEvents()
        self._window.grab().save(str(path))
        print(f"{path}")


def main() -> None:
    """Play the tour."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="scans and label maps instead of the sample phantoms")
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder for the pictures (docs/images)")
    parser.add_argument("--model", help="another bundle than the bundled one")
    parser.add_argument("--steps", type=int, help="denoising steps; the model's own by default")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with display():
        play(options)


def play(options: argparse.Namespace) -> None:
    """Before, during and after a generation."""
    tour = Tour(options.files, options.model, options.out)
    state, workbench = tour.state, tour.panel.workbench
    state.seed = options.seed
    if options.steps is not None:
        state.steps = options.steps
    tour.picture("panel-before")

    longest = LongestGap()
    workbench.generate()
    tour.until(lambda: state.progress > 0.25, 900, "Generate")
    tour.picture("panel-during")
    tour.until(lambda: state.activity == "idle", 900, "Generate")
    longest.stop()
    tour.wait(1)
    tour.picture("panel-after")
    print(f"{state.message} Longest time the window did not answer: {longest.seconds * 1000:.0f} ms.")
    tour.viewer.close()


class LongestGap:
    """Measures how long the event loop was busy with one thing at most."""

    def __init__(self) -> None:
        from qtpy.QtCore import QTimer

        self.seconds = 0.0
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.timeout.connect(self._tick)
        self._timer.start(5)

    def _tick(self) -> None:
        now = time.perf_counter()
        self.seconds = max(self.seconds, now - self._last)
        self._last = now

    def stop(self) -> None:
        """End the measurement."""
        self._timer.stop()


if __name__ == "__main__":
    main()
