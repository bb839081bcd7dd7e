"""Harmonise a dataset (de-enhancement): every case drawn anew, all informed by one slice; and what that changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from napari_gem3d import __version__
from napari_gem3d.bundle.plan import Plan
from napari_gem3d.bundle.store import find_bundle, hash_bundle, read_plan
from napari_gem3d.cohorts.enhance import (
    Cohort,
    assumed,
    check_here,
    data_settings,
    describe,
    digest_of,
    drawn,
    labels_of,
    of_all,
    relabelled,
    said_of_labels,
    take_place,
)
from napari_gem3d.cohorts.harmonise_measure import Measure, Measurement, measure, read_measurement
from napari_gem3d.cohorts.harmonise_sources import find_sources
from napari_gem3d.cohorts.harmonise_spread import spreads, summary
from napari_gem3d.cohorts.layout import Layout, relative, write_json
from napari_gem3d.cohorts.outcome import Outcome
from napari_gem3d.cohorts.runner import RETRIES, run_tasks
from napari_gem3d.cohorts.variants import How, Variant, derived, settings_of_run
from napari_gem3d.cohorts.volumes import make_variant
from napari_gem3d.errors import InputError
from napari_gem3d.foreground import foreground
from napari_gem3d.io import read_slice, read_volume, replacing, sha256
from napari_gem3d.io.checks import Reading
from napari_gem3d.io.slices import is_slice
from napari_gem3d.sampling.donors import patient
from napari_gem3d.sampling.prepare import check_modality, choose_slice, own_case, said_by_plan
from napari_gem3d.training.data.dataset import Dataset, read_dataset

FORMAT = "napari-gem3d harmonisation"


@dataclass(frozen=True)
class Harmonised:
    """What became of a dataset.

    Attributes
    ----------
    cohort
        The volumes.
    report
        As ``report.json`` holds it; None after an interrupt, or if there is no case to report on.
    interrupted
        Whether it was stopped before its end, which may be while it measured.
    unmeasured
        Cases that were harmonised and could not be measured, with the reasons.
    """

    cohort: Cohort
    report: dict[str, Any] | None
    interrupted: bool
    unmeasured: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Informed:
    """The slice that informs all.

    Attributes
    ----------
    path
        Scan or 2D image.
    index, slices
        The axial slice, 0 the lowest, and how many there are.
    position
        Where it stands, 0 to 1, in its scan and in every case.
    """

    path: Path
    index: int
    slices: int
    position: float


def harmonise(
    dataset: Path | str,
    informed: Path | str,
    out: Path | str,
    *,
    slice: int | None = None,
    position: float | None = None,
    sources: Path | str | None = None,
    source_pattern: str | None = None,
    split: Literal["Tr", "Ts"] = "Tr",
    channel: int | None = None,
    model: Path | str = "brain-flair",
    threads: int = 1,
    workers: int = 0,
    scheduler: str | None = None,
    retries: int = RETRIES,
    say: Callable[[str], None] = lambda line: None,
    **settings: Any,
) -> Harmonised:
    """Draw every case of a dataset anew with one informed slice (de-enhancement, section 4 of the paper), and report.

    The label map and the body of each case stay; how it looks is that of the informed slice. What is there and whole is
    not made again, as with `enhance`.

    Parameters
    ----------
    dataset
        nnU-Net's raw layout, or a CSV, see `read_dataset`.
    informed
        Scan (or 2D image) one axial slice of which informs all cases; it may be a case of the dataset.
    out
        Folder of the new dataset, as `enhance` writes it, with the names of the cases; and ``report.json``,
        ``report.html``. New, or of an earlier call with the same settings.
    slice, position
        The informed slice by index (0 the lowest), or by position from 0 (lowest) to 1 (highest; default 0.5). Of a 2D
        image, where it stands.
    sources, source_pattern
        Where the cases are from, for the report, see `find_sources`.
    split
        "Tr", or "Ts" for ``imagesTs`` and ``labelsTs``.
    channel
        As for `enhance`.
    model
        Folder of a bundle, or the name of a bundled model, that looks at an informed slice.
    threads, workers, scheduler, retries, say, **settings
        As for `enhance`.

    Returns
    -------
    Harmonised
        What was made, was there, failed, and the report. One bad case stops nothing.

    Raises
    ------
    InputError
        If the dataset, the informed slice, the sources, the model or a value cannot be used, `out` has another dataset
        or other settings, or matplotlib is missing.
    """
    from napari_gem3d.cohorts import harmonise_plots  # noqa: F401 - matplotlib is missed now, not after hours

    dataset, layout = Path(dataset), Layout(Path(out).absolute())
    plan = read_plan(find_bundle(model))
    if not plan.informed:
        raise InputError(f"{plan.name} is a baseline without informed slice, which harmonises nothing; take another.")
    if threads < 1:
        raise InputError(f"{threads} threads are not possible; choose 1 or more.")
    common = settings_of_run(settings, seed=0)
    check_here(plan, common, scheduler)
    read = read_dataset(dataset, data_settings(channel), split)
    common = common.changed(channel=read.volume)
    origins = find_sources(
        [case.name for case in read.cases], None if sources is None else Path(sources), source_pattern
    )
    chosen = _informed(plan, Path(informed), slice, position, common.reading)
    relabel = relabelled(read, plan, common.labels)
    described: dict[str, Any] = {
        "task": "harmonise",
        "dataset": dataset.absolute().name,
        "split": split,
        "channel": channel or 0,
        "seed": common.seed,
        "informed": chosen.path.absolute().name,
        "informed_sha256": sha256(chosen.path),
        "slice": chosen.index,
        "position": chosen.position,
        "model": plan.name,
        "model_sha256": hash_bundle(find_bundle(model)),
        **drawn(common),
        "threads": threads,
        "labels": labels_of(read, plan),
        **said_of_labels(common, relabel),
        **assumed(common),
    }
    take_place(layout, read, described)
    how = How(
        of_all(model),
        common.changed(position=chosen.position),
        threads=threads,
        labels=described["labels"],
        ignore=read.ignore,
        relabel=relabel,
        digest=digest_of(described),
    )
    who: dict[str, Any] = {"workers": workers, "scheduler": scheduler, "device": common.device}
    running = {**who, "retries": retries, "say": say}
    tasks = _tasks(read, chosen.path, layout, how)
    outcomes = run_tasks(tasks, make_variant, **running)
    records = layout.tidy(task.name for task in tasks)
    describe(layout, read, plan, described, records, outcomes)
    cohort = Cohort(layout.root, tuple(outcomes), len(tasks), records)
    if cohort.interrupted:
        return Harmonised(cohort, None, interrupted=True)
    return _reported(read, cohort, layout, plan, how, chosen, origins, running)


harmonize = harmonise  # as the command is called


def _reported(
    read: Dataset,
    cohort: Cohort,
    layout: Layout,
    plan: Plan,
    how: How,
    chosen: Informed,
    origins: Mapping[str, str],
    running: Mapping[str, Any],
) -> Harmonised:
    """Measure what is there, and write the report."""
    from napari_gem3d.cohorts import harmonise_page

    measures = _measures(read, cohort, plan, how)
    ended = run_tasks(measures, measure, **running)
    if len(ended) < len(measures):
        return Harmonised(cohort, None, interrupted=True)
    unmeasured = tuple((task.case, one.reason) for task, one in zip(measures, ended, strict=True) if _is_missing(one))
    found = {task.case: read_measurement(layout, task.case) for task in measures}
    measured = {case: one for case, one in found.items() if one is not None and case not in dict(unmeasured)}
    if not measured:
        return Harmonised(cohort, None, interrupted=False, unmeasured=unmeasured)
    missing = [*((one.name, one.reason) for one in cohort.outcomes if _is_missing(one)), *unmeasured]
    report = _report(read, chosen, layout, plan, measured, origins)
    report |= {"labels": dict(how.labels), "missing": [{"case": name, "reason": why} for name, why in missing]}
    text = harmonise_page.page(report, measured, layout, chosen.path, how.settings.reading)
    write_json(report, layout.root / "report.json")
    with replacing(layout.root / "report.html") as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Harmonised(cohort, report, interrupted=False, unmeasured=unmeasured)


def _informed(plan: Plan, path: Path, index: int | None, position: float | None, reading: Reading) -> Informed:
    """The informed slice, checked."""
    if is_slice(path):
        if index is not None:
            raise InputError(f"{path} is one slice; give no number with it, but a position if it is not of the middle.")
        check_modality(plan, read_slice(path, **reading))
        share = 0.5 if position is None else position
        if not 0 <= share <= 1:
            raise InputError(f"The position {share} is not possible; choose 0 (lowest slice) to 1 (highest).")
        return Informed(path, 0, 1, share)
    scan = read_volume(path, **reading)
    check_modality(plan, scan)
    own = own_case(plan, scan, foreground(said_by_plan(plan, scan)))
    chosen = choose_slice(own, path, index, position)
    slices = own.grid.shape[0]
    return Informed(path, chosen, slices, chosen / max(slices - 1, 1))


def _tasks(dataset: Dataset, informed: Path, layout: Layout, how: How) -> list[Variant]:
    donor = ((patient(informed), informed.absolute()),)
    return [
        Variant(
            case.name,
            "harmonised",
            case.name,
            case.image.absolute(),
            case.labels.absolute(),
            derived(how.settings.seed, case.name, "volume"),
            derived(how.settings.seed, case.name, "mask"),
            donor,
            layout.root,
            how,
        )
        for case in dataset.cases
    ]


def _measures(dataset: Dataset, cohort: Cohort, plan: Plan, how: How) -> list[Measure]:
    """What there is to measure: every case that is there."""
    body = 0 if plan.labels.body is None else plan.labels.body.value
    if how.relabel:  # the label maps that were made have the dataset's numbers
        body = {new: old for old, new in how.relabel.items()}.get(body, 0)
    named = {name: value for name, value in how.labels.items() if value != body}
    what: tuple[Any, ...] = (named, body, plan.modality, how.settings.reading)
    return [
        Measure(f"measure {case.name}", case.name, case.image.absolute(), cohort.folder, *what)
        for case in dataset.cases
        if case.name in cohort.records
    ]


def _is_missing(outcome: Outcome) -> bool:
    return outcome.status in ("left out", "failed")


def _report(
    dataset: Dataset,
    informed: Informed,
    layout: Layout,
    plan: Plan,
    measured: Mapping[str, Measurement],
    origins: Mapping[str, str],
) -> dict[str, Any]:
    sources: dict[str, list[str]] = {}
    for name in measured:
        sources.setdefault(origins[name], []).append(name)
    images = {case.name: relative(case.image.absolute(), layout.root) for case in dataset.cases}
    found = spreads(measured, origins)
    return {
        "format": FORMAT,
        "napari_gem3d": __version__,
        "synthetic": True,
        "model": plan.name,
        "modality": plan.modality,
        "informed": {
            "name": informed.path.name,
            "slice": informed.index,
            "slices": informed.slices,
            "position": informed.position,
        },
        "by_sources": len(sources) < len(measured),
        "sources": dict(sorted(sources.items())),
        "summary": summary(found),
        "spread": found,
        "cases": {
            name: {"source": origins[name], "image": images[name]}
            | {side: _case(getattr(one, side)) for side in ("before", "after")}
            for name, one in measured.items()
        },
    }


def _case(scan: Any) -> dict[str, Any]:
    """What the report tells of a scan; the histograms stay in ``measures``."""
    parts = {name: part for name, part in scan.parts.items() if part.voxels}
    return {
        "reference": scan.reference,
        **{key: {name: getattr(part, key) for name, part in parts.items()} for key in ("voxels", "mean", "deviation")},
    }
