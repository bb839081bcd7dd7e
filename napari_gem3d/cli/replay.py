"""Generate the volume of a recipe again."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from napari_gem3d.cli.progress import generate_with_progress, report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``replay``."""
    parser.add_argument("recipe", type=Path, metavar="RECIPE.json", help="the JSON file beside a generated volume")
    parser.add_argument("--out", type=Path, help="NIfTI file to write (default: the recipe's own, replaced)")
    parser.add_argument("--device", help="another device than the recipe's; voxels then differ slightly")


def run(options: argparse.Namespace) -> int:
    """Generate the recipe's volume, and say what may make it differ from the first one."""
    started = time.monotonic()
    from napari_gem3d.sampling.recipe import read_recipe, result_of

    recipe = read_recipe(options.recipe)
    if options.device is not None:
        recipe = recipe.on_device(options.device)
    changed = recipe.changed_versions()
    if changed:
        print(f"napari-gem3d: voxels may differ slightly ({'; '.join(changed)}).", file=sys.stderr)
    out = options.out or result_of(options.recipe)
    written, interrupted = generate_with_progress(recipe, out, beside=options.recipe.parent)
    return report(written, interrupted, recipe, time.monotonic() - started)
