"""Change a lesion in a scan: what a changed label map reaches is generated anew, the rest stays as it is."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from napari_gem3d.cli.options import (
    add_drawing_options,
    add_mass_effect_option,
    add_output_options,
    check_exist,
    drawing_options,
)
from napari_gem3d.cli.progress import generate_with_progress, report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``edit``."""
    inputs = parser.add_argument_group("what to edit")
    inputs.add_argument("--image", type=Path, required=True, metavar="SCAN", help="the scan; the result gets its grid")
    inputs.add_argument("--mask", type=Path, required=True, metavar="M_BEFORE", help="its label map as it is")
    inputs.add_argument("--edited", type=Path, required=True, metavar="M_AFTER", help="its label map as it shall be")
    inputs.add_argument(
        "--margin", type=float, metavar="MM", help="how far from changed labels voxels may change, mm (default: 5)"
    )
    inputs.add_argument(
        "--informed",
        type=Path,
        metavar="SCAN",
        help="scan whose slice shows how the changed part should look (default: the scan's own slices next to it)",
    )
    which = inputs.add_mutually_exclusive_group()
    which.add_argument("--slice", type=int, metavar="K", help="the informed slice, counted from the lowest (0)")
    which.add_argument(
        "--position", type=float, metavar="P", help="the informed slice, 0 lowest to 1 highest (default: at the edit)"
    )
    add_mass_effect_option(inputs)
    add_drawing_options(parser)
    add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Edit, and write the result with its recipe."""
    started = time.monotonic()
    check_exist(options.image, options.mask, options.edited, options.informed)
    from napari_gem3d.sampling.edit_recipe import MARGIN_MM, make_edit_recipe

    recipe = make_edit_recipe(
        options.image,
        options.mask,
        options.edited,
        margin_mm=MARGIN_MM if options.margin is None else options.margin,
        informed=options.informed,
        slice=options.slice,
        position=options.position,
        mass_effect_mm=options.mass_effect,
        **drawing_options(options),
    )
    written, interrupted = generate_with_progress(
        recipe, options.out, keep_partial=options.keep_partial, resume=options.resume
    )
    return report(written, interrupted, recipe, time.monotonic() - started)
