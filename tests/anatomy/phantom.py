"""A brain of ellipsoids whose tissue is known: cortex, ventricles, sulci."""

import numpy as np

from napari_gem3d import Volume

SHAPE = (96, 120, 100)


def ellipsoid(centre, radii, shape=SHAPE):
    axes = np.ogrid[tuple(slice(0, n) for n in shape)]
    return sum(((axis - c) / r) ** 2 for axis, c, r in zip(axes, centre, radii, strict=True)) < 1


BRAIN = ellipsoid((48, 60, 50), (44, 56, 46))
# A cortex of 4 mm, two ventricles beside the middle, a fissure that comes in from the surface, and its sulci.
GREY = BRAIN & ~ellipsoid((48, 60, 50), (38, 50, 40))
VENTRICLES = ellipsoid((50, 58, 42), (8, 16, 5)) | ellipsoid((50, 58, 58), (8, 16, 5))
SULCI = BRAIN & ~ellipsoid((48, 60, 50), (32, 44, 34)) & (np.arange(SHAPE[1])[None, :, None] % 20 < 3)
LESION = ellipsoid((48, 90, 50), (9, 9, 9))


def scan(noise=15.0, fluid=150.0, grey=560.0, white=460.0, lesion=None):
    """A FLAIR of it: fluid dark, grey matter brighter than white."""
    voxels = np.where(BRAIN, white, 0.0)
    voxels[GREY] = grey
    if lesion is not None:
        voxels[LESION] = lesion
    voxels[VENTRICLES | SULCI] = fluid
    voxels += np.random.default_rng(0).normal(0, noise, SHAPE) * BRAIN
    return Volume(np.where(BRAIN, np.maximum(voxels, 1), 0).astype(np.float32), np.eye(4), "MR")


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))
