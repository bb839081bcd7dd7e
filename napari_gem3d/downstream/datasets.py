"""Training sets that are compared, and the test patients that they are compared on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.pairs import find_pairs
from napari_gem3d.io import documents, replacing, sha256
from napari_gem3d.training.config.settings import DataSettings
from napari_gem3d.training.data.dataset import CasePaths, Dataset, file_ending, read_dataset

# A name becomes a folder's, and part of a dataset's in nnU-Net.
_IN_NAMES = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"


@dataclass(frozen=True)
class TrainingSet:
    """Scans with label maps that a segmenter is trained on.

    Attributes
    ----------
    name
        What the table calls it: letters, digits and hyphens.
    dataset
        Its cases, all files of which are there.
    """

    name: str
    dataset: Dataset

    @property
    def cases(self) -> tuple[CasePaths, ...]:
        """In the order of their names."""
        return self.dataset.cases

    @cached_property
    def content(self) -> dict[str, list[str]]:
        """SHA-256 of the scan and the label map of every case: what a training depends on, wherever it lies."""
        return {case.name: [sha256(case.image), sha256(case.labels)] for case in self.cases}


@dataclass(frozen=True)
class TestSet:
    """Real patients that no training set has, with the segmentations that predictions are scored against.

    Attributes
    ----------
    cases
        In the order of their names.
    """

    __test__ = False  # no test of pytest

    cases: tuple[CasePaths, ...]

    @cached_property
    def content(self) -> dict[str, list[str]]:
        """SHA-256 of the scan and the label map of every case."""
        return {case.name: [sha256(case.image), sha256(case.labels)] for case in self.cases}


def read_training_sets(folders: Mapping[str, Path], channel: int = 0) -> list[TrainingSet]:
    """Read what is compared.

    Parameters
    ----------
    folders
        Datasets in nnU-Net's raw layout (or CSVs, see `read_dataset`) by name; the first is the reference.
    channel
        Which channel of the images is used.

    Raises
    ------
    InputError
        If a dataset cannot be read, a file of it is missing, a name is not possible, or the datasets differ in their
        labels.
    """
    sets = []
    for name, folder in folders.items():
        if not name or not set(name) <= set(_IN_NAMES):
            raise InputError(f"The training set '{name}' cannot name a folder; use letters, digits and hyphens.")
        dataset = read_dataset(folder, DataSettings(channel=channel))
        for case in dataset.cases:
            _check_files(case, folder)
        sets.append(TrainingSet(name, dataset))
    for other in sets[1:]:
        if dict(other.dataset.labels) != dict(sets[0].dataset.labels):
            raise InputError(
                f"{other.dataset.path} has the labels {_shown(other.dataset.labels)} and {sets[0].dataset.path} "
                f"{_shown(sets[0].dataset.labels)}; compare datasets with the same labels in dataset.json."
            )
    return sets


def read_test_set(folder: Path, channel: int = 0) -> TestSet:
    """Read the test patients of a dataset in nnU-Net's raw layout: ``imagesTs`` and ``labelsTs``.

    Raises
    ------
    InputError
        If there are none, or one has no label map.
    """
    facts = folder / "dataset.json"
    ending = ".nii.gz"
    if facts.is_file():
        try:
            ending = file_ending(documents.read_json(facts), folder)
        except (ValueError, AttributeError) as error:
            raise InputError(f"{facts} cannot be read as a description of a dataset ({error}); correct it.") from error
    suffix = f"_{channel:04d}{ending}"
    images = sorted((folder / "imagesTs").glob(f"*{suffix}"))
    cases = []
    for image in images:
        name = image.name.removesuffix(suffix)
        case = CasePaths(name, name, image, folder / "labelsTs" / f"{name}{ending}")
        _check_files(case, folder)
        cases.append(case)
    if not cases:
        raise InputError(
            f"{folder} has no test patients named imagesTs/CASE{suffix}; give a dataset that has some with --test."
        )
    return TestSet(tuple(cases))


def check_apart(sets: Sequence[TrainingSet], test: TestSet) -> None:
    """Raise InputError if a test patient is in a training set, by content or by name (CASE or CASE-…)."""
    scans = {digests[0]: name for name, digests in test.content.items()}
    for one in sets:
        for name, (image, _) in one.content.items():
            if image in scans:
                raise InputError(
                    f"The scan of {name} in {one.dataset.path} is that of the test patient {scans[image]}; take it out."
                )
        for tested, trained in {(case.image.parent, other.image.parent) for case in test.cases for other in one.cases}:
            for pair in find_pairs(tested, trained):
                raise InputError(
                    f"{pair.made} has the name of the test patient {pair.case}; a patient that is trained on cannot be "
                    "a test, so take it out of one of the two."
                )


def write_json(content: object, path: Path) -> None:
    """Write plain data as JSON, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> object:
    """What `write_json` wrote; None if there is no such file or it is damaged."""
    try:
        return documents.read_json(path)
    except InputError:
        return None


def _check_files(case: CasePaths, folder: Path) -> None:
    for what, path in (("image", case.image), ("label map", case.labels)):
        if not path.exists():
            raise InputError(
                f"The case {case.name} of {folder} has no {what} {path.name}; add it or take the case out."
            )


def _shown(labels: Mapping[str, int]) -> str:
    return ", ".join(f"{value} {name}" for name, value in labels.items()) or "none"
