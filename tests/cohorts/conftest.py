"""Let the tests of this folder, and the workers that they start, import the helpers beside them; a small dataset."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def dataset(tiny_patient, tmp_path: Path) -> Path:
    """Three patients in nnU-Net's raw layout, who differ in brightness; the label map shows the lesion alone."""
    return write_dataset(tiny_patient, tmp_path / "data", "abc")


def write_dataset(patient, folder: Path, names: str) -> Path:
    from napari_gem3d import Volume, read_volume, write_volume

    scan = read_volume(patient.scan)
    for place in ("imagesTr", "labelsTr"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    for name in names:
        voxels = np.where(scan.voxels > 0, scan.voxels + 10 * ord(name), 0).astype(np.int16)
        write_volume(Volume(voxels, scan.affine, "MR"), folder / "imagesTr" / f"{name}_0000.nii.gz", description="")
        shutil.copy(patient.lesions, folder / "labelsTr" / f"{name}.nii.gz")
    facts = {"channel_names": {"0": "FLAIR"}, "labels": {"background": 0, "edema": 1}, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder
