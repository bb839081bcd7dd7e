"""What a scan is compared by: slices of its body with their heights, and the search for the nearest ones of another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.errors import InputError
from napari_gem3d.volume import Volume

# Of the body's height, which the slices asked about leave out below and above: the ends look alike in everybody.
_BELOW, _ABOVE = 0.25, 0.2
_EVERY_MM = 4.0
# How far from the like height the nearest slice is looked for: bodies are cut off at different heights.
_REACH_MM = 12.0


@dataclass(frozen=True)
class Slices:
    """Axial slices of one scan's body, from the lowest to the highest.

    Attributes
    ----------
    values
        (N, C, h, w) float16, the body's middle at the middle; 0 outside `inside`.
    inside
        (N, h, w), where they are compared.
    places
        (N,) where in the body each is, 0 (its lowest slice) to 1 (its highest).
    height
        Of the body, mm.
    numbers
        (N,) which axial slice of the scan each is, counted from the lowest (0).
    mirrored
        As `values`, of the mirror image, where that is not the same as `values` mirrored.
    """

    values: NDArray[np.float16]
    inside: NDArray[np.bool_]
    places: NDArray[np.float32]
    height: float
    numbers: NDArray[np.intp]
    mirrored: NDArray[np.float16] | None = None

    def asked(self) -> Slices:
        """The slices to find neighbours of: the body's middle, about every 4 mm.

        Raises
        ------
        InputError
            If the body is too small to have any.
        """
        step = self.height / max(len(self.places) - 1, 1)
        seen = (self.places >= _BELOW) & (self.places <= 1 - _ABOVE) & self.inside.any(axis=(1, 2))
        chosen = np.flatnonzero(seen)[:: max(1, round(_EVERY_MM / step)) if step else 1]
        if not len(chosen):
            raise InputError("it shows too little of a body to be compared; take it out of its folder.")
        mirrored = None if self.mirrored is None else self.mirrored[chosen]
        return Slices(
            self.values[chosen], self.inside[chosen], self.places[chosen], self.height, self.numbers[chosen], mirrored
        )

    def window(self, place: float) -> NDArray[np.intp]:
        """Which of these slices lie at about a place of the body."""
        near = np.abs(self.places - place) * self.height <= _REACH_MM
        return np.flatnonzero(near & self.inside.any(axis=(1, 2)))

    def save(self, path: Path) -> None:
        """Write to an ``.npz``."""
        parts = {"values": self.values, "inside": self.inside, "places": self.places, "numbers": self.numbers}
        np.savez(path, height=np.float64(self.height), **parts)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Slices:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            parts: dict[str, Any] = {name: stored[name] for name in stored.files}
        return cls(**{**parts, "height": float(parts["height"])})


@dataclass(frozen=True)
class Nearest:
    """For each of S slices asked about, the nearest one of a training scan.

    Attributes
    ----------
    distance
        (S,) 1 − correlation: 0 the same, 1 unlike, up to 2.
    number
        (S,) which axial slice of the training scan, from the lowest (0).
    mirrored
        (S,) whether the mirror image is what is near.
    """

    distance: NDArray[np.float32]
    number: NDArray[np.intp]
    mirrored: NDArray[np.bool_]


class Space(Protocol):
    """A way to measure how near slices are to each other."""

    @property
    def name(self) -> str:
        """A word."""

    @property
    def how(self) -> str:
        """What the distance is, in a sentence."""

    def describe(self, scan: Volume, body: NDArray[np.bool_], asked: bool) -> Slices:
        """The slices of a scan with its foreground `body` (Z, Y, X); `asked`: neighbours of its slices are wanted."""

    def search(self, asked: Slices, largest: tuple[int, int]) -> Callable[[Slices], Nearest]:
        """A function that finds the nearest slices in a training scan, whose slices are at most `largest` (h, w)."""
