"""Made-up patients: what everybody has in common, and folds that are a person's own."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from napari_gem3d.io import write_volume
from napari_gem3d.volume import Volume

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SHAPE = (64, 88, 76)


def draw_person(seed: int, body_of: int | None = None) -> np.ndarray:
    """A body of 1 mm voxels with ventricles and a bright side as everybody's, and folds of its own.

    `body_of` gives the size of the body, which otherwise is the person's own too.
    """
    z, y, x = (axis - (n - 1) / 2 for axis, n in zip(np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]], SHAPE, strict=True))
    size = np.random.default_rng(1000 + (seed if body_of is None else body_of)).uniform(0.9, 1.0, 3)
    inside = (z / (27 * size[0])) ** 2 + (y / (37 * size[1])) ** 2 + (x / (31 * size[2])) ** 2 < 1
    ventricles = np.exp(-((np.abs(x) - 7) ** 2 / 20 + (y / 12) ** 2 + (z / 10) ** 2))
    folds = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 2.5)
    own = 60 * folds / folds.std()
    return np.where(inside, np.maximum(400 + 3 * x - 300 * ventricles + own, 5), 0).astype(np.float32)


@pytest.fixture
def keep(tmp_path: Path) -> Callable[..., dict[str, Path]]:
    """Writes scans to a folder and returns their paths by name."""

    def write(folder: str, **scans: np.ndarray) -> dict[str, Path]:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        for name, voxels in scans.items():
            write_volume(Volume(np.rint(voxels).astype(np.int16), LPS, "MR"), place / f"{name}.nii.gz")
        return {name: place / f"{name}.nii.gz" for name in scans}

    return write


@pytest.fixture(scope="session")
def person() -> Callable[..., np.ndarray]:
    """`draw_person`."""
    return draw_person
