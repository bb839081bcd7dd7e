"""Made-up patients for segmenters: eggs with a lesion of three nested labels, in nnU-Net's raw layout."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_gem3d import LabelMap, Volume, write_volume

LABELS = {"background": 0, "edema": 1, "non-enhancing tumor": 2, "enhancing tumor": 3}
AFFINE = np.array([[-1.0, 0, 0, 20], [0, -1, 0, 30], [0, 0, 1, -7], [0, 0, 0, 1]])


def egg(number: int) -> tuple[Volume, LabelMap]:
    """A patient of 24 x 28 x 32 voxels of 1 mm, stored LPS; the lesion lies elsewhere in each."""
    rng = np.random.default_rng(number)
    z, y, x = np.mgrid[:24, :28, :32].astype(np.float32)
    inside = ((z - 11.5) / 10.5) ** 2 + ((y - 13.5) / 12.5) ** 2 + ((x - 15.5) / 14) ** 2 < 1
    centre = np.array([11.5, 13.5, 15.5]) + rng.uniform(-3, 3, 3)
    distance = ((z - centre[0]) / 5) ** 2 + ((y - centre[1]) / 6) ** 2 + ((x - centre[2]) / 7) ** 2
    labels = inside * ((distance < 1).astype(np.uint8) + (distance < 0.5) + (distance < 0.2))
    brightness = np.array([500, 700, 900, 400])[labels]
    voxels = np.where(inside, brightness + rng.normal(0, 30, inside.shape), 0).astype(np.int16)
    return Volume(voxels, AFFINE, "MR"), LabelMap(labels.astype(np.uint8), AFFINE)


def write_dataset(folder: Path, train: range, test: range = range(0), labels: dict[str, int] | None = None) -> Path:
    """A dataset of eggs by number."""
    for where, numbers in (("Tr", train), ("Ts", test)):
        for number in numbers:
            scan, lesions = egg(number)
            for kind in ("images", "labels"):
                (folder / f"{kind}{where}").mkdir(parents=True, exist_ok=True)
            write_volume(scan, folder / f"images{where}" / f"egg{number}_0000.nii.gz")
            write_volume(lesions, folder / f"labels{where}" / f"egg{number}.nii.gz")
    facts = {"channel_names": {"0": "FLAIR"}, "labels": labels or LABELS, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def eggs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six eggs to train on, two to test on."""
    return write_dataset(tmp_path_factory.mktemp("eggs"), range(6), range(6, 8))


@pytest.fixture
def more_eggs(tmp_path: Path) -> Callable[..., Path]:
    """Writes another dataset of eggs into a folder of its own."""

    def write(name: str, train: range, **how: object) -> Path:
        return write_dataset(tmp_path / name, train, **how)

    return write
