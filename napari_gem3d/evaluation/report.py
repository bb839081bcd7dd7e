"""The figures of a folder of synthetic scans against a folder of real ones: ``report.json`` and ``report.html``."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_gem3d import __version__
from napari_gem3d.bundle import load_bundle
from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.contrast import label_intensities
from napari_gem3d.evaluation.frame import in_real_units
from napari_gem3d.evaluation.frechet import PLANES, frechet_distance, slice_features
from napari_gem3d.evaluation.memorisation.audit import Audit, Say, audit
from napari_gem3d.evaluation.memorisation.latents import Latents
from napari_gem3d.evaluation.memorisation.pictures import closest_pairs
from napari_gem3d.evaluation.memorisation.pixels import Pixels
from napari_gem3d.evaluation.memorisation.space import Space
from napari_gem3d.evaluation.page import page
from napari_gem3d.evaluation.pairs import Pair, find_pairs, read_all, scans
from napari_gem3d.evaluation.similarity import likeness
from napari_gem3d.evaluation.texture import sharpness, step_ratio
from napari_gem3d.io import replacing

EXTRACTOR = "EfficientNet-Lite0 (ImageNet), mean over the last feature maps; not FID"
_FIGURES = ("ms_ssim", "psnr", "step_axial", "step_coronal", "step_sagittal", "sharpness")
_CONTRAST = "contrast "


def judge(pair: Pair) -> dict[str, Any]:
    """All figures of one pair.

    Returns
    -------
    dict
        ``ms_ssim`` and ``psnr`` (dB), ``step_axial``, ``step_coronal``, ``step_sagittal`` and ``sharpness``
        (synthetic / real, 1 is right), and ``contrast`` by label: means and deviations, and the ratio of the means.

    Raises
    ------
    InputError
        As `Pair.read` and `ms_ssim`.
    """
    real, made, labels = pair.read()
    inside = in_real_units(real, made)
    found: dict[str, Any] = {"case": pair.case, **likeness(*inside)}
    found |= {f"step_{plane}": step_ratio(*inside, axis=axis) for plane, axis in PLANES.items()}
    found["sharpness"] = sharpness(*inside)
    if labels is not None:
        found["contrast"] = {
            str(value): {
                "ratio": label.ratio if np.isfinite(label.ratio) else None,
                "real_mean": label.real_mean,
                "synthetic_mean": label.made_mean,
                "real_deviation": label.real_deviation,
                "synthetic_deviation": label.made_deviation,
                "voxels": label.voxels,
            }
            for value, label in label_intensities(real, made, labels).items()
        }
    return found


def frechet_by_plane(real: dict[str, Path], made: dict[str, Path]) -> dict[str, float]:
    """Fréchet distance between all slices of two sets of scans, in each plane."""
    features: dict[str, list[np.ndarray]] = {}
    for paths in (real, made):
        found: dict[str, list[np.ndarray]] = {plane: [] for plane in PLANES}
        for scan in read_all(paths):
            shown = in_real_units(scan, scan)[0]
            for plane in PLANES:
                found[plane].append(slice_features([shown], plane))
        for plane, parts in found.items():
            features.setdefault(plane, []).append(np.concatenate(parts))
    return {plane: frechet_distance(*sets) for plane, sets in features.items()}


def evaluate(
    real: Path,
    made: Path,
    out: Path,
    labels: Path | None = None,
    say: Say = lambda _: None,
    *,
    training: Path | None = None,
    model: Path | str | None = None,
) -> dict[str, Any]:
    """Compare two folders of scans and write ``report.json`` and ``report.html`` to `out`.

    Parameters
    ----------
    real, made, labels
        As `find_pairs`; every scan of both folders counts in the Fréchet distances.
    out
        Folder of the report. With `training`, the page shows slices of training scans.
    say
        Receives a line a pair, and a line a scan of the audit.
    training
        Folder of the scans that the model learned from: adds the memorisation audit, with `real` as held-out scans.
    model
        A bundle, by folder or name, in whose latents the audit compares as well.

    Returns
    -------
    dict
        What ``report.json`` holds: ``pairs`` (figures by synthetic scan), their ``mean``; ``cases`` (number, mean and
        standard deviation of the scans of each case) and ``deviation_over_seeds`` (the deviation within cases, pooled);
        ``frechet`` by plane; counts; with `training`, ``memorisation``.

    Raises
    ------
    InputError
        If a folder, a scan or the model cannot be used.
    """
    pairs = find_pairs(real, made, labels)
    sets = scans(real), scans(made)
    learned = None if training is None else scans(training)
    spaces = _spaces(training, model)
    judged = {}
    for pair in pairs:
        judged[pair.name] = judge(pair)
        say(f"{pair.name}: " + ", ".join(f"{key} {judged[pair.name][key]:.3f}" for key in _FIGURES))
    report: dict[str, Any] = {
        "napari_gem3d": __version__,
        "real_scans": len(sets[0]),
        "synthetic_scans": len(sets[1]),
        "pairs": judged,
        **_summary(list(judged.values())),
        "frechet": frechet_by_plane(*sets),
        "frechet_extractor": EXTRACTOR,
    }
    pictures = {}
    if learned is not None:
        found = audit(learned, *sets, spaces, say)
        report["memorisation"] = found.to_json()
        pictures = {part.space: list(closest_pairs(part, sets[1], learned)) for part in found.comparisons}
    out.mkdir(parents=True, exist_ok=True)
    files = ("report.json", json.dumps(report, indent=2)), ("report.html", page(report, _FIGURES, pictures))
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


def _spaces(training: Path | None, model: Path | str | None) -> tuple[Space, ...]:
    if model is None:
        return (Pixels(),)
    if training is None:
        raise InputError("A model is of use in the memorisation audit alone; give the training scans with --training.")
    return Pixels(), Latents(load_bundle(model))


def _summary(judged: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The mean of all pairs, figures by case, and how much they vary between the synthetic scans (seeds) of a case."""
    by_case: dict[str, list[dict[str, float]]] = defaultdict(list)
    for entry in judged:
        by_case[entry["case"]].append(_flat(entry))
    every = [entry for entries in by_case.values() for entry in entries]
    names = sorted({name for entry in every for name in entry})

    def over(entries: Sequence[dict[str, float]], how: Callable[[list[float]], float | None]) -> dict[str, Any]:
        return _nested({name: how([entry[name] for entry in entries if name in entry]) for name in names})

    def pooled(name: str) -> float | None:
        groups = [[entry[name] for entry in entries if name in entry] for entries in by_case.values()]
        several = [group for group in groups if len(group) > 1]
        freedom = sum(len(group) - 1 for group in several)
        return float(np.sqrt(sum(len(g) * np.var(g) for g in several) / freedom)) if freedom else None

    return {
        "mean": over(every, _mean),
        "cases": {
            case: {"scans": len(entries), "mean": over(entries, _mean), "deviation": over(entries, _deviation)}
            for case, entries in by_case.items()
        },
        "deviation_over_seeds": _nested({name: pooled(name) for name in names}),
    }


def _flat(entry: dict[str, Any]) -> dict[str, float]:
    """Every figure of a pair that there is by one name; contrasts of labels that cannot be compared are left out."""
    contrast = {f"{_CONTRAST}{value}": found["ratio"] for value, found in entry.get("contrast", {}).items()}
    figures = {key: entry[key] for key in _FIGURES} | contrast
    return {name: value for name, value in figures.items() if value is not None}


def _nested(figures: dict[str, float | None]) -> dict[str, Any]:
    """The inverse of `_flat`: figures in their order, and contrasts by label."""
    nested: dict[str, Any] = {key: figures[key] for key in _FIGURES if key in figures}
    contrast = {name.removeprefix(_CONTRAST): value for name, value in figures.items() if name.startswith(_CONTRAST)}
    return nested | ({"contrast": dict(sorted(contrast.items(), key=lambda item: int(item[0])))} if contrast else {})


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _deviation(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
