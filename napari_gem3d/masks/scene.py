"""Scene: a label map taken apart into the lesion and what lies under it, so that operations move only the lesion."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_gem3d.errors import InputError
from napari_gem3d.foreground import foreground
from napari_gem3d.grid import FloatArray
from napari_gem3d.labels import Label, LabelMap, LabelTable
from napari_gem3d.masks.operations import Selection
from napari_gem3d.masks.patch import Patch, Slices, bounding_box, centroid
from napari_gem3d.volume import Volume

Body = Volume | NDArray[np.bool_]


@dataclass
class Scene:
    """A label map during an edit.

    Attributes
    ----------
    labels
        As they were.
    table
        The map's, or every value a lesion.
    base
        (Z, Y, X): the map without the lesion.
    patch
        The lesion.
    body
        (Z, Y, X) where the lesion may be; None if only the field of view limits it.
    free
        Values of `base` that the lesion may cover.
    confined
        Whether the lesion is cut at the body; not so where the body itself is part of what moves.
    lost
        Number of voxels of each label that were cut off so far.
    outside, covered
        Those of them that would have left the body, and those that would have covered a label, by its value.
    touched
        Boxes of what was put down on the way.
    """

    labels: LabelMap
    table: LabelTable
    base: NDArray[Any]
    patch: Patch
    body: NDArray[np.bool_] | None
    free: tuple[int, ...]
    confined: bool = True
    lost: dict[int, int] = field(default_factory=dict)
    outside: int = 0
    beyond: int = 0
    covered: dict[int, int] = field(default_factory=dict)
    touched: list[Slices] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._first = self.patch
        self._middle: FloatArray | None = None

    def fresh(self) -> Scene:
        """The same scene for another edit, which leaves this one as it is."""
        scene = copy(self)
        scene.lost, scene.covered, scene.outside, scene.beyond, scene.touched = {}, {}, 0, 0, []
        return scene

    def body_centroid(self) -> FloatArray:
        """Middle of the body (R, A, S) in mm; InputError if nothing says where the body is."""
        if self.body is None:
            raise InputError(
                f"{_name(self.labels)} does not say where the body is, of which the middle is needed; give a map with "
                "a body label, the patient's scan as body, or another centre."
            )
        if self._middle is None:
            self._middle = centroid(self.body, self.labels.grid)
        return self._middle.copy()

    def place(self, patch: Patch, what: str) -> None:
        """Take `patch` as the lesion, cut to the body and to what it may cover.

        Parameters
        ----------
        patch
            Before it is cut.
        what
            Words for the operation, for the error.

        Raises
        ------
        InputError
            If nothing is left of it.
        """
        if patch.empty:
            raise InputError(f"{what} leaves nothing of the lesion; choose a smaller value, or remove the lesion.")
        outer, inner = patch.overlap()
        under = self.base[outer]
        inside = self.body[outer] if self.confined and self.body is not None else np.ones(under.shape, bool)
        allowed = np.zeros(patch.voxels.shape, bool)
        allowed[inner] = inside & np.isin(under, self.free)
        kept = replace(patch, voxels=np.where(allowed, patch.voxels, 0).astype(patch.voxels.dtype))
        within = int(np.count_nonzero(patch.voxels[inner]))
        if kept.empty:
            where = "out of the body or onto other labels" if within else "out of the label map's field of view"
            raise InputError(f"{what} takes the lesion {where} entirely; choose another place.")
        remaining = kept.counts()
        for value, count in patch.counts().items():
            self.lost[value] = self.lost.get(value, 0) + count - remaining.get(value, 0)
        blocked = under[(patch.voxels[inner] > 0) & inside & ~allowed[inner]]
        for value, count in zip(*np.unique(blocked, return_counts=True), strict=True):
            self.covered[int(value)] = self.covered.get(int(value), 0) + int(count)
        self.beyond += int(np.count_nonzero(patch.voxels)) - within
        self.outside += within - int(np.count_nonzero(kept.voxels)) - blocked.size
        self.patch = Patch.of(kept.voxels, kept.lattice, kept.start)

    def merge(self) -> None:
        """Put the lesion down where it is; the scene then has none."""
        if self.patch is self._first:
            self.base = self.labels.voxels
        else:
            self.touched.append(self.patch.overlap()[0])
            self.base = self.base.copy()
            self.patch.put(self.base)
        self.patch = Patch.of(np.zeros((1, 1, 1), self.base.dtype), self.labels.grid)

    def change(self) -> tuple[Slices, NDArray[Any]]:
        """The box outside of which the map is as it was, and the labels (Z, Y, X) in it now."""
        boxes = [patch.overlap()[0] for patch in (self._first, self.patch) if not patch.empty] + self.touched
        if not boxes:
            boxes = [(slice(0, 0), slice(0, 0), slice(0, 0))]
        z, y, x = (slice(min(b[k].start for b in boxes), max(b[k].stop for b in boxes)) for k in range(3))
        voxels = self.base[z, y, x].copy()
        self.patch.put(voxels, (z.start, y.start, x.start))
        return (z, y, x), voxels


def open_scene(labels: LabelMap, select: Selection, body: Body | None, host: Sequence[str | int]) -> Scene:
    """Take a label map apart.

    Parameters
    ----------
    labels
        The map; values without a table are all lesions.
    select
        What is the lesion.
    body
        The patient's scan, whose foreground is the body, or a (Z, Y, X) array on the map's grid; not used if the map
        has a body label.
    host
        Names or values of labels in which the lesion lies: it may cover them, and what it leaves becomes the first of
        them. Without any it lies in the body, whose tissue it covers; what it leaves is body then.

    Raises
    ------
    InputError
        If the map has values that its table does not name, or selection, host or body do not fit.
    """
    table = labels.table or LabelTable.from_values(labels.values())
    labels.check_values(table)
    hosts = tuple(find_label(table, key).value for key in host)
    own = table.body
    has_body = own is not None and bool((labels.voxels == own.value).any())
    if select.everything:
        patch = Patch(labels.voxels, (0, 0, 0), labels.grid)
        inside = labels.voxels != 0 if has_body else None
        return Scene(labels, table, np.zeros_like(labels.voxels), patch, inside, (0,), confined=False)
    lesion, box = select_lesion(labels, table, select)
    fill = hosts[0] if hosts else own.value if has_body and own is not None else 0
    # Tissue is part of the body: a lesion lies on it as on any other part.
    over = {fill, *hosts, *(label.value for label in table.tissues)}
    base = labels.voxels.copy()
    base[box][lesion] = fill
    start = (box[0].start, box[1].start, box[2].start)
    patch = Patch(np.where(lesion, labels.voxels[box], 0).astype(base.dtype), start, labels.grid)
    free = over | {own.value if has_body and own is not None else 0}
    # Everything labelled lies inside the body, even where a scan's foreground is a little smaller.
    inside = labels.voxels != 0
    if not has_body:
        if body is None:
            return Scene(labels, table, base, patch, None, tuple(free))
        inside |= _body_of(body, labels)
    return Scene(labels, table, base, patch, inside, tuple(free))


def with_body(labels: LabelMap, body: Body) -> LabelMap:
    """A map completed by the body wherever no other label is; as it is if it shows a body or its table names none.

    Parameters
    ----------
    labels
        (Z, Y, X) with their table.
    body
        The patient's scan, whose foreground is the body, or a (Z, Y, X) array on the map's grid.

    Raises
    ------
    InputError
        If the scan does not overlap the map, or the array has another shape.
    """
    own = None if labels.table is None else labels.table.body
    if own is None or (labels.voxels == own.value).any():
        return labels
    bare = (labels.voxels == 0) & _body_of(body, labels)
    return labels.with_voxels(np.where(bare, own.value, labels.voxels).astype(labels.voxels.dtype))


def find_label(table: LabelTable, key: str | int) -> Label:
    """A label by its name or value; InputError if there is none."""
    if isinstance(key, str) and key.isdecimal() and key not in [label.name for label in table]:
        key = int(key)
    return table.by_value(key) if isinstance(key, int) else table.by_name(key)


def select_lesion(
    labels: LabelMap, table: LabelTable, select: Selection
) -> tuple[NDArray[np.bool_], tuple[slice, slice, slice]]:
    """The lesion's voxels in the smallest box about them, and the box; a box of one false voxel if there is none."""
    chosen = tuple(find_label(table, key) for key in select.labels) or table.lesions
    body = next((label for label in chosen if label.meaning == "body"), None)
    if body is not None:
        raise InputError(f"'{body.name}' is the body, not a lesion; choose other labels, or everything.")
    voxels = np.isin(labels.voxels, [label.value for label in chosen])
    box = bounding_box(voxels)
    if box is None:
        return np.zeros((1, 1, 1), bool), (slice(0, 1), slice(0, 1), slice(0, 1))
    lesion = voxels[box]
    if select.near is not None:
        parts, _ = ndimage.label(lesion, structure=np.ones((3, 3, 3)))
        at = np.argwhere(lesion)
        world = labels.grid.index_to_world(at + [part.start for part in box])
        nearest = at[np.linalg.norm(world - select.near, axis=1).argmin()]
        lesion = parts == parts[tuple(nearest)]
    return lesion, box


def _body_of(body: Body, labels: LabelMap) -> NDArray[np.bool_]:
    if isinstance(body, Volume):
        if not body.grid.overlaps(labels.grid):
            raise InputError(
                f"The body's scan {body.source or ''} does not overlap {_name(labels).lower()} in the patient's space; "
                "give the scan that the map was drawn on."
            )
        inside = LabelMap(foreground(body), body.affine, source=body.source)
        return inside.aligned_to(labels.grid).voxels.astype(bool)
    if body.shape != labels.shape:
        raise InputError(f"The body has the shape {body.shape}, the label map {labels.shape}; give one on its grid.")
    return body.astype(bool)


def _name(labels: LabelMap) -> str:
    return f"The label map {labels.source}" if labels.source else "The label map"
