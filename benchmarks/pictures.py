"""Pictures of what the model does, for the documentation: counterfactuals, harmonising, failures.

    python -m benchmarks.pictures                                        the sample patients, into docs/images
    python -m benchmarks.pictures --patient SCAN LABELS … --out FOLDER   other patients: two or three, for looking at

The first patient's tumour is changed, the second gives one to transplant, and the first one's slice informs all.
Volumes go to --work with their recipes; those that are there and were made by the same are not made again. Pictures
that show a slice of a real patient must not be published.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from benchmarks.measure import ROOT
from napari_gem3d import (
    InputError,
    LabelMap,
    Recipe,
    make_edit_recipe,
    make_recipe,
    read_label_map,
    read_volume,
    run_recipe,
    transform_mask,
    write_volume,
)
from napari_gem3d.bundle.store import find_bundle, read_plan
from napari_gem3d.grid import FloatArray
from napari_gem3d.labels import LabelTable
from napari_gem3d.masks import Flip, Grow, Remove, Transplant
from napari_gem3d.pictures import Row, planes_in_rows
from napari_gem3d.sampling.results import is_made

IMAGES = ROOT / "docs" / "images"
# Between the patients of one picture, pixels; and the width of a picture, which pages show smaller still.
_GAP, _WIDTH = 24, 1300
# What is done to the tumour: the caption, and the operations; a transplant follows the removal.
CHANGES: dict[str, tuple[Any, ...]] = {
    "moved": ("tumour on the other side", Flip(axis="R", centre="body")),
    "enlarged": ("tumour enlarged by 6 mm", Grow(mm=6)),
    "removed": ("tumour removed", Remove()),
    "transplanted": ("another patient's tumour in its place", Remove()),
}


class Patient(NamedTuple):
    """Files of a scan and its label map."""

    scan: Path
    labels: Path


class Change(NamedTuple):
    """A label map that says something else than the scan: how the picture calls it, its file, where to look (mm)."""

    caption: str
    labels: Path
    at: tuple[float, ...]


def samples() -> list[tuple[Path, Path]]:
    """Files of the sample patients that come with the package."""
    from napari_gem3d.samples import sample_patients

    return [(sample.image, sample.labels) for sample in sample_patients().values()]


def changes(patient: Patient, donor: Patient, table: LabelTable, work: Path) -> Iterator[Change]:
    """Write the label maps of the counterfactual set."""
    labels = read_label_map(patient.labels, table)
    middle = centre_of_lesions(labels, table)
    transplant = Transplant(donor=str(donor.labels), to=tuple(float(mm) for mm in middle))
    wanted = {**CHANGES, "transplanted": (*CHANGES["transplanted"], transplant)}
    donors = {str(donor.labels): read_label_map(donor.labels, table)}
    for name, (caption, *operations) in wanted.items():
        changed = transform_mask(labels, operations, body=read_volume(patient.scan), donors=donors).labels
        out = work / f"{name}-labels.nii.gz"
        write_volume(changed, out)
        where = middle if name == "removed" else centre_of_lesions(changed, table)
        yield Change(caption, out, tuple(float(mm) for mm in where))


def centre_of_lesions(labels: LabelMap, table: LabelTable) -> FloatArray:
    """The voxel of the lesions nearest to their middle, (R, A, S) in mm."""
    inside = np.argwhere(np.isin(labels.voxels, [label.value for label in table.lesions]))
    if not len(inside):
        raise InputError("A label map has no lesion; give a patient that has one.")
    nearest = inside[np.linalg.norm(inside - inside.mean(axis=0), axis=1).argmin()]
    centre: FloatArray = labels.grid.index_to_world([nearest])[0]
    return centre


def made(recipe: Recipe, out: Path) -> Path:
    """The volume of a recipe, made if it is not there."""
    if not is_made(recipe, out):
        run_recipe(recipe, out)
        print(f"made {out}", flush=True)
    return out


def counterfactuals(patient: Patient, donor: Patient, work: Path, out: Path, how: dict[str, Any]) -> None:
    """Draw the set twice: as edits of the scan, and as whole volumes informed by the scan's slice."""
    table = read_plan(find_bundle(how["model"])).labels
    scan, labels = read_volume(patient.scan), read_label_map(patient.labels, table)
    edits, wholes = [Row(scan, "as it is", labels)], [Row(scan, "as it is", labels)]
    recipe = make_recipe(patient.labels, patient.scan, body=patient.scan, position=0.5, **how)
    whole = made(recipe, work / "same-whole.nii.gz")
    wholes.append(Row(read_volume(whole), "drawn from the same label map", labels))
    for change in changes(patient, donor, table, work):
        name = change.labels.name.removesuffix("-labels.nii.gz")
        recipe = make_edit_recipe(patient.scan, patient.labels, change.labels, **how)
        edited = made(recipe, work / f"{name}-edit.nii.gz")
        recipe = make_recipe(change.labels, patient.scan, body=patient.scan, position=0.5, **how)
        whole = made(recipe, work / f"{name}-whole.nii.gz")
        after = read_label_map(change.labels, table)
        edits.append(Row(read_volume(edited), change.caption, after, at=change.at))
        wholes.append(Row(read_volume(whole), change.caption, after, at=change.at))
    for rows, name in ((edits, "counterfactual-edits"), (wholes, "counterfactual-volumes")):
        planes_in_rows(rows, work / f"{name}.png")
        finish([work / f"{name}.png"], out / f"{name}.png")


