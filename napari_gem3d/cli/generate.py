"""Generate a whole volume from a label map and one slice of any scan."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from napari_gem3d.cli.options import add_drawing_options, add_output_options, add_settings, check_exist, settings_of
from napari_gem3d.cli.progress import run_with_progress
from napari_gem3d.sampling.settings import READING


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
    add_settings(inputs.add_mutually_exclusive_group(), "slice", "position")
    inputs.add_argument(
        "--allow-own", action="store_true", help="from a folder of scans, the patient's own may be chosen too"
    )
    add_settings(inputs, "informed_seed", "pixel_mm")
    inputs.add_argument(
        "--body",
        type=Path,
        metavar="SCAN",
        help="scan of the label map's patient: where the body is, if the label map does not say",
    )
    add_settings(inputs, "mass_effect_mm", *READING)
    add_settings(add_drawing_options(parser), "known_level", "compiled")
    add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Generate, and write the result with its recipe."""
    started = time.monotonic()
    informed = None if str(options.informed) == "generated" else options.informed
    check_exist(options.mask, informed, options.body)
    settings = settings_of(options)
    from napari_gem3d.sampling.generation import open_volume

    job = open_volume(
        options.mask,
        options.informed,
        options.body,
        model=options.model,
        settings=settings,
        allow_own=options.allow_own,
    )
    recipe = job.recipe
    if not recipe.plan.informed:
        print(
            f"napari-gem3d: {recipe.plan.name} is a baseline without informed slice (Make-A-Volume): the scan only "
            "gives the intensity range and where generation starts.",
            file=sys.stderr,
        )
    return run_with_progress(job, options, started)
