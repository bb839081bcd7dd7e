"""Choosing the informed slice: of which scan, which slice; or what the model draws."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from napari_gem3d.errors import InputError
from napari_gem3d.viewer.context import Context
from napari_gem3d.viewer.core import LoadedModel
from napari_gem3d.viewer.informed.thumbnails import ThumbnailCache
from napari_gem3d.viewer.patients import Patient, matching_slice, path_of
from napari_gem3d.viewer.signals import State

Source = Literal["scan", "own", "generated"]


class InformedState(State):
    """Where the informed slice comes from.

    Attributes
    ----------
    source
        "scan": a slice of the panel's `donor`, whoever is worked on; "own": of the patient that is worked on;
        "generated": the model draws it.
    position, seed
        For a drawn slice: from 0 (the lowest of the label map) to 1, and the seed of its noise.
    obstacle
        Why the model cannot draw a slice; empty if it can.
    drawn, drawing
        The slice as the model draws it for these settings, None while that is not known; whether it is at work.
    """

    source: Source = "scan"
    position: float = Field(default=0.5, ge=0, le=1)
    seed: int = Field(default=1, ge=0, lt=2**31)
    obstacle: str = "The model is not loaded yet."
    drawn: Any = None
    drawing: bool = False


class Informed:
    """Keeps the choice sensible while patients come and go, and says it as a request to the core.

    Until somebody chooses, the slice comes from another patient where there is one, as in the paper's
    cross-selection, else from the patient's own scan, at the height of the lesion.

    Attributes
    ----------
    state
        Where the slice comes from.
    thumbnails
        Small pictures of the donor's slices, made in the background.
    """

    def __init__(self, context: Context) -> None:
        self._planes, self._panel = context.planes, context.state
        self.state = InformedState()
        self.thumbnails = ThumbnailCache(context.files, self._panel.say_error)
        self._is_default = True
        self._panel.events.donor.connect(self._on_donor)
        self._panel.events.loaded.connect(self._on_loaded)

    def update(self) -> None:
        """Follow the patients: the default, one's own slice, and a donor that was closed."""
        panel = self._panel
        if panel.donor is not None and panel.donor not in panel.patients:
            self._is_default = True
            if self.state.source == "own":
                self.state.source = "scan"
        self.thumbnails.keep(panel.patients)
        if self.state.source == "own":
            panel.donor = panel.patient
        elif self._is_default or panel.donor is None:
            others = [patient for patient in panel.patients if patient is not panel.patient]
            panel.donor = others[0] if others else panel.patient

    def _on_loaded(self, model: LoadedModel | None) -> None:
        """Another model may have nothing to draw with."""
        if model is None:
            return
        self.state.obstacle = (
            "" if model.draws else f"The model {self._panel.model} has no position U-Net to draw with."
        )
        if self.state.obstacle and self.state.source == "generated":
            self.state.source = "scan"
            self.update()

    def choose(self, donor: Patient) -> None:
        """Take the slice from this patient from now on; if it is the one worked on, from whoever is worked on."""
        self._is_default = False
        self.state.source = "own" if donor is self._panel.patient else "scan"
        self._panel.donor = donor

    def choose_generated(self, position: float | None = None, seed: int | None = None) -> None:
        """Let the model draw the slice, at a position and with a seed if given; says why, where it cannot."""
        if self.state.obstacle:
            self._panel.say_error(InputError(f"{self.state.obstacle} Take the slice from a scan."))
            return
        if position is not None:
            self.state.position = position
        if seed is not None:
            self.state.seed = seed
        self.state.source = "generated"

    @property
    def matching(self) -> int:
        """The donor's slice at the same relative height as the crosshair."""
        patient, donor = self._panel.patient, self._panel.donor
        if patient is None or donor is None:
            return 0
        return matching_slice(self._planes.slice_of(patient.image), patient, donor)

    def match(self) -> None:
        """Take the slice at the height of the crosshair."""
        patient = self._panel.patient
        if patient is None:
            return
        if self.state.source == "generated":
            self.state.position = self._planes.slice_of(patient.image) / max(1, patient.num_slices - 1)
        elif self._panel.donor is not None:
            self._panel.donor_slice = self.matching

    @property
    def stands_for(self) -> int:
        """The patient's own axial slice that the informed slice stands for."""
        patient, donor = self._panel.patient, self._panel.donor
        if patient is None:
            return 0
        if self.state.source == "generated":
            return round(self.state.position * (patient.num_slices - 1))
        return 0 if donor is None else matching_slice(self._panel.donor_slice, donor, patient)

    def follow(self, index: int) -> None:
        """Go with the lesion's slice of the patient, unless somebody has chosen."""
        patient, donor = self._panel.patient, self._panel.donor
        if self._is_default and patient is not None and donor is not None:
            self._panel.donor_slice = matching_slice(index, patient, donor)

    def choice(self, donor: Patient | None) -> dict[str, Any]:
        """The fields of a request: informed, informed_slice, and position and informed_seed if it is drawn.

        Parameters
        ----------
        donor
            Whose scan gives the slice, if the model does not draw it.

        Raises
        ------
        InputError
            If there is no scan to take a slice of, or it is in no file.
        """
        if self.state.source == "generated":
            drawn = {"position": self.state.position, "informed_seed": self.state.seed}
            return {"informed": None, "informed_slice": 0, **drawn}
        if donor is None:
            raise InputError("There is no informed slice; choose a patient in step 3.")
        return {"informed": path_of(donor), "informed_slice": self._panel.donor_slice}

    def _on_donor(self, donor: Patient | None) -> None:
        patient = self._panel.patient
        if donor is not None and patient is not None:
            self._panel.donor_slice = matching_slice(patient.middle_slice(), patient, donor)
