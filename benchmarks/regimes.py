"""Methods of a comparison: the model or the baseline, told more or less about the patient's anatomy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

OURS, BASELINE = "GEM-3D", "Make-A-Volume"
# What the recipe calls the source of anatomy labels, and what tables call it.
REGIMES = {
    "scan": "anatomy from the scan",
    "map": "anatomy from the label map",
    "none": "lesion and brain alone",
}
REGIMES_TOLD = (
    "Anatomy from the scan: ventricles and other tissue, found in the patient's scan, are conditions; from the label "
    "map: as far as that has them; lesion and brain alone: neither. Models without such labels draw the same in all."
)


@dataclass(frozen=True)
class Method:
    """A row of a table.

    Attributes
    ----------
    base
        `OURS` or `BASELINE`.
    anatomy
        Key of `REGIMES`; None leaves the recipe as it is by default.
    """

    base: str
    anatomy: str | None = None

    @property
    def name(self) -> str:
        """As tables have it, such as "GEM-3D, lesion and brain alone"."""
        return self.base + ending(self.anatomy)

    @property
    def folder(self) -> str:
        """Name of the folder of its volumes."""
        return self.base if self.anatomy is None else f"{self.base}-{self.anatomy}"

    @property
    def how(self) -> dict[str, str]:
        """What `make_recipe` takes."""
        return {} if self.anatomy is None else {"anatomy": self.anatomy}


def ending(anatomy: str | None) -> str:
    """What follows the names of all methods of a regime; "" by default."""
    return "" if anatomy is None else f", {REGIMES[anatomy]}"


def methods(bases: Sequence[str], regimes: Sequence[str]) -> list[Method]:
    """Every base in every regime, regime by regime; in the default one if there are none."""
    every: Sequence[str | None] = regimes or [None]
    return [Method(base, anatomy) for anatomy in every for base in bases]


def comparisons(names: Iterable[str]) -> dict[str, tuple[str, str | None]]:
    """The names of ours and, where it is among them, the baseline of each regime, by how its names end."""
    there = set(names)
    found: dict[str, tuple[str, str | None]] = {}
    for anatomy in (None, *REGIMES):
        last = ending(anatomy)
        if OURS + last in there:
            found[last] = OURS + last, BASELINE + last if BASELINE + last in there else None
    return found
