"""The mass effect of an edit on a label map: labels of anatomy give way to the lesion, or come back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_gem3d.errors import InputError
from napari_gem3d.masks.mass_effect import MassEffect
from napari_gem3d.masks.patch import Slices, bounding_box
from napari_gem3d.masks.result import MaskResult
from napari_gem3d.masks.scene import Scene

# A part of the lesion of which less than this share is new is where it was.
_NEW = 0.02
# Below this share of the rim that moves as asked a remark is due.
_REMARKABLE = 0.9


def with_mass_effect(result: MaskResult, scene: Scene, mm: float) -> MaskResult:
    """An edit in which the lesion also pushes the anatomy around it.

    Each connected part of the lesion that is new, larger or elsewhere pushes: tissue at its rim moves outwards by `mm`,
    as `MassEffect` says. Around a part that is no longer where it was (removed, shrunk, moved) tissue first comes back,
    by the inverse. Labels of organs and tissue move, no lesion does, and the body stays as large as it is. What comes
    from where a lesion was or is becomes what the lesion leaves elsewhere: its host, or plain body.

    Parameters
    ----------
    result
        The edit.
    scene
        The map as it was opened for the edit: `MaskEditor.scene`, or `open_scene` with the same arguments.
    mm
        Displacement at the rim, 0 or more; 0 changes nothing.

    Returns
    -------
    MaskResult
        With another box, voxels, volumes and notes; everything else as in `result`.

    Raises
    ------
    InputError
        If nothing says where the body is, everything is edited instead of a lesion, or the lesion cannot push so far.
    """
    if mm == 0:
        return result
    if result.select.everything:
        raise InputError("Everything together has no mass effect; choose the lesion's labels, or leave it out.")
    if scene.body is None:
        raise InputError(
            "A mass effect ends at the body's surface, and nothing says where that is; give a map with a body label, "
            "or the patient's scan as body."
        )
    left, placed = _changes(result, scene)
    warped, notes = scene.base, []
    for where, inverse in ((left, True), (placed, False)):
        if where.any():
            effect = MassEffect.of(where, scene.body, scene.labels.grid, mm)
            warped = effect.pulled(warped, 0) if inverse else effect.pushed(warped, 0)
            if effect.reached < _REMARKABLE:
                notes.append(
                    f"Only {effect.reached:.0%} of the lesion's surface {'came back' if inverse else 'pushes'} by "
                    f"{mm:g} mm; the rest is too thin or too near the body's surface."
                )
    anatomy = [label.value for label in scene.table if label.meaning in ("organ", "tissue")]
    if not any(result.before.get(value) for value in anatomy):
        return replace(result, notes=(*result.notes, "No label was pushed: the map shows no organ or tissue."))
    return _put(result, scene, warped, anatomy, tuple(notes))


def _changes(result: MaskResult, scene: Scene) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Parts (Z, Y, X) of the lesion that are no longer where they were, and parts that are where they were not."""
    box = result.box if scene.patch.empty else _union(result.box, scene.patch.overlap()[0])
    base, lesions = scene.base[box], [label.value for label in scene.table.lesions]
    masks = []
    for voxels in (result.source.voxels[box], result.labels.voxels[box]):
        masks.append(np.isin(voxels, lesions) & (voxels != base))
    before, after = masks
    left, placed = np.zeros(scene.base.shape, bool), np.zeros(scene.base.shape, bool)
    left[box], placed[box] = _parts(before, after), _parts(after, before)
    return left, placed


def _parts(lesion: NDArray[np.bool_], other: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Connected parts of a lesion that are not within another one."""
    parts, number = ndimage.label(lesion, structure=np.ones((3, 3, 3)))
    size = np.bincount(parts.ravel(), minlength=number + 1)
    new = np.bincount(parts[~other], minlength=number + 1) >= np.maximum(_NEW * size, 1)
    new[0] = False
    return new[parts]


def _put(
    result: MaskResult, scene: Scene, warped: NDArray[Any], anatomy: list[int], notes: tuple[str, ...]
) -> MaskResult:
    """The edit with the anatomy of `warped` (Z, Y, X) around its lesion."""
    moved = bounding_box(warped != scene.base)
    box = result.box if moved is None else _union(result.box, moved)
    own = scene.table.body
    plain = own.value if own is not None and result.before.get(own.value) else 0
    voxels = result.labels.voxels[box].copy()
    free = np.isin(voxels, [*anatomy, plain])
    if scene.body is not None:
        free &= scene.body[box]
    new = warped[box]
    voxels[free] = np.where(np.isin(new, [*anatomy, plain]), new, plain)[free]
    changed = replace(result, box=box, voxels=voxels, notes=(*result.notes, *notes))
    after = changed.labels.volumes_ml()
    return replace(changed, after={value: after.get(value, 0.0) for value in result.after})


def _union(one: Slices, other: Slices) -> Slices:
    """The smallest box about two, of which an empty one does not count."""
    if any(part.stop <= part.start for part in one):
        return other
    z, y, x = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return z, y, x
