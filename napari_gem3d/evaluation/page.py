"""The report of an evaluation as a self-contained page."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from typing import Any

from napari_gem3d.evaluation.memorisation.pictures import ClosestPair

_STYLE = (
    "body{font:16px sans-serif;margin:2em;max-width:75em}td,th{padding:.2em .8em;text-align:right}"
    "td:first-child,th:first-child{text-align:left}tr:nth-child(even){background:#8882}"
    "figure{display:inline-block;margin:.5em}img{max-width:32em}figcaption{font-size:.8em;max-width:40em}"
)


def page(report: Mapping[str, Any], figures: Sequence[str], pictures: Mapping[str, Sequence[ClosestPair]]) -> str:
    """The page of a report.

    Parameters
    ----------
    report
        As ``report.json`` holds it.
    figures
        The figures of a pair that are columns.
    pictures
        The closest pairs of the memorisation audit by the name of the distance.

    Returns
    -------
    str
        HTML that needs no other file.
    """
    counts = f"{report['synthetic_scans']} synthetic against {report['real_scans']} real scans"
    distances = [[plane, f"{value:.3f}"] for plane, value in report["frechet"].items()]
    audit = _audit(report["memorisation"], pictures) if "memorisation" in report else ""
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>napari-gem3d evaluate</title>"
        f"<style>{_STYLE}</style><h1>{counts}</h1>{_pairs(report, figures)}"
        f"<h2>Fréchet distance, smaller is nearer ({counts})</h2>{_table(['plane', 'distance'], distances)}"
        f"<p>Features: {html.escape(report['frechet_extractor'])}. Compare with tables of the same features and the "
        f"same real scans only.</p>{audit}<p>napari-gem3d {report['napari_gem3d']}</p></html>"
    )


def _pairs(report: Mapping[str, Any], figures: Sequence[str]) -> str:
    labels = list(report["mean"].get("contrast", {}))
    head = [*(key.replace("_", " ") for key in figures), *(f"contrast {value}" for value in labels)]
    rows = [[name, *_cells(entry, figures, labels)] for name, entry in report["pairs"].items()]
    if rows:
        rows.append([f"mean of {len(rows)} pairs", *_cells(report["mean"], figures, labels)])
    told = f"<h2>Pairs</h2>{_table(['scan', *head], rows)}"
    several = {case: entry for case, entry in report["cases"].items() if entry["scans"] > 1}
    if several:
        rows = [[f"{case} (n = {entry['scans']})", *_spread(entry, figures, labels)] for case, entry in several.items()]
        overall = {"mean": report["mean"], "deviation": report["deviation_over_seeds"]}
        rows.append([f"all (n = {len(report['pairs'])})", *_spread(overall, figures, labels)])
        told += (
            f"<h2>Several synthetic scans of one case: mean ± standard deviation</h2>{_table(['case', *head], rows)}"
            "<p>The last row has the mean of all pairs and the deviation within cases, pooled.</p>"
        )
    return f"{told}<p>Steps, sharpness and contrast are synthetic / real: 1 is right. PSNR in dB.</p>"


def _cells(entry: Mapping[str, Any], figures: Sequence[str], labels: Sequence[str]) -> list[str]:
    contrast = entry.get("contrast", {})
    ratios = [contrast[v]["ratio"] if isinstance(contrast.get(v), dict) else contrast.get(v) for v in labels]
    return ["" if value is None else f"{value:.3f}" for value in (*(entry[key] for key in figures), *ratios)]


def _spread(entry: Mapping[str, Any], figures: Sequence[str], labels: Sequence[str]) -> list[str]:
    sides = [_cells(entry[side], figures, labels) for side in ("mean", "deviation")]
    return [f"{mean} ± {deviation}" if deviation else mean for mean, deviation in zip(*sides, strict=True)]


def _audit(audit: Mapping[str, Any], pictures: Mapping[str, Sequence[ClosestPair]]) -> str:
    parts = [
        "<h2>Memorisation: nearest training scans</h2><p>Distances of synthetic scans from the nearest of "
        f"{audit['training_scans']} training scans; the yardstick is how near held-out real scans come. "
        "<b>copy</b>: nearer to one training scan than a scan of somebody new would be. <b>look</b>: near to several, "
        "or single slices are nearer to a training slice than any held-out slice is, which happens by chance too. "
        "<b>clear</b>: neither.</p>"
    ]
    if audit["doubtful_held_out_scans"]:
        names = html.escape(", ".join(audit["doubtful_held_out_scans"]))
        parts.append(
            f"<p><b>Measured by the other held-out scans, these are copies of training scans: {names}.</b></p>"
        )
    for name, found in audit["distances"].items():
        parts.append(
            f"<h3>By {name} ({len(found['synthetic'])} synthetic, {len(found['held_out'])} held-out scans)</h3>"
            f"<p>Distance: {html.escape(found['how'])}. {_bounds(found)} "
            f"Nearer than any held-out slice ({found['closest_held_out_slice']:.3f}): "
            f"{found['share_of_synthetic_slices_closer']:.1%} of synthetic slices. "
            f"Nearer than any held-out scan ({found['closest_held_out_scan']:.3f}): "
            f"{found['share_of_synthetic_scans_closer']:.1%} of synthetic scans, by chance "
            f"{found['expected_share_of_scans_closer']:.1%}.</p>{_table(_AUDIT_HEAD, _audit_rows(found))}"
        )
        parts += [_figure(pair) for pair in pictures.get(name, ())]
    return "".join(parts)


def _bounds(found: Mapping[str, Any]) -> str:
    told = f"A copy is below {found['copy_below']:.3f}"
    if found["expected_above"] is not None and found["expected_relative_above"] is not None:
        share = f"{found['expected_relative_above']:.3f} of its distance from the second nearest training scan"
        told += f", or below {found['expected_above']:.3f} and below {share}"
    return f"{told}."


_AUDIT_HEAD = ("scan", "verdict", "nearest scan", "distance", "second", "closest slice", "of", "slices", "nearer")


def _audit_rows(found: Mapping[str, Any]) -> list[list[str]]:
    """A row a scan: synthetic ones first, nearest first."""
    rows = []
    for kind in ("synthetic", "held_out"):
        for name, scan in sorted(found[kind].items(), key=lambda item: item[1]["distance"]):
            near = min(scan["slices"], key=lambda entry: entry["distance"])
            nearer = sum(entry["distance"] < found["closest_held_out_slice"] for entry in scan["slices"])
            second = scan["second_distance"]
            rows.append(
                [
                    name,
                    scan.get("verdict", "held out"),
                    scan["nearest_scan"],
                    f"{scan['distance']:.3f}",
                    "" if second is None else f"{second:.3f}",
                    f"{near['distance']:.3f}",
                    near["scan"],
                    str(len(scan["slices"])),
                    str(nearer),
                ]
            )
    return rows


def _figure(pair: ClosestPair) -> str:
    data = base64.b64encode(pair.png).decode()
    caption = html.escape(pair.caption)
    return (
        f"<figure><img alt='{caption}' src='data:image/png;base64,{data}'><figcaption>{caption}</figcaption></figure>"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows]
    return f"<table><tr>{''.join(f'<th>{html.escape(cell)}</th>' for cell in head)}</tr>{''.join(cells)}</table>"
