"""The panel's state: one evented model that widgets show and change, and that tests drive without clicks."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from napari_gem3d.labels import AnatomySource, LabelTable
from napari_gem3d.viewer.core import Estimate, LoadedModel, Mode
from napari_gem3d.viewer.patients import Patient
from napari_gem3d.viewer.signals import Saying

Activity = Literal["idle", "running", "cancelling"]


class PanelState(Saying):
    """Everything the four steps of the panel show and choose.

    Attributes
    ----------
    patients, patient
        What is open, and the patient that is being worked on.
    masks, mask
        The labels layers that may be the patient's mask, and the one that will be generated from.
    label
        The label value that the brush paints, 0 while it erases, None while nothing is painted.
    model, loaded, table
        The bundle by name or folder; what is known of it once it is loaded, and its labels.
    donor, donor_slice
        The patient whose slice is the informed slice, and that slice's axial index in its canonical order.
    mode, own_neighbours
        A whole volume, or an edit of the patient's scan; for an edit, whether the scan's own slices beside it inform
        it, not the informed slice of step 3.
    steps, seed, random_seed
        Denoising steps of a window, and the seed; `random_seed` draws a new one for every run.
    anatomy
        Where labels of anatomy come from, for models that know some: the scan, the label map alone, or nowhere.
    mass_effect_mm
        How far lesions push what surrounds them; in an edit those that are new or larger, and the scan with it.
    device, precision
        Where it runs, and in which numbers; "auto" for what is fastest.
    devices, models
        What there is to choose from.
    follow
        Whether the viewer moves to the slices as they arrive.
    estimate
        What is known of the generation before it begins.
    runs
        The generations of this session, in the order in which they were requested, those that wait among them.
    activity, progress, seconds_left, curves
        The run: progress from 0 to 1, the time left in seconds where it is known, how much neighbouring slices differ.
    """

    patients: tuple[Patient, ...] = ()
    patient: Patient | None = None
    masks: tuple[Any, ...] = ()
    mask: Any = None
    label: int | None = None
    model: str = "brain-flair"
    loaded: LoadedModel | None = None
    table: LabelTable | None = None
    donor: Patient | None = None
    donor_slice: int = 0
    mode: Mode = "volume"
    own_neighbours: bool = True
    steps: int = Field(default=10, ge=1, le=1000)
    seed: int = Field(default=1, ge=0, lt=2**31)
    random_seed: bool = False
    anatomy: AnatomySource = "scan"
    mass_effect_mm: float = Field(default=0.0, ge=0)
    device: str = "auto"
    precision: str = "auto"
    devices: tuple[str, ...] = ("auto", "cpu")
    models: tuple[str, ...] = ()
    follow: bool = True
    estimate: Estimate | None = None
    runs: tuple[Any, ...] = ()  # of `Run`, whose fields pydantic cannot check
    activity: Activity = "idle"
    progress: float = 0.0
    seconds_left: float | None = None
    curves: Any = None  # `Curves`

    @property
    def run(self) -> Any:
        """The latest generation, None before the first."""
        return self.runs[-1] if self.runs else None

    @property
    def no_anatomy(self) -> str:
        """Why the model that is chosen can do nothing with anatomy; empty if it can, or while none is loaded."""
        if self.table is None or (self.table.tissues and self.table.body is not None):
            return ""
        return f"The model {self.model} knows no labels of anatomy."

    def can_push(self, mode: Mode) -> bool:
        """Whether lesions can push anything: an edit moves the scan, a whole volume the labels of anatomy alone."""
        return mode == "edit" or (self.table is not None and bool(self.table.tissues))
