"""Apply operations to the lesion of a label map: one function for command line, panel and cohorts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from napari_gem3d.errors import InputError
from napari_gem3d.grid import FloatArray
from napari_gem3d.io import read_label_map
from napari_gem3d.labels import LabelMap, LabelTable
from napari_gem3d.masks.distance import grow, shrink
from napari_gem3d.masks.operations import (
    Affine,
    Centre,
    Elastic,
    Flip,
    Grow,
    Operation,
    Remove,
    Rotate,
    Scale,
    Selection,
    Shrink,
    Translate,
    Transplant,
)
from napari_gem3d.masks.patch import Patch
from napari_gem3d.masks.scene import Body, Scene, open_scene, select_lesion
from napari_gem3d.masks.shares import warp_patch
from napari_gem3d.masks.warp import AffineWarp, ElasticWarp, Warp, about, rotation, translation

# Below this share of the lesion a loss at the body's edge is not worth a remark.
_REMARKABLE = 0.03
_AXES = "RAS"
_DOING = {"translate": "translating", "rotate": "rotating", "scale": "scaling", "flip": "flipping"}


@dataclass(frozen=True, eq=False)
class MaskResult:
    """An edited label map, and what was done to it.

    Attributes
    ----------
    labels
        The map, on the grid and with the dtype of the one given.
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

    labels: LabelMap
    before: Mapping[int, float]
    after: Mapping[int, float]
    lost_ml: Mapping[int, float]
    operations: tuple[Operation, ...]
    select: Selection
    host: tuple[str | int, ...]
    notes: tuple[str, ...]

    @cached_property
    def table(self) -> LabelTable:
        """The map's table, or one that calls every value a lesion."""
        return self.labels.table or LabelTable.from_values([*self.before, *self.after])

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


def transform_mask(
    labels: LabelMap,
    operations: Operation | Sequence[Operation],
    *,
    select: Selection | None = None,
    body: Body | None = None,
    host: Sequence[str | int] = (),
    donors: Mapping[str, LabelMap] | None = None,
) -> MaskResult:
    """Apply operations, in the order given, to the lesion of a label map.

    Everything happens in world space (RAS, mm): results do not depend on how the file is stored. Moving, rotating,
    scaling and flipping one after the other are joined and interpolated once. A lesion that is moved or rotated keeps
    the volume of each of its labels to a voxel, as far as it is not cut off.

    The lesion stays inside the body: where the map has a body label, inside what is labelled; else inside `body`;
    without either, inside the field of view. It covers the body (or, without a body label, the background) and
    `host`, nothing else: other labels stop it. What it leaves becomes the first `host`, else the body label if the
    map has one, else 0.

    Parameters
    ----------
    labels
        The map, any orientation and spacing. Its table says which labels are lesions, and which the body; without a
        table all are lesions.
    operations
        One or several of `Translate`, `Rotate`, `Scale`, `Flip`, `Elastic`, `Grow`, `Shrink`, `Transplant`, `Remove`.
    select
        What is the lesion; every lesion label by default.
    body
        The patient's scan, whose foreground is the body, or a (Z, Y, X) array of bool on the map's grid.
    host
        Names or values of labels the lesion lies in besides the body, such as a liver.
    donors
        Label maps that `Transplant.donor` may name; other donors are files.

    Returns
    -------
    MaskResult
        The new map with volumes before and after and a record of what was done.

    Raises
    ------
    InputError
        If there is no lesion, nothing would be left of it, or an argument does not fit.

    Examples
    --------
    >>> voxels = np.zeros((20, 20, 20), np.uint8)
    >>> voxels[8:12, 8:12, 8:12] = 1
    >>> result = transform_mask(LabelMap(voxels, np.eye(4)), [Translate(mm=(0, 0, 3))])
    >>> result.after, result.labels.voxels[11:15, 10, 10].tolist()
    ({1: 0.064}, [1, 1, 1, 1])
    """
    steps = tuple(operations) if isinstance(operations, Sequence) else (operations,)
    if not steps:
        raise InputError("No operation is given; say what to do with the lesion.")
    select = select or Selection()
    scene = open_scene(labels, select, body, host)
    done = _Editor(scene, select, donors or {}).run(steps)
    new = labels.with_voxels(scene.merged())
    millilitres = labels.grid.voxel_volume / 1000
    before = labels.volumes_ml()
    after = _volumes_after(before, labels, new, millilitres)
    values = sorted({*before, *after})
    result = MaskResult(
        new,
        {value: before.get(value, 0.0) for value in values},
        {value: after.get(value, 0.0) for value in values},
        {value: count * millilitres for value, count in sorted(scene.lost.items())},
        done,
        select,
        tuple(host),
        (),
    )
    return replace(result, notes=tuple(_notes(scene, result)))


def _volumes_after(
    before: Mapping[int, float], labels: LabelMap, new: LabelMap, millilitres: float
) -> dict[int, float]:
    """Volumes in ml from the voxels that changed, which are few: counting all again takes as long as the edit."""
    after = dict(before)
    changed = labels.voxels != new.voxels
    for sign, voxels in ((-1, labels.voxels), (1, new.voxels)):
        for value, count in zip(*np.unique(voxels[changed], return_counts=True), strict=True):
            after[int(value)] = after.get(int(value), 0.0) + sign * int(count) * millilitres
    after.pop(0, None)
    return {value: volume if volume > millilitres / 2 else 0.0 for value, volume in after.items()}


