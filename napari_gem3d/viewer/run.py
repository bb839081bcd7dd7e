"""A run: one generation that was requested in the panel, and what has become of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from napari.layers import Image

from napari_gem3d.viewer.core import Job, Mode, Request
from napari_gem3d.viewer.curve import Curves
from napari_gem3d.viewer.patients import Patient

Status = Literal["waiting", "running", "cancelling", "cancelled", "partial", "finished", "failed"]


@dataclass(eq=False)
class Run:
    """What the panel keeps of a generation; `PanelState.runs` holds them, and tells when one has changed.

    Attributes
    ----------
    name
        Of the result's layer.
    patient
        Whose mask it is made from.
    donor
        Whose slice informs it; the result has the intensities of this scan (of the patient's, for an edit). None if
        the model draws the slice.
    request
        What to generate; None for a result of an earlier session.
    mode
        "volume": a whole volume; "edit": the patient's scan, changed where the mask is.
    status
        "partial": cancelled with some slices finished, so that it can be continued; "cancelled", as "failed" before the
        first slice, leaves nothing, and the run is no longer among the runs.
    layer
        The result's image layer, None until the job is open.
    job
        The core's job once it is open, to go on with; None again once all is finished, for it holds whole volumes.
    recipe
        That of the job: everything that decides the voxels.
    started
        Whether a slice that shows something has arrived.
    seconds
        How long it was at work, all continuations together.
    curves
        How much neighbouring slices differ, as far as they are there.
    """

    name: str
    patient: Patient
    donor: Patient | None
    request: Request | None
    mode: Mode = "volume"
    status: Status = "waiting"
    layer: Image | None = None
    job: Job | None = None
    recipe: Any = None
    started: bool = False
    seconds: float = 0.0
    curves: Curves | None = None

    @property
    def finished(self) -> bool:
        """Whether all slices are generated."""
        return self.status == "finished"

    @property
    def can_continue(self) -> bool:
        """Whether it was stopped and can go on where it was."""
        return self.status in ("partial", "failed") and self.job is not None
