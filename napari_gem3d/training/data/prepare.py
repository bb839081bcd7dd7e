"""Prepare: from a dataset to a plan, a split and a cache."""

from __future__ import annotations

import shutil
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from napari_gem3d.bundle.plan import Plan
from napari_gem3d.bundle.preprocessing import prepare_labels, prepare_scan
from napari_gem3d.errors import InputError, OutputError
from napari_gem3d.io.files import private_folder
from napari_gem3d.training.config.geometry import size_step
from napari_gem3d.training.config.settings import DataSettings, TrainingConfig
from napari_gem3d.training.data.augmentation import mirrors, vary
from napari_gem3d.training.data.cache import Cache, hashed, plan_key, read_json, write_json
from napari_gem3d.training.data.dataset import CasePaths, Dataset, read_dataset
from napari_gem3d.training.data.fingerprint import (
    UNFORESEEN,
    CaseFacts,
    inspect,
    kept_foreground,
    plan_inspections,
    read_pair,
    write_fingerprint,
)
from napari_gem3d.training.data.planning import case_fault, deciding_settings, given_modality, make_plan
from napari_gem3d.training.data.split import held_out, make_split
from napari_gem3d.training.data.summary import plan_table
from napari_gem3d.training.data.workers import choose_workers, most_voxels, pool, run_all

Item = TypeVar("Item")
Say = Callable[[str], None]

# Changes when the arrays of the cache change their meaning.
_VERSION = 2
_PLANNED = "planned.json"
# Memory that inspecting and preparing a case take, in bytes for each of its voxels (measured).
_INSPECTING, _PREPARING = 28, 36
# What a case costs on disk, in bytes a voxel: float16 intensities and a byte of label.
_BYTES_A_VOXEL = 3
_SECONDS_BETWEEN_LINES = 20.0
_LISTED = 20
# What of DataSettings decides the variants.
_VARYING = {
    "variants",
    "mirror",
    "max_rotation_deg",
    "max_tilt_deg",
    "max_scaling",
    "max_elastic_mm",
    "max_slice_elastic_mm",
    "max_gamma",
    "max_texture",
}


@dataclass(frozen=True)
class Preparation:
    """The job of preparing one case: its files, how, and the stamp that says so when it is done."""

    case: CasePaths
    plan: Plan
    settings: DataSettings
    seed: int
    cache: Cache
    stamp: dict[str, object]


def prepare(dataset: Path, folder: Path, config: TrainingConfig, say: Say = print, skip_broken: bool = False) -> Cache:
    """Inspect a dataset, plan it, split it by patient, and write the cache; what is already there and still true stays.

    Cases are read in processes of their own (spawned: a script that calls this needs ``if __name__ == "__main__"``).

    Parameters
    ----------
    dataset
        Folder in nnU-Net's raw layout, or a CSV of image and label paths.
    folder
        The run. It receives ``fingerprint.json``, ``plan.json`` (kept and followed if it is there: people may edit
        it), ``split.json`` and ``cache/``.
    config
        The run's settings.
    say
        Receives messages for people; a bar goes to the terminal, if standard error is one.
    skip_broken
        Leave out cases that cannot be used, instead of refusing.

    Raises
    ------
    InputError
        If the dataset, its cases (all that cannot be used are named), the plan or the split are not usable.
    """
    source, cache = read_dataset(dataset, config.data), Cache(folder)
    private_folder(folder / "cache")
    for litter in (folder / "cache").glob("*/.*"):  # of a run that was killed
        litter.unlink()
    facts = _inspected(source, config, cache, say)
    usable = _without_broken(source, config, cache, facts, skip_broken, say)
    validation = held_out(source, usable, config.data.validation_cases)
    used = {case.name: facts[case.name] for case in usable}
    plan = _planned(source, config, cache, used)
    split = make_split(folder, usable, validation, config.seed)
    jobs = [_preparation(case, plan, config, cache, facts[case.name]) for case in usable]
    todo = [job for job in jobs if not _done(job)]
    if not todo:
        say(f"prepare: all {len(jobs)} cases are prepared by {folder / 'plan.json'}")
        return cache
    cost = sum(_cost(plan, config.data, used[job.case.name]) for job in jobs)
    say(plan_table(plan, config, usable, used, split, cost))
    _check_disk(folder, sum(_cost(plan, config.data, used[job.case.name]) for job in todo))
    voxels = max(_opened_voxels(plan, used[job.case.name]) for job in todo)
    with pool(choose_workers(config.data.workers, len(todo), voxels * _PREPARING)) as executor:
        results = _shown(run_all(executor, prepare_case, todo), len(todo), "prepare", say)
        _refuse(folder, {job.case.name: fault for job, fault in results if fault}, "prepared", "")
    _say_notes(cache, [job.case.name for job in jobs], say)
    say(f"prepare: {len(todo)} cases prepared" + (f", {len(jobs) - len(todo)} were" if len(todo) < len(jobs) else ""))
    return cache


