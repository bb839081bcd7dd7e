"""Axial slices as pictures in the panel: anterior up, the patient's right on the left."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap

from napari_gem3d.viewer.patients import Patient


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
