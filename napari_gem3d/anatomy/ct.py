"""Tissue of a CT, by HU: bone, fat and air."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_gem3d.anatomy.parts import boxed, smoothed, without_specks
from napari_gem3d.volume import Volume

CT = ("bone", "fat", "air")

# HU: cancellous bone and denser; adipose tissue; lung, bowel gas and sinuses.
_BONE_HU, _FAT_HU, _AIR_HU = 250.0, (-160.0, -30.0), -400.0
# Noise of a thin-slice CT is tens of HU, which would make specks of fat of muscle.
_SMOOTH_MM = 1.0
_SPECK_MM3 = 100.0


def ct_tissue(scan: Volume, free: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_] | str]:
    """Bone, fat and air (Z, Y, X) of a CT in HU, inside the part of its body `free` of lesions, (Z, Y, X)."""
    box = boxed(free)
    inside, spacing = free[box], scan.spacing
    voxels = smoothed(scan.voxels[box].astype(np.float32), ndimage.binary_dilation(inside), _SMOOTH_MM, spacing)
    found = {
        "bone": voxels > _BONE_HU,
        "fat": (voxels > _FAT_HU[0]) & (voxels < _FAT_HU[1]),
        "air": voxels < _AIR_HU,
    }
    told: dict[str, NDArray[np.bool_] | str] = {}
    for name, where in found.items():
        whole = np.zeros(free.shape, bool)
        whole[box] = without_specks(where & inside, _SPECK_MM3, spacing)
        told[name] = whole
    return told
