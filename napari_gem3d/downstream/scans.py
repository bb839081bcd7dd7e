"""A scan as the stand-in sees it, and what it says of every voxel brought back to the scan's own grid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.foreground import foreground
from napari_gem3d.grid import Grid
from napari_gem3d.io import read_label_map, read_volume
from napari_gem3d.io.checks import Reading
from napari_gem3d.labels import LabelMap
from napari_gem3d.volume import Volume, resample

# Of the foreground: single voxels of some scans are a hundred times as bright as tissue.
_PERCENTILES = (0.5, 99.5)
_MARGIN_MM = 4.0


@dataclass(frozen=True)
class NetworkScan:
    """The foreground's box of a scan in RAS axes, in voxels of the network's size.

    Attributes
    ----------
    voxels
        (Z, Y, X) float32, mean 0 and variance 1 over the foreground, its lowest value around it.
    grid
        Where they lie.
    box
        The same part of the patient in the scan's own voxels, in RAS axes.
    own
        The scan's grid.
    """

    voxels: NDArray[np.float32]
    grid: Grid
    box: Grid
    own: Grid


def read_scan(path: Path, spacing: float, **how: Unpack[Reading]) -> NetworkScan:
    """Read a scan and bring it to the network's voxels.

    Intensities are normalised as nnU-Net does with MR: the z-score of the foreground; outliers are clipped before.

    Parameters
    ----------
    path, **how
        As `read_volume` takes them.
    spacing
        Edge of the network's voxels, mm.

    Raises
    ------
    InputError
        If the scan cannot be read or shows no body.
    """
    volume = read_volume(path, **how)
    scan = resample(volume, volume.grid.canonical(), order=0)
    inside = foreground(scan)
    low, high = np.percentile(scan.voxels[inside], _PERCENTILES)
    clipped = np.clip(scan.voxels.astype(np.float32), low, high)
    mean, std = float(clipped[inside].mean()), float(clipped[inside].std())
    # Around it nnU-Net puts the mean, 0; the darkest value leaves the border of the brain to be seen.
    scaled = (np.where(inside, clipped, np.float32(low)) - mean) / max(std, 1e-6)
    box = _box(inside, scan.grid)
    grid = box.with_spacing((spacing, spacing, spacing))
    voxels = resample(Volume(scaled, scan.affine), grid, fill=float(scaled.min())).voxels
    return NetworkScan(voxels.astype(np.float32), grid, box, volume.grid)


def read_labels(path: Path, scan: NetworkScan, **how: Unpack[Reading]) -> NDArray[np.uint8]:
    """The label map of a scan, (Z, Y, X) on the network's grid: the label that has most of a voxel.

    Raises
    ------
    InputError
        If it cannot be read or lies elsewhere.
    """
    labels = resample(read_label_map(path, **how).aligned_to(scan.own), scan.box, order=0)
    shares = ((value, (labels.voxels == value).astype(np.float32)) for value in (0, *labels.values()))
    return _strongest(shares, scan.box, scan.grid)


def to_own_grid(probabilities: NDArray[np.float32], scan: NetworkScan) -> LabelMap:
    """Label map on the scan's own grid: the class with the highest probability there.

    Parameters
    ----------
    probabilities
        (classes, Z, Y, X) on the network's grid, background first. They are interpolated before one is chosen, so
        borders are finer than the network's voxels.
    scan
        What they were predicted from; outside its box everything is background.
    """
    labels = _strongest(enumerate(probabilities), scan.grid, scan.box)
    return resample(LabelMap(labels, scan.box.affine), scan.own, order=0)


def _strongest(parts: Iterable[tuple[int, NDArray[np.float32]]], grid: Grid, to: Grid) -> NDArray[np.uint8]:
    """The value, on another grid, whose part is the largest there once all are interpolated."""
    best = np.full(to.shape, -np.inf, np.float32)
    strongest = np.zeros(to.shape, np.uint8)
    for value, part in parts:
        here = resample(Volume(part, grid.affine), to).voxels
        strongest[here > best] = value
        np.maximum(best, here, out=best)
    return strongest


def _box(inside: NDArray[np.bool_], grid: Grid) -> Grid:
    """The box of the foreground with a margin, inside the grid."""
    starts, sizes = [], []
    for axis, spacing in enumerate(grid.spacing):
        others = tuple(other for other in range(3) if other != axis)
        there = np.flatnonzero(inside.any(axis=others))
        margin = round(_MARGIN_MM / spacing)
        start = max(0, int(there[0]) - margin)
        starts.append(start)
        sizes.append(min(inside.shape[axis], int(there[-1]) + 1 + margin) - start)
    return grid.box(starts, sizes)
