"""The tissue of a local edit: what is known of it before and after, and how lesions that grow or go displace it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_gem3d.anatomy import Completed, complete_anatomy
from napari_gem3d.bundle.plan import Plan
from napari_gem3d.bundle.preprocessing import body_label
from napari_gem3d.labels import UNKNOWN, AnatomySource, LabelMap
from napari_gem3d.masks.mass_effect import MassEffect
from napari_gem3d.volume import Volume

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class EditedAnatomy:
    """What an edit does to the label map and, by mass effect, to the scan.

    Attributes
    ----------
    before, after
        The label maps with the body and its tissue, on the scan's grid.
    scan
        The scan; where lesions displace tissue, with its voxels moved.
    changed
        (Z, Y, X), where something else is to be drawn than `scan` shows.
    """

    before: Completed
    after: Completed
    scan: Volume
    changed: NDArray[np.bool_]


def edited_anatomy(
    plan: Plan,
    scan: Volume,
    inside: NDArray[np.bool_],
    was: LabelMap,
    edited: LabelMap,
    source: AnatomySource,
    mass_effect_mm: float = 0.0,
) -> EditedAnatomy:
    """Say which tissue lies where before and after an edit.

    Parameters
    ----------
    plan
        Its label table and channel.
    scan
        The scan to edit.
    inside
        (Z, Y, X), its foreground.
    was, edited
        Label maps with the body before and after the edit, on the scan's grid.
    source
        Where tissue comes from, see `complete_anatomy`. What the edited map changes in tissue goes before.
    mass_effect_mm
        How far the rim of a lesion that is new or larger has pushed what surrounds it; where a lesion goes, the tissue
        comes back as far.

    Raises
    ------
    InputError
        If a lesion cannot push so far.
    """
    table, body = plan.labels, np.uint8(body_label(plan).value)
    tissues = [label.value for label in table.tissues]
    before = complete_anatomy(was, table, source, scan, inside, plan.channel)
    if source == "none":
        edited = complete_anatomy(edited, table, "none").labels
    old, new = before.labels.voxels, edited.voxels
    lesion = [label.value for label in table.lesions]
    lesion_before, lesion_after = np.isin(old, lesion), np.isin(new, lesion)
    # Nothing says what was under a lesion, so a model that knows tissue draws there what fits.
    under = np.uint8(UNKNOWN) if tissues and source != "none" else body
    layer = np.where(np.isin(old, tissues), old, body * (old > 0)).astype(np.uint8)
    stays = _untouched(lesion_before, lesion_after, old != new)
    layer[lesion_before] = np.where(stays, old, under)[lesion_before]
    if mass_effect_mm:
        layer, scan = _displaced(layer, scan, lesion_before & ~stays, lesion_after & ~stays, mass_effect_mm)
    # Tissue that was painted or erased in the edited map is as it says; all else lies where it lay. A map that holds
    # nothing of a tissue does not speak of it.
    held = [value for value in tissues if value in edited.values()]
    painted = np.isin(new, held) & (new != was.voxels)
    erased = np.isin(was.voxels, held) & (new == body)
    kept = ((new == body) | np.isin(new, tissues)) & ~painted & ~erased
    # A lesion of which nothing changes moves with the tissue about it, as the scan's own voxels do.
    after = np.where(kept | stays, layer, new).astype(np.uint8)
    changed = after != old
    if mass_effect_mm:
        # The scan's own voxels have moved with their tissue. Where a lesion was, they mean nothing any more.
        organ = (new == old) & ~lesion_after & (new != body) & ~np.isin(new, tissues)
        changed = ((after != layer) & ~organ) | (layer == UNKNOWN) | (lesion_before & ~stays)
    unknown = tuple(value for value in before.unknown if value not in held)
    return EditedAnatomy(before, Completed(edited.with_voxels(after), unknown, before.notes), scan, changed)


def _untouched(before: NDArray[np.bool_], after: NDArray[np.bool_], differs: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Lesions before the edit of which nothing changes: they push no more than the scan shows already."""
    parts, _ = ndimage.label(before | after)
    altered = np.unique(parts[differs & (parts > 0)])
    untouched: NDArray[np.bool_] = before & ~np.isin(parts, altered)
    return untouched


def _displaced(
    layer: Labels, scan: Volume, before: NDArray[np.bool_], after: NDArray[np.bool_], mm: float
) -> tuple[Labels, Volume]:
    """Tissue labels and scan after the tissue has come back to where a lesion was, and was pushed by where one is."""
    body, grid, voxels = layer > 0, scan.grid, scan.voxels
    if (before & ~after).any():
        effect = MassEffect.of(before, body, grid, mm)
        layer, voxels = effect.pulled(layer, 0), effect.pulled(voxels, 3)
    if (after & ~before).any():
        effect = MassEffect.of(after, body, grid, mm)
        layer, voxels = effect.pushed(layer, 0), effect.pushed(voxels, 3)
    # Cubic interpolation overshoots at edges.
    return layer, scan.with_voxels(np.clip(voxels, scan.voxels.min(), scan.voxels.max()))
