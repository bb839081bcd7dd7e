"""The label map of a generation: numbered as the model's table, on a grid that holds the body, checked by facts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.brain.skull import look_at_head
from napari_gem3d.bundle.plan import Plan
from napari_gem3d.errors import InputError
from napari_gem3d.grid import Grid
from napari_gem3d.labels import LabelMap
from napari_gem3d.numbering import find_numbering, renumbered
from napari_gem3d.volume import Volume, resample

Mask = NDArray[np.bool_]

# Shares of the body or the lesion that are told, and from which on a lesion cannot belong to the body.
_TOLD, _MOSTLY = 0.1, 0.5
# Of the map's own body and the one that the scan shows, the least that both have in common.
_ALIKE = 0.8


def numbered(
    plan: Plan,
    labels: LabelMap,
    choice: str | Mapping[int, int] | None,
    body: Volume | None,
    inside: Mask | None,
) -> tuple[LabelMap, dict[int, int], tuple[str, ...]]:
    """A label map with the values of the model's table.

    Parameters
    ----------
    plan
        Of the model.
    labels
        As it came.
    choice
        What people say of its values, see `find_numbering`; or values of the table by those of the map, as a recipe has
        them.
    body, inside
        The scan of its patient and its foreground (Z, Y, X).

    Returns
    -------
    tuple
        The map; the values of the table by those of the map, empty if they are the same; what people should know.
    """
    if isinstance(choice, Mapping):
        changes = any(old != new for old, new in choice.items())
        return renumbered(labels, plan.labels, choice), dict(choice) if changes else {}, ()
    shown = None
    own = plan.labels.body
    if body is not None and inside is not None and own is not None and (labels.voxels == own.value).any():
        shown = _on(labels.grid, body, inside)
    found = find_numbering(labels, plan.labels, choice, shown)
    values = dict(found.values) if found.changes else {}
    return renumbered(labels, plan.labels, found.values), values, (found.note,) if found.note else ()


def accepted(
    plan: Plan, labels: LabelMap, choice: str | None, body: Volume | None, inside: Mask | None
) -> tuple[LabelMap, dict[int, int], tuple[str, ...]]:
    """A label map that came from people: numbered as the model's, on a grid that holds the body, checked by facts.

    Parameters and results are those of `numbered`, errors those of `numbered` and `facts`.
    """
    mask, relabel, notes = numbered(plan, labels, choice, body, inside)
    mask = uncropped(plan, mask, body, inside)
    return mask, relabel, (*notes, *facts(plan, mask, body, inside))


def uncropped(plan: Plan, labels: LabelMap, body: Volume | None, inside: Mask | None) -> LabelMap:
    """A label map that was cropped to its labels, as 3D Slicer saves them, on the grid of the scan it was drawn on.

    So it is taken if it has the scan's voxels, has no body of its own, and cuts the scan's body within its slices.
    """
    if body is None or inside is None or not _same_voxels(labels.grid, body.grid):
        return labels
    if plan.labels.body is not None and (labels.voxels == plan.labels.body.value).any():
        return labels
    lattice = body.grid.canonical()
    field = resample(LabelMap(np.ones(labels.shape, np.uint8), labels.affine), lattice, order=0).voxels > 0
    if np.count_nonzero(field) < labels.voxels.size:
        return labels  # it has a part that the scan lacks
    within = _on(lattice, body, inside) & field.any(axis=(1, 2), keepdims=True)
    return resample(labels, body.grid, order=0) if (within & ~field).any() else labels


def facts(plan: Plan, labels: LabelMap, body: Volume | None, inside: Mask | None) -> tuple[str, ...]:
    """What of body and lesion lies where it cannot, in sentences.

    Parameters
    ----------
    plan
        Of the model.
    labels
        With the values of its table.
    body, inside
        The scan of the patient and its foreground (Z, Y, X).

    Raises
    ------
    InputError
        If most of the lesion lies outside the body.
    """
    if body is None or inside is None:
        return ()
    said = []
    lesion = np.isin(labels.voxels, [label.value for label in plan.labels.lesions])
    shown = _on(labels.grid, body, inside)
    map_name, scan_name = (str(of.source or what) for of, what in ((labels, "the label map"), (body, "the scan")))
    total = np.count_nonzero(inside) * body.grid.voxel_volume
    outside = 1 - min(np.count_nonzero(shown) * labels.grid.voxel_volume / total, 1)
    if outside > _TOLD:
        said.append(
            f"{outside:.0%} of the body in {scan_name} lies outside the field of view of {map_name}, where nothing is "
            "drawn; give a label map on the grid of its scan to draw all of it."
        )
    if lesion.any():
        away = np.count_nonzero(lesion & ~shown) / np.count_nonzero(lesion)
        if away > _MOSTLY:
            raise InputError(
                f"{away:.0%} of the lesion in {map_name} lies outside the body that {scan_name} shows; the two do "
                "not belong together, or one has lost its position (affine): give the scan that the map was drawn on."
            )
        if away > _TOLD:
            said.append(f"{away:.0%} of the lesion in {map_name} lies outside the body that {scan_name} shows.")
    own = plan.labels.body
    if own is not None and (labels.voxels == own.value).any():
        mapped = labels.voxels > 0
        alike = 2 * np.count_nonzero(mapped & shown) / (np.count_nonzero(mapped) + np.count_nonzero(shown))
        if alike < _ALIKE:
            said.append(
                f"The {own.name} of {map_name} (label {own.value}) is drawn, not the body that {scan_name} shows, "
                f"which differs from it (Dice {alike:.2f})."
            )
    return tuple(said)


def skull(plan: Plan, body: Volume | None) -> tuple[str, ...]:
    """A sentence if a model of brains is given the scan of a head with its skull, all of which it takes for brain."""
    label = plan.labels.body
    if body is None or label is None or "brain" not in label.name.lower() or not plan.background_outside_body:
        return ()
    try:
        head = look_at_head(body)
    except InputError:  # no head at all
        return ()
    if head.kind != "head":
        return ()
    return (
        f"{body.source or 'The scan'} is a head, {head.describe()}, and {plan.name} draws brains: all is taken for "
        "brain. Extract the brain first (napari-gem3d body --method brain --stripped).",
    )


def _on(grid: Grid, body: Volume, inside: Mask) -> Mask:
    """The foreground of a scan on another grid."""
    return resample(LabelMap(inside.astype(np.uint8), body.affine), grid, order=0).voxels > 0


def _same_voxels(one: Grid, other: Grid) -> bool:
    """Whether two grids are parts of one and the same."""
    matrix, offset = one.index_map(other)
    whole = np.rint(matrix)
    return bool(np.allclose(matrix, whole, atol=1e-4) and np.allclose(offset, np.rint(offset), atol=1e-2))
