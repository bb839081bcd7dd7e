"""What the planes show, as an evented model that tests drive without clicks."""

from __future__ import annotations

from typing import Literal

from psygnal import EventedModel
from pydantic import ConfigDict

Layout = Literal["one", "three"]
Point = tuple[float, float, float]


class PlanesState(EventedModel):
    """Where the crosshair is and how the planes are arranged.

    Attributes
    ----------
    focus
        The crosshair in world mm, (z, y, x). Set it by `Planes.look_at`, which keeps it inside of what is open.
    layout
        Whether two more planes stand beside the main canvas.
    rendering
        Whether a 3D rendering of scan and lesions stands there as well.
    crosshair
        Whether the crosshair is drawn.
    dragging
        Whether a plain drag sets window and level, as in 3D Slicer's mode of that name.
    """

    model_config = ConfigDict(validate_assignment=True)

    focus: Point = (0.0, 0.0, 0.0)
    layout: Layout = "three"
    rendering: bool = False
    crosshair: bool = True
    dragging: bool = False
