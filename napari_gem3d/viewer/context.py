"""What the parts of the viewer are made with, and what each of them has to offer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from napari_gem3d.viewer.core import Engine
from napari_gem3d.viewer.planes.controller import Planes
from napari_gem3d.viewer.session import Session
from napari_gem3d.viewer.state import PanelState
from napari_gem3d.viewer.worker import Worker


class Part(Protocol):
    """Something that listens to the viewer or runs in the background, until it is closed."""

    def close(self) -> None:
        """Let go of the viewer, and end what is going on."""


@dataclass(frozen=True)
class Context:
    """What every part may use. Whatever else a part needs (another part, a function) is handed to it by name.

    Attributes
    ----------
    viewer
        napari's viewer, or the proxy plugins get.
    state
        What is chosen and what is going on.
    planes
        The planes and their crosshair.
    engine
        The core; a small one in tests.
    session
        Where masks and results are kept.
    worker
        The thread that generates.
    files
        The thread that reads and writes: opening a scan must not wait until a generation ends.
    """

    viewer: Any
    state: PanelState
    planes: Planes
    engine: Engine
    session: Session
    worker: Worker
    files: Worker
