"""Variants of a patient for the cache: flips, small rotations and scalings, other contrast."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_gem3d.training.config.settings import DataSettings


def vary(
    image: NDArray[np.float32],
    labels: NDArray[np.uint8],
    settings: DataSettings,
    variant: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Make one variant of a patient.

    Parameters
    ----------
    image
        (Z, H, W) in [-1, 1]; H and W have the same spacing.
    labels
        (Z, H, W).
    settings
        How far rotation, scaling and gamma go.
    variant
        0 is the patient, 1 its mirror image (left and right swapped), from 2 on a random rotation and scaling in the
        plane, mirrored or not, with another contrast.
    rng
        Draws the parameters.

    Returns
    -------
    tuple of ndarray
        Image and labels of the same shapes.
    """
    if variant == 0:
        return image, labels
    if variant == 1 or rng.random() < 0.5:
        image, labels = image[..., ::-1], labels[..., ::-1]
    if variant == 1:
        return np.ascontiguousarray(image), np.ascontiguousarray(labels)
    angle = np.deg2rad(rng.uniform(-1, 1) * settings.max_rotation_deg)
    scale = 1 + rng.uniform(-1, 1) * settings.max_scaling
    image, labels = _turn(image, labels, angle, scale)
    gamma = 1 + rng.uniform(-1, 1) * settings.max_gamma
    contrast = np.clip((image + 1) / 2, 0, 1) ** gamma * 2 - 1
    return np.ascontiguousarray(contrast, np.float32), np.ascontiguousarray(labels)


def _turn(
    image: NDArray[np.float32], labels: NDArray[np.uint8], angle: float, scale: float
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Rotate (radians) and scale about the centre of the plane, slice by slice."""
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    centre = (np.array(image.shape[1:]) - 1) / 2
    offset = centre - matrix @ centre
    # Cubic: a linear interpolation would teach the networks blurred texture.
    turned = [ndimage.affine_transform(s, matrix, offset, order=3, mode="constant", cval=-1.0) for s in image]
    moved = [ndimage.affine_transform(s, matrix, offset, order=0, mode="constant", cval=0) for s in labels]
    out, masks = np.stack(turned), np.stack(moved)
    out[masks == 0] = -1.0
    return np.clip(out, -1, 1), masks
