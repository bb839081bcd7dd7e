"""Make the sample patients that come with the package; they are nobody's.

    python -m tools.make_samples ../shared/data/Dataset501_GliomaFLAIR --pictures DIR

Brains are averages of the outlines of at least five scans of the dataset, bent; tumours are drawn; the bundle draws the
rest, the informed slice too. The same dataset, bundle, versions and processor give the same files.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from napari_gem3d import run_recipe
from napari_gem3d.bundle import ModelBundle, bundled_models, load_bundle
from napari_gem3d.errors import InputError
from napari_gem3d.grid import Grid
from napari_gem3d.io import read_volume, replacing, write_volume
from napari_gem3d.labels import LabelMap
from napari_gem3d.pictures import three_planes
from napari_gem3d.samples import DATA, FORMAT, INDEX
from napari_gem3d.sampling.generation import open_volume
from napari_gem3d.sampling.recipe import GENERATED, Recipe, sidecar
from napari_gem3d.sampling.settings import Settings
from napari_gem3d.training.config.settings import DataSettings
from napari_gem3d.training.data.dataset import read_dataset
from napari_gem3d.volume import Volume, resample
from tools.anatomy import FEWEST, Shapes, Tumour, add_tumour, new_brain

# So many informed slices are drawn for each patient; the one that fits best is taken.
CANDIDATES = 6
# A pixel of a drawn slice is tissue above this; a lesion shows in tissue that is smoothed over so many pixels.
_TISSUE, _SMOOTHING = 100.0, 4.0
# Slices between the informed slice and the lesion.
_BESIDE = 4
# So many brains are drawn for each patient until one is unlike enough.
_ATTEMPTS = 20
# The tissue's 99.9th percentile is stored as this, in steps that cost a fifth less space than steps of 1.
_BRIGHTEST, _LEVEL = 240, 2


@dataclass(frozen=True)
class Patient:
    """What one sample patient shall be like.

    Attributes
    ----------
    name, title, about
        As `napari_gem3d.samples.Sample` has them.
    seed
        Decides the brain, the tumour's outline and, counting on from it, the candidates for the informed slice.
    tumour
        What is drawn.
    position
        Of the informed slice, 0 lowest to 1 highest; the nearest slice without tumour is taken, as the slice that is
        drawn for it has none either.
    orientation, slice_mm
        How the voxels are stored; their distance from the feet to the head (1 mm in the other directions).
    """

    name: str
    title: str
    about: str
    seed: int
    tumour: Tumour
    position: float = 0.55
    orientation: str = "RAS"
    slice_mm: float = 1.0


PATIENTS = (
    Patient(
        "patient-a",
        "Synthetic patient A",
        "right frontal glioma with much oedema",
        100,
        Tumour((0.45, 0.3, 0.42), (52, 68, 47), 12, 4.5, (0, 0, 15)),
    ),
    Patient(
        "patient-b",
        "Synthetic patient B",
        "left parietal glioma, mostly oedema, stored LPS",
        200,
        Tumour((-0.5, -0.4, 0.42), (49, 65, 54), 15, 4, (0, 20, -20)),
        orientation="LPS",
    ),
    Patient(
        "patient-c",
        "Synthetic patient C",
        "left temporal glioma with a large core, slices of 2 mm",
        300,
        Tumour((-0.55, -0.05, -0.3), (47, 73, 47), 8, 4, (0, 0, 10)),
        orientation="LPS",
        slice_mm=2.0,
    ),
    Patient(
        "patient-d",
        "Synthetic patient D",
        "small right central lesion without enhancement, sagittal slices",
        400,
        Tumour((0.4, -0.1, 0.45), (26, 34, 26), 7, 0),
        orientation="PSR",
    ),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the files, and print what they are as a table for the documentation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="whose outlines are averaged: nnU-Net raw layout or CSV")
    parser.add_argument("--model", default="brain-flair", help="bundle that draws (brain-flair)")
    parser.add_argument("--out", type=Path, default=DATA, help="folder for the files (the package's own)")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="also write pictures to look at")
    parser.add_argument(
        "--seed", action="append", default=[], metavar="NAME=SEED", help="take this informed slice for a patient"
    )
    options = parser.parse_args(arguments)
    seeds = dict(pair.split("=") for pair in options.seed)
    try:
        make_samples(
            options.dataset,
            options.model,
            options.out,
            pictures=options.pictures,
            seeds={name: int(seed) for name, seed in seeds.items()},
        )
    except InputError as error:
        parser.exit(2, f"{error}\n")


def make_samples(
    dataset: Path,
    model: str,
    out: Path,
    *,
    patients: Sequence[Patient] = PATIENTS,
    candidates: int = CANDIDATES,
    pictures: Path | None = None,
    seeds: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Make the sample patients; all files appear in `out` when all are done.

    Parameters
    ----------
    dataset
        Skull-stripped scans, of which only the outlines are used.
    model
        Name or folder of a bundle with a position U-Net.
    out
        Folder, made if needed.
    patients
        What to make.
    candidates
        How many informed slices to draw for each before one is chosen.
    pictures
        Folder for pictures of the candidates and of the patients.
    seeds
        Seeds by name of patient, in the place of a choice.

    Returns
    -------
    dict
        The index that is written.

    Raises
    ------
    InputError
        If the dataset has fewer than five scans, or something cannot be read, drawn or written.
    """
    bundle = load_bundle(model)
    if bundle.position_unet is None:
        raise InputError(f"The model {model} has no position model to draw informed slices; give one that has.")
    cases = read_dataset(dataset, DataSettings()).cases
    if len(cases) < FEWEST:
        raise InputError(f"{dataset} has {len(cases)} scans; an average needs {FEWEST}, give a larger dataset.")
    out, pictures = out.resolve(), None if pictures is None else pictures.resolve()
    for folder in (out, *([] if pictures is None else [pictures])):
        folder.mkdir(parents=True, exist_ok=True)
    clock = Clock()
    shapes = Shapes.of([case.image for case in cases])
    clock.says(f"outlines of {len(cases)} brains")
    studio = Studio(bundle, shared_name(bundle), shapes, candidates, pictures, seeds or {}, clock)
    # Recipes name the label map without a folder: it lies beside them wherever the package is installed.
    with tempfile.TemporaryDirectory() as staging, contextlib.chdir(staging):
        index = studio.index([studio.make(patient) for patient in patients])
        Path(INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
        for path in sorted(Path().iterdir()):
            with replacing(out / path.name) as temporary:
                shutil.copyfile(path, temporary)
    print(summary(index, out))
    return index


class Clock:
    """Says how long each part took."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def says(self, what: str) -> None:
        """Print what was done since the last time."""
        now = time.monotonic()
        print(f"{now - self._last:6.1f} s  {what}", flush=True)
        self._last = now


@dataclass(frozen=True)
class Studio:
    """What makes patients, one after the other, in the working folder.

    Attributes
    ----------
    bundle, model
        What draws, and what recipes call it.
    shapes
        What brains are averages of.
    candidates, pictures, seeds
        As `make_samples` has them.
    clock
        Tells how it goes on.
    """

    bundle: ModelBundle
    model: str
    shapes: Shapes
    candidates: int
    pictures: Path | None
    seeds: Mapping[str, int]
    clock: Clock

    def make(self, patient: Patient) -> dict[str, Any]:
        """Write label map, scan and recipe of a patient; returns its entry of the index."""
        path = Path(f"{patient.name}_labels.nii.gz")
        upright = add_tumour(self._brain(patient), patient.tumour, patient.seed)
        labels = stored(upright, patient)
        write_volume(labels, path, description=f"SYNTHETIC label map, nobody's: napari-gem3d {patient.name}")
        self.clock.says(f"{patient.name}: label map")
        position = beside_lesion(upright, patient.position)
        recipe = self._informed(path, patient, position)
        self.clock.says(f"{patient.name}: informed slice, seed {recipe.seed}")
        scan = self._drawn(recipe, labels, patient)
        self.clock.says(f"{patient.name}: volume")
        if self.pictures is not None:
            three_planes(scan, labels, self.pictures / f"{patient.name}.png")
        return {
            "name": patient.name,
            "title": patient.title,
            "about": patient.about,
            "seed": recipe.seed,
            "position": position,
            "volumes_ml": {str(value): round(ml, 1) for value, ml in labels.volumes_ml().items()},
            "likeness": round(self.shapes.likeness(upright.voxels > 0, upright.spacing), 3),
        }

    def index(self, entries: list[dict[str, Any]]) -> dict[str, Any]:
        """What `napari_gem3d.samples` reads."""
        among = self.shapes.likeness_among
        measured = {"lowest": min(among), "median": float(np.median(among)), "highest": max(among)}
        return {
            "format": FORMAT,
            "format_version": 1,
            "synthetic": True,
            "model": {"name": self.bundle.plan.name, "sha256": self.bundle.sha256},
            "labels": self.bundle.plan.labels.to_json(),
            "likeness_among_scans": {name: round(value, 3) for name, value in measured.items()},
            "samples": entries,
        }

    def _brain(self, patient: Patient) -> LabelMap:
        """A brain that is less like any scan's than half of the scans' brains are like another one."""
        for attempt in range(_ATTEMPTS):
            brain = new_brain(self.shapes, self.bundle.plan.labels, patient.seed + 1000 * attempt)
            if self.shapes.likeness(brain.voxels > 0, brain.spacing) < np.median(self.shapes.likeness_among):
                return brain
        raise InputError(f"{_ATTEMPTS} brains for {patient.name} were all too like a scan's; change its seed.")

    def _informed(self, labels: Path, patient: Patient, position: float) -> Recipe:
        """The recipe whose drawn slice fits best: the outline that the label map has there, no lesion of its own."""
        wanted = self.seeds.get(patient.name)
        tried = range(patient.seed, patient.seed + self.candidates) if wanted is None else [wanted]
        found = []
        for seed in tried:
            settings = Settings(position=position, seed=seed)
            job = open_volume(labels, GENERATED, model=self.model, settings=settings, bundle=self.bundle)
            recipe, case, picture = job.recipe, job.prepared.case, job.informed_picture
            found.append((fit(picture, case.labels[recipe.start - case.slices.start]), recipe, picture))
        if self.pictures is not None:
            sheet = np.concatenate([np.clip(picture / 4, 0, 255)[::-1, ::-1] for _, _, picture in found], axis=1)
            name = f"{patient.name}-slices-{found[0][1].seed}-{found[-1][1].seed}.png"
            Image.fromarray(sheet.astype(np.uint8)).save(self.pictures / name)
        return max(found, key=lambda one: one[0])[1]

    def _drawn(self, recipe: Recipe, labels: LabelMap, patient: Patient) -> Volume:
        """Run a recipe and pack the result."""
        path = Path(f"{patient.name}.nii.gz")
        run_recipe(recipe, path)
        sidecar(path).rename(f"{patient.name}.recipe.json")
        scan = packed(read_volume(path), labels.voxels > 0)
        about = f"SYNTHETIC, nobody's scan: napari-gem3d {patient.name}, seed {recipe.seed}"
        write_volume(scan, path, description=about)
        return scan


def shared_name(bundle: ModelBundle) -> str:
    """What recipes call a model: a bundled one by its name, which everybody has, another by its folder."""
    name, folder = bundle.plan.name, Path(str(bundle.path)).resolve()
    bundled = bundled_models().get(name)
    return name if bundled is not None and bundled.resolve() == folder else str(folder)


def beside_lesion(labels: LabelMap, position: float) -> float:
    """The position nearest to the one given, from 0 to 1 along the slices of an upright body, that cuts no lesion."""
    body = np.flatnonzero(labels.voxels.any(axis=(1, 2)))
    assert labels.table is not None
    lesion = np.isin(labels.voxels, [label.value for label in labels.table.lesions]).any(axis=(1, 2))
    lesion = ndimage.binary_dilation(lesion, iterations=_BESIDE)
    shares = (np.arange(len(lesion)) - body[0]) / (body[-1] - body[0])
    free = shares[~lesion & (shares >= 0) & (shares <= 1)]
    return round(float(free[np.abs(free - position).argmin()]), 3)


def fit(picture: NDArray[np.float32], labels: NDArray[np.uint8]) -> float:
    """How well a drawn slice (H, W) serves a label map's slice: agreement of the outlines, less a lesion of its own.

    Parameters
    ----------
    picture
        In the units of a scan without a picture, tissue up to about 1000.
    labels
        (H, W).

    Returns
    -------
    float
        Dice coefficient of tissue and labels, less the share by which the brightest part outshines the median tissue.
    """
    tissue, body = picture > _TISSUE, labels > 0
    if not tissue.any():
        return 0.0
    dice = 2 * np.count_nonzero(tissue & body) / (np.count_nonzero(tissue) + np.count_nonzero(body))
    smooth, share = (
        ndimage.gaussian_filter(np.where(tissue, part, 0).astype(np.float32), _SMOOTHING) for part in (picture, 1)
    )
    brightest = float((smooth[tissue] / share[tissue]).max())
    return float(dice - (brightest / np.median(picture[tissue]) - 1))


def stored(labels: LabelMap, patient: Patient) -> LabelMap:
    """A label map of 1 mm as the patient's file has it: distance of slices, axes, and an origin of its own."""
    grid = labels.grid.with_spacing((patient.slice_mm, None, None))
    turned = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(tuple(patient.orientation))
    )
    affine = grid.affine @ nib.orientations.inv_ornt_aff(turned, grid.shape[::-1])
    shape = [0, 0, 0]
    for old, new in enumerate(turned[:, 0].astype(int)):
        shape[new] = grid.shape[::-1][old]
    return resample(labels, Grid((shape[2], shape[1], shape[0]), affine), order=0)


