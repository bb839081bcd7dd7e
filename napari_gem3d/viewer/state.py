"""The panel's state: one evented model that widgets show and change, and that tests drive without clicks."""

from __future__ import annotations

from typing import Any, Literal

from psygnal import EventedModel
from pydantic import ConfigDict, Field

from napari_gem3d.errors import InputError
from napari_gem3d.labels import LabelTable
from napari_gem3d.viewer.patients import Patient

Activity = Literal["idle", "running", "cancelling"]


class PanelState(EventedModel):
    """Everything the four steps of the panel show and choose.

    Attributes
    ----------
    patients, patient
        What is open, and the patient that is being worked on.
    masks, mask
        The labels layers that may be the patient's mask, and the one that will be generated from.
    label
        The label value that the brush paints, 0 while it erases, None while nothing is painted.
    model, table
        The bundle by name or folder, and the labels it knows once it is loaded.
    donor, donor_slice
        The patient whose slice is the informed slice, and that slice's axial index in its canonical order.
    steps, seed, random_seed
        Denoising steps of a window, and the seed; `random_seed` draws a new one for every run.
    follow
        Whether the viewer moves to the slices as they arrive.
    runs
        The generations of this session, in the order in which they were ordered, those that wait among them.
    activity, progress, seconds_left
        The run: progress from 0 to 1, the time left in seconds where it can be told.
    message, failed
        The panel's line, and whether it says that something went wrong.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, validate_assignment=True)

    patients: tuple[Patient, ...] = ()
    patient: Patient | None = None
    masks: tuple[Any, ...] = ()
    mask: Any = None
    label: int | None = None
    model: str = "brain-flair"
    table: LabelTable | None = None
    donor: Patient | None = None
    donor_slice: int = 0
    steps: int = Field(default=10, ge=1, le=1000)
    seed: int = Field(default=1, ge=0, lt=2**31)
    random_seed: bool = False
    follow: bool = True
    runs: tuple[Any, ...] = ()  # of `Run`, whose fields pydantic cannot check
    activity: Activity = "idle"
    progress: float = 0.0
    seconds_left: float | None = None
    message: str = ""
    failed: bool = False

    def say(self, message: str, *, failed: bool = False) -> None:
        """Put a sentence on the panel's line."""
        self.failed = failed
        self.message = message

    def say_error(self, error: BaseException) -> None:
        """Put an error on the panel's line; what the program did not expect is in the log with all its details."""
        if isinstance(error, InputError):
            self.say(str(error), failed=True)
        else:
            self.say(f"Something unexpected happened ({type(error).__name__}: {error}); see the log.", failed=True)
