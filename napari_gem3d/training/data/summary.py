"""The plan of a dataset as a table, for people."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from napari_gem3d.bundle.plan import Plan
from napari_gem3d.training.config.settings import TrainingConfig
from napari_gem3d.training.data.augmentation import mirrors
from napari_gem3d.training.data.dataset import CasePaths
from napari_gem3d.training.data.fingerprint import CaseFacts

# Labels beyond these are counted; all are in plan.json.
_MOST_ROWS = 40
_NARROWEST = 100


def plan_table(
    plan: Plan,
    config: TrainingConfig,
    usable: Sequence[CasePaths],
    facts: Mapping[str, CaseFacts],
    split: Mapping[str, Sequence[str]],
    cache_bytes: float,
) -> str:
    """Describe a plan and what it was decided from.

    Parameters
    ----------
    plan
        As it is in ``plan.json``.
    config
        The run's settings.
    usable
        The cases that are used.
    facts
        Of these cases.
    split
        Their names under ``train`` and ``validation``.
    cache_bytes
        What the cache will take on disk.

    Returns
    -------
    str
        Lines as wide as the terminal, 100 characters at least.
    """
    used = [facts[case.name] for case in usable]
    rows, notes = _rows(plan, config, usable, used), _notes(plan, config, used, split)
    patients = {case.name: case.patient for case in usable}
    sides = [f"{len({patients[name] for name in split[side]})} {side}" for side in ("train", "validation")]
    rows["split"] = f"patients: {', '.join(sides)} (split.json)"
    rows["cache"] = f"{config.data.variants} variants of each, {_bytes(cache_bytes)} on disk"
    facts_table = Table(title=f"Plan of {plan.name}", title_justify="left", show_header=False)
    for key, text in rows.items():
        facts_table.add_row(key, text)
    lines = io.StringIO()
    out = Console(file=lines, width=max(_NARROWEST, shutil.get_terminal_size().columns))
    out.print(facts_table, _label_rows(plan, used), *(f"Note: {note}" for note in notes), sep="\n", markup=False)
    return lines.getvalue().rstrip()


def _rows(plan: Plan, config: TrainingConfig, usable: Sequence[CasePaths], used: Sequence[CaseFacts]) -> dict[str, str]:
    spacings = np.array([found.spacing for found in used])
    slices = [_slices(plan, found) for found in used]
    return {
        "cases": f"{len(usable)} of {len({case.patient for case in usable})} patients",
        "scans": plan.scans + (", skull-stripped" if _stripped(used) else ""),
        "spacing": f"{_by(plan.spacing)} mm (Z, Y, X); the dataset has {_span(spacings)}",
        "slices": f"{plan.size[0]} × {plan.size[1]} voxels (rows, columns), {_framing(plan)}; "
        f"{min(slices)} to {max(slices)} a case, median {np.median(slices):.0f}",
        "intensities": _intensities(plan, used),
        "background": "outside the body nothing is drawn" if plan.background_outside_body else "drawn as it is",
        "body": f"{plan.labels.body.value} {plan.labels.body.name}, {_origin(plan, used)}"
        if plan.labels.body
        else "none",
        "mirror images": "yes" if mirrors(config.data, plan) else "no",
    }


def _label_rows(plan: Plan, used: Sequence[CaseFacts]) -> Table:
    table = Table(title="Labels", title_justify="left")
    for name in ("value", "name", "meaning"):
        table.add_column(name)
    for name in ("cases", "median ml", "median intensity"):
        table.add_column(name, justify="right")
    labels = list(plan.labels)
    for label in labels[:_MOST_ROWS]:
        there = [found.labels[label.value] for found in used if label.value in found.labels]
        cells = ["", "", ""]
        if there:
            middle = [found.percentiles[1] for found in there if found.percentiles]
            cells = [str(len(there)), _figure([found.volume_ml for found in there])]
            cells.append(_figure(middle) if middle else "")
        elif label.meaning == "body":
            cells = [str(len(used)), _figure([found.foreground_ml for found in used])]
            cells.append(_figure([found.percentiles[4] for found in used]))
        else:
            cells[0] = "0"
        table.add_row(str(label.value), label.name, label.meaning, *cells)
    if len(labels) > _MOST_ROWS:
        table.add_row("…", f"{len(labels) - _MOST_ROWS} more", "", "", "", "")
    return table


def _notes(
    plan: Plan, config: TrainingConfig, used: Sequence[CaseFacts], split: Mapping[str, Sequence[str]]
) -> list[str]:
    """What people should know before they train."""
    notes = []
    shortest = min(_slices(plan, found) for found in used)
    if shortest < config.window:
        notes.append(f"the shortest case has {shortest} slices, fewer than the window of {config.window}.")
    moved = sum(not found.same_grid for found in used)
    if moved:
        notes.append(f"{moved} label maps have another grid than their image and are aligned by geometry.")
    if not any(found.labels for found in used):
        notes.append("no case has a labelled voxel: the model will know nothing but the body.")
    elif not plan.labels.lesions:
        notes.append("no label is a lesion; if one is, say so in plan.json or with the setting data.meanings.")
    wide = np.array([found.spacing for found in used])
    if (wide.max(axis=0) > 2 * wide.min(axis=0)).any():
        notes.append(
            "spacings differ more than twofold: coarse scans are interpolated, and blurred slices are learned."
        )
    if not split["validation"]:
        notes.append("no patient is held out: losses and pictures are of patients that were trained on.")
    return notes


def _slices(plan: Plan, found: CaseFacts) -> int:
    spacing = plan.spacing[0] if plan.framing == "crop" else found.spacing[0]
    return max(1, round(found.body_mm[0] / spacing))


def _framing(plan: Plan) -> str:
    rows, columns = (n * length for n, length in zip(plan.size, plan.spacing[1:], strict=True))
    return {
        "crop": f"a box of {rows:.0f} × {columns:.0f} mm about the body",
        "stretch": "the body's box squashed to it",
        "field": "the whole field of view squashed to it",
    }[plan.framing]


def _intensities(plan: Plan, used: Sequence[CaseFacts]) -> str:
    scheme = plan.intensity
    if scheme.kind == "window":
        below = np.median([[found.percentiles[0], found.percentiles[-1]] for found in used], axis=0)
        return f"{scheme.low:g} to {scheme.high:g} HU (99.8 % of the bodies: {below[0]:.0f} to {below[1]:.0f})"
    tops = [found.percentiles[7] for found in used]
    other = sum(found.floor != 0 for found in used)
    low = "0" if not other else "0" if scheme.low_end == "zero" else f"where each scan begins ({other} not at 0)"
    return (
        f"{low} to each scan's {scheme.percentile:g}th percentile of the foreground "
        f"(99.5th here: {min(tops):.0f} to {max(tops):.0f})"
    )


def _origin(plan: Plan, used: Sequence[CaseFacts]) -> str:
    body = plan.labels.body
    named = body is not None and any(body.value in found.labels for found in used)
    return "a label of the dataset" if named else "each scan's foreground"


def _stripped(used: Sequence[CaseFacts]) -> bool:
    return float(np.mean([found.constant_background for found in used])) > 0.5


def _figure(values: Sequence[float]) -> str:
    """The median, with three figures or none behind the point."""
    middle = float(np.median(values))
    return f"{middle:.0f}" if abs(middle) >= 100 else f"{middle:.3g}"


def _bytes(number: float) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"


def _by(lengths: Sequence[float]) -> str:
    return " × ".join(f"{length:g}" for length in lengths)


def _span(spacings: np.ndarray) -> str:
    low, high = spacings.min(axis=0), spacings.max(axis=0)
    if np.allclose(low, high, rtol=1e-3):
        return "this everywhere" if len(spacings) > 1 else "this"
    return f"{_by(low.round(3).tolist())} to {_by(high.round(3).tolist())}"
