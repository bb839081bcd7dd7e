"""The report of an evaluation as a self-contained page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from napari_gem3d.evaluation import plots
from napari_gem3d.evaluation.markup import anchor, document, note, number, picture, section, spread, table
from napari_gem3d.evaluation.memorisation.pictures import ClosestPair
from napari_gem3d.evaluation.memorisation.section import audit_section
from napari_gem3d.evaluation.pictures import Example
from napari_gem3d.evaluation.protocol import INSIDE, PROTOCOL
from napari_gem3d.evaluation.wording import (
    counts_of,
    distance_names,
    in_range,
    measured_by,
    name_of,
    pairs_of,
    plane_name,
    right_value,
    several,
)

_PSNR = "psnr"
_GLANCE = ("figure", "value", "what is right", "n")


def page(report: Mapping[str, Any], examples: Sequence[Example], pictures: Mapping[str, Sequence[ClosestPair]]) -> str:
    """The page of a report.

    Parameters
    ----------
    report
        As ``report.json`` holds it.
    examples
        Planes of some scans.
    pictures
        The closest pairs of the memorisation audit by the name of the distance.

    Returns
    -------
    str
        HTML that needs no other file.
    """
    sections = {
        "At a glance": _glance(report),
        "Pictures": "".join(picture(example.png, example.caption) for example in examples),
        "Pairs": _pairs(report),
        "Contrast by label": _contrast(report),
        "Along the body": _plotted(plots.profile_plot(report)),
        "Sets of slices": _slices(report),
        "Scans by themselves": _scans(report),
        "Segmentation": _segmentation(report),
        "Memorisation: nearest training scans": (
            audit_section(report["memorisation"], pictures) if "memorisation" in report else ""
        ),
    }
    links = "".join(f"<a href='#{anchor(title)}'>{title}</a>" for title, body in sections.items() if body)
    title = counts_of(report).removeprefix("n = ")
    body = "".join(section(name, body) for name, body in sections.items())
    made = note(f"napari-gem3d {report['napari_gem3d']}. The same figures for scripts: report.json.")
    return document(f"{title} · napari-gem3d evaluate", f"<h1>{title}</h1><nav>{links}</nav>{body}{made}")


def _glance(report: Mapping[str, Any]) -> str:
    """The figures that most people want, and what is right."""
    rows = []
    pairs = pairs_of(report).removeprefix("n = ")
    for figure in report["figures"] if report["pairs"] else ():
        value = spread(report["mean"].get(figure), report["deviation"].get(figure), _digits(figure))
        rows.append([name_of(figure), value, right_value(figure), pairs])
    for label, ratio in report["mean"].get("contrast", {}).items():
        value = spread(ratio, report["deviation"]["contrast"][label])
        rows.append([f"contrast of label {label}", value, "1: as bright as in the real scans", pairs])
    frechet, _ = distance_names(report)
    for plane, value in report["frechet"].items():
        slices = report["slices"][plane]
        counted = f"{slices['synthetic']} and {slices['real']} slices"
        named = plane_name(plane, report) if report["frechet_is_fid"] else f"{frechet}, {plane}"
        rows.append([named, number(value, 2), "0: the same distribution", counted])
    for region, scores in report.get("segmentation", {}).get("regions", {}).items():
        value = spread(scores["dice"], scores["dice_deviation"])
        rows.append([f"Dice of {region}", value, "1; compare with real scans", several(scores["n"], "scan")])
    if "memorisation" in report:
        verdicts = list(report["memorisation"]["verdicts"].values())
        told = ", ".join(f"{verdicts.count(flag)} {flag}" for flag in ("copy", "look", "clear"))
        rows.append(["memorisation", told, "no copy", several(len(verdicts), "synthetic scan")])
    caption = (
        f"{counts_of(report)}. Mean over pairs ± standard deviation between cases. "
        f"{measured_by(report['frechet_extractor'], frechet)} "
        f"{_measured(report)}"
    )
    few = "" if report["pairs"] else note("No synthetic scan has the name of a real one: only sets are compared.")
    return f"{few}{table(_GLANCE, rows, caption, words=True)}"


def _pairs(report: Mapping[str, Any]) -> str:
    if not report["pairs"]:
        return ""
    figures = report["figures"]
    labels = list(report["mean"].get("contrast", {}))
    head = [*map(name_of, figures), *(f"contrast {value}" for value in labels)]
    rows = [[name, *_cells(entry, figures, labels)] for name, entry in report["pairs"].items()]
    rows.append([f"mean of {several(len(rows), 'pair')}", *_cells(report["mean"], figures, labels)])
    caption = (
        f"{pairs_of(report)}; inside the box of the real body, in the real scan's range. Steps, sharpness, flicker "
        f"and contrast are synthetic / real: 1 is right. {_measured(report)}"
    )
    told = _plotted(plots.likeness_plot(report)) + table(["scan", *head], rows, caption, totals=1)
    several_of = {case: entry for case, entry in report["cases"].items() if entry["scans"] > 1}
    if several_of:
        rows = [
            [f"{case} (n = {entry['scans']})", *_spread(entry, figures, labels)] for case, entry in several_of.items()
        ]
        overall = {"mean": report["mean"], "deviation": report["deviation_over_seeds"]}
        rows.append([f"all (n = {len(report['pairs'])})", *_spread(overall, figures, labels)])
        told += "<h3>Several synthetic scans of one case</h3>" + table(
            ["case", *head],
            rows,
            f"{pairs_of(report)}; mean ± standard deviation over the scans of a case. The last row has the mean of all "
            f"pairs and the deviation within cases, pooled. {_measured(report)}",
            totals=1,
        )
    return told


def _contrast(report: Mapping[str, Any]) -> str:
    labelled = [pair for pair in report["pairs"].values() if "contrast" in pair]
    if not labelled:
        return ""
    units, rows = report["units"], []
    for label in sorted({label for pair in labelled for label in pair["contrast"]}, key=int):
        found = [in_range(pair, label, units) for pair in labelled if label in pair["contrast"]]
        means = [sum(entry[key] for entry in found) / len(found) for key in _CONTRAST]
        ratio = spread(*(report[side]["contrast"].get(label) for side in ("mean", "deviation")))
        rows.append([label, str(len(found)), *(number(value, 1 if units else 3) for value in means), ratio])
    caption = (
        f"{pairs_of(report)}; means over pairs of the label's voxels, in {units or 'shares of the real range'}. The "
        "ratio is synthetic / real in the real range, from the background (air for CT) to its 99.5th percentile; mean "
        "± standard deviation between cases."
    )
    head = ["label", "n", *_CONTRAST.values(), "ratio"]
    return _plotted(plots.contrast_plot(report)) + table(head, rows, caption)


_CONTRAST = {
    "real_mean": "mean, real",
    "synthetic_mean": "mean, synthetic",
    "difference": "difference",
    "real_deviation": "deviation inside, real",
    "synthetic_deviation": "deviation inside, synthetic",
}


def _slices(report: Mapping[str, Any]) -> str:
    frechet, kernel = distance_names(report)
    rows = []
    for plane, value in report["frechet"].items():
        counted, distance = report["slices"][plane], report["kernel"][plane]
        rows.append(
            [
                plane_name(plane, report),
                number(value),
                spread(distance["mean"], distance["deviation"], 4),
                str(counted["synthetic"]),
                str(counted["real"]),
            ]
        )
    size = next(iter(report["kernel"].values()))
    caption = (
        f"{counts_of(report)}, all slices that are not empty. Features: {report['frechet_extractor']}. {kernel}: mean "
        f"± standard deviation over {size['subsets']} random subsets of up to {size['size']} slices; about 0 for equal "
        "distributions."
    )
    head = ["plane", frechet, kernel, "synthetic slices", "real slices"]
    told = note(
        "Smaller is nearer. Compare with tables of the same features, the same real scans and like numbers of slices "
        "only: few slices make the Fréchet distance larger than it is."
    )
    return told + table(head, rows, caption)


def _scans(report: Mapping[str, Any]) -> str:
    figures = list(report["sets"]["real"]["mean"])
    rows = []
    for side, entry in report["sets"].items():
        counted = f"{side} (n = {len(report['scans'][side])})"
        rows.append([counted, *(spread(entry["mean"][name], entry["deviation"][name]) for name in figures)])
    caption = (
        f"{counts_of(report)}; mean ± standard deviation over scans, each by itself in its own range. Steps: mean "
        "difference of neighbouring voxels."
    )
    return _plotted(plots.set_plot(report)) + table(["scans", *map(name_of, figures)], rows, caption)


def _segmentation(report: Mapping[str, Any]) -> str:
    if "segmentation" not in report:
        return ""
    rows = [
        [
            region,
            str(scores["n"]),
            spread(scores["dice"], scores["dice_deviation"]),
            spread(scores["hd95"], scores["hd95_deviation"], 2),
            str(scores["undefined"]),
        ]
        for region, scores in report["segmentation"]["regions"].items()
    ]
    caption = (
        f"n = {several(len(report['segmentation']['scans']), 'synthetic scan')}; its label maps against those "
        "the scans were drawn from. Mean ± standard deviation over scans. HD95 is undefined where one map alone lacks "
        "the region; such scans are not in its mean."
    )
    told = note(
        "What the same segmenter reaches on the real scans is the yardstick: evaluate the real folder against itself."
    )
    head = ["region", "n", "Dice", "HD95, mm", "HD95 undefined"]
    each = [
        [
            name,
            region,
            number(entry["dice"]),
            number(entry["hd95"], 2),
            str(entry["voxels"]),
            str(entry["predicted_voxels"]),
        ]
        for name, regions in report["segmentation"]["scans"].items()
        for region, entry in regions.items()
    ]
    names = ["scan", "region", "Dice", "HD95, mm", "voxels", "predicted"]
    return (
        _plotted(plots.segmentation_plot(report))
        + told
        + table(head, rows, caption)
        + table(names, each, f"n = {several(len(report['segmentation']['scans']), 'synthetic scan')}", longest=12)
    )


def _plotted(plot: plots.Plot) -> str:
    return picture(plot.svg, plot.caption, kind="svg+xml")


def _measured(report: Mapping[str, Any]) -> str:
    """How the figures of pairs are measured; "" if there are no pairs."""
    found = report["perceptual_distance"]
    by = measured_by(found["title"], name_of(found["figure"]))
    return f"{by} {PROTOCOL} {INSIDE}" if report["pairs"] else ""


def _digits(figure: str) -> int:
    return 1 if figure == _PSNR else 3


def _cells(entry: Mapping[str, Any], figures: Sequence[str], labels: Sequence[str]) -> list[str]:
    contrast = entry.get("contrast", {})
    ratios = [contrast[v]["ratio"] if isinstance(contrast.get(v), dict) else contrast.get(v) for v in labels]
    return [number(entry.get(key), _digits(key)) for key in figures] + [number(value) for value in ratios]


def _spread(entry: Mapping[str, Any], figures: Sequence[str], labels: Sequence[str]) -> list[str]:
    sides = [_cells(entry[side], figures, labels) for side in ("mean", "deviation")]
    return [f"{mean} ± {deviation}" if deviation else mean for mean, deviation in zip(*sides, strict=True)]
