"""Intensities of a scan by class and by label, in the same voxels before and after it was harmonised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from skimage.filters import threshold_multiotsu

from napari_gem3d.cohorts.layout import ENDING, Layout
from napari_gem3d.errors import InputError
from napari_gem3d.foreground import foreground
from napari_gem3d.io import read_label_map, read_volume, replacing
from napari_gem3d.io.checks import Reading
from napari_gem3d.io.documents import MOST_BYTES
from napari_gem3d.io.files import file_bytes
from napari_gem3d.sampling.settings import Strict
from napari_gem3d.volume import Modality, Volume, resample

# Changes when something is measured in another way, so that earlier measurements are made anew.
_VERSION = 1
BODY, CLASSES = "body", ("dark", "middle", "bright")
# Percentiles at the middle of a hundred equal shares: their mean is the mean, within the tails.
PERCENTILES = tuple(share + 0.5 for share in range(100))
_REFERENCE = 99.5
_BINS = 80
# What lies beyond counts as the nearest that does not: single voxels at 32767 would take every bin from the rest.
_CLIPPED = 0.5
FOLDER = "measures"


class Part(Strict):
    """Intensities of a part of a scan, in the file's units (HU for CT).

    Attributes
    ----------
    voxels
        How many.
    mean, deviation
        Of their intensities, those beyond the 0.5th and 99.5th percentile clipped to these.
    quantiles
        The 0.5th, 1.5th, … 99.5th percentile.
    edges
        First and last edge of the histogram.
    histogram
        Share of the voxels in each of its bins, which are equal.
    """

    voxels: int
    mean: float
    deviation: float
    quantiles: tuple[float, ...]
    edges: tuple[float, float]
    histogram: tuple[float, ...]


class Scan(Strict):
    """What was measured in a scan.

    Attributes
    ----------
    reference
        99.5th percentile of the body, of which `scaled` intensities are shares (as models see MR); 1 for CT.
    parts
        "body", the intensity classes "dark", "middle" and "bright" of the body without labels, and every label by
        its name.
    """

    reference: float
    parts: dict[str, Part]


class Measurement(Strict):
    """A case before and after.

    Attributes
    ----------
    version, files
        Of what it is: to know one that is out of date.
    modality
        "MR" or "CT".
    before, after
        The scan, and the one that was harmonised.
    """

    version: int = _VERSION
    files: dict[str, str]
    modality: Modality
    before: Scan
    after: Scan


@dataclass(frozen=True)
class Measure:
    """The task of measuring a case.

    Attributes
    ----------
    name
        Of the task.
    case
        The case.
    image
        Its scan, absolute.
    out
        Folder of the harmonised dataset, absolute.
    labels
        Values of the labels by name, without the body.
    body
        Value of the body, where the dataset labels it: such voxels are of no label here.
    modality
        What the model draws.
    reading
        How its scan is read, as `read_volume` takes it.
    """

    name: str
    case: str
    image: Path
    out: Path
    labels: Mapping[str, int]
    body: int
    modality: Modality
    reading: Reading = field(default_factory=Reading)


def measure(task: Measure) -> Literal["made", "there"]:
    """Measure a case and write that to ``measures``, unless it is there.

    Raises
    ------
    InputError
        If the harmonised volume is gone, or a scan is of one intensity.
    """
    layout = Layout(task.out)
    record = layout.read_record(task.case)
    if record is None:
        raise InputError(f"{task.case} was not harmonised; run the same command again.")
    files = {**record.sources, "made": record.image_sha256}
    known = read_measurement(layout, task.case)
    if known is not None and known.files == files:
        return "there"
    scan = replace(read_volume(task.image, **task.reading), modality=task.modality)
    made = replace(resample(read_volume(layout.image(task.case)), scan.grid), modality=task.modality)
    labels = read_label_map(layout.labels / f"{task.case}{ENDING}").aligned_to(scan.grid).voxels
    inside = foreground(scan) | (labels > 0)
    labels = np.where(labels == task.body, 0, labels)
    before, after = (measure_scan(volume, inside, labels, task.labels) for volume in (scan, made))
    path = layout.root / FOLDER / f"{task.case}.json"
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as temporary:
        found = Measurement(files=files, modality=task.modality, before=before, after=after)
        temporary.write_text(found.model_dump_json() + "\n", encoding="utf-8")
    return "made"


def read_measurement(layout: Layout, case: str) -> Measurement | None:
    """What was measured of a case; None if nothing was, or by an earlier version."""
    try:
        found = Measurement.model_validate_json(file_bytes(layout.root / FOLDER / f"{case}.json", MOST_BYTES))
    except (InputError, ValidationError):
        return None
    return found if found.version == _VERSION else None


def measure_scan(scan: Volume, inside: NDArray[np.bool_], labels: NDArray[Any], names: Mapping[str, int]) -> Scan:
    """Measure one scan.

    Parameters
    ----------
    scan
        Its modality decides whether a reference is taken.
    inside
        (Z, Y, X), the body.
    labels
        (Z, Y, X), the label map; 0 is the healthy rest.
    names
        Values of the labels by name; those that do not occur are left out.

    Raises
    ------
    InputError
        If there are not three different intensities in the body.
    """
    body = scan.voxels[inside].astype(np.float64)
    healthy = scan.voxels[inside & (labels == 0)].astype(np.float64)
    if not healthy.size:
        raise InputError(f"{scan.source or 'The scan'} shows no body without label; give a map that leaves some of it.")
    parts = {BODY: _part(body)}
    bounds = class_bounds(healthy, scan)
    for name, low, high in zip(CLASSES, (-np.inf, *bounds), (*bounds, np.inf), strict=True):
        parts[name] = _part(healthy[(healthy > low) & (healthy <= high)])
    for name, value in names.items():
        voxels = scan.voxels[labels == value]
        if voxels.size:
            # A label may be called as a class is.
            parts[name if name not in parts else f"{name} (label {value})"] = _part(voxels.astype(np.float64))
    reference = 1.0 if scan.modality == "CT" else float(np.percentile(body, _REFERENCE))
    if reference <= 0:
        raise InputError(f"{scan.source or 'The scan'} is not brighter in the body than 0; give a scan of a patient.")
    return Scan(reference=reference, parts=parts)


def class_bounds(healthy: NDArray[np.float64], scan: Volume) -> tuple[float, float]:
    """Two intensities that divide voxels into three classes with the greatest variance between them (Otsu 1979).

    They are classes of intensity, not of anatomy: in FLAIR of a brain the dark one is mostly fluid, but partial
    volumes and bad contrast move voxels from class to class.

    Raises
    ------
    InputError
        If there are not three different intensities.
    """
    clipped = np.clip(healthy, *np.percentile(healthy, (_CLIPPED, 100 - _CLIPPED)))
    try:
        low, high = threshold_multiotsu(clipped, classes=3)
    except ValueError as error:
        name = scan.source or "The scan"
        raise InputError(f"{name} has fewer than three intensities in the body; give a scan of a patient.") from error
    return float(low), float(high)


def _part(values: NDArray[np.float64]) -> Part:
    if not values.size:
        return Part(voxels=0, mean=0, deviation=0, quantiles=(), edges=(0, 0), histogram=())
    low, high = (float(edge) for edge in np.percentile(values, (_CLIPPED, 100 - _CLIPPED), method="nearest"))
    clipped = np.clip(values, low, high)
    bins, edges = _bins(clipped, low, high)
    counts, _ = np.histogram(clipped, bins, edges)
    return Part(
        voxels=values.size,
        mean=float(clipped.mean()),
        deviation=float(clipped.std()),
        quantiles=_rounded(np.percentile(values, PERCENTILES)),
        edges=edges,
        histogram=_rounded(counts / values.size),
    )


def _bins(values: NDArray[np.float64], low: float, high: float) -> tuple[int, tuple[float, float]]:
    """How many bins, and their first and last edge: each holds equally many of the values that a file can store."""
    if np.array_equal(values, np.rint(values)):
        steps = int(high - low) + 1
        wide = -(-steps // _BINS)
        bins = -(-steps // wide)
        return bins, (low - 0.5, low - 0.5 + bins * wide)
    return _BINS, (low, high) if high > low else (low - 0.5, low + 0.5)


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    """To six digits, which say enough and take half the room."""
    return tuple(float(f"{value:.6g}") for value in values)
