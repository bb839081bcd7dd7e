"""The figures of a folder of synthetic scans against a folder of real ones: ``report.json`` and ``report.html``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_gem3d import __version__
from napari_gem3d.bundle import load_bundle
from napari_gem3d.errors import InputError, OutputError
from napari_gem3d.evaluation.extractors import EFFICIENTNET, make_extractor
from napari_gem3d.evaluation.gather import Gathering, Say
from napari_gem3d.evaluation.judging import figures_of
from napari_gem3d.evaluation.memorisation.audit import Audit, audit
from napari_gem3d.evaluation.memorisation.latents import Latents
from napari_gem3d.evaluation.memorisation.pictures import closest_pairs
from napari_gem3d.evaluation.memorisation.pixels import Pixels
from napari_gem3d.evaluation.memorisation.space import Space
from napari_gem3d.evaluation.page import page
from napari_gem3d.evaluation.pairs import find_pairs, scans
from napari_gem3d.evaluation.perceptual import make_distance
from napari_gem3d.evaluation.pictures import examples
from napari_gem3d.evaluation.predictions import find_predictions, score_predictions
from napari_gem3d.evaluation.protocol import INSIDE, PROTOCOL
from napari_gem3d.evaluation.segmentation import Regions
from napari_gem3d.evaluation.summary import summarise, summarise_scans
from napari_gem3d.io import replacing
from napari_gem3d.io.files import check_writable


def evaluate(
    real: Path,
    made: Path,
    out: Path,
    labels: Path | None = None,
    say: Say = lambda _: None,
    *,
    training: Path | None = None,
    model: Path | str | None = None,
    segmentations: Path | None = None,
    regions: Regions | None = None,
    extractor: str = EFFICIENTNET,
    extractor_weights: Path | None = None,
    perceptual: str = EFFICIENTNET,
    perceptual_weights: Path | None = None,
) -> dict[str, Any]:
    """Compare two folders of scans and write ``report.json`` and ``report.html`` to `out` (section 4 of the paper).

    Every scan is read once for the figures, and again if it is shown or audited; memory does not grow with the number
    of scans but for their figures.

    Parameters
    ----------
    real, made, labels
        As `find_pairs`; every scan of both folders counts in the distances between sets of slices.
    out
        Folder of the report. The page shows slices of some scans; with `training`, of training scans too.
    say
        Receives a line a scan.
    training
        Folder of the scans that the model learned from: adds the memorisation audit, with `real` as held-out scans.
    model
        A bundle, by folder or name, in whose latents the audit compares as well.
    segmentations, regions
        Folder of what a segmenter made of the synthetic scans, which is compared with `labels`, and the regions that
        are scored, as `find_predictions` and `score_predictions` take them.
    extractor, extractor_weights
        As `make_extractor`: whose features the Fréchet and the kernel distance compare.
    perceptual, perceptual_weights
        As `make_distance`.

    Returns
    -------
    dict
        What ``report.json`` holds: ``pairs`` (figures by synthetic scan, as `compare`), their ``mean`` and the
        ``deviation`` over cases; ``cases`` (number, mean and standard deviation of the scans of each case) and
        ``deviation_over_seeds`` (the deviation within cases, pooled); the ``protocol`` in words; ``frechet``,
        ``kernel`` and numbers of ``slices`` by plane; ``scans`` (figures of every scan by itself) and ``sets`` (their
        mean and deviation), each ``real`` and ``synthetic``; ``profiles``; counts and names; with `segmentations`,
        ``segmentation``; with `training`, ``memorisation``.

    Raises
    ------
    InputError
        If a folder, a scan, a file of weights or the model cannot be used, or a package is missing.
    """
    pairs = find_pairs(real, made, labels)
    sets = scans(real), scans(made)
    learned = None if training is None else scans(training)
    spaces = _spaces(training, model)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; name a folder for the report.")
    check_writable(out)
    found = Gathering(make_extractor(extractor, extractor_weights), make_distance(perceptual, perceptual_weights), say)
    # What takes least comes first, and so do its refusals.
    segmented = None if segmentations is None else _segmented(sets[1], segmentations, labels, regions)
    found.go(*sets, pairs)
    report = _figures(found) | ({} if segmented is None else {"segmentation": segmented})
    pictures = {}
    if learned is not None:
        audited = audit(learned, *sets, spaces, say)
        report["memorisation"] = audited.to_json()
        pictures = {part.space: list(closest_pairs(part, sets[1], learned)) for part in audited.comparisons}
    shown = list(examples(report, pairs, sets[1]))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out} cannot be made ({error.strerror}); choose another place.") from error
    files = ("report.json", json.dumps(report, indent=2)), ("report.html", page(report, shown, pictures))
    for name, text in files:
        with replacing(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return report


def audit_folders(
    real: Path, made: Path, training: Path, model: Path | str | None = None, say: Say = lambda _: None
) -> Audit:
    """The memorisation audit of `evaluate` alone; folders and model as there.

    Raises
    ------
    InputError
        If a folder, a scan or the model cannot be used.
    """
    return audit(scans(training), scans(real), scans(made), _spaces(training, model), say)


def _figures(found: Gathering) -> dict[str, Any]:
    """The report of everything but segmentations and the audit."""
    extractor, perceptual = found.slices.extractor, found.perceptual
    figures = figures_of(list(found.pairs.values()), perceptual.figure)
    sides = ("real", "synthetic")
    report: dict[str, Any] = {
        "napari_gem3d": __version__,
        "real_scans": len(found.scans[0]),
        "synthetic_scans": len(found.scans[1]),
        "figures": figures,
        "protocol": f"{PROTOCOL} {INSIDE}",
        "perceptual_distance": {"figure": perceptual.figure, "title": perceptual.title},
        "units": found.units,
        "pairs": found.pairs,
        **summarise(list(found.pairs.values()), figures),
        **found.slices.compare(),
        "frechet_extractor": extractor.title,
        "frechet_is_fid": extractor.is_fid,
        "scans": dict(zip(sides, found.scans, strict=True)),
        "sets": {side: summarise_scans(entries) for side, entries in zip(sides, found.scans, strict=True)},
        "profiles": {side: profile.to_json() for side, profile in zip(sides, found.profiles, strict=True)},
    }
    return report


def _segmented(
    made: Mapping[str, Path], segmentations: Path, labels: Path | None, regions: Regions | None
) -> dict[str, Any]:
    if labels is None:
        raise InputError("Segmentations are compared with label maps; give these with --labels.")
    return score_predictions(find_predictions(made, segmentations, labels), regions)


def _spaces(training: Path | None, model: Path | str | None) -> tuple[Space, ...]:
    if model is None:
        return (Pixels(),)
    if training is None:
        raise InputError("A model is of use in the memorisation audit alone; give the training scans with --training.")
    return Pixels(), Latents(load_bundle(model))
