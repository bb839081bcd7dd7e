"""The label map that a volume of a dataset is drawn from: the case's own, varied, with its anatomy bent."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from napari_gem3d.anatomy import Completed, complete_anatomy
from napari_gem3d.bundle.plan import Plan
from napari_gem3d.bundle.preprocessing import body_label
from napari_gem3d.cohorts.outcome import LeftOut
from napari_gem3d.cohorts.variants import How, Variant, derived
from napari_gem3d.errors import InputError
from napari_gem3d.foreground import foreground
from napari_gem3d.io import read_label_map, read_volume
from napari_gem3d.labels import AnatomySource, LabelMap
from napari_gem3d.masks import Elastic, MaskResult, Selection, augment_mask, transform_mask
from napari_gem3d.masks.scene import with_body
from napari_gem3d.numbering import find_numbering, renumbered
from napari_gem3d.sampling.prepare import said_by_plan

# The policy sometimes draws nothing. An edit without a change is none, so it is drawn again, so often.
_DRAWS = 20
# Displacements are alike over this distance in mm, and over so many times their root mean square where that is more:
# ventricles change their shape, and 3 mm change the volume of lesions by 6 % (standard deviation over patients).
_SMOOTHNESS_MM, _LEAST_SMOOTHNESS = 25.0, 5.0
# Beyond this a brain leaves the field of view of most scans.
_LARGEST_BEND_MM = 20.0


@dataclass(frozen=True, eq=False)
class Target:
    """What a volume is drawn from.

    Attributes
    ----------
    labels
        The label map, with values of the plan's table, on the grid of the case's own.
    anatomy
        Where the tissue that it does not hold comes from, as the recipe has it.
    operations
        What was done to the case's own label map, as `transform_mask` takes it.
    notes
        What people should know of it, in sentences.
    found
        Values of tissue that the scan shows and the case's own label map does not hold.
    """

    labels: LabelMap
    anatomy: AnatomySource
    operations: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    found: tuple[int, ...] = ()


def check_bend(mm: float) -> None:
    """Raise InputError for a displacement (root mean square in mm) by which no anatomy can be bent."""
    if not (math.isfinite(mm) and 0 <= mm <= _LARGEST_BEND_MM):
        raise InputError(f"Anatomy cannot be bent by {mm:g} mm; choose 0 (not at all) to {_LARGEST_BEND_MM:g}.")


def make_target(variant: Variant, plan: Plan) -> Target:
    """Make the label map of a volume.

    Raises
    ------
    InputError
        If the files of the case cannot be used.
    LeftOut
        If it is an edit, and its case has no lesion or no room to move it.
    """
    how = variant.how
    labels = case_labels(variant, plan)
    if variant.kind == "edit":
        return _edited(variant, plan, labels)
    if plan.labels.tissues and how.settings.anatomy == "scan" and (how.augment != "none" or how.bend_mm):
        return _with_anatomy(variant, plan, labels)
    if how.augment == "none":
        return Target(labels, how.settings.anatomy)
    scan = read_volume(variant.image, **how.settings.reading)
    result = augment_mask(labels, how.augment, seed=variant.mask_seed, body=scan)
    return Target(result.labels, how.settings.anatomy, _operations(result), result.notes)


def case_labels(variant: Variant, plan: Plan) -> LabelMap:
    """The case's own label map, with values of the plan's table.

    Raises
    ------
    InputError
        If it cannot be read, has values that the table lacks, or shows that its numbers are not the table's.
    """
    how = variant.how
    labels = read_label_map(variant.labels, **how.settings.reading)
    if how.settings.labels is None:
        find_numbering(replace(labels, table=None, meta={}), plan.labels)
    labels = renumbered(labels, plan.labels, how.relabel)
    return labels.with_voxels(labels.voxels.astype(np.uint8))


def _edited(variant: Variant, plan: Plan, labels: LabelMap) -> Target:
    """The label map with its lesion moved, on the scan's grid."""
    scan = read_volume(variant.image, **variant.how.settings.reading)
    labels = labels.aligned_to(scan.grid)
    if not np.isin(labels.voxels, [label.value for label in plan.labels.lesions]).any():
        raise LeftOut("The case has no lesion to change.")
    rng = np.random.default_rng(variant.mask_seed)
    for _ in range(_DRAWS):
        result = augment_mask(labels, "brain", seed=rng, body=scan)
        if result.changed.any():
            return Target(result.labels, variant.how.settings.anatomy, _operations(result), result.notes)
    raise LeftOut(f"{_DRAWS} draws left the lesion as it is, most likely for want of room in the body.")


