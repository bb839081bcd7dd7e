"""Sample pictures of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def save_rows(rows: Sequence[NDArray[np.float32]], path: Path) -> None:
    """Write a PNG with one row of slices an entry.

    Parameters
    ----------
    rows
        Each (N, H, W) in [-1, 1], canonical axial slices: anterior is drawn up, the patient's left on the left.
    path
        The PNG.
    """
    picture = np.concatenate([np.concatenate(list(row[:, ::-1]), axis=1) for row in rows], axis=0)
    grey = np.clip((picture + 1) * 127.5, 0, 255).astype(np.uint8)
    Image.fromarray(grey).save(path)
