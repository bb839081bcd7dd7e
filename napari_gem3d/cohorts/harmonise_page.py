"""The report of a harmonised dataset as a self-contained page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_gem3d.cohorts.harmonise_measure import BODY, Measurement
from napari_gem3d.cohorts.harmonise_plots import distribution_plot, mean_plot, spread_plot
from napari_gem3d.cohorts.harmonise_spread import MEASURES, SCALED, SIDES, STORED
from napari_gem3d.cohorts.layout import ENDING, Layout
from napari_gem3d.evaluation.markup import anchor, document, note, picture, section, table
from napari_gem3d.evaluation.wording import several
from napari_gem3d.io import read_label_map, read_volume
from napari_gem3d.io.checks import Reading
from napari_gem3d.io.files import temporary_folder
from napari_gem3d.io.slices import is_slice
from napari_gem3d.labels import Label, LabelTable
from napari_gem3d.pictures import Row, planes_in_rows
from napari_gem3d.volume import Volume

UNITS = {STORED: "as stored", SCALED: "scaled"}
NAMES = {
    "between_cases": "means, cases",
    "between_sources": "means, sources",
    "distance_cases": "distributions, cases",
    "distance_sources": "distributions, sources",
}
_GROUPS = {BODY: "body", "classes": "classes", "labels": "labels"}
_SHOWN = 6
_ANEW = (
    "Harmonised scans are drawn anew from label map and body: what lies between is the model's, not the patient's. "
    "They are for training and testing software, not for measuring what was not labelled."
)


def page(
    report: Mapping[str, Any], measured: Mapping[str, Measurement], layout: Layout, informed: Path, reading: Reading
) -> str:
    """The page of a report.

    Parameters
    ----------
    report
        As ``report.json`` holds it.
    measured
        By case.
    layout
        The harmonised dataset.
    informed
        The scan whose slice informed all.
    reading
        How scans are read, as `read_volume` takes it.

    Returns
    -------
    str
        HTML that needs no other file.
    """
    sections = {
        "At a glance": _glance(report),
        "Spread by part": _spread(report),
        "Distributions": _distributions(report, measured),
        "Pictures": "".join(_pictures(report, layout, informed, reading)),
        "Cases": _cases(report),
        "Not harmonised": _missing(report),
    }
    links = "".join(f"<a href='#{anchor(title)}'>{title}</a>" for title, body in sections.items() if body)
    title = f"{several(len(report['cases']), 'case')} harmonised to one slice"
    body = "".join(section(name, body) for name, body in sections.items())
    made = note(
        f"napari-gem3d {report['napari_gem3d']}, model {report['model']}, informed by {_informed(report)}. The same "
        "figures for scripts: report.json. The harmonised scans are synthetic, for research only."
    )
    return document(f"{title} · napari-gem3d harmonize", f"<h1>{title}</h1><nav>{links}</nav>{body}{made}")


def change(was: float | None, now: float | None, report: Mapping[str, Any]) -> str:
    """A figure of spread before and after, such as ``31.0 % → 4.2 %``; "–" where there is none."""
    if was is None or now is None:
        return "–"
    return f"{_figure(was, report)} → {_figure(now, report)}"


def _figure(value: float, report: Mapping[str, Any]) -> str:
    return f"{value:.1f} HU" if report["modality"] == "CT" else f"{100 * value:.1f} %"


def _informed(report: Mapping[str, Any]) -> str:
    found = report["informed"]
    if found["slices"] == 1:
        return str(found["name"])
    return f"{found['name']}, slice {found['slice']} (0 lowest, {found['slices'] - 1} highest)"


def _glance(report: Mapping[str, Any]) -> str:
    rows = []
    for unit, groups in report["summary"].items():
        for group, sides in groups.items():
            cells = [change(sides["before"][name], sides["after"][name], report) for name in MEASURES]
            rows.append([f"{_GROUPS[group]}, {UNITS[unit]}" if SCALED in report["summary"] else _GROUPS[group], *cells])
    head = ("differences of", *(NAMES[name] for name in MEASURES))
    told = note(_ANEW) + note(_how(report)) + table(head, rows, f"{_counts(report)}; before → harmonised.")
    if report["by_sources"]:
        return told
    return told + note(
        "Every case counts as a source of its own: say where cases are from (--sources or --source-pattern) to see how "
        "much sources differ."
    )


def _how(report: Mapping[str, Any]) -> str:
    measures = (
        "How much cases, and their sources, differ. Means: standard deviation of the mean intensities. Distributions: "
        "Wasserstein distance, mean over all pairs."
    )
    if report["modality"] == "CT":
        return f"{measures} Smaller is more alike."
    return (
        f"{measures} Both as shares of the mean intensity. Smaller is more alike. As stored: what a program that takes "
        "intensities as they are sees; most of it is the scale of the files, which any normalisation removes. Scaled: "
        "what is left when each scan is divided by the 99.5th percentile of its body."
    )


def _counts(report: Mapping[str, Any]) -> str:
    sources = f" from {several(len(report['sources']), 'source')}" if report["by_sources"] else ""
    return f"n = {several(len(report['cases']), 'case')}{sources}"


def _classes_note() -> str:
    return note(
        "Parts: the body; dark, middle and bright, which divide the body without labels by intensity, in each scan by "
        "itself (Otsu's method with two thresholds), before and after; and the labels. The classes are no anatomy: in "
        "FLAIR of a brain the dark one is mostly fluid, but thin structures and poor contrast move voxels."
    )


def _spread(report: Mapping[str, Any]) -> str:
    unit = SCALED if SCALED in report["spread"] else STORED
    shown = {name: NAMES[name] for name in MEASURES if report["by_sources"] or name.endswith("cases")}
    told = _classes_note() + picture(
        spread_plot(report["spread"], shown, unit, "HU" if report["modality"] == "CT" else "share of the mean"),
        f"{_counts(report)}{'' if unit == STORED else '; ' + UNITS[unit]}. Left is more alike.",
        kind="svg+xml",
    )
    for unit, sides in report["spread"].items():
        rows = [
            [name, str(sides["before"][name]["cases"])]
            + [change(sides["before"][name][measure], sides["after"][name][measure], report) for measure in MEASURES]
            for name in sides["before"]
        ]
        head = ("part", "cases", *(NAMES[name] for name in MEASURES))
        told += table(head, rows, f"{_counts(report)}; before → harmonised, intensities {UNITS[unit]}.")
    return told


def _distributions(report: Mapping[str, Any], measured: Mapping[str, Measurement]) -> str:
    sources = _sources(report)
    colours = "coloured by source" if report["by_sources"] else "a colour each where there are few"
    scaled = "" if report["modality"] == "CT" else " Scaled: shares of the scan's 99.5th percentile."
    return picture(
        distribution_plot(measured, sources),
        f"{_counts(report)}. Density of the intensities of every part, a curve a case, {colours}, smoothed a "
        f"little. Before and harmonised have the same axis.{scaled}",
        kind="svg+xml",
    ) + picture(
        mean_plot(measured, sources),
        f"{_counts(report)}. Mean intensity of every part, a mark a case, {colours}; lines are medians.{scaled}",
        kind="svg+xml",
    )


def _sources(report: Mapping[str, Any]) -> dict[str, str]:
    return {case: entry["source"] for case, entry in report["cases"].items()}


def _pictures(report: Mapping[str, Any], layout: Layout, informed: Path, reading: Reading) -> Iterator[str]:
    if not is_slice(informed):
        scan = read_volume(informed, **reading)
        yield picture(
            _planes([Row(scan, "informs all")], _point(scan, report["informed"]["slice"])),
            f"The scan that informs all; its axial plane here is the informed slice. {_informed(report)}.",
        )
    table = LabelTable(tuple(Label(value, name) for name, value in report["labels"].items()))
    for case in _chosen(report):
        image = (layout.root / report["cases"][case]["image"]).resolve()
        labels = read_label_map(layout.labels / f"{case}{ENDING}", table)
        made = read_volume(layout.image(case))
        rows = [Row(read_volume(image, **reading), "before", labels), Row(made, "harmonised", labels, greys=made)]
        greys = "" if report["modality"] == "CT" else "; each in its own grey scale"
        yield picture(_planes(rows), f"{case}{_of(report, case)}: before, and harmonised{greys}.")


def _of(report: Mapping[str, Any], case: str) -> str:
    return f" ({report['cases'][case]['source']})" if report["by_sources"] else ""


def _chosen(report: Mapping[str, Any]) -> list[str]:
    """Some cases, of as many sources as possible."""
    queues = [list(cases) for cases in report["sources"].values()]
    chosen: list[str] = []
    while len(chosen) < _SHOWN and any(queues):
        chosen += [queue.pop(0) for queue in queues if queue]
    return chosen[:_SHOWN]


def _point(scan: Volume, index: int) -> Sequence[float]:
    """World point in the middle of an axial slice of the canonical grid."""
    grid = scan.grid.canonical()
    x, y, z = grid.index_to_world([(index, (grid.shape[1] - 1) / 2, (grid.shape[2] - 1) / 2)])[0]
    return float(x), float(y), float(z)


def _planes(rows: Sequence[Row], at: Sequence[float] | None = None) -> bytes:
    with temporary_folder("report") as folder:
        path = Path(folder) / "planes.png"
        planes_in_rows(rows, path, at)
        return path.read_bytes()


def _cases(report: Mapping[str, Any]) -> str:
    parts = list(report["spread"][STORED]["before"])
    rows = [
        [case, *([entry["source"]] if report["by_sources"] else []), *(_means(entry, part) for part in parts)]
        for case, entry in report["cases"].items()
    ]
    unit = "HU" if report["modality"] == "CT" else "as stored in the files"
    head = ["case", *(["source"] if report["by_sources"] else []), *parts]
    return table(head, rows, f"{_counts(report)}. Mean intensity before → harmonised, {unit}.")


def _means(entry: Mapping[str, Any], part: str) -> str:
    was, now = (entry[side]["mean"].get(part) for side in SIDES)
    return "–" if was is None or now is None else f"{was:.0f} → {now:.0f}"


def _missing(report: Mapping[str, Any]) -> str:
    if not report["missing"]:
        return ""
    rows = [[entry["case"], entry["reason"]] for entry in report["missing"]]
    return table(("case", "reason"), rows, f"{several(len(rows), 'case')} of which the report says nothing.")
