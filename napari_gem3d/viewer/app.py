"""Open napari with the panel docked: what the command ``napari-gem3d`` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import napari
from qtpy.QtGui import QGuiApplication

from napari_gem3d.viewer.panel import GemPanel
from napari_gem3d.viewer.reader import prefer_reader, read_layers
from napari_gem3d.viewer.samples import DEMO, sample_layers

PANEL = "GEM-3D panel"
# Pixels in which three planes, the layers and the panel are all readable.
_ROOMY = (1500, 950)


def launch(files: Sequence[Path], demo: bool = False) -> None:
    """Open the viewer with the panel and run until it is closed.

    Parameters
    ----------
    files
        Scans and label maps to open; the first scan is the one that is worked on.
    demo
        Open two sample patients, ready to press Generate.

    Raises
    ------
    InputError
        If a file cannot be read; no window is opened then.
    """
    open_window(files, demo)
    napari.run()


def open_window(files: Sequence[Path] = (), demo: bool = False) -> tuple[napari.Viewer, GemPanel]:
    """As `launch`, but returns the viewer and the panel before the event loop runs."""
    tuples = [layer for name in DEMO for layer in sample_layers(name)] if demo else []
    tuples += read_layers([str(file) for file in files])
    prefer_reader()
    viewer = napari.Viewer(title="napari-gem3d")
    _make_room(viewer)
    _, panel = viewer.window.add_plugin_dock_widget("napari-gem3d", PANEL)
    panel.workbench.patients.show(tuples)
    return viewer, panel


def _make_room(viewer: napari.Viewer) -> None:
    """Have the window as large as the planes and the panel need, where the screen allows it."""
    screen = QGuiApplication.primaryScreen().availableGeometry()
    left, top, *size = viewer.window.geometry()
    width, height = (
        max(now, min(wanted, most))
        for now, wanted, most in zip(size, _ROOMY, (screen.width(), screen.height()), strict=True)
    )
    if [width, height] != size:
        left, top = (max(0, min(left, screen.width() - width)), max(0, min(top, screen.height() - height)))
        viewer.window.set_geometry(screen.x() + left, screen.y() + top, width, height)
