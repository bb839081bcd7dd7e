"""A panel in a real napari window, and a core that generates when a test says so."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.settings import _clear_plugin_settings_cache
from qtpy.QtCore import QTimer

from napari_gem3d.anatomy import Completed
from napari_gem3d.anatomy.notes import untold
from napari_gem3d.errors import InputError
from napari_gem3d.grid import Grid
from napari_gem3d.io import write_volume
from napari_gem3d.labels import Label, LabelMap, LabelTable
from napari_gem3d.viewer import pace
from napari_gem3d.viewer.core import DrawnSlice, Estimate, LoadedModel, Request
from napari_gem3d.viewer.panel import GemPanel
from napari_gem3d.viewer.session import Session
from napari_gem3d.volume import Volume, resample

TABLE = LabelTable((Label(1, "edema"), Label(3, "enhancing"), Label(4, "brain", meaning="body")))


_freeze = gc.freeze


@pytest.fixture(autouse=True)
def _collect_only_what_a_test_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Napari collects all garbage whenever a layer goes: half a second if it walks through all that is loaded.

    Runs freeze and thaw the collector too; what imports and the tests before made stays frozen here.
    """
    gc.collect()  # the window of the test before is gone: what is frozen now is no garbage
    _freeze()
    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.setattr(gc, "unfreeze", lambda: None)


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sessions and logs stay out of the user's own folders."""
    home = tmp_path_factory.getbasetemp() / "home"
    for name in ("user_cache_path", "user_log_path"):
        monkeypatch.setattr(f"napari_gem3d.viewer.session.{name}", lambda app: home / app)
    return home


@pytest.fixture(autouse=True)
def preferences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The plugin's Preferences begin with the defaults, and are written to the file that this returns."""
    monkeypatch.setattr("napari.settings._CFG_PATH", str(tmp_path / "settings" / "settings.yaml"))
    _clear_plugin_settings_cache()
    yield tmp_path / "settings" / "napari-gem3d.yaml"
    _clear_plugin_settings_cache()
    pace.set_refreshes(10)


@dataclass
class FakePart:
    indices: list[int]
    voxels: np.ndarray
    progress: float
    message: str = ""


class FakeRecipe:
    def __init__(self, seed: int) -> None:
        self.seed = seed

    def model_dump(self, mode: str) -> dict[str, Any]:
        return {"task": "whole", "mode": mode}


class FakeJob:
    """Copies the body's scan, 100 brighter: `chunk` slices a permit, from the informed slice up, then the others."""

    chunk = 4

    def __init__(self, request: Request, permits: threading.Semaphore) -> None:
        from napari_gem3d.io import read_volume

        self.recipe = FakeRecipe(request.seed)
        self._scan = read_volume(request.body)
        self.grid: Grid = self._scan.grid.canonical()
        self._source = resample(self._scan, self.grid, order=0).voxels + 100.0
        self._voxels = np.zeros(self.grid.shape, np.float32)
        self._permits = permits
        self._start = request.informed_slice
        self.total, self._done = self.grid.shape[0], 0

    @property
    def finished(self) -> bool:
        return self._done >= self.total

    def run(self, cancel: threading.Event | None = None, *, resume: bool = False) -> Iterator[FakePart]:
        total = self.total
        slices = [*range(self._start, total), *range(self._start)]
        self._done = self._done if resume else 0
        there = slices[: self._done]
        yield FakePart(there, self._voxels[there], self._done / total)
        for first in range(self._done, total, self.chunk):
            while not self._permits.acquire(timeout=0.01):
                if cancel is not None and cancel.is_set():
                    return
            yield FakePart([], self._voxels[:0], first / total)
            indices = slices[first : first + self.chunk]
            self._voxels[indices] = self._source[indices]
            self._done = first + len(indices)
            yield FakePart(indices, self._source[indices].astype(np.float32), (first + len(indices)) / total)

    @property
    def voxels(self) -> np.ndarray:
        return self._voxels

    def result(self) -> Volume:
        volume = Volume(self._voxels.astype(np.int16), self.grid.affine)
        return resample(volume, self._scan.grid, order=0)


