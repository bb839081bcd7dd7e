"""Take the pictures of the documentation: the real panel, in a real window, at work.

    python docs/tour.py                       the sample patients and the bundled model
    python docs/tour.py SCAN LABELS SCAN …    these files instead; the first scan is the patient

It prints the time to the first slice, the longest time that the window did not answer, and what a refresh costs.

Without a display it starts Xvfb for itself (Debian: apt-get install xvfb).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from qtpy.QtWidgets import QScrollArea

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
        self.focus: tuple[float, float, float] = self.panel.workbench.planes.focus

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
        """Photograph the window; in 256 colours, which a screen of grey and a few colours does not miss."""
        path = self._out / f"{name}.png"
        self._application.processEvents()
        self._window.grab().save(str(path))
        Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)
        print(f"{path}")

    def scroll_to(self, step: Any) -> None:
        """Bring a step of the panel on the screen."""
        for area in self.panel.findChildren(QScrollArea):
            if area.widget() is not None and area.widget().isAncestorOf(step):
                area.ensureWidgetVisible(step, 0, 0)
        self.wait(0.3)

    def run(self, mode: str, name: str) -> Any:
        """Generate by the panel's button, with a picture while slices arrive and one of the result; returns the run."""
        settings, state = self.panel.generate.settings, self.state
        # A person's choice is announced by this signal alone.
        settings.mode.activated.emit(("volume", "edit").index(mode))
        self.wait(1)
        self.scroll_to(self.panel.generate)
        longest, begun = LongestGap(), time.perf_counter()
        self.panel.generate.generate.click()
        self.until(lambda: state.progress > 0, 900, mode)
        first = time.perf_counter() - begun
        self.until(lambda: state.progress > 0.4, 900, mode)
        self.picture(f"{name}-arriving")
        longest.reset()  # taking a picture is not the panel's work
        self.until(lambda: state.activity == "idle", 900, mode)
        longest.stop()
        self.panel.workbench.planes.look_at(self.focus)  # back from where the slices arrived
        self.wait(2)
        self.picture(name)
        gap, worst = longest.seconds * 1000, longest.before * 1000
        print(f"{mode}: {state.message} First slices after {first:.1f} s; longest gap {max(gap, worst):.0f} ms.")
        return self.panel.workbench.state.run


def main() -> None:
    """Play the tour."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="scans and label maps instead of the sample patients")
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder for the pictures (docs/images)")
    parser.add_argument("--model", help="another bundle than the bundled one")
    parser.add_argument("--steps", type=int, help="denoising steps; the model's own by default")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with display():
        play(options)


def play(options: argparse.Namespace) -> None:
    """Place, move and enlarge a lesion; edit the scan; generate a volume; compare and export."""
    tour = Tour(options.files, options.model, options.out)
    panel, state, workbench = tour.panel, tour.state, tour.panel.workbench
    panel.generate.settings.seed.setValue(options.seed)
    if options.steps is not None:
        panel.generate.settings.steps.setValue(options.steps)
    panel.view_bar.three.setChecked(True)
    tour.wait(2)
    tour.picture("tour-1-patients")

    lesions = workbench.lesions
    tour.focus = opposite_of_lesion(workbench)
    workbench.planes.look_at(tour.focus)
    for name, tool, numbers in (
        ("tour-2-place", "place", {"diameter": (34.0, 28.0, 26.0)}),
        ("tour-3-move", "move", {"mm": (0.0, -12.0, 6.0), "degrees": (0.0, 0.0, 30.0)}),
        ("tour-4-grow", "grow", {"grow_mm": 4.0}),
    ):
        panel.mask.tools.buttons[tool].click()
        for number, value in numbers.items():
            setattr(lesions.state, number, value)
        tour.wait(1)  # the preview follows the numbers after a moment
        tour.until(lambda: lesions.state.preview is not None and not lesions.state.busy, 60, f"Preview of {tool}")
        tour.wait(0.5)
        tour.picture(name)
        panel.mask.tools.apply.click()
        tour.until(lambda: not lesions.state.tool and not lesions.state.busy, 60, f"Apply {tool}")

    panel.informed.donors.setCurrentIndex(next(i for i, p in enumerate(state.patients) if p is not state.patient))
    panel.informed.match.click()
    tour.wait(3)
    tour.scroll_to(panel.informed)
    tour.picture("tour-5-informed")

    edit = tour.run("edit", "tour-6-edit")
    volume = tour.run("volume", "tour-7-volume")
    workbench.results.comparison.start(edit, how="difference")
    tour.wait(3)
    tour.picture("tour-8-compare")
    workbench.results.comparison.stop()
    tour.wait(0.5)
    with tempfile.TemporaryDirectory() as folder:
        workbench.results.export(volume, Path(folder) / "synthetic.nii.gz")
        tour.until(lambda: "synthetic" in state.message and state.activity == "idle", 60, "Export")
        tour.wait(1)
        tour.picture("tour-9-export")
        print(f"Exported {', '.join(sorted(path.name for path in Path(folder).iterdir()))}.")
    tour.viewer.close()


def opposite_of_lesion(workbench: Any) -> tuple[float, float, float]:
    """World point (z, y, x) in mm on the other side of the head than the patient's lesion, at its height."""
    state = workbench.state
    mask, table = state.mask, state.table
    data = np.asarray(mask.data)
    lesion = np.argwhere(np.isin(data, [label.value for label in table.lesions])).mean(axis=0)
    middle = np.argwhere(data > 0).mean(axis=0)
    z, y, x = lesion[0], lesion[1], 2 * middle[2] - lesion[2]
    return tuple(float(v) for v in np.array([z, y, x]) * mask.scale + mask.translate)  # type: ignore[return-value]


class LongestGap:
    """Measures how long the event loop was busy with one thing at most."""

    def __init__(self) -> None:
        from qtpy.QtCore import QTimer

        self.seconds = self.before = 0.0
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.timeout.connect(self._tick)
        self._timer.start(5)

    def _tick(self) -> None:
        now = time.perf_counter()
        self.seconds = max(self.seconds, now - self._last)
        self._last = now

    def reset(self) -> None:
        """Leave out the time since the last tick; what was measured until then is `before`."""
        self.before, self.seconds = max(self.before, self.seconds), 0.0
        self._last = time.perf_counter()

    def stop(self) -> None:
        """End the measurement."""
        self._timer.stop()


if __name__ == "__main__":
    main()
