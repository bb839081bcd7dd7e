"""The fingerprint of a dataset: what every case holds, and which cases cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from napari_gem3d.errors import InputError
from napari_gem3d.foreground import find_floor, foreground, is_ct, is_skull_stripped, signal
from napari_gem3d.io import read_label_map, read_volume
from napari_gem3d.io.documents import read_json
from napari_gem3d.labels import LabelMap
from napari_gem3d.training.data.cache import FOREGROUND, Cache, hashed, write_json
from napari_gem3d.training.data.dataset import CasePaths, Dataset
from napari_gem3d.volume import Modality, Volume

# Changes when what is measured changes, so that earlier records are made anew.
_VERSION = 1
_RECORD = "fingerprint.json"
PERCENTILES = (0.1, 0.5, 5.0, 25.0, 50.0, 75.0, 95.0, 99.5, 99.9)
_LABEL_PERCENTILES = (5.0, 50.0, 95.0)
# Voxels of which percentiles are taken; more change the third digit.
_SAMPLE = 2_000_000
# A map whose labels mostly lie outside the image, or outside the body in it, belongs to another image.
_LEAST_IN_VIEW = 0.95
_LEAST_IN_BODY = 0.5
# Every CT in HU has air or fat in it; values that start at 0 and go far beyond water were never rescaled.
_NOT_HU = (0, 500)


# What a file of which nobody has thought can bring about in whatever computes with it.
UNFORESEEN = (ArithmeticError, LookupError, MemoryError, TypeError, ValueError)


class Record(BaseModel):
    """Base of what is written to ``fingerprint.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LabelFacts(Record):
    """One label in one case: its volume, and percentiles (5, 50, 95) of the scan's intensities in it."""

    volume_ml: float
    percentiles: tuple[float, ...]


class CaseFacts(Record):
    """What one case holds. Lengths are in mm and axes canonical: (Z, Y, X) of RAS.

    Attributes
    ----------
    source
        Hash of the files' sizes and times, by which a record is known to be out of date.
    broken
        Why the case cannot be used; empty if it can. All else is then at its default.
    body_mm, labels_mm
        Extent of foreground and labels together, and of the labels alone.
    percentiles
        Of the foreground's intensities: 0.1, 0.5, 5, 25, 50, 75, 95, 99.5 and 99.9.
    floor
        Where the intensities of an MR begin, see `find_floor`.
    constant_background
        Whether everything around the body has one value, as after skull-stripping.
    same_grid
        Whether image and label map have the same voxels; if not, they are aligned by geometry.
    """

    source: str
    broken: str = ""
    shape: tuple[int, int, int] = (0, 0, 0)
    spacing: tuple[float, float, float] = (0.0, 0.0, 0.0)
    dtype: str = ""
    modality: Modality = ""
    constant_background: bool = False
    same_grid: bool = True
    lowest: float = 0.0
    floor: float = 0.0
    highest: float = 0.0
    percentiles: tuple[float, ...] = ()
    foreground_ml: float = 0.0
    body_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    labels_mm: tuple[float, float, float] | None = None
    labels: dict[int, LabelFacts] = {}


@dataclass(frozen=True)
class Inspection:
    """The job of inspecting one case: its files, the modality if it is known, and where the record goes."""

    case: CasePaths
    modality: Modality
    source: str
    cache: Cache


def plan_inspections(
    dataset: Dataset, modality: Modality, cache: Cache
) -> tuple[list[Inspection], dict[str, CaseFacts]]:
    """Say which cases have to be inspected, and what is known of the others from an earlier run.

    Parameters
    ----------
    dataset
        Its cases.
    modality
        "MR" or "CT"; empty if the scans' intensities shall tell.
    cache
        Where records are kept.
    """
    jobs, known = [], {}
    for case in dataset.cases:
        said = {name: value for name, value in case.reading.items() if value is not None}
        states = [_state(case.image), _state(case.labels)]
        source = hashed([_VERSION, modality, *states, *([said] if said else [])])
        facts = _recorded(cache, case.name)
        if facts is not None and facts.source == source and (facts.broken or cache.has(case.name, FOREGROUND)):
            known[case.name] = facts
        else:
            jobs.append(Inspection(case, modality, source, cache))
    return jobs, known


