"""Apply operations to the lesion of a label map: one function for command line, panel and cohorts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from napari_gem3d.labels import LabelMap
from napari_gem3d.masks.editor import MaskEditor
from napari_gem3d.masks.operations import Operation, Selection
from napari_gem3d.masks.result import MaskResult
from napari_gem3d.masks.scene import Body


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
        One or several of `Translate`, `Rotate`, `Scale`, `Flip`, `Elastic`, `Grow`, `Shrink`, `Lesion`, `Interpolate`,
        `Transplant`, `Remove`.
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
    >>> import numpy as np
    >>> voxels = np.zeros((20, 20, 20), np.uint8)
    >>> voxels[8:12, 8:12, 8:12] = 1
    >>> result = transform_mask(LabelMap(voxels, np.eye(4)), [Translate(mm=(0, 0, 3))])
    >>> result.after, result.labels.voxels[11:15, 10, 10].tolist()
    ({1: 0.064}, [1, 1, 1, 1])
    """
    return MaskEditor(labels, select=select, body=body, host=host, donors=donors).apply(operations)
