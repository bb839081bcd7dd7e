"""Labels: what the values of a label map mean, and label maps aligned to their image by geometry."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.errors import InputError
from napari_gem3d.grid import Grid
from napari_gem3d.volume import Volume, resample

Meaning = Literal["body", "lesion", "organ", "tissue"]
# Where the tissue that a label map does not hold comes from.
AnatomySource = Literal["scan", "map", "none"]

# In arrays of label values, never in files: body whose tissue is not known, as where a lesion was taken out.
UNKNOWN = 255
# Name of the lesion label of which nothing but the place is known, beside those of its parts.
UNSPECIFIED = "lesion"

# Okabe and Ito's colours, told apart by people with any kind of colour vision; grey is kept for bodies.
PALETTE = ("#56b4e9", "#d55e00", "#f0e442", "#009e73", "#cc79a7", "#e69f00", "#0072b2")
BODY_COLOUR = "#999999"
UNSPECIFIED_COLOUR = "#ffffff"


@dataclass(frozen=True)
class Label:
    """One value of a label map.

    Attributes
    ----------
    value
        The voxel value, 1 or more (0 is background).
    name
        What people call it.
    colour
        "#rrggbb"; empty takes the default for the value.
    meaning
        "body" (everything the model draws), "lesion" (what people edit), "organ", or "tissue" (anatomy that is found
        in a scan, such as ventricles).
    """

    value: int
    name: str
    colour: str = ""
    meaning: Meaning = "lesion"

    def __post_init__(self) -> None:
        if isinstance(self.value, bool) or not isinstance(self.value, int | np.integer) or self.value < 1:
            raise InputError(f"The label value {self.value!r} is not a whole number of 1 or more; change the table.")
        object.__setattr__(self, "value", int(self.value))
        if not self.name or not isinstance(self.name, str):
            raise InputError(f"Label {self.value} has no name; give it one.")
        if self.meaning not in get_args(Meaning):
            raise InputError(f"Label '{self.name}' means '{self.meaning}'; use body, lesion, organ or tissue.")
        if not self.colour:
            object.__setattr__(self, "colour", default_colour(self.value, self.meaning))
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", self.colour):
            raise InputError(f"Label '{self.name}' has the colour '{self.colour}'; write it as #rrggbb.")


def default_colour(value: int, meaning: Meaning = "lesion") -> str:
    """Colour "#rrggbb" of a label whose table names none: grey for a body, else from a palette."""
    return BODY_COLOUR if meaning == "body" else PALETTE[(value - 1) % len(PALETTE)]


@dataclass(frozen=True)
class LabelTable:
    """The labels a map may hold, at most one of them the body.

    Raises
    ------
    InputError
        If two labels share a value or a name, or two of them are the body.

    Examples
    --------
    >>> table = LabelTable((Label(1, "edema"), Label(4, "brain", meaning="body")))
    >>> table.by_name("brain").value, [label.name for label in table.lesions]
    (4, ['edema'])
    """

    labels: tuple[Label, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))
        for what, keys in (("value", [str(v) for v in self.values]), ("name", [label.name for label in self.labels])):
            twice = sorted(key for key, count in Counter(keys).items() if count > 1)
            if twice:
                raise InputError(f"The label table has the {what} {twice[0]} twice; make every {what} unique.")
        if sum(label.meaning == "body" for label in self.labels) > 1:
            raise InputError("The label table has two body labels; keep one.")

    def __iter__(self) -> Iterator[Label]:
        return iter(self.labels)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def values(self) -> tuple[int, ...]:
        """The voxel values, in the table's order."""
        return tuple(label.value for label in self.labels)

    @property
    def body(self) -> Label | None:
        """The label of the body, if there is one."""
        return next((label for label in self.labels if label.meaning == "body"), None)

    @property
    def lesions(self) -> tuple[Label, ...]:
        """The labels of lesions."""
        return tuple(label for label in self.labels if label.meaning == "lesion")

    @property
    def tissues(self) -> tuple[Label, ...]:
        """The labels of anatomy that can be found in a scan."""
        return tuple(label for label in self.labels if label.meaning == "tissue")

    def by_value(self, value: int) -> Label:
        """The label with this voxel value; InputError if there is none."""
        for label in self.labels:
            if label.value == value:
                return label
        raise InputError(f"The label table has no value {value}; it has {self}.")

    def by_name(self, name: str) -> Label:
        """The label with this name; InputError if there is none."""
        for label in self.labels:
            if label.name == name:
                return label
        raise InputError(f"The label table has no '{name}'; it has {self}.")

    def __str__(self) -> str:
        return ", ".join(f"{label.value} {label.name}" for label in self.labels)

    @classmethod
    def from_values(cls, values: Iterable[int]) -> Self:
        """A table for a map that came without one: every value but 0 a lesion called "label 1" and so on."""
        return cls(tuple(Label(int(value), f"label {int(value)}") for value in sorted(set(values)) if value != 0))

    def to_json(self) -> list[dict[str, Any]]:
        """The labels as plain dictionaries, ready for JSON."""
        return [asdict(label) for label in self.labels]

    @classmethod
    def from_json(cls, entries: Sequence[Mapping[str, Any]]) -> Self:
        """The inverse of `to_json`; InputError says which entry is wrong."""
        labels = []
        for entry in entries:
            try:
                labels.append(Label(**entry))
            except TypeError:
                raise InputError(
                    f"The label table has the entry {dict(entry) if isinstance(entry, Mapping) else entry!r}; "
                    "give value, name, colour and meaning."
                ) from None
        return cls(tuple(labels))