def inspect(job: Inspection) -> CaseFacts:
    """Read a case and measure it; writes its record and its foreground (packed bits) to the cache.

    A case that cannot be used is a result, not an error: the record says why.
    """
    try:
        facts, inside = _measure(job)
    except InputError as error:
        facts, inside = CaseFacts(source=job.source, broken=_without_paths(str(error), job.case)), None
    except UNFORESEEN as error:  # one case must not end the run of a thousand
        why = f"It cannot be measured ({type(error).__name__}: {error}); look at its files, or leave it out."
        facts, inside = CaseFacts(source=job.source, broken=_without_paths(why, job.case)), None
    if inside is not None:
        job.cache.write(job.case.name, FOREGROUND, np.packbits(inside))
    folder = job.cache.folder / "cache" / job.case.name
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / _RECORD, facts.model_dump(mode="json"))
    return facts


def read_pair(case: CasePaths, modality: Modality) -> tuple[Volume, LabelMap]:
    """Read the scan and the label map of a case; InputError if a file is missing or not usable."""
    if not case.image.exists():
        raise InputError(f"It has a label map but no image {case.image}; add the image or remove the label map.")
    if not case.labels.exists():
        raise InputError(f"It has no label map {case.labels}; add it (all zero if nothing is labelled).")
    scan = read_volume(case.image, **case.reading)
    return replace(scan, modality=modality or scan.modality), read_label_map(case.labels, **case.reading)


def kept_foreground(cache: Cache, case: str, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """The foreground (Z, Y, X) that `inspect` found, on the scan's own grid."""
    packed = cache.array(case, FOREGROUND)
    return np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape).view(np.bool_)


def write_fingerprint(cache: Cache, facts: Mapping[str, CaseFacts], broken: Mapping[str, str]) -> None:
    """Write ``fingerprint.json``: every case with what it holds, and the reasons against those that cannot be used."""
    cases = {
        name: found.model_dump(mode="json", exclude={"source", "broken"})
        for name, found in sorted(facts.items())
        if not found.broken
    }
    write_json(cache.folder / _RECORD, {"broken": dict(sorted(broken.items())), "cases": cases})


def _recorded(cache: Cache, case: str) -> CaseFacts | None:
    try:
        return CaseFacts.model_validate(read_json(cache.folder / "cache" / case / _RECORD))
    except (InputError, ValidationError):
        return None


