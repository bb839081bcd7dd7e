"""Sample patients that are nobody's: drawn by the bundled model from label maps that no patient ever had.

`data/README.md` says how they were made; `tools/make_samples.py` of the repository makes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from napari_gem3d.errors import InputError
from napari_gem3d.io import read_label_map, read_volume
from napari_gem3d.io.documents import read_json
from napari_gem3d.labels import LabelMap, LabelTable
from napari_gem3d.volume import Volume

DATA = Path(__file__).resolve().parent / "data"
INDEX = "samples.json"
FORMAT = "napari-gem3d samples"


@dataclass(frozen=True)
class Sample:
    """One sample patient, as files that commands and recipes can name.

    Attributes
    ----------
    name
        Such as "patient-a".
    title
        What people call it; says that it is synthetic.
    about
        Where the tumour is, how the voxels lie.
    image, labels
        The scan, and its label map on the same grid: lesions and brain.
    recipe
        What the scan was drawn by: seed, position of the drawn informed slice, model hash, versions.
    table
        What the labels mean.
    """

    name: str
    title: str
    about: str
    image: Path
    labels: Path
    recipe: Path
    table: LabelTable

    def read(self) -> tuple[Volume, LabelMap]:
        """The scan and its label map."""
        return read_volume(self.image), read_label_map(self.labels, self.table)


@cache
def sample_patients() -> Mapping[str, Sample]:
    """All sample patients by their names, in the order in which they are offered.

    Raises
    ------
    InputError
        If the installation lacks them.

    Examples
    --------
    >>> sample = sample_patients()["patient-a"]
    >>> scan, labels = sample.read()
    >>> scan.grid == labels.grid
    True
    """
    return read_samples(DATA)


def read_samples(folder: Path) -> Mapping[str, Sample]:
    """The sample patients of a folder with an index, as `tools/make_samples.py` writes it.

    Raises
    ------
    InputError
        If there is no index, or it is not understood.
    """
    path = folder / INDEX
    try:
        index = read_json(path)
        table = LabelTable.from_json(index["labels"])
        found = [_sample(folder, table, entry) for entry in index["samples"] if index["format"] == FORMAT]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} is no list of sample patients; install napari-gem3d again.") from None
    return MappingProxyType({sample.name: sample for sample in found})


def _sample(folder: Path, table: LabelTable, entry: Mapping[str, str]) -> Sample:
    name = entry["name"]
    files = (folder / f"{name}.nii.gz", folder / f"{name}_labels.nii.gz", folder / f"{name}.recipe.json")
    return Sample(name, entry["title"], entry["about"], *files, table)