def prepare_case(job: Preparation) -> str:
    """Write one case's images and labels in all variants; returns why that failed, or nothing."""
    cache, name = job.cache, job.case.name
    try:
        cache.clear(name)
        scan, mask = read_pair(job.case, job.plan.modality)
        inside = kept_foreground(cache, name, scan.shape)
        case = prepare_labels(job.plan, mask, scan, inside)
        if len(case.slices) < 2:
            raise InputError("Its body spans fewer than two slices of the plan's spacing; plan thinner ones.")
        image = prepare_scan(job.plan, scan, case.box, inside)
        del scan, mask, inside
        # By its name, so that a case has the same variants whenever it is prepared.
        rng = np.random.default_rng([job.seed, zlib.crc32(name.encode())])
        shape = (job.settings.variants, *image.shape)
        with (
            cache.writing(name, "images", shape, np.float16) as append_image,
            cache.writing(name, "labels", shape, np.uint8) as append_labels,
        ):
            for variant in range(job.settings.variants):
                varied, labels = vary(image, case.labels, job.plan, job.settings, variant, rng)
                append_image(varied.astype(np.float16))
                append_labels(labels)
        cache.set_stamp(name, {**job.stamp, "unknown": list(case.unknown), "notes": list(case.notes)})
    except OutputError:  # a full disk is no fault of the case
        raise
    except InputError as error:
        return str(error)
    except UNFORESEEN as error:  # one case must not end the run of a thousand
        return f"It cannot be prepared ({type(error).__name__}: {error}); look at its files, or leave it out."
    return ""


def _inspected(source: Dataset, config: TrainingConfig, cache: Cache, say: Say) -> dict[str, CaseFacts]:
    """What every case holds, by its name."""
    jobs, facts = plan_inspections(source, given_modality(source, config.data), cache)
    if jobs:
        memory = _INSPECTING * most_voxels(job.case.image for job in jobs)
        with pool(choose_workers(config.data.workers, len(jobs), memory)) as executor:
            results = _shown(run_all(executor, inspect, jobs), len(jobs), "inspect", say)
            facts.update({job.case.name: found for job, found in results})
    return facts


def _without_broken(
    source: Dataset, config: TrainingConfig, cache: Cache, facts: dict[str, CaseFacts], skip: bool, say: Say
) -> list[CasePaths]:
    """The cases that can be used; writes ``fingerprint.json``. InputError if some cannot and are not to be left out."""
    faults = {name: found.broken or case_fault(source, config.data, found) for name, found in facts.items()}
    broken = {name: fault for name, fault in faults.items() if fault}
    write_fingerprint(cache, facts, broken)
    if broken and skip:
        say(f"prepare: left out, as they cannot be used:\n{_listed(broken)}")
    elif broken:
        _refuse(cache.folder, broken, "used", ", or leave them out with --skip-broken")
    return [case for case in source.cases if case.name not in broken]


def _refuse(folder: Path, broken: dict[str, str], verb: str, instead: str) -> None:
    if broken:
        raise InputError(
            f"{len(broken)} of the cases cannot be {verb} (run: {folder}):\n{_listed(broken)}\n"
            f"Repair them and run the same command again{instead}."
        )


