"""Generate a whole volume from a label map and one slice of any scan."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Literal

from napari_gem3d.cli.progress import generate_with_progress, report
from napari_gem3d.errors import InputError


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
    how = parser.add_argument_group("how")
    how.add_argument("--model", default="brain-flair", help="bundled model or folder of one (default: brain-flair)")
    how.add_argument("--steps", type=int, help="denoising steps (default: the model's)")
    how.add_argument("--solver", help="dpmsolver++, unipc or ddim (default: the model's)")
    how.add_argument("--eta", type=float, default=0.0, help="fresh noise a step, ddim only, 0 to 1 (default: 0)")
    how.add_argument("--seed", type=int, help="decides the noise (default: drawn, and kept in the recipe)")
    how.add_argument("--device", default="auto", help="cpu, cuda, mps or auto (default)")
    how.add_argument("--precision", default="auto", help="float32, bfloat16 or auto (default)")
    output = parser.add_argument_group("result")
    output.add_argument("--out", type=Path, required=True, help="NIfTI file to write; its recipe goes beside it")
    output.add_argument("--keep-partial", action="store_true", help="on Ctrl-C, write the slices finished so far")


def position(text: str) -> float | Literal["random"]:
    """A position on the command line."""
    return "random" if text == "random" else float(text)


def run(options: argparse.Namespace) -> int:
    """Generate, and write the result with its recipe."""
    started = time.monotonic()
    for path in (options.mask, options.informed, options.body):
        # Asked before PyTorch is loaded: a mistyped path is answered at once.
        if path is not None and not path.exists() and str(path) != "generated":
            raise InputError(f"{path} does not exist; check the path.")
    from napari_gem3d.sampling.recipe import make_recipe

    recipe = make_recipe(
        options.mask,
        options.informed,
        body=options.body,
        slice=options.slice,
        position=options.position,
        allow_own=options.allow_own,
        pixel_mm=options.pixel_mm,
        model=options.model,
        steps=options.steps,
        solver=options.solver,
        eta=options.eta,
        seed=options.seed,
        device=options.device,
        precision=options.precision,
    )
    written, interrupted = generate_with_progress(recipe, options.out, keep_partial=options.keep_partial)
    return report(written, interrupted, recipe, time.monotonic() - started)
