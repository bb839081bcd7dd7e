"""Enhance a dataset: every case drawn anew, in variants, as another dataset in nnU-Net's raw layout."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from napari_gem3d.bundle.plan import Plan
from napari_gem3d.bundle.store import find_bundle, hash_bundle, read_plan
from napari_gem3d.cohorts.layout import (
    Kind,
    Layout,
    Record,
    read_settings,
    write_dataset_json,
    write_tables,
)
from napari_gem3d.cohorts.outcome import Outcome
from napari_gem3d.cohorts.runner import RETRIES, run_tasks
from napari_gem3d.cohorts.target import check_bend
from napari_gem3d.cohorts.variants import GENERATED, OTHERS, Augment, How, list_variants, settings_of_run
from napari_gem3d.cohorts.volumes import make_variant
from napari_gem3d.errors import InputError
from napari_gem3d.numbering import check_dataset, read_choice
from napari_gem3d.sampling.donors import is_pool
from napari_gem3d.sampling.prepare import decide
from napari_gem3d.sampling.settings import DRAWING_NAMES, Settings
from napari_gem3d.training.config.settings import DataSettings
from napari_gem3d.training.data.dataset import Dataset, read_dataset


@dataclass(frozen=True)
class Cohort:
    """What became of a dataset.

    Attributes
    ----------
    folder
        The dataset that was made.
    outcomes
        Of the volumes, in order; fewer than `total` after an interrupt.
    total
        How many volumes were to be made.
    records
        Of the volumes that are there, by name.
    """

    folder: Path
    outcomes: tuple[Outcome, ...]
    total: int
    records: Mapping[str, Record]

    @property
    def interrupted(self) -> bool:
        """Whether it was stopped before its end."""
        return len(self.outcomes) < self.total

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The volumes that could not be made."""
        return tuple(outcome for outcome in self.outcomes if outcome.status == "failed")

    def count(self, status: str) -> int:
        """How many volumes ended so: "made", "there", "left out" or "failed"."""
        return sum(outcome.status == status for outcome in self.outcomes)