def _with_anatomy(variant: Variant, plan: Plan, labels: LabelMap) -> Target:
    """The label map completed from the scan, then varied, then bent.

    It is completed first: the scan shows its tissue where the case's own body and lesions are, not where they go.
    """
    how, tissues = variant.how, [label.value for label in plan.labels.tissues]
    known = _completed(variant, plan, labels)
    steps: list[MaskResult] = []
    whole = known.labels
    if how.augment != "none":
        # A lesion may go wherever there is body, whatever tissue that is, and leaves body whose tissue is not told.
        hosts = (body_label(plan).value, *tissues)
        steps.append(augment_mask(whole, how.augment, seed=variant.mask_seed, host=hosts))
        whole = steps[-1].labels
    if how.bend_mm:
        smoothness = max(_SMOOTHNESS_MM, _LEAST_SMOOTHNESS * how.bend_mm)
        bend = Elastic(amplitude=how.bend_mm, smoothness=smoothness, seed=derived(variant.mask_seed, "bend"))
        steps.append(transform_mask(whole, bend, select=Selection(everything=True)))
        whole = steps[-1].labels
    operations = tuple(operation for step in steps for operation in _operations(step))
    notes = (*known.notes, *(note for step in steps for note in step.notes))
    own = set(labels.values())
    return Target(whole, "map", operations, notes, tuple(value for value in tissues if value not in own))


def _completed(variant: Variant, plan: Plan, labels: LabelMap) -> Completed:
    """The case's own label map with the body and the tissue that its scan shows."""
    scan = said_by_plan(plan, read_volume(variant.image, **variant.how.settings.reading))
    inside = foreground(scan)
    body = LabelMap(inside, scan.affine, source=scan.source).aligned_to(labels.grid).voxels > 0
    return complete_anatomy(with_body(labels, body), plan.labels, "scan", scan, inside, plan.channel)


def _operations(result: MaskResult) -> tuple[dict[str, Any], ...]:
    return tuple(result.record()["operations"])


def dataset_labels(target: LabelMap, how: How, plan: Plan | None = None, found: tuple[int, ...] = ()) -> LabelMap:
    """A label map with the dataset's own labels and no others.

    Parameters
    ----------
    target
        The label map as the model took it, or the case's own.
    how
        Which labels the dataset names.
    plan
        Whose body and tissue are left out, unless the dataset names them.
    found
        Values that are left out in any case: what the scan shows, nobody has labelled.

    Raises
    ------
    InputError
        If there is a value that the dataset does not name.
    """
    back = {new: old for old, new in how.relabel.items()}
    if back and plan is not None:
        # Body and tissue of the plan bear numbers that the dataset may have given to others.
        own = {label.value for label in plan.labels if label.meaning in ("body", "tissue")} - set(back)
        numbers = np.array([0 if value in own else back.get(value, value) for value in range(256)], np.uint8)
        target, plan, found = target.with_voxels(numbers[target.voxels]), None, ()
    voxels = target.voxels
    known = {0, *how.labels.values(), *({how.ignore} if how.ignore is not None else ())}
    table = () if plan is None else plan.labels
    anatomy = {label.value for label in table if label.meaning in ("body", "tissue")}
    hidden = [*(anatomy - known), *found]
    if hidden:
        voxels = np.where(np.isin(voxels, hidden), 0, voxels)
    unknown = sorted(set(np.unique(voxels).tolist()) - known)
    if unknown:
        raise InputError(
            f"{target.source or 'The label map'} holds the value {unknown[0]}, which dataset.json does not name; add "
            "it there or relabel the map."
        )
    return LabelMap(voxels.astype(np.uint8), target.affine, meta=target.meta)
