"""Small pictures of a scan's axial slices, made once in the background."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from skimage.transform import resize_local_mean

from napari_gem3d.viewer.patients import Patient, id_of
from napari_gem3d.viewer.worker import Worker


def grey(plane: NDArray[np.generic], limits: tuple[float, float]) -> NDArray[np.uint8]:
    """An axial plane (Y, X) of canonical axes turned as people expect it, uint8, black to white within `limits`."""
    low, high = limits
    upright = np.asarray(plane, dtype=np.float32)[::-1, ::-1]
    shown: NDArray[np.uint8] = (np.clip((upright - low) / max(high - low, 1e-12), 0, 1) * 255).astype(np.uint8)
    return shown


def axial_picture(patient: Patient, index: int) -> NDArray[np.uint8]:
    """An axial slice of a patient, (rows, columns) uint8, in the window of its layer."""
    return grey(patient.image.data[index], patient.image.contrast_limits)


def as_image(picture: NDArray[np.uint8]) -> QImage:
    """A grey picture (rows, columns) as Qt's, which keeps its own copy."""
    pixels = np.ascontiguousarray(picture)
    rows, columns = pixels.shape
    return QImage(pixels.data, columns, rows, columns, QImage.Format.Format_Grayscale8).copy()


def as_pixmap(picture: NDArray[np.uint8], spacing: tuple[float, float], size: int) -> QPixmap:
    """A grey picture whose pixels have these sizes in mm, (rows, columns), fitted into a square of `size` pixels."""
    height, width = picture.shape[0] * spacing[0], picture.shape[1] * spacing[1]
    factor = size / max(height, width)
    return QPixmap.fromImage(as_image(picture)).scaled(
        max(1, round(width * factor)),
        max(1, round(height * factor)),
        Qt.AspectRatioMode.IgnoreAspectRatio,
        Qt.TransformationMode.SmoothTransformation,
    )


def intensity_range(plane: NDArray[np.generic]) -> tuple[float, float] | None:
    """1st and 99.5th percentile of what differs from the corner of a slice; None for an empty one."""
    inside = plane[plane != plane[0, 0]]
    if inside.size == 0:
        return None
    low, high = (float(v) for v in np.percentile(inside, (1, 99.5)))
    return low, high


# Enough for a strip across a wide panel, at a size that shows what slice it is.
_MOST = 40
_PIXELS = 48


@dataclass(frozen=True, eq=False)
class Thumbnails:
    """Slices evenly spaced along the axis of a scan.

    Attributes
    ----------
    indices
        (n,) axial slices, the lowest first.
    planes
        (n, rows, columns) float32 in the scan's intensities, square pixels, canonical axes; at most 48 pixels wide,
        without the background around all slices.
    """

    indices: NDArray[np.int64]
    planes: NDArray[np.float32]


def make_thumbnails(voxels: NDArray[np.generic], spacing: tuple[float, float, float]) -> Thumbnails:
    """Shrink slices of a scan.

    Parameters
    ----------
    voxels
        (Z, Y, X), canonical axes.
    spacing
        Size of a voxel in mm along (z, y, x).
    """
    depth = voxels.shape[0]
    indices = np.unique(np.rint(np.linspace(0, depth - 1, min(depth, _MOST))).astype(np.int64))
    voxels = voxels[:, *_shown(voxels[indices])]
    _, rows, columns = voxels.shape
    height, width = rows * spacing[1], columns * spacing[2]
    factor = _PIXELS / max(height, width)
    shape = (max(1, round(height * factor)), max(1, round(width * factor)))
    planes = [resize_local_mean(np.asarray(voxels[i], np.float32), shape, preserve_range=True) for i in indices]
    return Thumbnails(indices, np.stack(planes).astype(np.float32))


def _shown(planes: NDArray[np.generic]) -> tuple[slice, slice]:
    """Rows and columns of planes (n, Y, X) that differ from the first corner in any of them; all if none do."""
    different = (planes != planes[0, 0, 0]).any(axis=0)
    ends = []
    for axis in (1, 0):
        there = np.flatnonzero(different.any(axis=axis))
        ends.append(slice(int(there[0]), int(there[-1]) + 1) if there.size else slice(None))
    return ends[0], ends[1]


class ThumbnailCache:
    """The thumbnails of the patients that are open.

    Parameters
    ----------
    worker
        Makes them.
    failed
        Gets what went wrong.

    Attributes
    ----------
    ready
        Emitted with a patient whose thumbnails are there.
    """

    ready = Signal(object)

    def __init__(self, worker: Worker, failed: Callable[[BaseException], None]) -> None:
        self._worker, self._failed = worker, failed
        self._made: dict[int, Thumbnails | None] = {}

    def of(self, patient: Patient) -> Thumbnails | None:
        """The patient's thumbnails, or None; then they are being made and `ready` is emitted then."""
        key = id_of(patient.image)
        if key not in self._made:
            self._made[key] = None
            _, row, column = (float(v) for v in patient.image.scale)
            work = partial(make_thumbnails, patient.image.data, (float(patient.image.scale[0]), row, column))
            self._worker.submit(work, partial(self._keep, patient), self._failed)
        return self._made[key]

    def keep(self, patients: Iterable[Patient]) -> None:
        """Forget all others."""
        there = {id_of(patient.image) for patient in patients}
        self._made = {key: made for key, made in self._made.items() if key in there}

    def _keep(self, patient: Patient, thumbnails: Thumbnails) -> None:
        if id_of(patient.image) in self._made:
            self._made[id_of(patient.image)] = thumbnails
            self.ready.emit(patient)
