"""Generate a whole volume from a label map and one slice of any scan."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Literal

from napari_gem3d.cli.options import (
    add_drawing_options,
    add_mass_effect_option,
    add_output_options,
    check_exist,
    drawing_options,
)
from napari_gem3d.cli.progress import generate_with_progress, report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``generate``."""
    inputs = parser.add_argument_group("what to draw")
    inputs.add_argument("--mask", type=Path, required=True, help="label map; the result gets its grid")
    inputs.add_argument(
        "--informed",
        type=Path,
        required=True,
        metavar="SCAN",
        help="scan whose slice shows how the result should look; a folder of scans (the seed chooses another patient); "
        "a 2D image; or 'generated' (the model draws the slice)",
    )
    which = inputs.add_mutually_exclusive_group()
    which.add_argument("--slice", type=int, metavar="K", help="the informed slice, counted from the lowest (0)")
    which.add_argument(
        "--position",
        type=position,
        metavar="P",
        help="the informed slice, 0 lowest to 1 highest, or 'random' (default: 0.5)",
    )
    inputs.add_argument(
        "--allow-own", action="store_true", help="from a folder of scans, the patient's own may be chosen too"
    )
    inputs.add_argument(
        "--informed-seed", type=int, metavar="N", help="of a slice that the model draws (default: the seed)"
    )
    inputs.add_argument(
        "--pixel-mm",
        type=float,
        metavar="MM",
        help="size of a pixel of a 2D image (default: what it says, or fitted to the body)",
    )
    inputs.add_argument(
        "--body",
        type=Path,
        metavar="SCAN",
        help="scan of the label map's patient: where the body is, if the label map does not say",
    )
    add_mass_effect_option(inputs)
    add_drawing_options(parser)
    parser.add_argument(
        "--known-level",
        default="reached",
        metavar="LEVEL",
        help="noise level of known slices: reached (default), or published for imported weights",
    )
    parser.add_argument("--compile", action="store_true", help="compile the network first: pays for many volumes")
    add_output_options(parser)


def position(text: str) -> float | Literal["random"]:
    """A position on the command line."""
    return "random" if text == "random" else float(text)


def run(options: argparse.Namespace) -> int:
    """Generate, and write the result with its recipe."""
    started = time.monotonic()
    informed = None if str(options.informed) == "generated" else options.informed
    check_exist(options.mask, informed, options.body)
    from napari_gem3d.sampling.recipe import make_recipe

    recipe = make_recipe(
        options.mask,
        options.informed,
        body=options.body,
        slice=options.slice,
        position=options.position,
        allow_own=options.allow_own,
        informed_seed=options.informed_seed,
        pixel_mm=options.pixel_mm,
        known_level=options.known_level,
        compiled=options.compile,
        mass_effect_mm=options.mass_effect,
        **drawing_options(options),
    )
    if not recipe.plan.informed:
        print(
            f"napari-gem3d: {recipe.plan.name} is a baseline without informed slice (Make-A-Volume): the scan only "
            "gives the intensity range and where generation starts.",
            file=sys.stderr,
        )
    written, interrupted = generate_with_progress(
        recipe, options.out, keep_partial=options.keep_partial, resume=options.resume
    )
    return report(written, interrupted, recipe, time.monotonic() - started)
