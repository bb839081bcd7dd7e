"""The figures of a folder of synthetic scans against a folder of real ones: ``report.json`` and ``report.html``."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_gem3d import __version__
from napari_gem3d.evaluation.contrast import label_intensities
from napari_gem3d.evaluation.frechet import PLANES, frechet_distance, slice_features
from napari_gem3d.evaluation.pairs import Pair, find_pairs, read_all, scans
from napari_gem3d.evaluation.similarity import in_real_units, ms_ssim, psnr
from napari_gem3d.evaluation.texture import sharpness, step_ratio
from napari_gem3d.io import replacing

EXTRACTOR = "EfficientNet-Lite0 (ImageNet), mean over the last feature maps; not FID"
_FIGURES = ("ms_ssim", "psnr", "step_axial", "step_coronal", "step_sagittal", "sharpness")


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
    found: dict[str, Any] = {"case": pair.case, "ms_ssim": ms_ssim(real, made), "psnr": psnr(real, made)}
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
    real: Path, made: Path, out: Path, labels: Path | None = None, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Compare two folders of scans and write ``report.json`` and ``report.html`` to `out`.

    Parameters
    ----------
    real, made, labels
        As `find_pairs`; every scan of both folders counts in the Fréchet distances.
    out
        Folder of the report.
    say
        Receives a line a pair.

    Returns
    -------
    dict
        What ``report.json`` holds: ``pairs`` (figures by synthetic scan), ``mean``, ``frechet`` by plane, counts.

    Raises
    ------
    InputError
        If a folder or a scan cannot be used.
    """
    pairs = find_pairs(real, made, labels)
    judged = {}
    for pair in pairs:
        judged[pair.name] = judge(pair)
        say(f"{pair.name}: " + ", ".join(f"{key} {judged[pair.name][key]:.3f}" for key in _FIGURES))
    sets = scans(real), scans(made)
    report = {
        "napari_gem3d": __version__,
        "real_scans": len(sets[0]),
        "synthetic_scans": len(sets[1]),
        "pairs": judged,
        "mean": _mean(list(judged.values())),
        "frechet": frechet_by_plane(*sets),
        "frechet_extractor": EXTRACTOR,
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, text in (("report.json", json.dumps(report, indent=2)), ("report.html", _page(report))):
        with replacing(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return report


def _mean(judged: Sequence[dict[str, Any]]) -> dict[str, Any]:
    if not judged:
        return {}
    mean: dict[str, Any] = {key: _mean_of([entry[key] for entry in judged]) for key in _FIGURES}
    values = sorted({value for entry in judged for value in entry.get("contrast", {})}, key=int)
    if values:
        shown = {value: [e["contrast"][value] for e in judged if value in e.get("contrast", {})] for value in values}
        mean["contrast"] = {value: _mean_of([found["ratio"] for found in entries]) for value, entries in shown.items()}
    return mean


def _mean_of(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _page(report: dict[str, Any]) -> str:
    """The report as a self-contained page."""
    labels = list(report["mean"].get("contrast", {}))
    head = ["scan", *(key.replace("_", " ") for key in _FIGURES), *(f"contrast {value}" for value in labels)]
    rows = [_row(name, entry, labels) for name, entry in report["pairs"].items()]
    if rows:
        rows.append(_row(f"mean of {len(rows)} pairs", report["mean"], labels))
    distances = [[plane, f"{value:.3f}"] for plane, value in report["frechet"].items()]
    counts = f"{report['synthetic_scans']} synthetic against {report['real_scans']} real scans"
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>napari-gem3d evaluate</title>"
        "<style>body{font:16px sans-serif;margin:2em;max-width:75em}td,th{padding:.2em .8em;text-align:right}"
        "td:first-child,th:first-child{text-align:left}tr:nth-child(even){background:#8882}</style>"
        f"<h1>{counts}</h1><h2>Pairs</h2>{_table(head, rows)}"
        "<p>Steps, sharpness and contrast are synthetic / real: 1 is right. PSNR in dB.</p>"
        f"<h2>Fréchet distance, smaller is nearer</h2>{_table(['plane', 'distance'], distances)}"
        f"<p>Features: {html.escape(report['frechet_extractor'])}. Compare with tables of the same features and the "
        f"same real scans only.</p><p>napari-gem3d {report['napari_gem3d']}</p></html>"
    )


def _row(name: str, entry: dict[str, Any], labels: Sequence[str]) -> list[str]:
    contrast = entry.get("contrast", {})
    ratios = [contrast[v]["ratio"] if isinstance(contrast.get(v), dict) else contrast.get(v) for v in labels]
    return [name, *(f"{entry[key]:.3f}" for key in _FIGURES), *("" if r is None else f"{r:.3f}" for r in ratios)]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows]
    return f"<table><tr>{''.join(f'<th>{html.escape(cell)}</th>' for cell in head)}</tr>{''.join(cells)}</table>"
