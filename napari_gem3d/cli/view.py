"""Open the viewer with the panel, and the files given."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from napari_gem3d.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``view``."""
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="scan, label map or DICOM folder to open")


def run(options: argparse.Namespace) -> int:
    """Open the viewer and wait until it is closed."""
    for path in options.files:
        if not path.exists():
            raise InputError(f"'{path}' is neither a command nor an existing file; see napari-gem3d --help.")
    open_viewer(options.files)
    return 0


def open_viewer(files: list[Path], demo: bool = False) -> None:
    """Open napari with the panel docked; returns when the window is closed.

    Raises
    ------
    InputError
        If there is no display, or napari or a Qt binding is not installed.
    """
    if sys.platform.startswith("linux") and not any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    ):
        # Qt does not raise here, it ends the process.
        raise InputError(
            "There is no display to open a window on; use napari-gem3d generate, or demo --headless, without one."
        )
    try:
        from napari_gem3d.viewer.app import launch
    except ImportError as error:
        if (error.name or "").startswith("napari_gem3d"):
            raise
        raise InputError(
            f"The viewer needs napari and a Qt binding ({error}); add them by: pip install 'napari-gem3d[viewer]'."
        ) from error
    launch(files, demo=demo)
