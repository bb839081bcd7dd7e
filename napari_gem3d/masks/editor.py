"""Take a label map apart once, and apply operations to its lesion as often as needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from napari_gem3d.errors import InputError
from napari_gem3d.grid import FloatArray
from napari_gem3d.io import read_label_map
from napari_gem3d.labels import LabelMap, LabelTable
from napari_gem3d.masks.distance import grow, shrink
from napari_gem3d.masks.ellipsoid import ellipsoid_patch
from napari_gem3d.masks.interpolate import interpolate
from napari_gem3d.masks.operations import (
    Affine,
    Centre,
    Elastic,
    Flip,
    Grow,
    Interpolate,
    Lesion,
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
from napari_gem3d.masks.result import MaskResult
from napari_gem3d.masks.scene import Body, Scene, find_label, open_scene, select_lesion
from napari_gem3d.masks.shares import warp_patch
from napari_gem3d.masks.warp import AffineWarp, ElasticWarp, Warp, about, rotation, translation
from napari_gem3d.numbering import find_numbering, renumbered

# Below this share of the lesion a loss at the body's edge is not worth a remark.
_REMARKABLE = 0.03
_AXES = "RAS"
_DOING = {"translate": "translating", "rotate": "rotating", "scale": "scaling", "flip": "flipping"}


class MaskEditor:
    """A label map taken apart once, to try operations on it, each time from the map as it was.

    Opening costs a few passes over the whole map; applying costs only what the lesion is large.

    Parameters
    ----------
    labels, select, body, host, donors
        As for `transform_mask`. `labels` must not change while the editor is used.

    Raises
    ------
    InputError
        If the map has values that its table does not name, or selection, host or body do not fit.

    Examples
    --------
    >>> voxels = np.zeros((20, 20, 20), np.uint8)
    >>> voxels[8:12, 8:12, 8:12] = 1
    >>> editor = MaskEditor(LabelMap(voxels, np.eye(4)))
    >>> [editor.apply(Grow(mm=mm)).after[1] > 0.064 for mm in (1, 2)]
    [True, True]
    """

    def __init__(
        self,
        labels: LabelMap,
        *,
        select: Selection | None = None,
        body: Body | None = None,
        host: Sequence[str | int] = (),
        donors: Mapping[str, LabelMap] | None = None,
    ) -> None:
        self.labels, self.select, self.host = labels, select or Selection(), tuple(host)
        self.donors = donors or {}
        self.scene = open_scene(labels, self.select, body, host)

    @cached_property
    def volumes_ml(self) -> Mapping[int, float]:
        """Volume in ml of every label before any operation."""
        return self.labels.volumes_ml()

    def apply(self, operations: Operation | Sequence[Operation]) -> MaskResult:
        """Apply operations, in the order given, to the lesion as it was.

        Raises
        ------
        InputError
            If there is no lesion, nothing would be left of it, or an operation does not fit.
        """
        steps = tuple(operations) if isinstance(operations, Sequence) else (operations,)
        if not steps:
            raise InputError("No operation is given; say what to do with the lesion.")
        scene = self.scene.fresh()
        done = _Run(scene, self.select, self.donors).run(steps)
        box, voxels = scene.change()
        millilitres = self.labels.grid.voxel_volume / 1000
        lost = {value: count * millilitres for value, count in sorted(scene.lost.items())}
        before, host = self.volumes_ml, self.host
        result = MaskResult(self.labels, box, voxels, scene.patch, before, {}, lost, done, self.select, host, ())
        after = _volumes_after(before, result, millilitres)
        values = sorted({*before, *after})
        result = replace(
            result,
            before={value: before.get(value, 0.0) for value in values},
            after={value: after.get(value, 0.0) for value in values},
        )
        return replace(result, notes=tuple(_notes(scene, result)))

    def unchanged(self, note: str) -> MaskResult:
        """The map as it was, with a sentence that says why."""
        box = (slice(0, 0), slice(0, 0), slice(0, 0))
        volumes, nothing = self.volumes_ml, self.labels.voxels[box]
        return MaskResult(
            self.labels, box, nothing, self.scene.patch, volumes, volumes, {}, (), self.select, self.host, (note,)
        )


def _volumes_after(before: Mapping[int, float], result: MaskResult, millilitres: float) -> dict[int, float]:
    """Volumes in ml from the voxels that changed, which are few: counting all again takes as long as the edit."""
    after = dict(before)
    changed = result.changed
    for sign, voxels in ((-1, result.source.voxels[result.box]), (1, result.voxels)):
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
        lost = {"the field of view of the label map": scene.beyond, "the body": scene.outside}
        parts = [f"{count * millilitres:.1f} ml outside {where}" for where, count in lost.items() if count]
        parts += [
            f"{count * millilitres:.1f} ml on {'the background' if value == 0 else scene.table.by_value(value).name}"
            for value, count in scene.covered.items()
        ]
        notes.append(f"{result.lost_share:.0%} of the lesion was cut off ({', '.join(parts)}).")
    return notes


class _Run:
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

    def _other(self, step: Elastic | Grow | Shrink | Lesion | Interpolate | Transplant | Remove) -> None:
        scene = self.scene
        if self.select.everything and not isinstance(step, Elastic):
            what = "add a lesion to" if isinstance(step, Lesion) else step.name
            raise InputError(f"It makes no sense to {what} everything; choose the lesion's labels.")
        if isinstance(step, Transplant):
            self._transplant(step)
            return
        if isinstance(step, Lesion):
            self._lesion(step)
            return
        self._check_lesion()
        if isinstance(step, Remove):
            scene.patch = Patch.of(np.zeros_like(scene.patch.voxels), scene.labels.grid)
        elif isinstance(step, Elastic):
            warp = ElasticWarp(step.amplitude, step.smoothness, step.seed, scene.patch.centroid())
            scene.place(self._warped(warp), "Elastic bending")
        elif isinstance(step, Interpolate):
            self._interpolate(step)
        elif isinstance(step, Grow):
            scene.place(grow(scene.patch, step.mm), f"Growing by {step.mm:g} mm")
        else:
            scene.place(shrink(scene.patch, step.mm), f"Shrinking by {step.mm:g} mm")

    def _transplant(self, step: Transplant) -> None:
        scene = self.scene
        donor = self.donors.get(step.donor)
        if donor is None:
            donor = read_label_map(Path(step.donor))
            if scene.labels.table is not None:
                donor = renumbered(donor, scene.labels.table, find_numbering(donor, scene.labels.table).values)
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

    def _lesion(self, step: Lesion) -> None:
        scene = self.scene
        shells = []
        for shell in step.shells:
            label = find_label(scene.table, shell.label)
            if label.meaning == "body":
                raise InputError(f"'{label.name}' is the body, not a lesion; choose another label for the shell.")
            if label.value > np.iinfo(scene.base.dtype).max:
                raise InputError(f"The map cannot hold the label {label.value}; store it with a larger data type.")
            shells.append((label.value, shell.mm or 0.0))
        patch = ellipsoid_patch(
            np.array(step.at), np.array(step.semi_axes), shells, scene.labels.grid, scene.base.dtype
        )
        scene.merge()
        scene.place(patch, "Placing the lesion")

    def _interpolate(self, step: Interpolate) -> None:
        filled = interpolate(self.scene.patch, step.slices, step.largest_gap)
        if filled.counts() == self.scene.patch.counts():
            raise InputError(
                f"There is no gap of at most {step.largest_gap:g} mm between slices with the lesion; paint it in at "
                "least two slices with some left out between them."
            )
        self.scene.place(filled, "Interpolating")
