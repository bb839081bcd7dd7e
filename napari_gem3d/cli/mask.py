"""Change the lesion of a label map: place, interpolate, move, rotate, scale, grow, transplant, remove, augment."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_gem3d.cli.options import (
    add_overwrite,
    add_reading_options,
    add_settings,
    check_exist,
    reading_of,
    tell_notes,
)
from napari_gem3d.errors import InputError

if TYPE_CHECKING:
    from napari_gem3d.bundle.plan import Plan
    from napari_gem3d.labels import LabelMap, LabelTable
    from napari_gem3d.masks import MaskResult, Operation, Selection
    from napari_gem3d.volume import Volume

FORMAT = "napari-gem3d mask"
_FLIPS = {"left-right": "R", "front-back": "A", "up-down": "S"}


class _Step(argparse.Action):
    """Notes an option in the order of the command line; what it means is decided when all are known."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        steps = getattr(namespace, "steps", None) or []
        namespace.steps = [*steps, (str(option_string).removeprefix("--"), values)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``mask``."""
    inputs = parser.add_argument_group("what to change")
    inputs.add_argument(
        "--mask", type=Path, help="label map; the result gets its grid and data type (default: an empty one, as --body)"
    )
    inputs.add_argument(
        "--body", type=Path, metavar="SCAN", help="the patient's scan: where the body is, if the label map does not say"
    )
    inputs.add_argument(
        "--only", action="append", default=[], metavar="LABEL", help="name or value of a lesion label (default: all)"
    )
    inputs.add_argument(
        "--component", type=float, nargs=3, metavar=("R", "A", "S"), help="only the part nearest to this point in mm"
    )
    inputs.add_argument("--everything", action="store_true", help="all labels, the body included")
    inputs.add_argument(
        "--host", action="append", default=[], metavar="LABEL", help="label the lesion lies in (default: the body)"
    )
    inputs.add_argument(
        "--model", default="brain-flair", help="model whose labels these are; none: each is a lesion (brain-flair)"
    )
    add_settings(inputs, "labels")
    add_reading_options(inputs)
    _add_steps(parser.add_argument_group("what to do, in the order given"))
    output = parser.add_argument_group("result")
    output.add_argument("--seed", type=int, help="decides what is random (default: drawn, and kept in the record)")
    output.add_argument("--out", type=Path, required=True, help="NIfTI file to write; its record goes beside it")
    add_overwrite(output)
    parser.set_defaults(steps=[])


def _add_steps(group: argparse._ArgumentGroup) -> None:
    def step(name: str, **settings: Any) -> None:
        group.add_argument(f"--{name}", action=_Step, default=argparse.SUPPRESS, **settings)

    axes = ("R", "A", "S")
    step("translate", nargs=3, type=float, metavar=axes, help="mm towards right, front and head")
    step("rotate", nargs=3, type=float, metavar=axes, help="degrees about these axes")
    step("scale", nargs="+", type=float, metavar="FACTOR", help="one factor, or one for each axis")
    step("flip", nargs="?", const="left-right", choices=_FLIPS, help="left-right (default), front-back or up-down")
    step(
        "centre",
        nargs="+",
        metavar="WHERE",
        help="lesion, body or a point R A S: centre of the steps that follow (default: lesion; of flips body)",
    )
    step("elastic", nargs="+", type=float, metavar="MM", help="random bending: amplitude, and smoothness (15)")
    step("grow", type=float, metavar="MM", help="move the surface outwards")
    step("shrink", type=float, metavar="MM", help="move the surface inwards")
    step("lesion", nargs=3, type=float, metavar=axes, help="add a sphere or ellipsoid at this point in mm")
    step("diameter", nargs="+", type=float, metavar="MM", help="of a new lesion, after it: one, or one for each axis")
    step(
        "shells",
        nargs="+",
        metavar="LABEL=MM",
        help="of a new lesion, after it: thickness from outside in, the last LABEL alone fills what is left",
    )
    step(
        "interpolate",
        nargs="*",
        metavar="PLANE",
        help="fill gaps between painted slices: auto (default), axial, coronal or sagittal; largest gap in mm (20)",
    )
    step("transplant", type=Path, metavar="MASK", help="add the lesion of another label map; needs --to")
    step("to", nargs=3, type=float, metavar=axes, help="where the centroid of the transplant goes, mm")
    step("remove", nargs=0, help="give the lesion's voxels back to the body")
    step("augment", choices=("brain", "abdomen"), help="a random variant by the paper's policy, nothing else")
    group.add_argument(
        "--relabel",
        action="store_true",
        help="write the map with the numbers of the model's labels, before any step; steps may be left out then",
    )
    group.add_argument(
        "--mass-effect",
        type=float,
        default=0.0,
        metavar="MM",
        help="how far the lesion pushes organs and tissue at its rim; where it no longer is, they come back (0)",
    )


def run(options: argparse.Namespace) -> int:
    """Change the label map, print the volumes, write it with a record of what was done."""
    donors = [values for name, values in options.steps if name == "transplant"]
    if options.mask is None and options.body is None:
        raise InputError("There is nothing to change; give a label map by --mask, or a scan to start on by --body.")
    check_exist(options.mask, options.body, *donors)
    if not options.steps and not options.relabel:
        raise InputError("Nothing is said about what to do; give at least one step such as --translate.")
    from napari_gem3d.foreground import foreground
    from napari_gem3d.io import read_label_map, read_volume, write_volume
    from napari_gem3d.io.outputs import check_output
    from napari_gem3d.sampling.labelling import accepted
    from napari_gem3d.sampling.prepare import decide_seed, said_by_plan
    from napari_gem3d.sampling.recipe import sidecar
    from napari_gem3d.sampling.settings import Settings

    record, kept = sidecar(options.out), [path for path in (options.mask, options.body, *donors) if path is not None]
    check_output(options.out, record=record, inputs=kept, overwrite=options.overwrite)
    chosen = Settings(seed=options.seed, labels=options.labels)
    seed = decide_seed() if chosen.seed is None else chosen.seed
    plan = _plan(options.model)
    table = None if plan is None else plan.labels
    how = reading_of(options)
    body = None if options.body is None else read_volume(options.body, **how)
    if body is not None and plan is not None:
        body = said_by_plan(plan, body)
    told: tuple[str, ...] = ()
    relabel: dict[int, int] = {}
    if options.mask is None:
        labels = _empty(body, table)
    elif plan is None:
        labels = read_label_map(options.mask, **how)
    else:
        inside = None if body is None else foreground(body)
        labels, relabel, told = accepted(plan, read_label_map(options.mask, **how), chosen.labels, body, inside)
    tell_notes(body, labels)
    result = _changed(labels, body, options, seed)
    result = replace(result, notes=(*told, *result.notes))
    write_volume(result.labels, options.out, description="edited label map: napari-gem3d")
    _write_record(result, options, donors, seed, relabel, record)
    for line in _report(result):
        print(line)
    print(f"Wrote {options.out} (record: {record.name}).")
    return 0


def _plan(model: str) -> Plan | None:
    if model == "none":
        return None
    from napari_gem3d.bundle.store import find_bundle, read_plan

    return read_plan(find_bundle(model))


def _empty(scan: Volume | None, table: LabelTable | None) -> LabelMap:
    """A map on a scan's grid, to put a first lesion into."""
    import numpy as np

    from napari_gem3d.labels import LabelMap

    if scan is None or table is None:
        raise InputError("An empty label map needs the labels of a model; give another --model than none.")
    return LabelMap(np.zeros(scan.shape, np.uint8), scan.affine, table=table)


def _changed(labels: LabelMap, body: Any, options: argparse.Namespace, seed: int) -> MaskResult:
    from napari_gem3d.io import read_label_map
    from napari_gem3d.masks import MaskEditor, Selection, augment_mask, transform_mask, with_mass_effect
    from napari_gem3d.masks.scene import open_scene

    only = tuple(int(label) if label.isdecimal() else label for label in options.only)
    host = tuple(int(label) if label.isdecimal() else label for label in options.host)
    near = None if options.component is None else tuple(options.component)
    select = Selection(labels=only, near=near, everything=options.everything)
    if not options.steps:
        return MaskEditor(labels, select=select, body=body, host=host).unchanged("Nothing but the numbers was changed.")
    policies = [values for name, values in options.steps if name == "augment"]
    if not policies:
        operations = read_steps(options.steps, select, seed)
        named = {str(donor) for name, donor in options.steps if name == "transplant"}
        maps = {donor: read_label_map(donor, labels.table, **reading_of(options)) for donor in named}
        result = transform_mask(labels, operations, select=select, body=body, host=host, donors=maps)
    elif len(options.steps) > 1 or options.everything:
        raise InputError(
            "An augmentation draws its own steps; give --augment without others, and without --everything."
        )
    else:
        result = augment_mask(labels, policies[0], seed=seed, select=select, body=body, host=host)
    if not options.mass_effect:
        return result
    return with_mass_effect(result, open_scene(result.source, result.select, body, host), options.mass_effect)


def read_steps(steps: Sequence[tuple[str, Any]], select: Selection, seed: int) -> tuple[Operation, ...]:
    """The operations that the options describe.

    Parameters
    ----------
    steps
        Names of options without dashes, and their values, in the order of the command line.
    select
        What is the lesion: its labels are those taken from a donor, too.
    seed
        Of the first elastic step; later ones count on from it.

    Raises
    ------
    InputError
        If a value is out of range, or a transplant has no place.
    """
    from napari_gem3d.masks import Selection, operations_from_json

    entries: list[dict[str, Any]] = []
    centre: dict[str, Any] = {}
    for index, (name, values) in enumerate(steps):
        if name == "centre":
            centre = {"centre": _centre(values)}
        elif name == "to":
            if not entries or entries[-1]["name"] != "transplant" or "to" in entries[-1]:
                raise InputError("--to says where a transplant goes; give it right after --transplant.")
            entries[-1]["to"] = values
        elif name in ("diameter", "shells"):
            if not entries or entries[-1]["name"] != "lesion" or name in entries[-1]:
                raise InputError(f"--{name} describes a new lesion; give it once, right after --lesion R A S.")
            entries[-1][name] = _diameter(values) if name == "diameter" else _shells(values)
        elif name == "transplant":
            if index + 1 == len(steps) or steps[index + 1][0] != "to":
                raise InputError(f"Nothing says where the lesion of {values} should go; add --to R A S after it.")
            donor = Selection(labels=select.labels).model_dump()
            entries.append({"name": name, "donor": str(values), "select": donor})
        else:
            entries.append({"name": name, **_fields(name, values, centre, seed)})
            seed += name == "elastic"
    for entry in entries:
        missing = [] if entry["name"] != "lesion" else [key for key in ("diameter", "shells") if key not in entry]
        if missing:
            raise InputError(f"Nothing says what the new lesion is like; add --{missing[0]} after --lesion.")
    operations: tuple[Operation, ...] = operations_from_json(entries)
    if not operations:
        raise InputError("Nothing is said about what to do; give at least one step such as --translate.")
    return operations


def _fields(name: str, values: Any, centre: dict[str, Any], seed: int) -> dict[str, Any]:
    if name == "translate":
        return {"mm": values}
    if name == "rotate":
        return {"degrees": values, **centre}
    if name == "scale":
        if len(values) not in (1, 3):
            raise InputError("--scale takes one factor, or three for the axes R, A and S; give one or three.")
        return {"factor": values[0] if len(values) == 1 else values, **centre}
    if name == "flip":
        return {"axis": _FLIPS[values], **centre}
    if name == "elastic":
        if len(values) > 2:
            raise InputError("--elastic takes an amplitude and a smoothness in mm; give one or two numbers.")
        return {**dict(zip(("amplitude", "smoothness"), values, strict=False)), "seed": seed}
    if name == "lesion":
        return {"at": values}
    if name == "interpolate":
        return _gaps(values)
    return {} if name == "remove" else {"mm": values}


def _diameter(values: Sequence[float]) -> Any:
    if len(values) not in (1, 3):
        raise InputError("--diameter takes one number, or three for the axes R, A and S; give one or three.")
    return values[0] if len(values) == 1 else list(values)


def _shells(values: Sequence[str]) -> list[dict[str, Any]]:
    shells: list[dict[str, Any]] = []
    for value in values:
        label, equals, thickness = value.rpartition("=") if "=" in value else (value, "", "")
        try:
            mm = float(thickness) if equals else None
        except ValueError:
            raise InputError(
                f"The shell '{value}' is not understood; write a label and its thickness in mm, such as edema=6."
            ) from None
        shells.append({"label": int(label) if label.isdecimal() else label, "mm": mm})
    return shells


def _gaps(values: Sequence[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for value in values:
        try:
            fields["largest_gap"] = float(value)
        except ValueError:
            fields["slices"] = value
    if len(fields) < len(values):
        raise InputError("--interpolate takes a plane and the largest gap in mm; give each at most once.")
    return fields


def _centre(values: Sequence[str]) -> Any:
    if list(values) in (["lesion"], ["body"]):
        return values[0]
    try:
        point = [float(value) for value in values]
    except ValueError:
        point = []
    if len(point) != 3:
        raise InputError(
            f"The centre '{' '.join(values)}' is not understood; give lesion, body or three numbers in mm."
        )
    return point


def _write_record(
    result: MaskResult, options: argparse.Namespace, donors: list[Path], seed: int, relabel: dict[int, int], path: Path
) -> None:
    from napari_gem3d.io import replacing
    from napari_gem3d.sampling.recipe import current_versions
    from napari_gem3d.sampling.references import InputFile

    how = reading_of(options)
    body = None if options.body is None else InputFile.of(options.body, **how).model_dump()
    record = {
        "format": FORMAT,
        "format_version": 1,
        "mask": None if options.mask is None else InputFile.of(options.mask, **how).model_dump(),
        "body": body,
        "donors": [InputFile.of(donor, **how).model_dump() for donor in donors],
        "augment": next((values for name, values in options.steps if name == "augment"), None),
        "seed": seed if any(name in ("augment", "elastic") for name, _ in options.steps) else None,
        "relabel": {str(old): new for old, new in relabel.items()},
        **result.record(),
        "mass_effect_mm": options.mass_effect,
        "versions": current_versions(),
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _report(result: MaskResult) -> list[str]:
    """Volumes before and after, a line a label, and the notes."""
    names = {label.value: f"{label.value} {label.name}" for label in result.table}
    width = max((len(names[value]) for value in result.before), default=0)
    lines = []
    for value, before in result.before.items():
        after = result.after[value]
        change = f"{after / before - 1:+.1%}" if before else "new"
        lines.append(f"{names[value]:{width}}  {before:9.2f} ml → {after:9.2f} ml  {change:>8}")
    return [*lines, *result.notes]
