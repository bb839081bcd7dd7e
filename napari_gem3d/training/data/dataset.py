"""The cases of a dataset: nnU-Net's raw layout, or a CSV of image and label paths."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from napari_gem3d.errors import InputError, shown
from napari_gem3d.io.checks import Reading
from napari_gem3d.io.documents import read_json, read_text
from napari_gem3d.training.config.settings import DataSettings

COLUMNS = ("image", "labels")
IGNORE = "ignore"
# The cache holds labels as bytes, and body, anatomy and what is unknown need values too.
MOST_LABELS = 249
_IMAGE_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".dcm")
# Case names become folder names, here and on the machine a run is copied to.
_ENDING = re.compile(r"(?:\.\w+)+")
_SAFE_NAME = re.compile(r"[^\W.][\w.\-+ ()]*")


@dataclass(frozen=True)
class CasePaths:
    """One scan of the dataset.

    Attributes
    ----------
    name
        The case, which names its folder in the cache.
    patient
        Whose scan it is; scans of one patient stay on one side of the split.
    image, labels
        Files (or DICOM folders) as the dataset names them; they may be missing.
    reading
        How they are read where they do not say all, as `read_volume` takes it.
    """

    name: str
    patient: str
    image: Path
    labels: Path
    reading: Reading = field(default_factory=Reading)


@dataclass(frozen=True)
class Dataset:
    """What a dataset says of itself, before any scan is read.

    Attributes
    ----------
    path
        The folder or the CSV.
    cases
        In the order of their names.
    channel
        Name of the channel, such as FLAIR or CT; empty if unknown.
    labels
        Values of the labels by name, without background and ignore; empty if the dataset names none.
    ignore
        The value of voxels nobody labelled (nnU-Net's ignore label), if there is one.
    volume
        Which volume of its images is taken, if they hold several (4D); None if that is not said.
    """

    path: Path
    cases: tuple[CasePaths, ...]
    channel: str
    labels: Mapping[str, int]
    ignore: int | None
    volume: int | None = None

    @property
    def patients(self) -> tuple[str, ...]:
        """The patients, each once, in the order of their names."""
        return tuple(sorted({case.patient for case in self.cases}))


def read_dataset(path: Path, settings: DataSettings, split: Literal["Tr", "Ts"] = "Tr") -> Dataset:
    """List the cases of a dataset and what its labels are called; no scan is opened.

    Parameters
    ----------
    path
        A folder in nnU-Net's raw layout (``dataset.json`` of version 2, or 1 as of the Medical Segmentation
        Decathlon), or a CSV with the columns ``image`` and ``labels``, optionally ``case`` and ``patient``; its paths
        are absolute or relative to the CSV. A ``dataset.json`` beside the CSV may name channel and labels.
    settings
        Which channel; label names that replace those of the dataset.
    split
        "Tr" for the patients to train on; "Ts" for ``imagesTs`` and ``labelsTs`` of a folder.

    Raises
    ------
    InputError
        If there is no such dataset, it lists no case of the channel, two cases have one name, or its labels cannot be
        used.
    """
    if path.suffix.lower() == ".csv":
        if split != "Tr":
            raise InputError(f"{path} is a list of scans, which has no split {split}; list the scans that you want.")
        cases, facts = _csv_cases(path), _facts(path.with_name("dataset.json"), optional=True)
    else:
        facts = _facts(path / "dataset.json")
        cases = _nnunet_cases(path, facts, settings.channel, split)
    _check_names(cases, path)
    named = settings.labels if settings.labels is not None else _named_values(facts.get("labels", {}), path)
    ignore = next((value for name, value in named.items() if name.lower() == IGNORE), None)
    labels = {name: value for name, value in named.items() if value != 0 and name.lower() != IGNORE}
    for name, value in labels.items():
        if not 1 <= value <= MOST_LABELS:
            raise InputError(
                f"The label {name} of {path} has the value {value}; renumber labels to 1 up to {MOST_LABELS}."
            )
    twice = [value for value, count in Counter(labels.values()).items() if count > 1]
    if twice:
        raise InputError(f"Two labels of {path} have the value {twice[0]}; give every value one name.")
    # A first volume that nobody has named could be anything, such as the first time point of many.
    named_channels = facts.get("channel_names", facts.get("modality"))
    several_named = isinstance(named_channels, Mapping) and len(named_channels) > 1
    volume = settings.channel if several_named or "channel" in settings.model_fields_set else None
    whole = {case.name for case in cases if not _of_one_channel(case, settings.channel)}
    said: Reading = {"assume_orientation": settings.assume_orientation} if settings.assume_orientation else {}
    several: Reading = said if volume is None else {**said, "channel": volume}
    ordered = (
        replace(case, reading=several if case.name in whole else said)
        for case in sorted(cases, key=lambda case: case.name)
    )
    name = _channel_name(facts, settings.channel)
    return Dataset(path, tuple(ordered), name, labels, ignore, volume if whole else None)


def _of_one_channel(case: CasePaths, channel: int) -> bool:
    """Whether the name of a case's image has nnU-Net's number of the channel."""
    return f"_{channel:04d}." in case.image.name


def _facts(path: Path, optional: bool = False) -> dict[str, Any]:
    """The content of a ``dataset.json``."""
    if optional and not path.is_file():
        return {}
    advice = "give a folder in nnU-Net's raw layout or a .csv with --data"
    if not path.exists():
        raise InputError(f"{path} cannot be read (no such file); {advice}.")
    facts = read_json(path)
    if not isinstance(facts, dict):
        raise InputError(f"{path} cannot be read: it holds no object with labels; {advice}.")
    return facts


def _channel_name(facts: Mapping[str, Any], channel: int) -> str:
    names = facts.get("channel_names", facts.get("modality", {}))
    return str(names.get(str(channel), "")) if isinstance(names, Mapping) else ""


def _named_values(labels: Any, path: Path) -> dict[str, int]:
    """Values by name from both of nnU-Net's forms: ``{"tumor": 1}`` and ``{"1": "tumor"}``."""
    if not isinstance(labels, Mapping):
        raise InputError(f'The labels of {path} are no object; write them as {{"background": 0, "tumor": 1}}.')
    values: dict[str, int] = {}
    for key, value in labels.items():
        if isinstance(value, list | tuple):
            raise InputError(
                f"{path} defines the region '{key}' of several labels; name every single value instead, there or with "
                "the setting data.labels, such as {edema: 1, core: 2}."
            )
        name, number = (str(value), key) if isinstance(value, str) and key.isdigit() else (str(key), value)
        try:
            values[name] = int(number)
        except (TypeError, ValueError, OverflowError):
            raise InputError(
                f"The label '{key[:80]}' of {path} has no number but {shown(value)}; correct it."
            ) from None
    return values


