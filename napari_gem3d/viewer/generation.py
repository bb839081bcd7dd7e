"""Generating in the viewer: orders become runs, which are carried out one after the other."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_gem3d.errors import InputError
from napari_gem3d.viewer.choices import Choices
from napari_gem3d.viewer.engine import LoadedModel, Mode, Order
from napari_gem3d.viewer.layers import origin_of
from napari_gem3d.viewer.outlook import Outlook
from napari_gem3d.viewer.patients import Patient, path_of
from napari_gem3d.viewer.run import Run
from napari_gem3d.viewer.running import RunAtWork

if TYPE_CHECKING:
    from napari_gem3d.viewer.workbench import Workbench

_NAMES: dict[Mode, str] = {"volume": "Synthetic", "edit": "Edited"}


class Generation:
    """Makes runs of what is chosen, and carries them out, one at a time.

    Parameters
    ----------
    workbench
        Whose state says what is chosen, and whose `state.runs` the runs go to.

    Attributes
    ----------
    choices
        What is chosen beside the panel's state, and what is known of a generation before it begins.
    """

    def __init__(self, workbench: Workbench) -> None:
        self._workbench, self._state = workbench, workbench.state
        self.choices = Choices()
        self._at_work: RunAtWork | None = None
        self._known: tuple[Run, ...] = ()
        self._ordered = 0
        self._state.events.runs.connect(self._on_runs)
        self._outlook = Outlook(workbench, self)

    def show_model(self, model: LoadedModel) -> None:
        """Offer what a model that was loaded can do."""
        choices = self.choices
        choices.informed, choices.devices, choices.models = model.informed, model.devices, model.models
        if choices.device not in model.devices:
            choices.device = "auto"

    def generate(self, mode: Mode | None = None) -> Run | None:
        """Start a generation, or queue it while another one runs; what is missing is said on the panel's line.

        Parameters
        ----------
        mode
            "volume" or "edit"; by default what is chosen.
        """
        mode = mode or self.choices.mode
        if self._state.random_seed:
            self._state.seed = secrets.randbelow(2**31)
        try:
            order = self.order(mode)
            order = replace(order, mask=order.mask.copy())
        except InputError as error:
            self._state.say_error(error)
            return None
        patient = self._state.patient
        assert patient is not None, "an order has one"
        self._ordered += 1
        donor = self._state.donor if order.informed is not None else None
        if mode == "edit" and order.own_neighbours:
            donor = patient
        run = Run(f"{_NAMES[mode]} {self._ordered}", patient, donor, order, mode)
        self._state.runs = (*self._state.runs, run)
        self._queue(run)
        return run

    def resume(self, run: Run) -> None:
        """Go on with a run that was cancelled; the result is that of an uninterrupted run, to the bit."""
        if not run.can_continue:
            self._state.say_error(InputError(f"{run.name} cannot be continued; generate it anew."))
            return
        self._queue(run)

    def cancel(self) -> None:
        """Stop the run at work; finished slices are kept, and the next run in the queue begins."""
        if self._at_work is not None and self._state.activity == "running":
            self._at_work.cancel()

    def close(self) -> None:
        """Stop the run at work and begin no other."""
        self._outlook.close()
        self._state.events.runs.disconnect(self._on_runs)
        self._state.runs = tuple(run for run in self._state.runs if run.status != "waiting")
        if self._at_work is not None:
            self._at_work.abandon()

    # --- the queue ---------------------------------------------------------------------------------------------

    def _queue(self, run: Run) -> None:
        run.status = "waiting"
        if self._at_work is None:
            self._start_next()
        else:
            self._state.say(f"{run.name} begins when {self._at_work.run.name} has ended.")
            self._announce()

    def _start_next(self) -> None:
        waiting = next((run for run in self._state.runs if run.status == "waiting"), None)
        if waiting is None:
            self._state.activity = "idle"
            return
        self._at_work = RunAtWork(self._workbench, waiting, self._announce, self._on_end)
        self._state.activity = "running"
        self._at_work.start()

    def _on_end(self, work: RunAtWork) -> None:
        """After a run: forget it if nothing came of it, and begin the next."""
        self._at_work = None
        if work.run.status == "cancelled" or (work.run.status == "failed" and work.run.layer is None):
            self._state.runs = tuple(run for run in self._state.runs if run is not work.run)
        self._announce()
        self._start_next()

    def _announce(self) -> None:
        """Tell those who show runs that one has changed."""
        self._state.events.runs.emit(self._state.runs)

    def _on_runs(self, runs: tuple[Run, ...]) -> None:
        """A run that was taken from the list is not wanted any more."""
        gone, self._known = [run for run in self._known if run not in runs], runs
        if self._at_work is not None and self._at_work.run in gone:
            self.cancel()

    # --- the order ---------------------------------------------------------------------------------------------

    def order(self, mode: Mode | None = None) -> Order:
        """What a click would order; its mask is the layer's own array.

        Raises
        ------
        InputError
            If something is missing.
        """
        state, choices = self._state, self.choices
        mode = mode or choices.mode
        if state.patient is None:
            raise InputError("There is no patient; open a scan or a sample first.")
        if state.mask is None:
            raise InputError("There is no mask; paint one or open a label map first.")
        informed = self._workbench.informed.choice(state.donor or state.patient)
        if mode == "edit" and not choices.own_neighbours and informed["informed"] is None:
            raise InputError("An edit cannot be informed by a drawn slice; take the slice from a scan in step 3.")
        origin = origin_of(state.mask)
        assert origin is not None, "masks are only made of layers that have one"
        voxels = np.asarray(state.mask.data)
        if mode == "volume":
            voxels, origin = self._workbench.body.applied(state.patient, voxels, origin)
        return Order(
            mask=voxels,
            mask_origin=origin,
            mask_name=state.patient.name,
            body=path_of(state.patient),
            **informed,
            steps=state.steps,
            seed=state.seed,
            model=state.model,
            mode=mode,
            device=choices.device,
            precision=choices.precision,
            anatomy=choices.anatomy,
            mass_effect_mm=choices.mass_effect_mm if self.can_push(mode) else 0.0,
            before=self.mask_before(state.patient),
            own_neighbours=choices.own_neighbours,
        )

    def can_push(self, mode: Mode) -> bool:
        """Whether lesions can push anything: an edit moves the scan, a whole volume the labels of anatomy alone."""
        table = self._state.table
        return mode == "edit" or (table is not None and bool(table.tissues))

    def mask_before(self, patient: Patient) -> Path | None:
        """The file of the patient's mask as it was: the mask's own, or that of another of the patient's label maps."""
        session, table = self._workbench.session.root, self._state.table
        origin = origin_of(patient.mask) if patient.mask is not None else None
        if origin is not None and origin.before is not None and table is not None and table.tissues:
            return origin.before
        for mask in (patient.mask, *patient.masks):
            origin = origin_of(mask) if mask is not None else None
            # What a session keeps is what was painted, not what the scan shows.
            if origin is not None and origin.path is not None and session not in origin.path.parents:
                return origin.path
        return None
