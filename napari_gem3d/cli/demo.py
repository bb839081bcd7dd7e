"""Try it out on sample patients, in the viewer or, with --headless, from label map to volume and picture."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from napari_gem3d.cli.progress import generate_with_progress, report
from napari_gem3d.cli.view import open_viewer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``demo``."""
    parser.add_argument(
        "--headless", action="store_true", help="write volumes and a picture instead of opening a window"
    )
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="folder for --headless (demo-output)")
    parser.add_argument("--seed", type=int, default=1, help="decides the noise (default: 1)")


def run(options: argparse.Namespace) -> int:
    """Open the viewer with the sample patients, or generate one volume from them."""
    if not options.headless:
        open_viewer([], demo=True)
        return 0
    started = time.monotonic()
    from napari_gem3d.io import read_label_map, read_volume
    from napari_gem3d.phantoms import write_phantoms
    from napari_gem3d.pictures import three_planes
    from napari_gem3d.sampling.recipe import make_recipe

    (scan, labels), *_ = write_phantoms(options.out)
    recipe = make_recipe(labels, scan, position=0.5, seed=options.seed)
    out = options.out / "generated.nii.gz"
    written, interrupted = generate_with_progress(recipe, out)
    if written is not None:
        picture = out.with_name("generated.png")
        three_planes(read_volume(written), read_label_map(labels, recipe.plan.labels), picture)
        print(f"Wrote {picture} (axial, coronal and sagittal plane through the tumour).")
    return report(written, interrupted, recipe, time.monotonic() - started)