def _listed(broken: dict[str, str]) -> str:
    lines = [f"  {name}: {fault}" for name, fault in sorted(broken.items())]
    more = [f"  … and {len(lines) - _LISTED} more (fingerprint.json)"] if len(lines) > _LISTED else []
    return "\n".join(lines[:_LISTED] + more)


def _planned(source: Dataset, config: TrainingConfig, cache: Cache, used: dict[str, CaseFacts]) -> Plan:
    """The plan in the run, or a new one; InputError if settings changed that it was made with."""
    path, record = cache.folder / "plan.json", cache.folder / "cache" / _PLANNED
    settings = deciding_settings(config.data)
    if path.is_file():
        plan = cache.plan
        step = size_step(config)
        if any(length % step for length in plan.size):
            raise InputError(f"{path} has the size {plan.size}; make both multiples of {step}.")
        before = read_json(record)
        changed = [name for name, value in settings.items() if before and before.get(name) != value]
        if changed:
            raise InputError(
                f"{path} was made with another data.{changed[0]}; edit that file, or delete it to plan anew."
            )
        return plan
    plan = make_plan(config, source, used)
    write_json(record, settings)
    write_json(path, plan.model_dump(mode="json"))
    return plan


def _say_notes(cache: Cache, cases: list[str], say: Say) -> None:
    """Say whose anatomy cannot be told from the scan, by reason."""
    reasons: dict[str, list[str]] = {}
    for case in cases:
        for note in cache.stamp(case).get("notes", ()):
            reasons.setdefault(note, []).append(case)
    for note, names in reasons.items():
        listed = ", ".join(names[:_LISTED]) + (" …" if len(names) > _LISTED else "")
        say(f"prepare: anatomy is not known in {len(names)} of {len(cases)} cases ({listed}): {note}")


def _preparation(case: CasePaths, plan: Plan, config: TrainingConfig, cache: Cache, facts: CaseFacts) -> Preparation:
    varied = config.data.model_dump(mode="json", include=_VARYING)
    stamp: dict[str, object] = {
        "plan": plan_key(plan),
        "source": hashed([_VERSION, facts.source, varied, config.seed]),
        "mirrored": mirrors(config.data, plan),
    }
    return Preparation(case, plan, config.data, config.seed, cache, stamp)


def _done(job: Preparation) -> bool:
    there = all(job.cache.has(job.case.name, kind) for kind in ("images", "labels"))
    stamp = job.cache.stamp(job.case.name)
    return there and {key: stamp.get(key) for key in job.stamp} == job.stamp


def _cost(plan: Plan, settings: DataSettings, facts: CaseFacts) -> float:
    """Bytes that a case takes in the cache."""
    spacing = plan.spacing[0] if plan.framing == "crop" else facts.spacing[0]
    voxels = facts.body_mm[0] / spacing * plan.size[0] * plan.size[1]
    return voxels * _BYTES_A_VOXEL * settings.variants


def _opened_voxels(plan: Plan, facts: CaseFacts) -> float:
    """Voxels of a case's whole field of view, as it is or at the plan's spacing, whichever are more."""
    finer = np.divide(facts.spacing, plan.spacing) if plan.framing == "crop" else np.ones(3)
    return float(np.prod(facts.shape)) * max(1.0, float(np.prod(finer)))


def _check_disk(folder: Path, needed: float) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"The cache needs {needed / 1e9:.3g} GB, but {folder} has {free / 1e9:.3g} GB free; choose another --out, "
            "a coarser data.spacing or fewer data.variants."
        )


def _shown(results: Iterable[Item], total: int, what: str, say: Say) -> Iterator[Item]:
    """Pass results on, with a bar in a terminal, and else a line every so often."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bar:
        task, last = bar.add_task(what, total=total), time.monotonic()
        for number, result in enumerate(results, 1):
            yield result
            bar.advance(task)
            if not console.is_terminal and time.monotonic() - last > _SECONDS_BETWEEN_LINES:
                say(f"{what}: {number} of {total} cases")
                last = time.monotonic()