def _nnunet_cases(folder: Path, facts: Mapping[str, Any], channel: int, split: str) -> list[CasePaths]:
    if isinstance(facts.get("dataset"), Mapping) and split == "Tr":
        return _listed_cases(folder, facts["dataset"], channel)
    ending = file_ending(facts, folder)
    suffix = f"_{channel:04d}{ending}"
    images = {file.name.removesuffix(suffix): file for file in (folder / f"images{split}").glob(f"*{suffix}")}
    labels = {file.name.removesuffix(ending): file for file in (folder / f"labels{split}").glob(f"*{ending}")}
    if not images and facts.get("training") and split == "Tr":
        return _decathlon_cases(folder, facts["training"], ending)
    if not images:  # the Decathlon's names, without a number of the channel
        plain = {file.name.removesuffix(ending): file for file in (folder / f"images{split}").glob(f"*{ending}")}
        images = {name: file for name, file in plain.items() if name in labels and not name.startswith(".")}
    names = {name for name in (*images, *labels) if not name.startswith(".")}  # ._x: litter of macOS
    if not images:
        raise InputError(_no_images(folder, ending, channel, split))
    return [
        CasePaths(
            name,
            name,
            images.get(name, folder / f"images{split}" / f"{name}{suffix}"),
            labels.get(name, folder / f"labels{split}" / f"{name}{ending}"),
        )
        for name in names
    ]


def _no_images(folder: Path, ending: str, channel: int, split: str) -> str:
    found = {
        match.group(1)
        for file in (folder / f"images{split}").glob(f"*{ending}")
        if (match := re.search(r"_(\d{4})\.", file.name))
    }
    if found:
        there = ", ".join(str(int(number)) for number in sorted(found))
        return (
            f"{folder} has no image of channel {channel}, but of {there}; choose one with --set "
            f"data.channel={int(min(found))}."
        )
    return (
        f"{folder} has no images named images{split}/CASE_{channel:04d}{ending}; bring it to nnU-Net's raw layout, or "
        "list its files in a .csv."
    )


