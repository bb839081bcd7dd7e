"""Pictures of the pairs of slices that lie nearest, for the user's own report: they show training scans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_gem3d.evaluation.memorisation.audit import Comparison
from napari_gem3d.evaluation.pairs import upright
from napari_gem3d.foreground import foreground
from napari_gem3d.io import read_volume

# How many pairs are shown, nearest first.
_SHOWN = 8
_PERCENT = (0.5, 99.5)


@dataclass(frozen=True)
class ClosestPair:
    """A slice of a synthetic scan beside the nearest training slice.

    Attributes
    ----------
    caption
        Which slices, and how far apart.
    png
        Both, the synthetic one on the left; the training slice mirrored if its mirror image is what is near.
    """

    caption: str
    png: bytes


def closest_pairs(
    comparison: Comparison, synthetic: Mapping[str, Path], training: Mapping[str, Path]
) -> Iterator[ClosestPair]:
    """The nearest pair of each of the synthetic scans that come nearest to a training slice.

    Parameters
    ----------
    comparison
        By which distance.
    synthetic, training
        The scans by name, as the audit was given them.
    """
    order = sorted(comparison.synthetic.items(), key=lambda item: float(item[1].distance.min()))
    for name, scan in order[:_SHOWN]:
        i = scan.closest
        other, turned = scan.scan[i], bool(scan.mirrored[i])
        left = _grey(synthetic[name], int(scan.slices[i]))
        right = _grey(training[other], int(scan.number[i]))
        caption = (
            f"{name}, slice {scan.slices[i]} · {other}, slice {scan.number[i]}{' mirrored' if turned else ''} · "
            f"distance {scan.distance[i]:.3f}"
        )
        yield ClosestPair(caption, _beside(left, right[:, ::-1] if turned else right))


def _grey(path: Path, number: int) -> NDArray[np.uint8]:
    """An axial slice with its front up and the patient's right on the left, from dark to bright of the body."""
    scan = read_volume(path)
    low, high = np.percentile(scan.voxels[foreground(scan)], _PERCENT)
    plane = upright(scan)[number, ::-1, ::-1].astype(np.float32)
    grey: NDArray[np.uint8] = (np.clip((plane - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)
    return grey


def _beside(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> bytes:
    height = max(left.shape[0], right.shape[0])
    sides = [np.pad(side, ((0, height - side.shape[0]), (0, 0))) for side in (left, right)]
    stream = BytesIO()
    Image.fromarray(np.concatenate(sides, axis=1)).save(stream, format="PNG")
    return stream.getvalue()
