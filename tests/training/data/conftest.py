"""Datasets of made-up patients that tests may break."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from napari_gem3d.io import write_volume
from napari_gem3d.labels import LabelMap
from napari_gem3d.training.config.settings import TrainingConfig
from napari_gem3d.volume import Volume

AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture
def own(dataset: Path, tmp_path: Path) -> Path:
    """A copy of the three eggs."""
    return Path(shutil.copytree(dataset, tmp_path / "Dataset900_Eggs"))


@pytest.fixture
def config(tiny: TrainingConfig) -> TrainingConfig:
    """The settings for tests, in this process alone: spawning one costs a second."""
    return with_data(tiny, workers=1)


def with_data(config: TrainingConfig, **changes: object) -> TrainingConfig:
    """The same settings with others of the data."""
    data = type(config.data).model_validate({**config.data.model_dump(), **changes})
    return config.model_copy(update={"data": data})


def write_case(folder: Path, name: str, scan: np.ndarray, labels: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    """Write a case of an nnU-Net dataset, replacing one of that name."""
    write_volume(Volume(scan, affine), folder / "imagesTr" / f"{name}_0000.nii.gz")
    write_volume(LabelMap(labels, affine), folder / "labelsTr" / f"{name}.nii.gz")


def describe(folder: Path, **facts: object) -> None:
    """Change entries of ``dataset.json``."""
    path = folder / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))


def drawn_ct(shift: float = 0.0, high: float = 60.0) -> tuple[np.ndarray, np.ndarray]:
    """An egg of soft tissue in air with two organs left and right and a bone, int16 HU and labels, (12, 40, 36)."""
    z, y, x = np.mgrid[:12, :40, :36]
    body = ((z - 6) / 5.5) ** 2 + ((y - 20) / 14) ** 2 + ((x - 18 - shift) / 13) ** 2 < 1
    labels = np.zeros(body.shape, np.uint8)
    for value, middle in ((1, 12), (2, 24)):
        labels[((z - 6) / 3) ** 2 + ((y - 22) / 4) ** 2 + ((x - middle - shift) / 3) ** 2 < 1] = value
    scan = np.where(body, 40, -1000) + 20 * (labels > 0)
    scan[5:8, 18:21, 17:20] = high
    noise = np.random.default_rng(0).normal(0, 8, body.shape)
    return (scan + noise).astype(np.int16), labels
