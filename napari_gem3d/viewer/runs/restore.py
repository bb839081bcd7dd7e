"""The session that a crash has ended: offered, put back, or let go of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from filelock import BaseFileLock
from napari.layers import Layer
from napari.types import LayerDataTuple
from qtpy.QtWidgets import QFrame

from napari_gem3d.errors import InputError
from napari_gem3d.io import read_label_map, read_volume
from napari_gem3d.viewer.context import Context
from napari_gem3d.viewer.layers import METADATA, image_layer, labels_layer, path_of_layer
from napari_gem3d.viewer.patients import Patient
from napari_gem3d.viewer.reader import layer_name
from napari_gem3d.viewer.run import Run
from napari_gem3d.viewer.runs.autosave import Autosave
from napari_gem3d.viewer.session import Journal, SavedMask, SavedRun, claim, discard_session, lost_session
from napari_gem3d.viewer.signals import State
from napari_gem3d.viewer.widgets import button, column, line, row, while_alive


class RestoreState(State):
    """What is offered.

    Attributes
    ----------
    folder, journal
        Of the session that a crash has ended; None while none is offered.
    """

    folder: Path | None = None
    journal: Journal | None = None

    @property
    def offer(self) -> str:
        """A line that says what there is, "" if nothing is offered."""
        if self.journal is None or self.folder is None:
            return ""
        parts = []
        painted = sum(mask.changed for mask in self.journal.masks)
        for count, what in ((len(self.journal.runs), "result"), (painted, "painted mask")):
            if count:
                parts.append(f"{count} {what}{'s' if count > 1 else ''}")
        date, time = self.folder.name[:10], self.folder.name[11:15]
        return f"The session of {date}, {time[:2]}:{time[2:]}, did not end well; it left {' and '.join(parts)}."


@dataclass(frozen=True)
class _Found:
    """What could be read of a lost session, and the names of what could not."""

    scans: list[LayerDataTuple]
    masks: list[tuple[SavedMask, LayerDataTuple]]
    runs: list[tuple[SavedRun, LayerDataTuple, Any]]
    missing: list[str]


class Restore:
    """Offers the last session if a crash has ended it.

    Parameters
    ----------
    autosave
        Keeps it from then on.
    show, show_run
        Add layers to the viewer; show a result.

    Attributes
    ----------
    state
        What is offered.
    """

    def __init__(
        self,
        context: Context,
        autosave: Autosave,
        show: Callable[[Iterable[LayerDataTuple]], None],
        show_run: Callable[[Run], None],
    ) -> None:
        self._context, self._panel, self._autosave = context, context.state, autosave
        self._show_layers, self._show_run = show, show_run
        self.state = RestoreState()
        self._lock: BaseFileLock | None = None
        lost = lost_session(context.session.root)
        if lost is not None:
            # It is this panel's until that is closed: another one that opens meanwhile does not offer it as well.
            self._lock = claim(lost[0])
        if lost is not None and self._lock is not None:
            self.state.folder, self.state.journal = lost

    def close(self) -> None:
        """Leave what was offered to the next panel, if nobody has answered."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def restore(self) -> None:
        """Open the scans, masks and results of the lost session again, in the background."""
        folder, journal = self.state.folder, self.state.journal
        if folder is None or journal is None:
            return
        self._withdraw()
        open_now = {path for patient in self._panel.patients if (path := path_of_layer(patient.image)) is not None}
        self._panel.say("Opening the last session …")
        self._context.files.submit(
            partial(self._read, journal, open_now), partial(self._show, folder), self._panel.say_error
        )

    def discard(self) -> None:
        """Delete what the lost session kept."""
        folder = self.state.folder
        if folder is not None:
            self._withdraw()
            self.close()
            self._context.files.submit(partial(discard_session, folder), None, self._panel.say_error)

    def _withdraw(self) -> None:
        self.state.folder = self.state.journal = None

    def _read(self, journal: Journal, open_now: set[Path]) -> _Found:
        """In the worker's thread."""
        found = _Found([], [], [], [])
        wanted = [*journal.patients, *(mask.patient for mask in journal.masks), *(run.patient for run in journal.runs)]
        wanted += [run.donor for run in journal.runs if run.donor is not None]
        for path in dict.fromkeys(path for path in wanted if path not in open_now):
            try:
                # It was a scan, whatever its voxels look like.
                found.scans.append(image_layer(read_volume(path), layer_name(path)))
            except InputError:
                found.missing.append(path.name)
        table = self._panel.table
        for mask in journal.masks:
            try:
                found.masks.append((mask, labels_layer(read_label_map(mask.file, table), mask.name)))
            except InputError:
                found.missing.append(mask.name)
        for run in journal.runs:
            try:
                recipe = self._context.engine.read_recipe(run.file)
                found.runs.append((run, image_layer(read_volume(run.file), run.name, synthetic=True), recipe))
            except InputError:
                found.missing.append(run.name)
        return found

    def _show(self, folder: Path, found: _Found) -> None:
        self._context.session.adopt(folder, self._lock)
        self._lock = None
        self._show_layers(found.scans)
        patients = {path_of_layer(patient.image): patient for patient in self._panel.patients}
        missing = list(found.missing)
        for mask, layer_tuple in found.masks:
            patient = patients.get(mask.patient)
            if patient is None:
                missing.append(mask.name)
                continue
            layer = self._context.viewer.add_layer(Layer.create(*layer_tuple))
            layer.metadata[METADATA] = replace(layer.metadata[METADATA], before=mask.before)
            patient.mask = layer
            if mask.changed:
                self._autosave.keep_mask(layer, mask)
        for saved, layer_tuple, recipe in found.runs:
            patient = patients.get(saved.patient)
            if patient is None:
                missing.append(saved.name)
                continue
            self._add_run(saved, layer_tuple, recipe, patient, patients.get(saved.donor))
        self._autosave.write_journal()
        lost = f" These could not be opened: {', '.join(missing)}." if missing else ""
        self._panel.say(f"The last session is open again.{lost}", failed=bool(missing))

    def _add_run(
        self, saved: SavedRun, layer_tuple: LayerDataTuple, recipe: Any, patient: Patient, donor: Patient | None
    ) -> None:
        layer = self._context.viewer.add_layer(Layer.create(*layer_tuple))
        like = patient if saved.mode == "edit" or donor is None else donor
        layer.contrast_limits = like.image.contrast_limits
        layer.metadata["recipe"] = recipe.model_dump(mode="json")
        run = Run(saved.name, patient, donor, None, saved.mode, "finished" if saved.finished else "partial", layer)
        run.recipe, run.started, run.seconds = recipe, True, saved.seconds
        self._autosave.keep(run, saved)
        self._panel.runs = (*self._panel.runs, run)
        self._show_run(run)


class RestoreLine(QFrame):
    """The line at the top of the panel that offers the session which a crash has ended; hidden where there is none."""

    def __init__(self, restore: Restore, kept: str) -> None:
        super().__init__()
        self._restore = restore
        self.setObjectName("gem3d_restore")
        self.setStyleSheet("#gem3d_restore { border: 1px solid #ffb74d; border-radius: 4px; }")
        self.offer = line(kept)
        self.restore = button("Restore", "Open its scans, masks and results again, and go on", restore.restore)
        tooltip = "Delete what it kept: results and masks that were not exported are lost"
        self.discard = button("Discard", tooltip, restore.discard)
        column(self, self.offer, row(self.restore, self.discard)).setContentsMargins(8, 6, 8, 6)
        restore.state.events.journal.connect(self._show)
        self._show()

    @while_alive
    def _show(self) -> None:
        self.offer.setText(self._restore.state.offer)
        self.setVisible(bool(self._restore.state.offer))