@dataclass(frozen=True, eq=False)
class LabelMap(Volume):
    """A volume whose voxels are labels.

    Attributes
    ----------
    voxels
        (Z, Y, X), whole numbers, 0 for background.
    table
        What the values mean, if known.

    Raises
    ------
    InputError
        If the voxels are not of an integer dtype or negative.
    """

    table: LabelTable | None = None

    def __post_init__(self) -> None:
        if self.voxels.dtype == bool:
            object.__setattr__(self, "voxels", self.voxels.astype(np.uint8))
        super().__post_init__()
        if self.voxels.dtype.kind not in "iu":
            raise InputError(f"The label map holds {self.voxels.dtype} values; give one with whole numbers.")
        if self.voxels.dtype.kind == "i" and self.voxels.min() < 0:
            raise InputError(f"The label map holds the value {self.voxels.min()}; labels must be 0 or more.")

    def values(self) -> tuple[int, ...]:
        """The values that occur, 0 left out, in rising order."""
        return tuple(self._counts())

    def volumes_ml(self) -> dict[int, float]:
        """Volume in ml of every value that occurs, 0 left out."""
        millilitres = self.grid.voxel_volume / 1000
        return {value: count * millilitres for value, count in self._counts().items()}

    def aligned_to(self, grid: Grid) -> LabelMap:
        """The labels on another grid, nearest voxel by world geometry.

        Raises
        ------
        InputError
            If the fields of view do not overlap, or no label lies inside the grid although the map has some.
        """
        name = f"The label map {self.source}" if self.source else "The label map"
        advice = "give the label map that belongs to this image"
        if not self.grid.overlaps(grid):
            raise InputError(f"{name} does not overlap its image in the patient's space; {advice}.")
        aligned = resample(self, grid, order=0)
        if not aligned.voxels.any() and self.voxels.any():
            raise InputError(f"{name} has no label inside its image's field of view; {advice}.")
        return aligned

    def check_values(self, table: LabelTable) -> None:
        """Raise InputError if values occur that `table` does not name."""
        unknown = [value for value in self.values() if value not in table.values]
        if unknown:
            name = f"The label map {self.source}" if self.source else "The label map"
            shown = ", ".join(str(value) for value in unknown[:8]) + (" …" if len(unknown) > 8 else "")
            raise InputError(f"{name} holds the value {shown}, but only these labels are known: {table}; relabel it.")

    def _counts(self) -> dict[int, int]:
        """Number of voxels of every value that occurs, 0 left out."""
        return _count_values(self.voxels)


def _count_values(voxels: NDArray[Any]) -> dict[int, int]:
    # bincount is ten times as fast as unique, which sorts; only sensible for small values. It converts to eight bytes a
    # voxel: slice by slice, not all at once.
    largest = int(voxels.max())
    if largest < 2**16:
        counts = np.zeros(largest + 1, np.intp)
        for axial in voxels:
            counts += np.bincount(axial.ravel(order="K"), minlength=largest + 1)
        return {int(value): int(counts[value]) for value in np.flatnonzero(counts) if value != 0}
    values, numbers = np.unique(voxels, return_counts=True)
    return {int(value): int(number) for value, number in zip(values, numbers, strict=True) if value != 0}
