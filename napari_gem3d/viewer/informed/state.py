"""What is chosen of the informed slice, beside the panel's `donor` and `donor_slice`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray
from psygnal import EventedModel
from pydantic import ConfigDict, Field

Source = Literal["scan", "own", "generated"]


@dataclass(frozen=True, eq=False)
class DrawnSlice:
    """A slice that the model drew.

    Attributes
    ----------
    voxels
        (Y, X), canonical axes, in the intensities that the result will have.
    spacing
        Size of a pixel in mm, (y, x).
    """

    voxels: NDArray[Any]
    spacing: tuple[float, float]


class InformedState(EventedModel):
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

    model_config = ConfigDict(arbitrary_types_allowed=True, validate_assignment=True)

    source: Source = "scan"
    position: float = Field(default=0.5, ge=0, le=1)
    seed: int = Field(default=1, ge=0, lt=2**31)
    obstacle: str = "The model is not loaded yet."
    drawn: Any = None
    drawing: bool = False