def packed(scan: Volume, body: NDArray[np.bool_]) -> Volume:
    """A scan as bytes: 0 around the body, at least `_LEVEL` within, its brightest tissue at `_BRIGHTEST`."""
    voxels = scan.voxels.astype(np.float32)
    scaled = _LEVEL * np.rint(voxels * (_BRIGHTEST / _LEVEL / np.percentile(voxels[body], 99.9)))
    return scan.with_voxels(np.where(body, np.clip(scaled, _LEVEL, 254), 0).astype(np.uint8))


def summary(index: Mapping[str, Any], folder: Path) -> str:
    """The patients as a Markdown table, with the size of everything."""
    among = index["likeness_among_scans"]
    rows = ["| | | edema / non-enhancing / enhancing, ml | brain, ml | seed | likeness |", "|---|---|---|---|---|---|"]
    for entry in index["samples"]:
        ml = entry["volumes_ml"]
        lesion = " / ".join(f"{ml.get(str(value), 0):.1f}" for value in (1, 2, 3))
        rows.append(
            f"| {entry['title']} | {entry['about']} | {lesion} | {sum(ml.values()):.0f} | {entry['seed']} "
            f"| {entry['likeness']:.3f} |"
        )
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    scans = f"among the scans {among['lowest']:.3f} to {among['highest']:.3f}, median {among['median']:.3f}"
    return "\n".join(
        [*rows, "", f"Likeness: highest Dice of a brain with any scan's; {scans}.", f"{size / 1e6:.1f} MB"]
    )


if __name__ == "__main__":
    main()
