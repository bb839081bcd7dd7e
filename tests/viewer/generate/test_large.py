"""A patient of 512 × 512 × 300 voxels: the window is never busy for long with any one thing."""

import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from napari.layers import Layer

from napari_gem3d.grid import Grid
from napari_gem3d.labels import LabelMap
from napari_gem3d.viewer.core import Request
from napari_gem3d.viewer.layers import image_layer, labels_layer
from napari_gem3d.volume import Volume

SHAPE = (300, 512, 512)
GRID = Grid(SHAPE, np.diag([0.5, 0.5, 0.8, 1.0]))


def _part(indices: list[int], voxels: np.ndarray, progress: float) -> SimpleNamespace:
    return SimpleNamespace(indices=indices, voxels=voxels, progress=progress, message="")


class LargeJob:
    """Hands on grey slices, eight at a time, upwards from the middle and then downwards."""

    def __init__(self, request: Request) -> None:
        self.recipe = SimpleNamespace(seed=request.seed, model_dump=lambda mode: {})
        self.grid, self.total = GRID, SHAPE[0]
        self.voxels = np.zeros(SHAPE, np.float32)
        self._done = 0

    @property
    def finished(self) -> bool:
        return self._done >= self.total

    def run(self, cancel: threading.Event | None = None, *, resume: bool = False) -> Iterator:
        slices = [*range(150, 300), *reversed(range(150))]
        yield _part([], self.voxels[:0], 0.0)
        for first in range(0, self.total, 8):
            if cancel is not None and cancel.is_set():
                return
            indices = slices[first : first + 8]
            self.voxels[indices, 50:450, 80:430] = np.linspace(100, 900, 350, dtype=np.float32)
            self._done = first + len(indices)
            yield _part(indices, self.voxels[indices], self._done / self.total)
            time.sleep(0.02)

    def result(self) -> Volume:
        return Volume(self.voxels.astype(np.int16), GRID.affine, "MR")


@pytest.fixture
def large(panel, engine, tmp_path, monkeypatch):
    """Such a patient, painted on; its job needs no files."""
    scan, labels = np.zeros(SHAPE, np.int16), np.zeros(SHAPE, np.uint8)
    scan[20:280, 50:450, 80:430] = 500
    labels[20:280, 50:450, 80:430] = 4
    labels[140:160, 200:260, 200:260] = 1
    viewer = panel.workbench.viewer
    for layer in (
        image_layer(Volume(scan, GRID.affine, "MR", tmp_path / "large.nii.gz"), "large"),
        labels_layer(LabelMap(labels, GRID.affine, table=panel.workbench.state.table), "large labels"),
    ):
        viewer.add_layer(Layer.create(*layer))
    monkeypatch.setattr(engine, "open", LargeJob)
    return panel


def test_slices_of_a_large_patient_stream_while_the_window_lives(large, qtbot, gaps) -> None:
    workbench, state = large.workbench, large.workbench.state
    assert state.patient is not None and state.mask is not None
    qtbot.wait(1500)  # what opening has left to do
    with gaps(workbench.viewer) as watched:
        run = workbench.generation.generate()
        qtbot.waitUntil(lambda: state.activity == "idle", timeout=120_000)
    assert run.finished, state.message
    assert run.layer.data.shape == SHAPE and run.layer.data[:, 100, 300].all()
    assert watched.longest < 4 * watched.layer  # the figure itself is in the report of docs/tour.py