def _notes(scene: Scene, result: MaskResult) -> list[str]:
    notes = []
    if scene.body is None and not result.select.everything:
        notes.append("Nothing says where the body is: only the field of view limited the lesion.")
    if result.lost_share > _REMARKABLE:
        millilitres = scene.labels.grid.voxel_volume / 1000
        parts = [f"{scene.outside * millilitres:.1f} ml outside the body"] if scene.outside else []
        parts += [
            f"{count * millilitres:.1f} ml on {'the background' if value == 0 else scene.table.by_value(value).name}"
            for value, count in scene.covered.items()
        ]
        notes.append(f"{result.lost_share:.0%} of the lesion was cut off ({', '.join(parts)}).")
    return notes


class _Editor:
    """Takes a scene through operations; affine ones that follow each other become one map."""

    def __init__(self, scene: Scene, select: Selection, donors: Mapping[str, LabelMap]) -> None:
        self.scene, self.select, self.donors = scene, select, donors
        self.matrix: FloatArray = np.eye(4)
        self.pending: list[str] = []
        self.done: list[Operation] = []

    def run(self, steps: Sequence[Operation]) -> tuple[Operation, ...]:
        """Apply all, and return them with their centres resolved."""
        for step in steps:
            if isinstance(step, Translate | Rotate | Scale | Flip):
                self._check_lesion()
                resolved, matrix = self._resolved(step)
                self.matrix = matrix @ self.matrix
                self.pending.append(_DOING[step.name])
                self.done.append(resolved)
            else:
                self._flush()
                self._other(step)
                self.done.append(step)
        self._flush()
        return tuple(self.done)

    def _check_lesion(self) -> None:
        if self.scene.patch.empty:
            name = self.scene.labels.source
            raise InputError(
                f"{f'The label map {name}' if name else 'The label map'} has no voxel of the lesion to work on; "
                "choose other labels, or another map."
            )

    def _centre(self, centre: Centre) -> FloatArray:
        if centre == "body":
            return self.scene.body_centroid()
        if centre == "lesion":
            # An affine map takes the centroid along.
            return AffineWarp(self.matrix).reached(self.scene.patch.centroid()[None])[0]
        return np.array(centre, dtype=np.float64)

    def _resolved(self, step: Affine) -> tuple[Affine, FloatArray]:
        """The operation with its centre in mm, and its map (4, 4) of world space."""
        if isinstance(step, Translate):
            return step, translation(step.mm)
        centre = self._centre(step.centre)
        point = (float(centre[0]), float(centre[1]), float(centre[2]))
        if isinstance(step, Rotate):
            linear = rotation(step.degrees)
        elif isinstance(step, Scale):
            linear = np.diag(np.broadcast_to(step.factor, 3).astype(np.float64))
        else:
            linear = np.diag([-1.0 if axis == step.axis else 1.0 for axis in _AXES])
        return step.model_copy(update={"centre": point}), about(linear, centre)

    def _flush(self) -> None:
        if not self.pending:
            return
        what = " and ".join(dict.fromkeys(self.pending)).capitalize()
        self.scene.place(self._warped(AffineWarp(self.matrix)), what)
        self.matrix, self.pending = np.eye(4), []

    def _warped(self, warp: Warp) -> Patch:
        return warp_patch(self.scene.patch, warp, self.scene.labels.grid, edge=self.select.everything)

    def _other(self, step: Elastic | Grow | Shrink | Transplant | Remove) -> None:
        scene = self.scene
        if self.select.everything and not isinstance(step, Elastic):
            raise InputError(f"It makes no sense to {step.name} everything; choose the lesion's labels.")
        if isinstance(step, Transplant):
            self._transplant(step)
            return
        self._check_lesion()
        if isinstance(step, Remove):
            scene.patch = Patch.of(np.zeros_like(scene.patch.voxels), scene.labels.grid)
        elif isinstance(step, Elastic):
            warp = ElasticWarp(step.amplitude, step.smoothness, step.seed, scene.patch.centroid())
            scene.place(self._warped(warp), "Elastic bending")
        elif isinstance(step, Grow):
            scene.place(grow(scene.patch, step.mm), f"Growing by {step.mm:g} mm")
        else:
            scene.place(shrink(scene.patch, step.mm), f"Shrinking by {step.mm:g} mm")

    def _transplant(self, step: Transplant) -> None:
        scene = self.scene
        donor = self.donors.get(step.donor)
        if donor is None:
            donor = read_label_map(Path(step.donor), scene.labels.table)
        if step.select.everything:
            raise InputError("A transplant takes a lesion, not everything; choose the donor's labels.")
        lesion, box = select_lesion(donor, donor.table or LabelTable.from_values(donor.values()), step.select)
        if not lesion.any():
            raise InputError(f"The donor {step.donor} has no voxel of the lesion; choose other labels or another one.")
        voxels = np.where(lesion, donor.voxels[box], 0)
        if voxels.max() > np.iinfo(scene.base.dtype).max:
            raise InputError(f"The donor {step.donor} has the label {voxels.max()}, too large for this map; relabel.")
        patch = Patch(voxels.astype(scene.base.dtype), (box[0].start, box[1].start, box[2].start), donor.grid)
        move = translation(tuple(np.array(step.to) - patch.centroid()))
        scene.merge()
        scene.place(warp_patch(patch, AffineWarp(move), scene.labels.grid), "Transplanting")
