"""Which value of a label map stands for which label of a model: by names, by conventions, checked by facts."""

from napari_gem3d.numbering.conventions import ABOUT, CONVENTIONS
from napari_gem3d.numbering.mapping import (
    MODEL,
    Numbering,
    check_dataset,
    find_numbering,
    map_names,
    read_choice,
    renumbered,
)

__all__ = [
    "ABOUT",
    "CONVENTIONS",
    "MODEL",
    "Numbering",
    "check_dataset",
    "find_numbering",
    "map_names",
    "read_choice",
    "renumbered",
]
