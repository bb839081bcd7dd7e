"""What is chosen for the next generation, and what is known of it before."""

from __future__ import annotations

from typing import Any

from psygnal import EventedModel
from pydantic import ConfigDict, Field

from napari_gem3d.labels import AnatomySource
from napari_gem3d.viewer.engine import Mode


class Choices(EventedModel):
    """What step 4 of the panel shows and chooses, beside model, steps and seed, which are the panel state's.

    Attributes
    ----------
    mode
        A whole volume, or an edit of the patient's scan.
    own_neighbours
        For an edit: whether the scan's own slices beside it inform it, not the informed slice of step 3.
    anatomy
        Where labels of anatomy come from, for models that know some: the scan, the label map alone, or nowhere.
    mass_effect_mm
        How far lesions push what surrounds them; in an edit those that are new or larger, and the scan with it.
    device, precision
        Where it runs, and in which numbers; "auto" for what is fastest.
    devices, models
        What there is to choose from.
    informed
        Whether the model looks at the informed slice.
    prospect
        What is known of the generation before it begins, a `Prospect`, or None.
    curves
        Those of the run at work or of the latest one, or None.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, validate_assignment=True)

    mode: Mode = "volume"
    own_neighbours: bool = True
    anatomy: AnatomySource = "scan"
    mass_effect_mm: float = Field(default=0.0, ge=0)
    device: str = "auto"
    precision: str = "auto"
    devices: tuple[str, ...] = ("auto", "cpu")
    models: tuple[str, ...] = ()
    informed: bool = True
    prospect: Any = None
    curves: Any = None
