"""Generate the volume of a recipe again."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from napari_gem3d.cli.options import add_overwrite
from napari_gem3d.cli.progress import generate_with_progress, report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``replay``."""
    parser.add_argument("recipe", type=Path, metavar="RECIPE.json", help="the JSON file beside a generated volume")
    parser.add_argument("--out", type=Path, help="NIfTI file to write (default: the recipe's own, replaced)")
    add_overwrite(parser)
    parser.add_argument("--device", help="another device than the recipe's; voxels then differ slightly")
    parser.add_argument(
        "--show-command", action="store_true", help="generate nothing; print the command that makes this recipe"
    )


def run(options: argparse.Namespace) -> int:
    """Generate the recipe's volume, and say what may make it differ from the first one."""
    started = time.monotonic()
    from napari_gem3d.sampling.pair import belongs
    from napari_gem3d.sampling.recipe import read_recipe, result_of

    recipe = read_recipe(options.recipe)
    if options.device is not None:
        recipe = recipe.on_device(options.device)
    out = options.out or result_of(options.recipe)
    if options.show_command:
        from napari_gem3d.sampling.command_line import recipe_command, shell_line

        print(shell_line(recipe_command(recipe, out, beside=options.recipe.parent)))
        return 0
    changed = recipe.changed_versions()
    if changed:
        print(f"napari-gem3d: voxels may differ slightly ({'; '.join(changed)}).", file=sys.stderr)
    from napari_gem3d.sampling.generation import open_job
    from napari_gem3d.sampling.results import check_result

    if not belongs(result_of(options.recipe)):
        print(f"napari-gem3d: {result_of(options.recipe)} was made by another recipe than this.", file=sys.stderr)
    check_result(recipe, out, beside=options.recipe.absolute().parent, overwrite=options.overwrite)
    job = open_job(recipe, beside=options.recipe.parent)
    written, interrupted = generate_with_progress(job, out, overwrite=options.overwrite)
    return report(written, interrupted, recipe, time.monotonic() - started)
