"""Which volumes are made of a dataset: the names, seeds and donors of all of them, before any scan is read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.cohorts.layout import Kind
from napari_gem3d.errors import InputError
from napari_gem3d.sampling.donors import patient, scans_of
from napari_gem3d.sampling.settings import DRAWING_NAMES, Settings
from napari_gem3d.training.data.dataset import CasePaths

OTHERS, GENERATED = "others", "generated"
Augment = Literal["none", "brain", "abdomen"]
# How many scans may inform a volume, should the first be of the same content or not usable.
_DONORS = 4


@dataclass(frozen=True)
class How:
    """What all volumes of a run have in common; everything here can change voxels.

    Attributes
    ----------
    model
        Name of a bundled model, or a folder (absolute).
    settings
        As `make_recipe` takes them; the seed is the run's, and every volume has one of its own.
    augment
        The policy by which label maps vary.
    bend_mm
        By how much anatomy from scans is bent, root mean square of the displacement; edits are not bent.
    threads
        Of the processor for one volume: sums that are split otherwise are rounded otherwise.
    labels
        Values by name that the dataset made may hold, without background.
    ignore
        The value of voxels that nobody labelled, if there is one.
    relabel
        Values of the model's table by those of the dataset, where people have said them.
    digest
        Of the settings of the run.
    """

    model: str
    settings: Settings = field(default_factory=Settings)
    augment: Augment = "none"
    bend_mm: float = 0.0
    threads: int = 1
    labels: Mapping[str, int] = field(default_factory=dict)
    ignore: int | None = None
    relabel: Mapping[int, int] = field(default_factory=dict)
    digest: str = ""


@dataclass(frozen=True)
class Variant:
    """One volume to make: a task.

    Attributes
    ----------
    name
        Of the volume.
    kind
        See `Record`.
    case
        Whose label map (and body, and for edits scan) it is.
    image, labels
        Files of the case, absolute.
    seed
        Of the volume.
    mask_seed
        Of the variation of the label map.
    donors
        Names and files of scans that may inform it, the first that can be used does.
    out
        Folder of the dataset that is made, absolute.
    how
        What it has in common with the others.
    """

    name: str
    kind: Kind
    case: str
    image: Path
    labels: Path
    seed: int
    mask_seed: int
    donors: tuple[tuple[str, Path], ...]
    out: Path
    how: How


def settings_of_run(given: Mapping[str, object], **defaults: object) -> Settings:
    """The settings of all volumes of a run.

    Raises
    ------
    InputError
        If a value is not possible, or a setting is none of a whole run.
    """
    known = ("labels", *DRAWING_NAMES, "position", "assume_orientation")
    for name in given:
        if name not in known:
            raise InputError(f"A dataset takes no setting '{name}'; choose from {', '.join(known)}.")
    return Settings(**{**defaults, **given})


def derived(*parts: object) -> int:
    """A number from 0 to 2³² − 1 that depends on nothing but the parts; different parts give unrelated ones."""
    return _key(*parts) >> 32


def _key(*parts: object) -> int:
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def list_variants(
    cases: Sequence[CasePaths],
    out: Path,
    how: How,
    *,
    seed: int,
    kind: Kind,
    variants: int,
    edits: int,
    real: bool,
    informed: Path | str = OTHERS,
) -> list[Variant]:
    """All volumes to make, case by case.

    Parameters
    ----------
    cases
        Of the dataset.
    out
        Where to.
    how
        What they have in common.
    seed
        Of the run. Seeds are functions of it and the volume's name, donors of it and the names of the cases, so neither
        order nor number of the volumes matter, and a case that is added changes little: it becomes the donor of some.
    kind
        Of the variants: "IC", "IG" or "baseline".
    variants, edits
        Variants of each case, CASE-v1 and so on, and edits of its scan, CASE-e1.
    real
        Whether the scans themselves are taken over too, as CASE.
    informed
        "others", or a folder of scans, for the kind "IC".
    """
    pool = _pool(cases, informed) if kind == "IC" else []
    keys = np.array([_key(name) for name, _, _ in pool], np.uint64)
    made = []
    for case in cases:
        image, labels = case.image.absolute(), case.labels.absolute()

        donors = _donors(case, seed, pool, keys, variants + _DONORS)
        wanted: list[tuple[str, Kind, Sequence[tuple[str, Path]]]] = [
            (f"{case.name}-v{number + 1}", kind, _from(number, donors)) for number in range(variants)
        ]
        wanted += [(f"{case.name}-e{number + 1}", "edit", ()) for number in range(edits)]
        wanted += [(case.name, "real", ())] if real else []
        for name, what, few in wanted:
            seeds = derived(seed, name, "volume"), derived(seed, name, "mask")
            made.append(Variant(name, what, case.name, image, labels, *seeds, tuple(few), out, how))
    return made


def _pool(cases: Sequence[CasePaths], informed: Path | str) -> list[tuple[str, str, Path]]:
    """Name, patient and scan of everything that may inform."""
    if informed == OTHERS:
        return [(case.name, case.patient, case.image.absolute()) for case in cases]
    return [(patient(scan), patient(scan), scan.absolute()) for scan in scans_of(Path(informed))]


def _donors(
    case: CasePaths, seed: int, pool: Sequence[tuple[str, str, Path]], keys: NDArray[np.uint64], wanted: int
) -> list[tuple[str, Path]]:
    """The first names and scans of other patients, in an order of the case's own."""
    own, found = {case.name, case.patient}, []
    for index in _order(_key(seed, case.name, "donor"), keys):
        donor, whose, scan = pool[index]
        if not own & {donor, whose}:
            found.append((donor, scan))
            if len(found) == wanted:
                break
    return found


def _order(key: int, keys: NDArray[np.uint64]) -> NDArray[np.intp]:
    """An order of things with keys, which one thing more does not change for the others.

    They are ranked by a hash of both keys, the finalizer of SplitMix64 (Steele, Lea and Flood, 2014), for all at once:
    thousands of cases are each ranked for thousands of cases.
    """
    mixed = keys ^ np.uint64(key)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    order: NDArray[np.intp] = np.argsort(mixed ^ (mixed >> np.uint64(31)), kind="stable")
    return order


def _from(number: int, donors: Sequence[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """A few donors from this one on, in a circle: every variant begins with another."""
    return [donors[(number + i) % len(donors)] for i in range(min(_DONORS, len(donors)))]
