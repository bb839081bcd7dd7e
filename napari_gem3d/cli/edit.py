"""Change a lesion in a scan: what a changed label map reaches is generated anew, the rest stays as it is."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from napari_gem3d.cli.options import add_drawing_options, add_output_options, add_settings, check_exist, settings_of
from napari_gem3d.cli.progress import run_with_progress
from napari_gem3d.sampling.settings import READING


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``edit``."""
    inputs = parser.add_argument_group("what to edit")
    inputs.add_argument("--image", type=Path, required=True, metavar="SCAN", help="the scan; the result gets its grid")
    inputs.add_argument("--mask", type=Path, required=True, metavar="M_BEFORE", help="its label map as it is")
    inputs.add_argument("--edited", type=Path, required=True, metavar="M_AFTER", help="its label map after the edit")
    add_settings(inputs, "margin_mm")
    inputs.add_argument(
        "--informed",
        type=Path,
        metavar="SCAN",
        help="scan whose slice shows how the changed part should look (default: the scan's own slices next to it)",
    )
    add_settings(inputs.add_mutually_exclusive_group(), "slice", "position")
    add_settings(inputs, "mass_effect_mm", *READING)
    add_drawing_options(parser)
    add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Edit, and write the result with its recipe."""
    started = time.monotonic()
    check_exist(options.image, options.mask, options.edited, options.informed)
    settings = settings_of(options)
    from napari_gem3d.sampling.generation import open_edit

    job = open_edit(
        options.image,
        options.mask,
        options.edited,
        informed=options.informed,
        model=options.model,
        settings=settings,
    )
    return run_with_progress(job, options, started)