def harmonised(patients: Sequence[Patient], work: Path, out: Path, how: dict[str, Any]) -> None:
    """Draw every patient's label map with one informed slice, all in its grey scale, below the patient's own scan."""
    table = read_plan(find_bundle(how["model"])).labels
    informing, sheets = read_volume(patients[0].scan), []
    for number, patient in enumerate(patients, 1):
        recipe = make_recipe(patient.labels, patients[0].scan, body=patient.scan, position=0.5, **how)
        drawn = read_volume(made(recipe, work / f"harmonised-{number}.nii.gz"))
        rows = [
            Row(read_volume(patient.scan), f"patient {number}", read_label_map(patient.labels, table)),
            Row(drawn, "informed by the slice of patient 1", greys=informing),
        ]
        sheets.append(work / f"harmonised-{number}.png")
        planes_in_rows(rows, sheets[-1])
    finish(sheets, out / "harmonised.png")


def failures(patient: Patient, work: Path, out: Path, how: dict[str, Any]) -> None:
    """Draw what goes wrong: the informed slice shows a tumour that is removed, or lies far from the tumour."""
    table = read_plan(find_bundle(how["model"])).labels
    scan, labels = read_volume(patient.scan), read_label_map(patient.labels, table)
    index = round(float(scan.grid.canonical().world_to_index([centre_of_lesions(labels, table)])[0][0]))
    removed = work / "removed-labels.nii.gz"
    write_volume(transform_mask(labels, Remove(), body=scan).labels, removed)
    through = make_recipe(removed, patient.scan, body=patient.scan, slice=index, **how)
    far = make_recipe(patient.labels, patient.scan, body=patient.scan, position=0.1, **how)
    rows = [
        Row(scan, "as it is", labels),
        Row(read_volume(made(through, work / "shown.nii.gz")), "tumour removed, but in the informed slice", labels),
        Row(read_volume(made(far, work / "far.nii.gz")), "informed by a slice near the lower end", labels),
    ]
    planes_in_rows(rows, work / "failures.png")
    finish([work / "failures.png"], out / "failures.png")


def finish(sheets: Sequence[Path], out: Path) -> None:
    """Put pictures below each other, small enough for a page."""
    pictures = [Image.open(sheet) for sheet in sheets]
    width, height = max(p.width for p in pictures), sum(p.height + _GAP for p in pictures) - _GAP
    whole, top = Image.new("RGB", (width, height)), 0
    for picture in pictures:
        whole.paste(picture, (0, top))
        top += picture.height + _GAP
    if width > _WIDTH:
        whole = whole.resize((_WIDTH, round(height * _WIDTH / width)), Image.Resampling.LANCZOS)
    whole.save(out)
    print(f"drew {out}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patient", nargs=2, type=Path, action="append", metavar=("SCAN", "LABELS"))
    parser.add_argument("--out", type=Path, help="folder for the pictures (docs/images for the sample patients)")
    parser.add_argument("--work", type=Path, help="folder that keeps the volumes")
    parser.add_argument("--model", default="brain-flair", help="bundled model or folder of one")
    parser.add_argument("--steps", type=int, help="denoising steps; the model's own by default")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    if options.patient and (len(options.patient) < 2 or options.out is None):
        parser.error("give at least two patients, and --out: pictures of your patients do not belong into docs")
    out = options.out or IMAGES
    how = {"model": options.model, "steps": options.steps, "seed": options.seed}
    with TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        for folder in (out, work):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            patients = [Patient(*files) for files in options.patient or samples()]
            counterfactuals(patients[0], patients[1], work, out, how)
            harmonised(patients[:3], work, out, how)
            failures(patients[0], work, out, how)
        except InputError as error:
            sys.exit(f"benchmarks.pictures: {error}")


if __name__ == "__main__":
    main()