@dataclass
class FakeEngine:
    """A core without networks: `permits.release(n)` lets n chunks through; `problem` is raised when a job is opened.

    `tissue` are boxes of canonical voxels by the label that the scan shows there; `untold` what it does not tell.
    """

    permits: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    problem: Exception | None = None
    requests: list[Request] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    table: LabelTable = TABLE
    tissue: dict[int, tuple[slice, slice, slice]] = field(default_factory=dict)
    untold: tuple[str, ...] = ()
    draws: bool = False
    drawn: list[Request] = field(default_factory=list)
    known: Estimate = field(default_factory=Estimate)
    estimated: list[tuple[Request, range]] = field(default_factory=list)

    def load(self, model: str) -> LoadedModel:
        self.threads.add(threading.get_ident())
        if model == "missing":
            raise InputError("There is no model 'missing'.")
        return LoadedModel(self.table, 7, draws=self.draws)

    def open(self, request: Request) -> FakeJob:
        self.threads.add(threading.get_ident())
        self.requests.append(request)
        if self.problem is not None:
            raise self.problem
        return FakeJob(request, self.permits)

    def run(self, job: FakeJob, cancel: threading.Event, *, resume: bool, opening: float) -> Iterator[FakePart]:
        return job.run(cancel, resume=resume)

    def draw(self, request: Request) -> DrawnSlice:
        self.drawn.append(request)
        ramp = np.linspace(0, 100, 64 * 48).reshape(64, 48)
        return DrawnSlice(ramp * (1 + (request.informed_seed or 0)), (1.0, 1.0))

    def find_anatomy(self, model: str, scan: Volume, labels: LabelMap) -> Completed:
        """The boxes of `tissue`, where neither the scan is empty nor the map has a lesion."""
        self.threads.add(threading.get_ident())
        canonical = resample(scan, scan.grid.canonical(), order=0)
        voxels = resample(labels, canonical.grid, order=0).voxels.astype(np.uint8)
        free = (canonical.voxels > 0) & ~np.isin(voxels, [label.value for label in self.table.lesions])
        for value, box in self.tissue.items():
            voxels[box][free[box]] = value
        completed = resample(LabelMap(voxels, canonical.affine, table=self.table), scan.grid, order=0)
        return Completed(completed, (), self.untold)

    def notes(self, job: FakeJob) -> str:
        return untold(self.untold)

    def measure(self, request: Request) -> None:
        pass

    def estimate(self, request: Request, rows: range) -> Estimate:
        self.estimated.append((request, rows))
        return self.known

    def save(self, volume: Volume, recipe: Any, path: Path) -> None:
        write_volume(volume, path)

    def read_recipe(self, path: Path) -> FakeRecipe:
        return FakeRecipe(1)

    def export(self, volume: Volume, recipe: Any, path: Path, sources: Sequence[Path]) -> list[Path]:
        write_volume(volume, path)
        return [path]

    def command(self, recipe: Any, out: Path) -> str:
        return f"napari-gem3d generate --seed {recipe.seed} --out {out}"


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def panel(make_napari_viewer_proxy: Any, engine: FakeEngine, tmp_path: Path, qtbot: Any) -> Iterator[GemPanel]:
    """The panel beside a viewer as plugins get it, its model loaded, nothing open."""
    viewer = make_napari_viewer_proxy()
    widget = GemPanel(viewer, engine=engine, session=Session(tmp_path / "sessions"))
    viewer.window.add_dock_widget(widget, name="GEM-3D panel")
    qtbot.waitUntil(lambda: widget.workbench.state.table is not None)
    yield widget
    widget.workbench.close()


@dataclass(frozen=True)
class Scan:
    """A scan and its label map on disk: int16, zero around an egg; thick slices, stored LPS."""

    image: Path
    labels: Path


@pytest.fixture
def make_scan(tmp_path: Path) -> Callable[..., Scan]:
    """Write a small patient; a bright voxel marks the egg's most right, anterior and superior quarter."""

    def make(name: str = "anna", shift: float = 0.0, orientation: str = "LPS", with_body: bool = False) -> Scan:
        z, y, x = np.mgrid[:20, :48, :40]
        egg = ((z - 9.5) / 8) ** 2 + ((y - 23.5) / 20) ** 2 + ((x - 19.5) / 15) ** 2 < 1
        voxels = np.where(egg, 300 + 3 * x + 2 * y + 5 * z, 0).astype(np.int16)
        voxels[13, 33, 27] = 900
        labels = np.where(egg & with_body, 4, 0).astype(np.uint8)
        labels[6:11, 20:30, 10:18] = 1
        affine = np.diag([1.2, 1.0, 4.0, 1.0])
        affine[:3, 3] = (-30 + shift, -20, 15)
        flips = np.diag([1.0 if letter in "RAS" else -1.0 for letter in orientation] + [1.0])
        flips[:3, 3] = [0 if letter in "RAS" else n - 1 for letter, n in zip(orientation, (40, 48, 20), strict=True)]
        stored = Grid((20, 48, 40), affine @ flips)
        scan = Scan(tmp_path / f"{name}_0000.nii.gz", tmp_path / f"{name}.nii.gz")
        write_volume(resample(Volume(voxels, affine, "MR"), stored, order=0), scan.image, description="")
        write_volume(resample(LabelMap(labels, affine), stored, order=0), scan.labels)
        return scan

    return make


@pytest.fixture
def open_scan(panel: GemPanel, make_scan: Callable[..., Scan], qtbot: Any) -> Callable[..., Scan]:
    """Write a small patient and open it through the plugin's reader."""

    def open_it(name: str = "anna", labels: bool = True, **options: Any) -> Scan:
        scan = make_scan(name, **options)
        viewer = panel.workbench.viewer
        viewer.open(str(scan.image), plugin="napari-gem3d")
        if labels:
            viewer.open(str(scan.labels), plugin="napari-gem3d")
        return scan

    return open_it


@dataclass
class Gaps:
    """How long the window stands still at most, in time of its thread on the processor, and what napari's own costs.

    How busy the machine is with other things does not count, and how fast it is does not either: the measure is what
    it takes here to add a layer of one point to all canvases, the largest step that cannot be divided.
    """

    layer: float
    longest: float = 0.0


@pytest.fixture
def gaps(qtbot) -> Callable[[Any], AbstractContextManager[Gaps]]:
    """Watch the event loop of a viewer while the block runs."""

    @contextmanager
    def watching(viewer: Any) -> Iterator[Gaps]:
        begun = time.thread_time()
        point = viewer.add_points([[0.0, 0.0, 0.0]])
        qtbot.wait(50)
        watched = Gaps(time.thread_time() - begun)
        viewer.layers.remove(point)
        qtbot.wait(50)
        last = time.thread_time()

        def tick() -> None:
            nonlocal last
            now = time.thread_time()
            watched.longest, last = max(watched.longest, now - last), now

        timer = QTimer()
        timer.timeout.connect(tick)
        timer.start(5)
        yield watched
        timer.stop()

    return watching
