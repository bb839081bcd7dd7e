"""Turn a synthetic NIfTI file into a DICOM series, marked as synthetic and without anybody's name."""

from __future__ import annotations

import argparse
from pathlib import Path

from napari_gem3d.cli.options import check_exist


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``export``."""
    parser.add_argument("volume", type=Path, metavar="SYNTHETIC.nii.gz", help="a result of this program")
    parser.add_argument("--dicom", type=Path, required=True, metavar="DIR", help="new or empty folder for the series")
    parser.add_argument(
        "--modality",
        choices=("MR", "CT"),
        help="what the volume looks like (default: what the model of its recipe draws)",
    )
    parser.add_argument(
        "--keep-paths", action="store_true", help="name inputs in the recipe with their folders (default: names alone)"
    )


def run(options: argparse.Namespace) -> int:
    """Write the series, and the recipe beside its folder."""
    check_exist(options.volume)
    from napari_gem3d.sampling.export import export_file

    folder = export_file(options.volume, options.dicom, options.modality, keep_paths=options.keep_paths)
    print(f"Wrote {len(list(folder.iterdir()))} DICOM files to {folder}.")
    return 0
