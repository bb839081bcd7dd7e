"""Prepare: from an nnU-Net raw dataset to a cache of cropped, normalised slices and, later, of their latents."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.bundle.plan import IntensityScheme, LatentSpace, Plan
from napari_gem3d.bundle.preprocessing import prepare_labels, prepare_scan
from napari_gem3d.errors import InputError
from napari_gem3d.foreground import foreground
from napari_gem3d.io import read_label_map, read_volume
from napari_gem3d.labels import Label, LabelTable
from napari_gem3d.training.config.settings import DataSettings, TrainingConfig
from napari_gem3d.training.data.augmentation import vary

_SIZE_STEP = 32


@dataclass(frozen=True)
class CasePaths:
    """One patient of the dataset: name, image, and label map."""

    name: str
    image: Path
    labels: Path


@dataclass(frozen=True)
class Cache:
    """The prepared dataset of a run: ``plan.json``, ``split.json`` and a folder of memory-mapped arrays a patient."""

    folder: Path

    @property
    def plan(self) -> Plan:
        """The plan that the data was prepared by."""
        return Plan.model_validate_json((self.folder / "plan.json").read_text(encoding="utf-8"))

    def cases(self, split: str) -> list[str]:
        """Names of the patients of a split, ``train`` or ``validation``."""
        names: list[str] = json.loads((self.folder / "split.json").read_text(encoding="utf-8"))[split]
        return names

    def array(self, case: str, kind: str) -> NDArray[Any]:
        """Open one of a patient's arrays, (V, Z, ...) for V variants and Z slices.

        ``images`` (V, Z, H, W) float16 in [-1, 1], ``labels`` (V, Z, H, W) uint8, ``latents`` (V, Z, c, h, w) and
        ``shares`` (V, Z, K, h, w) float16.

        Raises
        ------
        InputError
            If the stage that writes it has not been run.
        """
        path = self.folder / "cache" / case / f"{kind}.npy"
        if not path.is_file():
            raise InputError(f"{path} is missing; run napari-gem3d-train prepare (and vae) with this --out first.")
        array: NDArray[Any] = np.load(path, mmap_mode="r")
        return array

    def has(self, case: str, kind: str) -> bool:
        """Whether an array is there."""
        return (self.folder / "cache" / case / f"{kind}.npy").is_file()

    def write(self, case: str, kind: str, array: NDArray[Any]) -> None:
        """Write an array under a temporary name, then rename."""
        path = self.folder / "cache" / case / f"{kind}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{kind}.tmp.npy")
        np.save(temporary, array)
        temporary.rename(path)


def find_cases(dataset: Path, channel: int) -> tuple[list[CasePaths], dict[str, Any]]:
    """List the training cases of an nnU-Net raw dataset, and read its ``dataset.json``.

    Raises
    ------
    InputError
        If there is no ``dataset.json``, fewer than two cases, or a case lacks its label map.
    """
    description = dataset / "dataset.json"
    try:
        facts = json.loads(description.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{description} cannot be read; give a folder in nnU-Net's raw layout with --data.") from error
    ending = f"_{channel:04d}{facts.get('file_ending', '.nii.gz')}"
    cases = []
    for image in sorted((dataset / "imagesTr").glob(f"*{ending}")):
        name = image.name.removesuffix(ending)
        labels = dataset / "labelsTr" / f"{name}{facts.get('file_ending', '.nii.gz')}"
        if not labels.is_file():
            raise InputError(f"The case {name} has no label map {labels}; add it or take the image away.")
        cases.append(CasePaths(name, image, labels))
    if len(cases) < 2:
        raise InputError(
            f"{dataset} has {len(cases)} training cases; at least two patients are needed to hold one out."
        )
    return cases, facts


def make_plan(config: TrainingConfig, cases: list[CasePaths], facts: dict[str, Any]) -> Plan:
    """Decide spacing, size, intensity scheme and label table from the dataset."""
    channel = str(facts.get("channel_names", {}).get(str(config.data.channel), ""))
    modality = "CT" if channel.upper() == "CT" else "MR"
    named = {int(value): name for name, value in facts.get("labels", {}).items() if int(value) != 0}
    table = LabelTable(
        (
            *(Label(value, name, meaning="lesion") for value, name in sorted(named.items())),
            Label(max(named, default=0) + 1, config.data.body_name, meaning="body"),
        )
    )
    spacings = [canonical.spacing for canonical in (read_label_map(case.labels).grid.canonical() for case in cases)]
    median = np.median(spacings, axis=0)
    spacing = config.data.spacing or (float(median[0]), float(median[1]), float(median[2]))
    return Plan(
        name=config.name,
        modality=modality,
        channel=channel,
        spacing=spacing,
        size=(_SIZE_STEP, _SIZE_STEP),
        intensity=IntensityScheme(kind="window" if modality == "CT" else "percentile"),
        labels=table,
        background_outside_body=modality == "MR",
        window=config.window,
        schedule=config.schedule,
        latents=LatentSpace(channels=config.vae.latent_channels),
    )


def prepare(dataset: Path, folder: Path, config: TrainingConfig, say: Callable[[str], None] = print) -> Cache:
    """Plan the dataset, split it by patient, and write the cache; what is already there is kept.

    Parameters
    ----------
    dataset
        Folder in nnU-Net's raw layout.
    folder
        The run.
    config
        The run's settings.
    say
        Receives messages for people.

    Raises
    ------
    InputError
        If the dataset is not usable; the message names the case.
    """
    cache = Cache(folder)
    cases, facts = find_cases(dataset, config.data.channel)
    if config.data.validation_cases >= len(cases):
        raise InputError(
            f"{len(cases)} patients cannot spare {config.data.validation_cases} for validation; hold out fewer."
        )
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "plan.json").is_file():
        plan = make_plan(config, cases, facts)
        extents = np.array([_body_extent(plan, case) for case in cases]).max(axis=0)
        rows, columns = (int(-(-extent // _SIZE_STEP) * _SIZE_STEP) for extent in extents)
        plan = plan.model_copy(update={"size": (rows, columns)})
        (folder / "plan.json").write_text(plan.model_dump_json(indent=2) + "\n", encoding="utf-8")
        names = [case.name for case in cases]
        held_out = sorted(
            np.random.default_rng(config.seed).permutation(names)[: config.data.validation_cases].tolist()
        )
        split = {"train": [name for name in names if name not in held_out], "validation": held_out}
        (folder / "split.json").write_text(json.dumps(split, indent=2), encoding="utf-8")
    plan = cache.plan
    say(f"prepare: {len(cases)} patients, {plan.size[0]}×{plan.size[1]} at {plan.spacing} mm, labels {plan.labels}")
    todo = [case for case in cases if not (cache.has(case.name, "images") and cache.has(case.name, "labels"))]
    with ProcessPoolExecutor(max_workers=2) as pool:
        jobs = [(cache, plan, case, config.data, config.seed + index) for index, case in enumerate(todo)]
        for case, slices in zip(todo, pool.map(_prepare_case, jobs), strict=True):
            say(f"prepare: {case.name}, {slices} slices")
    return cache


def _body_extent(plan: Plan, case: CasePaths) -> tuple[int, int]:
    """Rows and columns that the body of a case spans at the plan's spacing."""
    inside = prepare_labels(plan, read_label_map(case.labels), read_volume(case.image)).labels != 0
    rows, columns = np.flatnonzero(inside.any(axis=(0, 2))), np.flatnonzero(inside.any(axis=(0, 1)))
    return int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)


def _prepare_case(job: tuple[Cache, Plan, CasePaths, DataSettings, int]) -> int:
    """Write one patient's images and labels in all variants; returns the number of slices."""
    cache, plan, paths, settings, seed = job
    scan, mask = read_volume(paths.image), read_label_map(paths.labels)
    case = prepare_labels(plan, mask, scan)
    image = prepare_scan(plan, scan, case.box, foreground(scan))
    rng = np.random.default_rng(seed)
    pairs = [vary(image, case.labels, settings, variant, rng) for variant in range(settings.variants)]
    cache.write(paths.name, "images", np.stack([image for image, _ in pairs]).astype(np.float16))
    cache.write(paths.name, "labels", np.stack([labels for _, labels in pairs]))
    return len(case.slices)