def _state(path: Path) -> list[list[int]]:
    """Sizes and times of change of a file or of a folder's files."""
    files = [path] if path.is_file() else sorted(path.iterdir()) if path.is_dir() else []
    return [[file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _without_paths(message: str, case: CasePaths) -> str:
    """The message with file names instead of paths: records are passed on, and folders may name patients.

    Options of ``napari-gem3d`` become settings of a training.
    """
    words = {"--channel ": "--set data.channel=", "--assume-orientation ": "--set data.assume_orientation="}
    for option, setting in words.items():
        message = message.replace(option, setting)
    for path in (case.image, case.labels):
        message = message.replace(str(path), path.name)
    return message


def _measure(job: Inspection) -> tuple[CaseFacts, NDArray[np.bool_]]:
    scan, mask = read_pair(job.case, job.modality)
    modality: Modality = "CT" if is_ct(scan) else "MR"
    lowest, highest = float(scan.voxels.min()), float(scan.voxels.max())
    if modality == "CT" and lowest >= _NOT_HU[0] and highest > _NOT_HU[1]:
        raise InputError(f"{job.case.image} runs from {lowest:g} to {highest:g}, which is not HU; rescale it to HU.")
    same_grid = _check_geometry(scan, mask, job.case)
    inside = foreground(scan)
    values = _sampled(signal(scan, inside) if modality == "MR" else scan.voxels[inside])
    floor = find_floor(scan, inside).low if modality == "MR" else 0.0
    if values.size == 0 or (modality == "MR" and np.percentile(values, PERCENTILES[-1]) <= floor):
        raise InputError(f"{job.case.image} has one intensity in all of its foreground; give a scan of a patient.")
    on_scan = mask if same_grid and mask.grid == scan.grid else mask.aligned_to(scan.grid)
    labelled = on_scan.voxels != 0
    if labelled.any() and inside[labelled].mean() < _LEAST_IN_BODY:
        share = 1 - float(inside[labelled].mean())
        raise InputError(
            f"{share:.0%} of the labelled voxels of {job.case.labels} lie outside the body in {job.case.image.name}; "
            "give the label map that belongs to this image."
        )
    canonical = scan.grid.canonical()
    facts = CaseFacts(
        source=job.source,
        shape=canonical.shape,
        spacing=_rounded(canonical.spacing),
        dtype=str(scan.voxels.dtype),
        modality=modality,
        constant_background=is_skull_stripped(replace(scan, modality=modality)),
        same_grid=same_grid,
        lowest=lowest,
        floor=round(floor, 3),
        highest=highest,
        percentiles=tuple(round(float(value), 3) for value in np.percentile(values, PERCENTILES)),
        foreground_ml=round(float(inside.sum()) * scan.grid.voxel_volume / 1000, 2),
        body_mm=_extent(inside | labelled, scan),
        labels_mm=_extent(labelled, scan) if labelled.any() else None,
        labels=_label_facts(scan, on_scan, mask.volumes_ml()),
    )
    return facts, inside


def _check_geometry(scan: Volume, mask: LabelMap, case: CasePaths) -> bool:
    """Whether image and label map have the same voxels; InputError if they do not belong together."""
    image, labels = scan.grid.canonical(), mask.grid.canonical()
    if image.shape == labels.shape and np.allclose(image.spacing, labels.spacing, rtol=1e-3):
        if image.same_as(labels, atol=min(image.spacing) / 2):
            return True
        corners = [grid.index_to_world(np.array([(0, 0, 0), grid.shape])) for grid in (image, labels)]
        apart = float(np.linalg.norm(corners[0] - corners[1], axis=1).max())
        raise InputError(
            f"{case.labels} has the voxels of its image, but lies up to {apart:.0f} mm from it; one of the two headers "
            "is wrong, copy the right one to both."
        )
    voxels = np.argwhere(mask.voxels)
    if not mask.grid.overlaps(scan.grid):
        raise InputError(f"{case.labels} does not overlap its image in the patient's space; give the one that does.")
    if len(voxels):
        index = scan.grid.world_to_index(mask.grid.index_to_world(voxels[:: 1 + len(voxels) // _SAMPLE]))
        inside = ((index > -0.5) & (index < np.array(scan.shape) - 0.5)).all(axis=1).mean()
        if inside < _LEAST_IN_VIEW:
            raise InputError(
                f"{1 - inside:.0%} of the labelled voxels of {case.labels} lie outside its image; give the label map "
                "that belongs to this image."
            )
    return False


def _extent(inside: NDArray[np.bool_], volume: Volume) -> tuple[float, float, float]:
    """Size in mm of the box about voxels (Z, Y, X), along canonical axes."""
    where = [np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    start, shape = [int(w[0]) for w in where], [int(w[-1] - w[0] + 1) for w in where]
    box = volume.grid.box(start, shape).canonical()
    depth, height, width = (n * length for n, length in zip(box.shape, box.spacing, strict=True))
    return _rounded((depth, height, width))


def _label_facts(scan: Volume, labels: LabelMap, volumes_ml: Mapping[int, float]) -> dict[int, LabelFacts]:
    """Volume and intensities of every label; `labels` lies on the scan's grid."""
    where = np.flatnonzero(labels.voxels)
    values, intensities = labels.voxels.ravel()[where], scan.voxels.ravel()[where]
    order = np.argsort(values, kind="stable")
    found, starts = np.unique(values[order], return_index=True)
    parts = dict(zip(found.tolist(), np.split(intensities[order], starts[1:]), strict=False))
    return {
        value: LabelFacts(
            volume_ml=round(volume, 3),
            percentiles=tuple(round(float(p), 3) for p in np.percentile(_sampled(parts[value]), _LABEL_PERCENTILES))
            if value in parts
            else (),
        )
        for value, volume in volumes_ml.items()
    }


def _sampled(values: NDArray[Any]) -> NDArray[Any]:
    """Every n-th value, so that at most `_SAMPLE` are left."""
    return values[:: 1 + values.size // _SAMPLE]


def _rounded(lengths: tuple[float, float, float]) -> tuple[float, float, float]:
    z, y, x = (round(float(length), 5) for length in lengths)
    return z, y, x
