"""Variants of a patient for the cache: mirror image, small rotations, scalings, bends, other contrast and texture."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from napari_gem3d.bundle.plan import Plan
from napari_gem3d.labels import LabelTable
from napari_gem3d.training.config.settings import DataSettings

# Knots of the spline that bends a patient lie this far apart.
_KNOTS_MM = 32.0
# Texture is varied in bands between these widths (standard deviations): noise, fine structure, gyri, their surround.
_BANDS_MM = (1.0, 2.0, 4.0, 8.0)
_LEAST_SHARE = np.float32(1e-3)
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
        mirrored. All others are rotated, scaled and bent at random, mirrored or not, and MR has another contrast.
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
    matrix, bends = _moved_places((*image.shape,), plan.spacing, settings, rng)
    image, labels = _sampled(image, labels, matrix, bends, plan.background_outside_body)
    if plan.modality == "MR":
        gamma = 1 + rng.uniform(-1, 1) * settings.max_gamma
        image = (np.clip((image + 1) / 2, 0, 1) ** gamma * 2 - 1).astype(np.float32)
        # Drawn only if wanted, as above.
        if settings.max_texture:
            gains = 2 ** (settings.max_texture * rng.uniform(-1, 1, len(_BANDS_MM)))
            image = with_texture(image, labels > 0, plan.spacing, gains)
    return np.ascontiguousarray(image), np.ascontiguousarray(labels)


def with_texture(
    image: NDArray[np.float32],
    body: NDArray[np.bool_],
    spacing: tuple[float, float, float],
    gains: Sequence[float] | NDArray[np.float64],
) -> NDArray[np.float32]:
    """Raise or lower the contrast of structures of each size, in the same manner in all slices.

    Scanners and patients differ in noise, in sharpness and in how far grey matter stands out from white. Where the same
    anatomy comes with different textures, only the informed slice can say which is wanted.

    Parameters
    ----------
    image
        (Z, H, W) in [-1, 1].
    body
        (Z, H, W); what is outside stays as it is and does not count.
    spacing
        mm along (z, y, x).
    gains
        Factors of what lies in the plane between the widths 0, 1, 2, 4 and 8 mm (standard deviations of Gaussians).

    Returns
    -------
    ndarray
        (Z, H, W) in [-1, 1].
    """
    inside = body.astype(np.float32)
    shown = image * inside
    finer, result = shown, image.copy()
    for width, gain in zip(_BANDS_MM, gains, strict=True):
        sigma = (0.0, width / spacing[1], width / spacing[2])
        share = ndimage.gaussian_filter(inside, sigma, truncate=3.0)
        coarser = ndimage.gaussian_filter(shown, sigma, truncate=3.0) / np.maximum(share, _LEAST_SHARE)
        result += np.float32(gain - 1) * (finer - coarser) * inside
        finer = coarser
    return np.clip(result, -1, 1, out=result)


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

    The linear map (3, 3) of voxels (Z, Y, X) about the centre, and what is added to it, (Z, H, W) along each axis, if
    the patient is bent.
    """
    angle = rng.uniform(-1, 1) * settings.max_rotation_deg
    scale = 1 + rng.uniform(-1, 1) * settings.max_scaling
    # Drawn only if wanted, so that runs without have the variants that they always had.
    tilts = [rng.uniform(-1, 1) * settings.max_tilt_deg for _ in range(2)] if settings.max_tilt_deg else [0.0, 0.0]
    turn = Rotation.from_euler("xyz", [angle, *tilts], degrees=True).as_matrix()
    turn[:, 1:] /= scale
    # A rotation in mm: the axes may have other spacings.
    matrix: NDArray[np.float64] = turn * np.array(spacing)[None, :] / np.array(spacing)[:, None]
    reaches = [0.0, 0.0, 0.0]
    if settings.max_elastic_mm:
        reaches[1:] = [rng.uniform(0, 1) * settings.max_elastic_mm] * 2
    if settings.max_slice_elastic_mm:
        reaches[0] = rng.uniform(0, 1) * settings.max_slice_elastic_mm
    if not any(reaches):
        return matrix, []
    bent = zip(reaches, spacing, strict=True)
    return matrix, [_bend(shape, spacing, reach / length, rng) if reach else _straight(shape) for reach, length in bent]


def _straight(shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.broadcast_to(np.float32(0), shape)


def _bend(
    shape: tuple[int, ...], spacing: tuple[float, float, float], reach: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """A smooth random field (Z, H, W) of at most `reach` voxels, also along the slices: a B-spline of random knots."""
    knots = [int(np.ceil(n * length / _KNOTS_MM)) + 3 for n, length in zip(shape, spacing, strict=True)]
    values = (reach * rng.uniform(-1, 1, knots)).astype(np.float32)
    # Axis by axis, which is a hundred times as fast as in one call.
    for axis, (length, count) in enumerate(zip(shape, knots, strict=True)):
        values = np.moveaxis(np.tensordot(_spline(length, count), values, axes=(1, axis)), 0, axis)
    return values


def _spline(length: int, knots: int) -> NDArray[np.float32]:
    """(length, knots): the values along an axis of cubic B-splines at its knots."""
    # Without the prefilter the knots are the spline's coefficients, which it never exceeds.
    each = [
        ndimage.zoom(one, length / knots, order=3, mode="nearest", prefilter=False)
        for one in np.eye(knots, dtype=np.float32)
    ]
    return np.stack(each, axis=1)


def _sampled(
    image: NDArray[np.float32],
    labels: NDArray[np.uint8],
    matrix: NDArray[np.float64],
    bends: Sequence[NDArray[np.float32]],
    only_body: bool,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Image and labels at `matrix` about the centre + `bends`; background beyond the edges and, if so, the body."""
    out, moved = np.full(image.shape, -1, np.float32), np.empty(labels.shape, np.uint8)
    # Cubic: a linear interpolation would teach the networks blurred texture.
    spline = ndimage.spline_filter(image, order=3, output=np.float32, mode="mirror")
    middle = (np.array(image.shape) - 1) / 2
    rows = np.indices(image.shape[1:]).astype(np.float64) - middle[1:, None, None]
    for z in range(len(image)):
        where = np.einsum("ij,jhw->ihw", matrix[:, 1:], rows) + (matrix[:, 0] * (z - middle[0]) + middle)[:, None, None]
        if bends:
            where += np.stack([bend[z] for bend in bends])
        moved[z] = ndimage.map_coordinates(labels, where, order=0, mode="constant", cval=0)
        shown = moved[z] > 0 if only_body else np.ones(moved[z].shape, bool)
        out[z, shown] = ndimage.map_coordinates(
            spline, where[:, shown], order=3, mode="constant", cval=-1.0, prefilter=False
        )
    return np.clip(out, -1, 1, out=out), moved
