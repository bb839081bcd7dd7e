"""Made-up lesions whose volumes and centroids are known."""

from itertools import permutations, product

import numpy as np
import pytest

from napari_gem3d.grid import Grid
from napari_gem3d.labels import Label, LabelMap, LabelTable

TABLE = LabelTable(
    (
        Label(1, "edema"),
        Label(2, "core"),
        Label(3, "rim"),
        Label(4, "brain", meaning="body"),
        Label(5, "eye", "", "organ"),
    )
)


def oblique(spacing_zyx, degrees=(0.0, 0.0, 0.0)) -> np.ndarray:
    """An affine with this spacing, rotated in world space."""
    from scipy.spatial.transform import Rotation

    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ np.diag(spacing_zyx[::-1])
    return affine


def lesion_map(spacing_zyx, radii=(12.0, 10.0, 14.0), degrees=(0.0, 0.0, 0.0), room=34.0, shift=(0.0, 0.0, 0.0)):
    """An ellipsoid of edema around a rim around a core (radii in mm along z, y, x of the array); no body."""
    shape = [int(2 * room / mm) + 1 for mm in spacing_zyx]
    axes = [(np.arange(n) - (n - 1) / 2) * mm - s for n, mm, s in zip(shape, spacing_zyx, shift, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    distance = np.sqrt((z / radii[0]) ** 2 + (y / radii[1]) ** 2 + (x / radii[2]) ** 2)
    voxels = np.select([distance < 0.5, distance < 0.75, distance < 1], [2, 3, 1], 0).astype(np.uint8)
    return LabelMap(voxels, oblique(spacing_zyx, degrees), table=TABLE)


def middle(labels: LabelMap, *values: int) -> np.ndarray:
    """Centroid (R, A, S) in mm of some labels, or of all."""
    chosen = np.isin(labels.voxels, values) if values else labels.voxels > 0
    return labels.grid.index_to_world(np.argwhere(chosen)).mean(axis=0)


def orientations(grid: Grid) -> list[Grid]:
    """The 48 grids that hold the same voxels in another order."""
    grids = []
    for order, flips in product(permutations(range(3)), product((1, -1), repeat=3)):
        shape = [0, 0, 0]
        to_old = np.zeros((4, 4))
        to_old[3, 3] = 1
        for new, (old, sign) in enumerate(zip(order, flips, strict=True)):
            shape[2 - new] = grid.shape[2 - old]
            to_old[old, new] = sign
            to_old[old, 3] = 0 if sign > 0 else grid.shape[2 - old] - 1
        grids.append(Grid((shape[0], shape[1], shape[2]), grid.affine @ to_old))
    return grids


@pytest.fixture
def head() -> LabelMap:
    """A brain (4) of 25 mm radius, 1 × 1 × 2 mm, with a lesion (1 around 2) on its right, and an eye (5) in front."""
    z, y, x = np.meshgrid(np.arange(-28, 29, 2.0), np.arange(-28.0, 29), np.arange(-28.0, 29), indexing="ij")
    voxels = np.where(z**2 + y**2 + x**2 < 25**2, 4, 0).astype(np.int16)
    distance = np.sqrt(z**2 + y**2 + (x - 10) ** 2)
    voxels[distance < 7] = 1
    voxels[distance < 3.5] = 2
    voxels[np.sqrt(z**2 + (y - 18) ** 2 + x**2) < 5] = 5
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[:3, 3] = -28
    return LabelMap(voxels, affine, table=TABLE)
