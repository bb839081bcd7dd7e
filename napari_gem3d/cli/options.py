"""Options that the commands which generate share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from napari_gem3d.errors import InputError


def add_drawing_options(parser: argparse.ArgumentParser, seed: int | None = None) -> argparse._ArgumentGroup:
    """Model, solver, seed and device; without a default for the seed, one is drawn. Returns their group."""
    how = parser.add_argument_group("how")
    how.add_argument("--model", default="brain-flair", help="bundled model or folder of one (default: brain-flair)")
    how.add_argument("--steps", type=int, help="denoising steps (default: the model's)")
    how.add_argument("--solver", help="dpmsolver++, unipc or ddim (default: the model's)")
    how.add_argument("--eta", type=float, default=0.0, help="fresh noise a step, ddim only, 0 to 1 (default: 0)")
    usual = "drawn, and kept in the recipe" if seed is None else str(seed)
    how.add_argument("--seed", type=int, default=seed, help=f"decides everything that is random (default: {usual})")
    how.add_argument(
        "--anatomy",
        default="scan",
        help="where labels of anatomy (ventricles, …) come from: scan (default), those that the label map lacks are "
        "found in the scan of its patient; map, the label map alone; none",
    )
    how.add_argument("--device", default="auto", help="cpu, cuda, mps or auto (default)")
    how.add_argument("--precision", default="auto", help="float32, bfloat16, float16 or auto (default)")
    return how


def add_mass_effect_option(group: argparse._ArgumentGroup) -> None:
    """How far lesions push what surrounds them."""
    group.add_argument(
        "--mass-effect",
        type=float,
        default=0.0,
        metavar="MM",
        help="how far the rim of a new or larger lesion pushes what surrounds it, mm; where a lesion goes, the tissue "
        "comes back as far (default: 0)",
    )


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Where the result goes."""
    output = parser.add_argument_group("result")
    output.add_argument("--out", type=Path, required=True, help="NIfTI file to write; its recipe goes beside it")
    output.add_argument(
        "--keep-partial", action="store_true", help="on Ctrl-C, write the slices finished so far, to go on with later"
    )
    output.add_argument(
        "--resume", action="store_true", help="go on with what --keep-partial has left; the other options as then"
    )


def drawing_options(options: argparse.Namespace) -> dict[str, Any]:
    """The values of `add_drawing_options` as the functions that make recipes take them."""
    names = ("model", "steps", "solver", "eta", "seed", "anatomy", "device", "precision")
    values = {name: getattr(options, name) for name in names}
    if options.resume and options.seed is None:
        from napari_gem3d.sampling.partial import recipe_to_resume

        values["seed"] = recipe_to_resume(options.out).seed
    return values


def check_exist(*paths: Path | None) -> None:
    """Raise InputError for a path that is not there; asked before PyTorch is loaded, to answer at once."""
    for path in paths:
        if path is not None and not path.exists():
            raise InputError(f"{path} does not exist; check the path.")


def read_regions(words: list[str]) -> dict[str, tuple[int, ...]]:
    """Regions by name; InputError for what is not NAME=1,2."""
    found: dict[str, tuple[int, ...]] = {}
    for word in words:
        name, _, values = word.partition("=")
        try:
            found[name] = tuple(int(value) for value in values.split(","))
        except ValueError:
            raise InputError(f"'{word}' is no region; write NAME=1,2 with the values of its labels.") from None
    return found
