"""What the lesion tools show and choose, as an evented model that tests drive without clicks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat

from napari_gem3d.masks import MaskResult
from napari_gem3d.masks.operations import Angle, Diameter, Factor, Plane
from napari_gem3d.viewer.patients import Patient
from napari_gem3d.viewer.signals import State

Tool = Literal["", "place", "move", "grow", "fill", "transplant", "random", "remove"]
Distance = Annotated[FiniteFloat, Field(ge=-400, le=400)]
Thickness = Annotated[FiniteFloat, Field(ge=0, le=200)]
Volume = tuple[int, float, float]

# Numbers of a transform that changes nothing.
STILL = {"mm": (0.0, 0.0, 0.0), "degrees": (0.0, 0.0, 0.0), "factor": (1.0, 1.0, 1.0)}


class LesionState(State):
    """The tool in hand, its numbers, and what it would make of the mask.

    Everything in mm and degrees is along the axes shown: right, anterior, superior.

    Attributes
    ----------
    tool
        "" for none.
    nearest, label
        What the tool acts on: the connected part nearest to where the crosshair was when the tool was taken, or all of
        the mask's lesions; all labels (0) or one.
    covers
        Whether a lesion that is added or grows may cover other lesions.
    diameter, shells, core
        *Place*: diameters of the whole (R, A, S); label values and thickness from outside in (0 leaves a shell out),
        and the label that fills what is left.
    mm, degrees, factor
        *Move*: in this order it is scaled and rotated about its centroid, and moved.
    grow_mm
        *Grow*: how far the surface moves outwards, negative inwards.
    slices, gap
        *Fill*: plane of the painted slices, and how far apart they may be.
    donor
        *Transplant*: whose lesion.
    policy, seed
        *Random*: the paper's policy, and what decides the draw.
    preview
        What the tool would do, None while that is not known or not possible.
    busy
        Whether the preview is of older numbers than these.
    note
        What there is to say about the preview.
    volumes
        Value, ml before and ml after of every label of lesions and tissue that occurs.
    brush_in_3d
        Whether the brush is a ball, or a disc in the slice.
    """

    tool: Tool = ""
    nearest: bool = True
    label: int = 0
    covers: bool = False
    diameter: tuple[Diameter, Diameter, Diameter] = (30.0, 30.0, 30.0)
    shells: tuple[tuple[int, Thickness], ...] = ()
    core: int = 0
    mm: tuple[Distance, Distance, Distance] = STILL["mm"]
    degrees: tuple[Angle, Angle, Angle] = STILL["degrees"]
    factor: tuple[Factor, Factor, Factor] = STILL["factor"]
    grow_mm: Annotated[FiniteFloat, Field(ge=-100, le=100)] = 2.0
    slices: Plane = "auto"
    gap: Annotated[FiniteFloat, Field(gt=0, le=400)] = 20.0
    donor: Patient | None = None
    policy: Literal["brain", "abdomen"] = "brain"
    seed: int = Field(default=1, ge=0, lt=2**31)
    preview: MaskResult | None = None
    busy: bool = False
    note: str = ""
    volumes: tuple[Volume, ...] = ()
    brush_in_3d: bool = True
