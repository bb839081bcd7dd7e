"""Variants of a patient for the cache: mirror image, small rotations, scalings and bends, other contrast."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_gem3d.bundle.plan import Plan
from napari_gem3d.labels import LabelTable
from napari_gem3d.training.config.settings import DataSettings

# Knots of the spline that bends a patient lie this far apart.
_KNOTS_MM = 32.0
_SIDES = {"left": "right", "right": "left", "l": "r", "r": "l"}


def mirrors(settings: DataSettings, plan: Plan) -> bool:
    """Whether variants are mirrored left to right: by default in MR, not in CT, where the liver would change sides."""
    return plan.modality == "MR" if settings.mirror is None else settings.mirror


def vary(
    image: NDArray[np.float32],
    labels: NDArray[np.uint8],
    plan: Plan,
    settings: DataSettings,
    variant: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Make one variant of a patient.

    Parameters
    ----------
    image
        (Z, H, W) in [-1, 1].
    labels
        (Z, H, W).
    plan
        Spacing and label table of both; MR or CT.
    settings
        How far rotation, scaling, bending and gamma go, and whether patients are mirrored.
    variant
        0 is the patient. 1 is the mirror image (left and right swapped, also in the names of labels), if patients are
        mirrored. All others are rotated, scaled and bent at random in the plane, mirrored or not, and MR has another
        contrast.
    rng
        Draws the parameters.

    Returns
    -------
    tuple of ndarray
        Image and labels of the same shapes.
    """
    if variant == 0:
        return image, labels
    mirrored = mirrors(settings, plan)
    if mirrored and (variant == 1 or rng.random() < 0.5):
        image, labels = image[..., ::-1], _swapped(plan.labels)[labels[..., ::-1]]
    if mirrored and variant == 1:
        return np.ascontiguousarray(image), np.ascontiguousarray(labels)
    places, bends = _moved_places((*image.shape,), plan.spacing, settings, rng)
    image, labels = _sampled(image, labels, places, bends)
    if plan.background_outside_body:
        image[labels == 0] = -1.0
    if plan.modality == "MR":
        gamma = 1 + rng.uniform(-1, 1) * settings.max_gamma
        image = (np.clip((image + 1) / 2, 0, 1) ** gamma * 2 - 1).astype(np.float32)
    return np.ascontiguousarray(image), np.ascontiguousarray(labels)


def _swapped(table: LabelTable) -> NDArray[np.uint8]:
    """For every label value (256) the one it has in the mirror image: left and right kidney change places."""
    values = np.arange(256, dtype=np.uint8)
    names = {label.name.lower(): label.value for label in table}
    for name, value in names.items():
        other = "".join(_SIDES.get(word, word) for word in re.split(r"([^a-z]+)", name))
        values[value] = names.get(other, value)
    return values


def _moved_places(
    shape: tuple[int, ...], spacing: tuple[float, float, float], settings: DataSettings, rng: np.random.Generator
) -> tuple[NDArray[np.float64], list[NDArray[np.float32]]]:
    """Where to look in the patient for each voxel of a variant.

    Row and column (2, H, W) for every slice, and what is added to them, two (Z, H, W), if the patient is bent.
    """
    angle = np.deg2rad(rng.uniform(-1, 1) * settings.max_rotation_deg)
    scale = 1 + rng.uniform(-1, 1) * settings.max_scaling
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    # A rotation in mm: rows and columns may have other spacings.
    matrix = turn * np.array(spacing[1:])[None, :] / np.array(spacing[1:])[:, None]
    centre = (np.array(shape[1:]) - 1) / 2
    index = np.indices(shape[1:]).reshape(2, -1) - centre[:, None]
    places = (matrix @ index + centre[:, None]).reshape(2, *shape[1:])
    if not settings.max_elastic_mm:
        return places, []
    reach = rng.uniform(0, 1) * settings.max_elastic_mm
    return places, [_bend(shape, spacing, reach / spacing[axis], rng) for axis in (1, 2)]


def _bend(
    shape: tuple[int, ...], spacing: tuple[float, float, float], reach: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """A smooth random field (Z, H, W) of at most `reach` voxels, also along the slices: a B-spline of random knots."""
    knots = [int(np.ceil(n * length / _KNOTS_MM)) + 3 for n, length in zip(shape, spacing, strict=True)]
    values = (reach * rng.uniform(-1, 1, knots)).astype(np.float32)
    factors = [n / k for n, k in zip(shape, knots, strict=True)]
    # Without the prefilter the knots are the spline's coefficients, which it never exceeds.
    return ndimage.zoom(values, factors, order=3, mode="nearest", prefilter=False)


def _sampled(
    image: NDArray[np.float32],
    labels: NDArray[np.uint8],
    places: NDArray[np.float64],
    bends: Sequence[NDArray[np.float32]],
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Image and labels at `places` + `bends`, slice by slice; background beyond the edges."""
    out, moved = np.empty(image.shape, np.float32), np.empty(labels.shape, np.uint8)
    for z in range(len(image)):
        where = places + np.stack([bend[z] for bend in bends]) if bends else places
        # Cubic: a linear interpolation would teach the networks blurred texture.
        out[z] = ndimage.map_coordinates(image[z], where, order=3, mode="constant", cval=-1.0)
        moved[z] = ndimage.map_coordinates(labels[z], where, order=0, mode="constant", cval=0)
    return np.clip(out, -1, 1, out=out), moved
