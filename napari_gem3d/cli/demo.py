"""Try it out on sample patients, in the viewer or, with --headless, from label map to volume and picture."""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

from napari_gem3d.cli.progress import generate_with_progress, report
from napari_gem3d.cli.view import open_viewer
from napari_gem3d.errors import InputError

# Whose label map, and whose slice: just below the tumours of both, where the slice does not contradict the label map.
TARGET, DONOR, POSITION = "patient-a", "patient-b", 0.45


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
    from napari_gem3d.pictures import three_planes
    from napari_gem3d.samples import sample_patients
    from napari_gem3d.sampling.generation import open_volume
    from napari_gem3d.sampling.settings import Settings

    target, donor = (sample_patients()[name] for name in (TARGET, DONOR))
    # Copies, for people to look at; the recipe names them, and can be replayed wherever the folder goes.
    labels, informed, own = (_copied(path, options.out) for path in (target.labels, donor.image, target.image))
    job = open_volume(labels, informed, own, settings=Settings(position=POSITION, seed=options.seed))
    recipe = job.recipe
    print(
        f"Drawing the tumour of {target.title} ({target.about}; {labels}) in the contrast of {donor.title} "
        f"(slice {recipe.informed_slice} of {informed}). Both are synthetic, nobody's scans."
    )
    out = options.out / "generated.nii.gz"
    written, interrupted = generate_with_progress(job, out)
    if written is not None:
        picture = out.with_name("generated.png")
        three_planes(
            read_volume(written), read_label_map(labels, recipe.plan.labels), picture, below=[read_volume(own)]
        )
        print(
            f"Wrote {picture}: axial, coronal and sagittal plane through the tumour; above what was drawn now, "
            f"in the middle {own}, below the outlines of the label map."
        )
    return report(written, interrupted, recipe, time.monotonic() - started)


def _copied(path: Path, folder: Path) -> Path:
    """A copy of a file in a folder, made if needed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(path, folder / path.name))
    except OSError as error:
        raise InputError(
            f"{folder / path.name} cannot be written ({error.strerror or error}); choose another place with --out."
        ) from error