def enhance(
    dataset: Path | str,
    out: Path | str,
    *,
    variants: int = 1,
    informed: Path | str = OTHERS,
    augment: Augment = "none",
    bend_mm: float = 3.0,
    edit: int = 0,
    include_real: bool = False,
    split: Literal["Tr", "Ts"] = "Tr",
    channel: int | None = None,
    model: Path | str = "brain-flair",
    threads: int = 1,
    workers: int = 0,
    scheduler: str | None = None,
    retries: int = RETRIES,
    say: Callable[[str], None] = lambda line: None,
    **settings: Any,
) -> Cohort:
    """Draw every case of a dataset anew (re-sampling, section 4 of the paper), as a dataset that nnU-Net accepts.

    What is there and whole is not made again, so a run that was stopped goes on when it is called again. Neither the
    order of the cases, nor the workers, nor interrupts change a byte.

    Parameters
    ----------
    dataset
        nnU-Net's raw layout, or a CSV, see `read_dataset`.
    out
        Folder of the new dataset: ``imagesTr``, ``labelsTr``, ``dataset.json``; a recipe beside every scan;
        ``provenance.json`` and ``.csv``. New, or of an earlier call with the same settings.
    variants
        Volumes a case, CASE-v1 and so on.
    informed
        "others": a slice of another patient of the dataset, another one for every variant of a case as far as there
        are some (IC of the paper); "generated": the model draws it (IG); or a folder of scans to take the slices
        from, of which those with the name or the content of the case are left out. A baseline without informed slice
        takes the intensity range of the case's own scan.
    augment
        How label maps vary (MA): "brain" moves the lesion, "abdomen" turns everything, "none".
    bend_mm
        Of a model that knows anatomy labels, which are found in the scans: variants are drawn on anatomy that is bent
        by a random smooth displacement of this root mean square, 0 (not at all) to 20 mm; body, tissue and lesions
        together, after `augment`. Other models and edits do not look at it.
    edit
        So many edits of each real scan as well, CASE-e1 and so on: the lesion moved by the policy "brain", the rest
        of the scan as it is. Cases without lesion are left out.
    include_real
        Whether the real scans are taken over too, as CASE.
    split
        "Tr", or "Ts" for ``imagesTs`` and ``labelsTs``.
    channel
        Which channel of the images, 0 by default. Of files that hold several volumes (4D) and whose channels no
        ``dataset.json`` names it has to be given.
    model
        Folder of a bundle, or the name of a bundled model.
    threads
        Of the processor for a volume. It changes how sums are rounded, so it is a setting and not the number of cores:
        use several cores by several workers.
    workers, scheduler, retries, say
        See `run_tasks`. The folders must be reached by the same paths on all machines.
    **settings
        steps, solver, eta, anatomy, device, precision, assume_orientation, see `Settings`; position, of the informed
        slice in its body (0.5 if not given); seed (0 if not given), of which and of their names the seeds of volumes
        are functions.

    Returns
    -------
    Cohort
        What was made, was there, was left out, failed. One bad case stops nothing.

    Raises
    ------
    InputError
        If the dataset, the model or a value cannot be used, or `out` has another dataset or other settings.
    """
    dataset, layout = Path(dataset), Layout(Path(out).absolute())
    plan = read_plan(find_bundle(model))
    kind = _check(plan, find_bundle(model), informed, augment, variants, edit, include_real)
    if threads < 1:
        raise InputError(f"{threads} threads are not possible; choose 1 or more.")
    check_bend(bend_mm)
    chosen = settings_of_run(settings, seed=0, position=0.5)
    check_here(plan, chosen, scheduler)
    read = read_dataset(dataset, data_settings(channel), split)
    chosen = chosen.changed(channel=read.volume)
    relabel = relabelled(read, plan, chosen.labels)
    described: dict[str, Any] = {
        "dataset": dataset.absolute().name,
        "split": split,
        "channel": channel or 0,
        "variants": variants,
        "edit": edit,
        "include_real": include_real,
        "seed": chosen.seed,
        "informed": str(informed) if informed in (OTHERS, GENERATED) else Path(informed).absolute().name,
        "position": chosen.position,
        "augment": augment,
        "bend_mm": bend_mm,
        "model": plan.name,
        "model_sha256": hash_bundle(find_bundle(model)),
        **drawn(chosen),
        "threads": threads,
        "labels": labels_of(read, plan),
        **said_of_labels(chosen, relabel),
        **assumed(chosen),
    }
    take_place(layout, read, described)
    how = How(
        of_all(model),
        chosen,
        augment=augment,
        bend_mm=bend_mm,
        threads=threads,
        labels=described["labels"],
        ignore=read.ignore,
        relabel=relabel,
        digest=digest_of(described),
    )
    tasks = list_variants(
        read.cases,
        layout.root,
        how,
        seed=chosen.seed or 0,
        kind=kind,
        variants=variants,
        edits=edit,
        real=include_real,
        informed=informed,
    )
    outcomes = run_tasks(
        tasks, make_variant, workers=workers, scheduler=scheduler, device=chosen.device, retries=retries, say=say
    )
    records = layout.tidy(task.name for task in tasks)
    describe(layout, read, plan, described, records, outcomes)
    return Cohort(layout.root, tuple(outcomes), len(tasks), records)


def check_here(plan: Plan, settings: Settings, scheduler: str | None) -> None:
    """Raise InputError for settings that the model or this machine cannot take."""
    # The workers of a scheduler have devices that this machine lacks.
    decide(plan, settings if scheduler is None else settings.changed(device="cpu"))


def data_settings(channel: int | None) -> DataSettings:
    """What is read of a dataset; that a channel was not named is kept."""
    return DataSettings() if channel is None else DataSettings(channel=channel)


def assumed(settings: Settings) -> dict[str, Any]:
    """What was assumed of files that do not say how they lie, as the record of a dataset has it; else nothing."""
    letters = settings.assume_orientation
    return {} if letters is None else {"assume_orientation": letters}


def drawn(settings: Settings) -> dict[str, Any]:
    """How all volumes are drawn, as the record of a dataset has it."""
    return {name: getattr(settings, name) for name in DRAWING_NAMES if name != "seed"}


