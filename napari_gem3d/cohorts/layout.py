"""What a dataset that was made holds, and where: nnU-Net's raw layout, with the origin of every volume."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from napari_gem3d.errors import InputError
from napari_gem3d.io import replacing, sha256
from napari_gem3d.io.documents import read_json
from napari_gem3d.io.files import tidy
from napari_gem3d.sampling.recipe import sidecar
from napari_gem3d.sampling.settings import Strict

Kind = Literal["IC", "IG", "edit", "real", "baseline", "harmonised"]
ENDING = ".nii.gz"


class Record(Strict):
    """Where a volume comes from; it is written last, so a volume that has one is whole.

    Attributes
    ----------
    name
        The volume's: NAME_0000.nii.gz and NAME.nii.gz.
    kind
        "IC" and "IG" as in the paper: informed by a slice of another case, or by one that the model drew; "edit": the
        scan with another lesion; "baseline": drawn by a model that sees no informed slice; "real": the scan itself;
        "harmonised": informed by the slice that informs all, be it one of its own case.
    synthetic
        Whether it was generated, at least in part.
    case
        The case of the dataset that its label map is of.
    donor
        The case (or scan) that its informed slice is of, if it is another one.
    seed
        Of the volume.
    operations
        What was done to the label map, as `transform_mask` takes it; none if it is the case's own. "elastic" is the
        bending of the whole map, its anatomy and body included.
    notes
        What people should know of it, in sentences.
    model, model_sha256
        The bundle.
    image_sha256, labels_sha256
        Of the two files.
    sources
        SHA-256 of the files that it was made from, by what they are.
    settings
        Digest of the settings of the run.
    """

    name: str
    kind: Kind
    synthetic: bool
    case: str
    donor: str | None = None
    seed: int | None = None
    operations: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    model: str | None = None
    model_sha256: str | None = None
    image_sha256: str
    labels_sha256: str
    sources: dict[str, str]
    settings: str


class Layout:
    """The places of a dataset that is made.

    Parameters
    ----------
    root
        Its folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.images, self.labels = root / "imagesTr", root / "labelsTr"
        # Label maps as the model took them, with the body where it is moved too: recipes name these.
        self.masks, self.records = root / "masks", root / "records"
        self.provenance = root / "provenance.json"

    def image(self, name: str) -> Path:
        """The scan; its recipe is beside it."""
        return self.images / f"{name}_0000{ENDING}"

    def files(self, name: str) -> tuple[Path, ...]:
        """All files of a volume, whether they are there or not."""
        image = self.image(name)
        return (*(folder / f"{name}{ENDING}" for folder in (self.labels, self.masks)), image, sidecar(image))

    def make_folders(self) -> None:
        """Make the folders; InputError if that is not possible."""
        try:
            for folder in (self.images, self.labels, self.masks, self.records):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"The folder {self.root} cannot be made ({error.strerror}); choose another.") from error

    def read_record(self, name: str) -> Record | None:
        """The record of a volume; None if there is none, or it is damaged."""
        try:
            return Record.model_validate(read_json(self.records / f"{name}.json"))
        except (InputError, ValidationError):
            return None

    def write_record(self, record: Record) -> None:
        """Write it, whole or not at all."""
        with replacing(self.records / f"{record.name}.json") as temporary:
            temporary.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")

    def is_whole(self, record: Record) -> bool:
        """Whether the two files of a volume are there, with the content that its record tells."""
        image, labels = self.image(record.name), self.labels / f"{record.name}{ENDING}"
        if not (image.is_file() and labels.is_file()):
            return False
        return (sha256(image), sha256(labels)) == (record.image_sha256, record.labels_sha256)

    def remove(self, name: str) -> None:
        """Remove what is there of a volume; its record first, as it was written last."""
        for path in (self.records / f"{name}.json", *self.files(name)):
            path.unlink(missing_ok=True)

    def tidy(self, names: Iterable[str]) -> dict[str, Record]:
        """Leave the volumes of these names that are whole, and no others; gives their records.

        What goes is what processes that were killed have left, and volumes of cases that the dataset has no more.
        """
        there: dict[str, Record] = {}
        wanted = dict.fromkeys(names)
        for path in self.records.glob("*.json"):
            if path.stem not in wanted:
                self.remove(path.stem)
        for name in wanted:
            record = self.read_record(name)
            if record is None:
                self.remove(name)
            else:
                there[name] = record
        for folder in (self.root, self.images, self.labels, self.masks, self.records):
            tidy(folder)  # nnU-Net would take a file that was being written for a case
        return there