def file_ending(facts: Mapping[str, Any], folder: Path) -> str:
    """How the files of a dataset end; InputError if its ``dataset.json`` says what no file ends with."""
    ending = str(facts.get("file_ending", ".nii.gz"))
    if not _ENDING.fullmatch(ending):
        raise InputError(f"The file_ending of {folder} is '{ending[:40]}'; write one such as .nii.gz or .nrrd.")
    return ending


def _listed_cases(folder: Path, listed: Mapping[str, Any], channel: int) -> list[CasePaths]:
    """Cases that ``dataset.json`` of version 2 lists itself, with paths of images and label map."""
    cases = []
    for name, files in listed.items():
        try:
            cases.append(CasePaths(name, name, folder / files["images"][channel], folder / files["label"]))
        except (TypeError, KeyError, IndexError):
            raise InputError(
                f"dataset.json of {folder} lists the case {name} without an image of channel {channel} or a label; "
                "correct it."
            ) from None
    return cases


def _decathlon_cases(folder: Path, training: Sequence[Any], ending: str) -> list[CasePaths]:
    """Cases of the Medical Segmentation Decathlon: one file with the name of the case, no channel number."""
    cases = []
    for entry in training:
        if not isinstance(entry, Mapping) or "image" not in entry or "label" not in entry:
            raise InputError(f"dataset.json of {folder} lists a training case without image and label; correct it.")
        name = Path(entry["image"]).name.removesuffix(ending)
        cases.append(CasePaths(name, name, folder / entry["image"], folder / entry["label"]))
    return cases


def _csv_cases(path: Path) -> list[CasePaths]:
    rows, columns = _csv_rows(path)
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise InputError(
            f"{path} has no column '{missing[0]}' (it has: {', '.join(columns) or 'nothing'}); name its columns image, "
            "labels and, if wanted, case and patient."
        )
    if not rows:
        raise InputError(f"{path} lists no scans; write a row with image and labels for each.")
    cases = []
    for number, (row, name) in enumerate(zip(rows, _csv_names(rows), strict=True), 2):
        if not row["image"] or not row["labels"]:
            raise InputError(f"Line {number} of {path} lacks the image or the labels; complete or remove it.")
        image, labels = (path.parent / row[key] for key in COLUMNS)
        cases.append(CasePaths(name, row.get("patient") or name, image, labels))
    return cases


def _csv_rows(path: Path) -> tuple[list[dict[str, str]], list[str]]:
    """Rows by lower-case column, and the columns; separated by comma, semicolon or tab, as the first line is."""
    text = read_text(path)
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), skipinitialspace=True)
    try:
        lines = [[cell.strip() for cell in line] for line in reader]
    except csv.Error as error:
        raise InputError(f"{path} is no CSV ({error}); give one with a row a scan.") from error
    lines = [line for line in lines if any(line)]
    columns = [name.lower() for name in lines[0]] if lines else []
    # Cells that a short row lacks are empty.
    return [dict(zip(columns, [*line, *[""] * len(columns)], strict=False)) for line in lines[1:]], columns


def _csv_names(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The column ``case``, or file names, with the folder's in front where file names are not unique."""
    given = [(row.get("case", ""), Path(row["image"])) for row in rows]
    counts = Counter(_stem(image) for name, image in given if not name)
    return [
        name or (_stem(image) if counts[_stem(image)] == 1 else f"{image.parent.name}_{_stem(image)}")
        for name, image in given
    ]


def _stem(path: Path) -> str:
    ending = next((ending for ending in _IMAGE_ENDINGS if path.name.lower().endswith(ending)), "")
    return path.name[: len(path.name) - len(ending)]


def _check_names(cases: Sequence[CasePaths], path: Path) -> None:
    """Raise InputError unless the names of the cases can be folders, each its own on every file system."""
    for case in cases:
        if not _SAFE_NAME.fullmatch(case.name) or case.name.endswith((".", " ")):
            raise InputError(f"The case '{case.name}' of {path} cannot name a folder; use letters, digits, - and _.")
    twice = [name for name, count in Counter(case.name.lower() for case in cases).items() if count > 1]
    if twice:
        raise InputError(f"{path} has two cases called '{twice[0]}'; name each in a column 'case'.")
