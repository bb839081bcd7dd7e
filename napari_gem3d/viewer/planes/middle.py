"""Where to look first: at the lesion, else at the middle of the scan."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_gem3d.viewer.layers import lesion_in, origin_of
from napari_gem3d.viewer.patients import Patient
from napari_gem3d.viewer.planes.state import Point


def middle_of(patient: Patient) -> Point:
    """A point of the lesion, in its middle slice; the middle of the scan where there is none. World mm, (z, y, x)."""
    image = patient.image
    index = np.array([patient.middle_slice(), *(length // 2 for length in image.data.shape[1:])])
    if patient.mask is None or patient.lesion_slice() is None:
        return _world(image, index)
    lesion = np.argwhere(lesion_in(np.asarray(patient.mask.data[index[0]]), origin_of(patient.mask)))
    if not len(lesion):  # two lesions, one above and one below
        return _world(image, index)
    # Of a lesion that is bent around its own centre, the voxel nearest to it.
    nearest = lesion[np.argmin(((lesion - lesion.mean(axis=0)) ** 2).sum(axis=1))]
    return _world(patient.mask, np.array([index[0], *nearest]))


def _world(layer: Any, index: np.ndarray) -> Point:
    z, y, x = (float(v) for v in np.array(layer.translate) + index * np.array(layer.scale))
    return z, y, x