def write_tables(
    layout: Layout,
    settings: Mapping[str, Any],
    records: Mapping[str, Record],
    missing: Collection[tuple[str, str, str]] = (),
) -> None:
    """Write ``provenance.json`` and, for spreadsheets, ``provenance.csv``.

    Parameters
    ----------
    layout
        Where.
    settings
        Of the run.
    records
        Of the volumes, by name.
    missing
        Name, status and reason of what was left out or failed.
    """
    volumes = [record.model_dump(mode="json", exclude={"settings"}) for record in records.values()]
    for volume in volumes:
        volume["notes"] = [without_folders(note) for note in volume["notes"]]
    content = {
        "format": FORMAT,
        "settings": dict(settings),
        "volumes": volumes,
        "missing": [
            {"name": name, "status": status, "reason": without_folders(reason)} for name, status, reason in missing
        ],
    }
    write_json(content, layout.provenance)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    columns = [name for name in Record.model_fields if name not in ("settings", "sources", "notes")]
    writer.writerow(columns)
    for volume in volumes:
        cells = (volume[name] for name in columns)
        writer.writerow([json.dumps(cell) if isinstance(cell, list) else cell for cell in cells])
    with replacing(layout.root / "provenance.csv") as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", newline="")


FORMAT = "napari-gem3d provenance"
# Folders of an absolute path, whose names may have spaces, and those of a relative path to a file.
_FOLDERS = re.compile(
    r"""(?<![^\s'"(])(?:[A-Za-z]:[/\\]|[/\\])(?:[^/\\'"\n;:,]*[/\\])*"""
    r"""|(?<![^\s'"(])(?:[^\s/\\'"(]+[/\\])+(?=[^\s/\\]*\.\w)"""
)


def without_folders(text: str) -> str:
    """A sentence with the paths in it shortened to names, since folders tell of the machine and its users."""
    return _FOLDERS.sub("", text)


def read_settings(layout: Layout) -> dict[str, Any] | None:
    """The settings that a folder was begun with; None for one that is empty or not there.

    Raises
    ------
    InputError
        If there is something else in it.
    """
    if not layout.provenance.exists():
        if layout.root.exists() and (not layout.root.is_dir() or any(layout.root.iterdir())):
            raise InputError(f"{layout.root} is there and was not made by this command; give a new folder.") from None
        return None
    try:
        content = read_json(layout.provenance)
    except InputError:
        content = None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{layout.provenance} is damaged or of another program; give an empty folder.")
    settings = content.get("settings")
    return settings if isinstance(settings, dict) else {}


def write_dataset_json(
    layout: Layout, channel: str, labels: Mapping[str, int], ignore: int | None, records: Mapping[str, Record]
) -> None:
    """Describe the dataset as nnU-Net wants it, with the mark that it is synthetic.

    Parameters
    ----------
    layout
        Where.
    channel
        Its name, such as FLAIR; nnU-Net chooses how intensities are normalised by it (CT).
    labels, ignore
        Values by name, without background; the value of voxels that nobody labelled.
    records
        Of the volumes, by name.
    """
    real = sum(not record.synthetic for record in records.values())
    named = {"background": 0, **dict(sorted(labels.items(), key=lambda label: label[1]))}
    facts = {
        "channel_names": {"0": channel},
        "labels": named if ignore is None else {**named, "ignore": ignore},
        "numTraining": len(records),
        "file_ending": ENDING,
        "synthetic": real < len(records),
        "description": f"{len(records) - real} synthetic scans (napari-gem3d) and {real} real ones; see provenance.csv",
    }
    write_json(facts, layout.root / "dataset.json")


def write_json(content: object, path: Path) -> None:
    """Write plain data as JSON, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def relative(path: Path | str, folder: Path) -> str:
    """How a file is named from a folder on, so that both can move together; as it is from another drive."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return str(path)
