"""A dataset of three made-up patients in nnU-Net's raw layout, and settings small enough for tests."""

import json
from pathlib import Path

import numpy as np
import pytest

from napari_gem3d.cli.train import main
from napari_gem3d.io import write_volume
from napari_gem3d.labels import LabelMap
from napari_gem3d.training.config.loading import load_config
from napari_gem3d.training.config.settings import TrainingConfig
from napari_gem3d.volume import Volume


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("Dataset900_Eggs")
    rng = np.random.default_rng(0)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    for sub in ("imagesTr", "labelsTr"):
        (folder / sub).mkdir()
    z, y, x = np.mgrid[:12, :40, :36]
    for index in range(3):
        body = ((z - 6) / 5) ** 2 + ((y - 20) / (12 + index)) ** 2 + ((x - 18) / 12) ** 2 < 1
        lesion = ((z - 6) / 2) ** 2 + ((y - 22) / 4) ** 2 + ((x - 16 - index) / 4) ** 2 < 1
        scan = np.where(body, 300 + 200 * lesion + rng.normal(0, 20, body.shape), 0).astype(np.int16)
        write_volume(Volume(scan, affine, "MR"), folder / "imagesTr" / f"egg{index}_0000.nii.gz")
        write_volume(LabelMap(lesion.astype(np.uint8), affine), folder / "labelsTr" / f"egg{index}.nii.gz")
    facts = {"channel_names": {"0": "FLAIR"}, "labels": {"background": 0, "yolk": 1}, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture
def tiny() -> TrainingConfig:
    return load_config("tiny")


@pytest.fixture(scope="session")
def finished(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that went through all stages; copy it to change it."""
    folder = tmp_path_factory.mktemp("run")
    assert main(["all", "--data", str(dataset), "--out", str(folder), "--config", "tiny"]) == 0
    return folder
