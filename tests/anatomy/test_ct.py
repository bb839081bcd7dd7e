"""Tissue of a CT by HU."""

import numpy as np

from napari_gem3d import Volume
from napari_gem3d.anatomy import find_anatomy


def test_bone_fat_and_air_are_found_inside_the_body():
    z, y, x = np.ogrid[:40, :80, :80]
    radius = np.sqrt((y - 40) ** 2 + (x - 40) ** 2) + 0 * z
    voxels = np.full(radius.shape, -1000.0)
    voxels[radius < 36] = -100  # fat under the skin
    voxels[radius < 30] = 40
    bone, lung = (
        np.sqrt((y - row) ** 2 + (x - column) ** 2) + 0 * z < reach for row, column, reach in ((60, 40, 6), (30, 30, 8))
    )
    voxels[bone] = 700
    voxels[lung] = -800
    voxels += np.random.default_rng(0).normal(0, 20, voxels.shape)
    found = find_anatomy(Volume(voxels.astype(np.int16), np.diag([1.0, 1.0, 2.0, 1.0]), "CT"))
    assert found.names == ("bone", "fat", "air")
    for name, truth in (("bone", bone), ("air", lung), ("fat", (radius < 36) & (radius >= 30))):
        where = found.where(name)
        overlap = 2 * (where & truth).sum() / (where.sum() + truth.sum())
        assert overlap > 0.85, (name, overlap)
    assert not found.voxels[radius > 37].any()