def _check(
    plan: Plan, folder: Path, informed: Path | str, augment: str, variants: int, edit: int, include_real: bool
) -> Kind:
    """The kind of the variants; InputError for what cannot be."""
    if augment not in get_args(Augment):
        raise InputError(f"Label maps cannot vary by '{augment}'; choose one of {', '.join(get_args(Augment))}.")
    if variants < 0 or edit < 0 or not (variants or edit or include_real):
        raise InputError("There is nothing to make; ask for variants (1 or more) of each case, edits or real scans.")
    if not plan.informed:
        if edit:
            raise InputError(f"{plan.name} is a baseline without informed slice, which edits nothing; leave edits out.")
        return "baseline"
    if str(informed) == GENERATED:
        if not (folder / "position_unet").is_dir():
            raise InputError(f"The model {plan.name} has no position model to make slices; take those of others.")
        return "IG"
    if informed != OTHERS and not is_pool(Path(informed)):
        raise InputError(f"{informed} is no folder of scans; give one, or '{OTHERS}', or '{GENERATED}'.")
    return "IC"


def labels_of(dataset: Dataset, plan: Plan) -> dict[str, int]:
    """Values by name that a dataset made of this one may hold: its own, else the lesions and organs of the plan."""
    return dict(dataset.labels) or {
        label.name: label.value for label in plan.labels if label.meaning not in ("body", "tissue")
    }


def relabelled(dataset: Dataset, plan: Plan, choice: str | None) -> dict[int, int]:
    """Values of the model's table by those of a dataset, where people say them; else none.

    Raises
    ------
    InputError
        If nothing is said and the names of the dataset are others than the model's, or two labels of the dataset would
        become one.
    """
    if choice is None:
        check_dataset({value: name for name, value in dataset.labels.items()}, plan.labels, dataset.path)
        return {}
    values = {old: new for old, new in read_choice(choice, plan.labels).items() if old != dataset.ignore}
    used = [values[value] for value in (dataset.labels.values() or values) if value in values]
    twice = [new for new, count in Counter(used).items() if count > 1]
    if twice:
        raise InputError(
            f"By '{choice}' several labels of {dataset.path} become {plan.labels.by_value(twice[0]).name}, so they "
            "could not be told apart in what is made; give each another label of the model."
        )
    return values


def said_of_labels(settings: Settings, relabel: Mapping[int, int]) -> dict[str, Any]:
    """What the record of a dataset has of the numbering of its labels; nothing where nothing was said."""
    return {"relabel": {str(old): new for old, new in relabel.items()}} if settings.labels is not None else {}


def of_all(model: Path | str) -> str:
    """The model as every process finds it: by its name, or where its folder is."""
    return str(Path(model).absolute()) if (Path(model) / "model.json").is_file() else str(model)


def take_place(layout: Layout, dataset: Dataset, settings: Mapping[str, Any]) -> None:
    """Begin a folder, or go on with one that was begun with the same settings."""
    source = dataset.path if dataset.path.is_dir() else dataset.path.parent
    if layout.root == source.absolute():
        raise InputError(f"{layout.root} is the dataset itself; write the new one somewhere else.")
    begun = read_settings(layout)
    for name, value in settings.items():
        if begun is not None and begun.get(name) != value:
            raise InputError(
                f"{layout.root} was begun with {name} {begun.get(name)}, not {value}; go on with that, or give another "
                "folder."
            )
    layout.make_folders()
    if begun is None:
        write_tables(layout, settings, {})


def digest_of(settings: Mapping[str, Any]) -> str:
    """A short digest of the settings of a run, which every volume made by them carries."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def describe(
    layout: Layout,
    dataset: Dataset,
    plan: Plan,
    settings: Mapping[str, Any],
    records: Mapping[str, Record],
    outcomes: Sequence[Outcome],
) -> None:
    """Write what the dataset holds, where it is from, and what is missing."""
    missing = [(one.name, one.status, one.reason) for one in outcomes if one.status in ("left out", "failed")]
    write_tables(layout, settings, records, missing)
    channel = dataset.channel or plan.channel or plan.modality
    write_dataset_json(layout, channel, settings["labels"], dataset.ignore, records)
