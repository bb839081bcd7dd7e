"""What an edit made of a label map: the voxels that changed, the volumes, and the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.labels import LabelMap, LabelTable
from napari_gem3d.masks.operations import Operation, Selection
from napari_gem3d.masks.patch import Patch, Slices


@dataclass(frozen=True, eq=False)
class MaskResult:
    """An edited label map, and what was done to it.

    Attributes
    ----------
    source
        The map as it was.
    box
        Slices (z, y, x) outside of which nothing changed.
    voxels
        (Z, Y, X), the labels in the box after the edit.
    lesion
        The lesion after the edit, as far as it is inside the body and the field of view.
    before, after
        Volume in ml of every label, body included, by value; 0 where it does not occur.
    lost_ml
        Volume in ml of each label that was cut off because it would have left the body or covered another label.
    operations
        What was done, with every centre as a world point: given again, they lead to the same map.
    select, host
        What counted as the lesion, and the labels it lies in.
    notes
        Sentences that the user should read.
    """

    source: LabelMap
    box: Slices
    voxels: NDArray[Any]
    lesion: Patch
    before: Mapping[int, float]
    after: Mapping[int, float]
    lost_ml: Mapping[int, float]
    operations: tuple[Operation, ...]
    select: Selection
    host: tuple[str | int, ...]
    notes: tuple[str, ...]

    @cached_property
    def labels(self) -> LabelMap:
        """The new map, on the grid and with the dtype of the one given."""
        voxels = self.source.voxels.copy()
        voxels[self.box] = self.voxels
        return self.source.with_voxels(voxels)

    @property
    def changed(self) -> NDArray[np.bool_]:
        """Which voxels (Z, Y, X) of the box are not what they were."""
        different: NDArray[np.bool_] = self.source.voxels[self.box] != self.voxels
        return different

    @cached_property
    def table(self) -> LabelTable:
        """The map's table, or one that calls every value a lesion."""
        return self.source.table or LabelTable.from_values([*self.before, *self.after])

    @property
    def lost_share(self) -> float:
        """Share of the lesion that was cut off, 0 to 1."""
        lost = sum(self.lost_ml.values())
        kept = sum(self.after.get(value, 0.0) for value in self.lost_ml)
        return lost / (lost + kept) if lost else 0.0

    def record(self) -> dict[str, Any]:
        """What was done, ready for JSON; nothing in it identifies the patient."""
        return {
            "operations": [operation.model_dump(mode="json") for operation in self.operations],
            "select": self.select.model_dump(mode="json"),
            "host": list(self.host),
            "labels": self.table.to_json(),
            "before_ml": _rounded(self.before),
            "after_ml": _rounded(self.after),
            "lost_ml": _rounded(self.lost_ml),
            "lost_share": round(self.lost_share, 4),
            "notes": list(self.notes),
        }


def _rounded(volumes: Mapping[int, float]) -> dict[str, float]:
    return {str(value): round(volume, 4) for value, volume in volumes.items()}
