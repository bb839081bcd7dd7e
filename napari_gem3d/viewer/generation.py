"""Generating in the viewer: requests become runs, which are carried out one after the other."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.errors import InputError
from napari_gem3d.viewer.context import Context
from napari_gem3d.viewer.core import Mode, Request
from napari_gem3d.viewer.layers import Origin, require_numbered, required_origin
from napari_gem3d.viewer.masks import mask_before
from napari_gem3d.viewer.patients import Patient, path_of
from napari_gem3d.viewer.run import Run
from napari_gem3d.viewer.running import RunAtWork

_NAMES: dict[Mode, str] = {"volume": "Synthetic", "edit": "Edited"}


class Generation:
    """Makes runs of what is chosen, and carries them out, one at a time.

    Parameters
    ----------
    informed
        The fields of a request that say where the informed slice comes from, for the patient that may give it.
    with_body
        A label map and its origin with the patient's body as it was corrected.
    """

    def __init__(
        self,
        context: Context,
        informed: Callable[[Patient], dict[str, Any]],
        with_body: Callable[[Patient, NDArray[Any], Origin], tuple[NDArray[Any], Origin]],
    ) -> None:
        self._context, self._state = context, context.state
        self._informed, self._with_body = informed, with_body
        self._at_work: RunAtWork | None = None
        self._known: tuple[Run, ...] = ()
        self._requested = 0
        self._state.events.runs.connect(self._on_runs)

    def generate(self, mode: Mode | None = None) -> Run | None:
        """Start a generation, or queue it while another one runs; what is missing is said on the panel's line.

        Parameters
        ----------
        mode
            "volume" or "edit"; by default what is chosen.
        """
        state, mode = self._state, mode or self._state.mode
        if state.random_seed:
            state.seed = secrets.randbelow(2**31)
        try:
            request = self.request(mode)
        except InputError as error:
            state.say_error(error)
            return None
        request = replace(request, mask=request.mask.copy())
        assert state.patient is not None, "a request has one"
        self._requested += 1
        donor = state.donor if request.informed is not None else None
        if mode == "edit" and request.own_neighbours:
            donor = state.patient
        run = Run(f"{_NAMES[mode]} {self._requested}", state.patient, donor, request, mode)
        state.runs = (*state.runs, run)
        self._queue(run)
        return run

    def resume(self, run: Run) -> None:
        """Go on with a run that was cancelled; the result is that of an uninterrupted run, to the bit."""
        if not run.can_continue:
            self._state.say_error(InputError(f"{run.name} cannot be continued; generate it again."))
            return
        self._queue(run)

    def cancel(self) -> None:
        """Stop the run at work; finished slices are kept, and the next run in the queue begins."""
        if self._at_work is not None and self._state.activity == "running":
            self._at_work.cancel()

    def close(self) -> None:
        """Stop the run at work and begin no other."""
        self._state.events.runs.disconnect(self._on_runs)
        self._state.runs = tuple(run for run in self._state.runs if run.status != "waiting")
        if self._at_work is not None:
            self._at_work.abandon()

    def request(self, mode: Mode | None = None) -> Request:
        """What a click would ask for; its mask is the layer's own array.

        Raises
        ------
        InputError
            If something is missing.
        """
        state, mode = self._state, mode or self._state.mode
        if state.patient is None:
            raise InputError("There is no patient; open a scan or a sample first.")
        if state.mask is None:
            raise InputError("There is no mask; paint one or open a label map first.")
        require_numbered(state.mask, state.table)
        informed = self._informed(state.donor or state.patient)
        if mode == "edit" and not state.own_neighbours and informed["informed"] is None:
            raise InputError("An edit cannot be informed by a drawn slice; take the slice from a scan in step 3.")
        origin = required_origin(state.mask)
        voxels = np.asarray(state.mask.data)
        if mode == "volume":
            voxels, origin = self._with_body(state.patient, voxels, origin)
        same = ("steps", "seed", "model", "device", "precision", "anatomy", "own_neighbours")
        return Request(
            mask=voxels,
            mask_origin=origin,
            mask_name=state.patient.name,
            body=path_of(state.patient),
            mode=mode,
            mass_effect_mm=state.mass_effect_mm if state.can_push(mode) else 0.0,
            before=mask_before(state.patient, state.table, self._context.session.root),
            **informed,
            **{name: getattr(state, name) for name in same},
        )

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
        self._at_work = RunAtWork(self._context, waiting, self._announce, self._on_end)
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
