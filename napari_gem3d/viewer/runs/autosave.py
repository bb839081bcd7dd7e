"""Keeps results and painted masks in the session's folder, for the case of a crash."""

from __future__ import annotations

import atexit
import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Labels

from napari_gem3d.io import write_volume
from napari_gem3d.sampling.recipe import sidecar
from napari_gem3d.viewer.context import Context
from napari_gem3d.viewer.layers import Origin, mask_changes, origin_of, path_of_layer, restored_labels, volume_of
from napari_gem3d.viewer.pace import Rest
from napari_gem3d.viewer.patients import Patient, id_of
from napari_gem3d.viewer.run import Run
from napari_gem3d.viewer.session import SavedMask, SavedRun, clean_sessions
from napari_gem3d.viewer.signals import Connections
from napari_gem3d.viewer.worker import Worker

logger = logging.getLogger(__name__)

# A stroke is followed by another one; masks are written when the hand rests, or at the latest after the second time.
_REST_MS, _LONGEST_MS = 3_000, 20_000
# The oldest results of a session beyond this are not kept any more; they stay in the viewer.
LARGEST_BYTES = 4 * 2**30


class Autosave:
    """Writes finished and partial results, and masks that were changed, in a thread of its own.

    Nothing that goes wrong here stops the work: it is said on the panel's line once, and is in the log.

    Parameters
    ----------
    days
        How long sessions are kept.
    """

    def __init__(self, context: Context, days: float) -> None:
        self._engine, self._state, self._session = context.engine, context.state, context.session
        self._worker = Worker()
        self._runs: dict[Run, SavedRun] = {}
        self._asked: dict[Run, tuple[str, float]] = {}
        self._masks: dict[int, SavedMask] = {}
        self._dirty: dict[int, tuple[Labels, Patient]] = {}
        self._watched: Labels | None = None
        self._changes = Connections()
        self._failed = self._closed = False
        self._rest = Rest(self.write_masks, _REST_MS, _LONGEST_MS)
        self._state.events.runs.connect(self._on_runs)
        self._state.events.mask.connect(self._on_mask)
        self._on_mask(self._state.mask)
        # A window may be torn down without telling its widgets; a process that ends by itself has not crashed.
        atexit.register(self.end)
        self._worker.submit(partial(clean_sessions, self._session.root, self._session.folder, days))

    def close(self) -> None:
        """The panel is closed: what is being written is finished, and nothing of it will be offered."""
        if self._closed:
            return
        self._rest.stop()
        self._changes.close()
        self._state.events.runs.disconnect(self._on_runs)
        self._state.events.mask.disconnect(self._on_mask)
        self._worker.close()
        self.end()
        atexit.unregister(self.end)

    def end(self) -> None:
        """The session is over as it should be. Its files stay until their time has come: recipes refer to them."""
        if not self._closed:
            self._closed = True
            self._session.end()

    def keep(self, run: Run, saved: SavedRun) -> None:
        """Take over a result that lies in the session's folder already."""
        self._runs[run] = saved
        self._asked[run] = (run.status, run.seconds)

    def keep_mask(self, mask: Labels, saved: SavedMask) -> None:
        """Take over a mask that lies in the session's folder already."""
        self._masks[id_of(mask)] = saved

    def _on_runs(self, runs: tuple[Run, ...]) -> None:
        for run in [run for run in {**self._runs, **self._asked} if run not in runs]:
            self._forget(run)
        for run in runs:
            key = (run.status, run.seconds)
            if run.status in ("finished", "partial") and run.recipe is not None and self._asked.get(run) != key:
                self._asked[run] = key
                self._save_run(run)
        self.write_journal()

    def _save_run(self, run: Run) -> None:
        patient = path_of_layer(run.patient.image)
        if run.layer is None or patient is None:
            return
        donor = None if run.donor is None else path_of_layer(run.donor.image)
        layer, recipe, before = run.layer, run.recipe, self._runs.get(run)
        values = {"name": run.name, "patient": patient, "donor": donor, "mode": run.mode}
        values |= {"seconds": run.seconds, "finished": run.finished}

        def write() -> SavedRun:
            file = self._session.new_file("run") if before is None else before.file
            self._engine.save(volume_of(layer), recipe, file)
            return SavedRun(file=file, **values)

        self._worker.submit(write, partial(self._on_saved, run), self._on_failure)

    def _forget(self, run: Run) -> None:
        """A result that was deleted leaves memory and disk; if it is brought back, it is written again."""
        self._asked.pop(run, None)
        saved = self._runs.pop(run, None)
        if saved is not None:
            self._worker.submit(partial(_unlink, saved.file), lambda _: None, self._on_failure)

    def _on_saved(self, run: Run, saved: SavedRun) -> None:
        self._runs[run] = saved
        if run not in self._state.runs:  # deleted while it was written
            self._forget(run)
            return
        self._drop_oldest()
        self.write_journal()

    def _drop_oldest(self) -> None:
        sizes = {run: saved.file.stat().st_size for run, saved in self._runs.items() if saved.file.exists()}
        total = sum(sizes.values())
        for run in list(sizes)[:-1]:
            if total <= LARGEST_BYTES:
                break
            total -= sizes[run]
            _unlink(self._runs.pop(run).file)
            logger.info("%s is no longer kept for the case of a crash: the session has grown too large", run.name)

    def _on_mask(self, mask: Labels | None) -> None:
        self._changes.close()
        self._watched = mask
        if mask is not None:
            self._changes.add(self._on_change, *mask_changes(mask))

    def _on_change(self, event: Any = None) -> None:
        mask = self._watched
        patient = next((patient for patient in self._state.patients if mask in patient.masks), None)
        if mask is not None and patient is not None:
            self._dirty[id_of(mask)] = (mask, patient)
            self._rest.ask()

    def write_masks(self) -> None:
        """Write the masks that were changed since the last time."""
        dirty, self._dirty = self._dirty, {}
        for key, (mask, patient) in dirty.items():
            path, origin = path_of_layer(patient.image), origin_of(mask)
            if path is None or origin is None or mask not in patient.masks:
                continue
            before = self._masks.get(key)
            # Painting goes on while it is written.
            write = partial(self._write_mask, np.array(mask.data), origin, str(mask.name), path, before)
            self._worker.submit(write, partial(self._on_mask_saved, key), self._on_failure)

    def _write_mask(
        self, voxels: np.ndarray, origin: Origin, name: str, patient: Path, before: SavedMask | None
    ) -> SavedMask:
        labels = restored_labels(voxels, origin, self._state.table)
        file = self._session.new_file("painted") if before is None else before.file
        write_volume(labels, file)
        return SavedMask(name=name, file=file, patient=patient, before=origin.before)

    def _on_mask_saved(self, key: int, saved: SavedMask) -> None:
        self._masks[key] = saved
        self.write_journal()

    def write_journal(self) -> None:
        """Write down what there is now, if there is anything."""
        runs = [self._runs[run] for run in self._state.runs if run in self._runs]
        saved = [self._saved(mask, patient) for patient in self._state.patients for mask in patient.masks]
        masks = [mask for mask in saved if mask is not None]
        if not self._closed and (self._runs or self._masks):
            paths = [path_of_layer(patient.image) for patient in self._state.patients]
            journal = self._session.journal().model_copy(
                update={
                    "patients": tuple(path for path in paths if path is not None),
                    "masks": tuple(masks),
                    "runs": tuple(runs),
                }
            )
            self._worker.submit(partial(self._session.write, journal), None, self._on_failure)

    def _saved(self, mask: Labels, patient: Patient) -> SavedMask | None:
        """Where a mask is: in the session's folder if it was changed, else where it was opened."""
        scan, file = path_of_layer(patient.image), path_of_layer(mask)
        if id_of(mask) in self._masks:
            return self._masks[id_of(mask)]
        if scan is None or file is None:
            return None
        return SavedMask(name=str(mask.name), file=file, patient=scan, changed=False)

    def _on_failure(self, error: BaseException) -> None:
        if not self._failed:
            self._failed = True
            self._state.say(f"The session cannot be kept for the case of a crash: {error}", failed=True)


def _unlink(file: Path) -> None:
    for path in (file, sidecar(file)):
        path.unlink(missing_ok=True)
