"""The session that a crash has ended: offered, put back, or let go of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Layer
from napari.types import LayerDataTuple
from psygnal import EventedModel
from pydantic import ConfigDict

from napari_gem3d.errors import InputError
from napari_gem3d.io import read_label_map, read_volume
from napari_gem3d.viewer.layers import METADATA, image_layer, labels_layer, origin_of
from napari_gem3d.viewer.patients import Patient
from napari_gem3d.viewer.reader import layer_name
from napari_gem3d.viewer.run import Run
from napari_gem3d.viewer.session import Journal, SavedMask, SavedRun, discard_session, lost_session

if TYPE_CHECKING:
    from napari_gem3d.viewer.workbench import Workbench


class RestoreState(EventedModel):
    """What is offered.

    Attributes
    ----------
    folder, journal
        Of the session that a crash has ended; None while none is offered.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, validate_assignment=True)

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
    workbench
        Whose session goes on with what is restored.

    Attributes
    ----------
    state
        What is offered.
    """

    def __init__(self, workbench: Workbench) -> None:
        self._workbench = workbench
        self.state = RestoreState()
        lost = lost_session(workbench.session.root)
        if lost is not None:
            self.state.folder, self.state.journal = lost

    def restore(self) -> None:
        """Open the scans, masks and results of the lost session again, in the background."""
        folder, journal = self.state.folder, self.state.journal
        if folder is None or journal is None:
            return
        self._withdraw()
        open_now = {path for patient in self._workbench.state.patients if (path := _path_of(patient)) is not None}
        self._workbench.state.say("Opening the last session …")
        self._workbench.files.submit(
            partial(self._read, journal, open_now), partial(self._show, folder), self._workbench.state.say_error
        )

    def discard(self) -> None:
        """Delete what the lost session kept."""
        folder = self.state.folder
        if folder is not None:
            self._withdraw()
            self._workbench.files.submit(partial(discard_session, folder), None, self._workbench.state.say_error)

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
        table = self._workbench.state.table
        for mask in journal.masks:
            try:
                found.masks.append((mask, labels_layer(read_label_map(mask.file, table), mask.name)))
            except InputError:
                found.missing.append(mask.name)
        for run in journal.runs:
            try:
                recipe = self._workbench.engine.read_recipe(run.file)
                found.runs.append((run, image_layer(read_volume(run.file), run.name, synthetic=True), recipe))
            except InputError:
                found.missing.append(run.name)
        return found

    def _show(self, folder: Path, found: _Found) -> None:
        workbench = self._workbench
        workbench.session.adopt(folder)
        workbench.show(found.scans)
        patients = {_path_of(patient): patient for patient in workbench.state.patients}
        missing = list(found.missing)
        for mask, layer_tuple in found.masks:
            patient = patients.get(mask.patient)
            if patient is None:
                missing.append(mask.name)
                continue
            layer = workbench.viewer.add_layer(Layer.create(*layer_tuple))
            layer.metadata[METADATA] = replace(layer.metadata[METADATA], before=mask.before)
            patient.mask = layer
            if mask.changed:
                workbench.autosave.keep_mask(layer, mask)
        for saved, layer_tuple, recipe in found.runs:
            patient = patients.get(saved.patient)
            if patient is None:
                missing.append(saved.name)
                continue
            self._add_run(saved, layer_tuple, recipe, patient, patients.get(saved.donor))
        workbench.autosave.write_journal()
        lost = f" These could not be opened: {', '.join(missing)}." if missing else ""
        workbench.state.say(f"The last session is open again.{lost}", failed=bool(missing))

    def _add_run(
        self, saved: SavedRun, layer_tuple: LayerDataTuple, recipe: Any, patient: Patient, donor: Patient | None
    ) -> None:
        workbench = self._workbench
        layer = workbench.viewer.add_layer(Layer.create(*layer_tuple))
        like = patient if saved.mode == "edit" or donor is None else donor
        layer.contrast_limits = like.image.contrast_limits
        layer.metadata["recipe"] = recipe.model_dump(mode="json")
        run = Run(saved.name, patient, donor, None, saved.mode, "finished" if saved.finished else "partial", layer)
        run.recipe, run.started, run.seconds = recipe, True, saved.seconds
        workbench.autosave.keep(run, saved)
        workbench.state.runs = (*workbench.state.runs, run)
        workbench.results.show(run)


def _path_of(patient: Patient) -> Path | None:
    origin = origin_of(patient.image)
    return None if origin is None else origin.path
