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
    """

    model_config = ConfigDict(validate_assignment=True)

    focus: Point = (0.0, 0.0, 0.0)
