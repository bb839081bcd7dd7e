"""Phantoms: two procedural heads with a tumour, for people without data and for tests.

They are drawn, not recorded: skull-stripped, FLAIR-like (fluid dark, grey matter a little brighter than white, oedema
bright), with folds made from noise. They show no patient and teach no anatomy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_gem3d.errors import InputError
from napari_gem3d.grid import Grid
from napari_gem3d.io.nifti import write_volume
from napari_gem3d.labels import Label, LabelMap, LabelTable
from napari_gem3d.volume import Volume, resample

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]

PHANTOM_LABELS = LabelTable(
    (
        Label(1, "edema", "#56b4e9", "lesion"),
        Label(2, "non-enhancing tumour", "#d55e00", "lesion"),
        Label(3, "enhancing tumour", "#f0e442", "lesion"),
        Label(4, "brain", "#999999", "body"),
    )
)


@dataclass(frozen=True)
class _Head:
    """One phantom. Lengths in mm; positions are (x, y, z) from the middle of the brain to right, anterior, superior."""

    seed: int
    field: tuple[int, int, int]  # (z, y, x)
    orientation: str
    half_axes: tuple[float, float, float]  # of the cerebrum
    fold_length: float
    ventricle_scale: float
    tumour: tuple[float, float, float]
    core_radius: float
    edema_radius: float
    white: float
    grey: float
    fluid: float
    edema: float
    enhancing: float
    necrosis: float


_HEADS = {
    "phantom-1": _Head(
        seed=11,
        field=(152, 208, 176),
        orientation="RAS",
        half_axes=(67.0, 86.0, 60.0),
        fold_length=13.0,
        ventricle_scale=1.0,
        tumour=(30.0, 26.0, 30.0),
        core_radius=14.0,
        edema_radius=27.0,
        white=290.0,
        grey=375.0,
        fluid=70.0,
        edema=560.0,
        enhancing=480.0,
        necrosis=190.0,
    ),
    "phantom-2": _Head(
        seed=27,
        field=(144, 200, 172),
        orientation="LPS",
        half_axes=(70.0, 78.0, 57.0),
        fold_length=11.5,
        ventricle_scale=1.4,
        tumour=(-36.0, -34.0, 8.0),
        core_radius=17.0,
        edema_radius=29.0,
        white=780.0,
        grey=950.0,
        fluid=260.0,
        edema=1430.0,
        enhancing=1250.0,
        necrosis=620.0,
    ),
}
PHANTOMS = tuple(_HEADS)
# Brain stem and cerebellum hang below: the middle of the brain is this far (mm) above that of the field.
_CENTRE_HEIGHT = 3


def phantom(name: str) -> tuple[Volume, LabelMap]:
    """Draw a phantom; the same name always gives the same voxels.

    Parameters
    ----------
    name
        "phantom-1" (RAS, tumour in the right frontal lobe) or "phantom-2" (stored LPS, other anatomy and contrast,
        tumour in the left parietal lobe).

    Returns
    -------
    tuple of Volume and LabelMap
        int16 image and uint8 labels on one grid of 1 mm: 1 edema, 2 non-enhancing tumour, 3 enhancing tumour,
        4 brain. Background is 0 in both.

    Raises
    ------
    InputError
        If there is no phantom of that name.
    """
    if name not in _HEADS:
        raise InputError(f"There is no phantom '{name}'; choose one of {', '.join(PHANTOMS)}.")
    image, labels, grid = _drawn(name)
    wanted = grid if _HEADS[name].orientation == "RAS" else _lps(grid)
    volume = resample(Volume(image, grid.affine, "MR"), wanted)
    label_map = resample(LabelMap(labels, grid.affine, table=PHANTOM_LABELS), wanted, order=0)
    # Copies: the drawing is kept for the next call and must not change with what the caller paints.
    return volume.with_voxels(volume.voxels.copy()), label_map.with_voxels(label_map.voxels.copy())


def write_phantoms(folder: Path | str) -> list[tuple[Path, Path]]:
    """Write every phantom into a folder, made if needed, as NAME.nii.gz and NAME_labels.nii.gz.

    Returns
    -------
    list of (image path, label path)
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be made ({error.strerror}); choose another place.") from error
    paths = []
    for name in PHANTOMS:
        image, labels = phantom(name)
        pair = folder / f"{name}.nii.gz", folder / f"{name}_labels.nii.gz"
        write_volume(image, pair[0], description="phantom: napari-gem3d")
        write_volume(labels, pair[1], description="phantom: napari-gem3d")
        paths.append(pair)
    return paths


@lru_cache(maxsize=2)
def _drawn(name: str) -> tuple[NDArray[np.int16], NDArray[np.uint8], Grid]:
    """Image, labels and grid of a phantom in RAS, before it is stored in its own orientation."""
    head = _HEADS[name]
    rng = np.random.default_rng(head.seed)
    affine = np.eye(4)
    affine[:3, 3] = [-(n - 1) / 2 for n in reversed(head.field)]
    grid = Grid(head.field, affine)
    anatomy = _anatomy(head, rng)
    labels = _tumour(head, anatomy, rng)
    image = _painted(head, anatomy, labels, rng)
    labels[(labels == 0) & anatomy.brain] = 4
    return image, labels, grid


def _lps(grid: Grid) -> Grid:
    """The grid with x and y stored the other way round."""
    depth, height, width = grid.shape
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    flip[:2, 3] = width - 1, height - 1
    return Grid((depth, height, width), grid.affine @ flip)


@dataclass(frozen=True)
class _Anatomy:
    """Fields over the voxels (z, y, x): positions from the brain's middle, distances in mm, and masks."""

    x: Field
    y: Field
    z: Field
    brain: Mask
    fluid: Field  # mm to the nearest fluid: sulci, surface, ventricles; negative inside it
    ventricles: Field  # mm to the ventricles alone
    nuclei: Field  # mm to the deep grey nuclei, negative inside


def _anatomy(head: _Head, rng: np.random.Generator) -> _Anatomy:
    x, y, z = _warped_positions(head, rng)
    cerebrum = np.maximum(_inside(x, y, z - 9, head.half_axes, pear=0.14), _temporal_lobes(head, x, y, z))
    hindbrain = np.maximum(
        _inside(x, y + 44, z + 38, (50.0, 32.0, 25.0)), _inside(x, y + 20, z + 42, (13.0, 12.0, 32.0))
    )
    surface = np.maximum(cerebrum, hindbrain) + 1.0 * _noise(rng, head.field, 14)
    brain = _largest(surface > 0)

    folds = _sulci(head, x, y, z, cerebrum, rng)
    folia = np.abs(np.sin((z + 36 + 0.25 * np.abs(x) + 2 * _noise(rng, head.field, 16)) * (np.pi / 6.5))) * 2.1
    folia = np.where((hindbrain < 14) & (y < -22), folia, 9)
    sulci = np.where(cerebrum > hindbrain, folds, folia)
    tentorium = np.abs(cerebrum - hindbrain) + np.where(y > -20, 9, 0)
    fissures = np.minimum(_longitudinal_fissure(x, y, z), _sylvian_fissure(x, y, z + 2.5 * _noise(rng, head.field, 12)))
    ventricles = _ventricles(head, x, y, z)
    fluid = np.minimum.reduce([surface - 0.6, sulci - 0.5, tentorium - 0.8, fissures - 0.9, ventricles])
    return _Anatomy(x, y, z, brain, fluid.astype(np.float32), ventricles, _nuclei(x, y, z))


def _warped_positions(head: _Head, rng: np.random.Generator) -> tuple[Field, Field, Field]:
    """Where each voxel's tissue comes from: asymmetric by a few mm, and pushed aside by the tumour."""
    axes = [np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in head.field]
    z, y, x = np.meshgrid(*axes, indexing="ij", copy=True)
    z -= _CENTRE_HEIGHT
    cx, cy, cz = head.tumour
    distance2 = (x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2
    push = 0.28 * np.exp(-distance2 / (2 * (1.1 * head.core_radius) ** 2))
    out = [p - push * (p - c) + 2.2 * _noise(rng, head.field, 34) for p, c in ((x, cx), (y, cy), (z, cz))]
    return out[0].astype(np.float32), out[1].astype(np.float32), out[2].astype(np.float32)


def _inside(x: Field, y: Field, z: Field, half_axes: tuple[float, float, float], pear: float = 0) -> Field:
    """About the distance in mm to the surface of an ellipsoid, positive inside; `pear` widens it towards the back."""
    a, b, c = half_axes
    width = a * (1 - pear * y / b) if pear else a
    radius = np.sqrt((x / width) ** 2 + (y / b) ** 2 + (z / c) ** 2) + 1e-3
    length = np.sqrt(x**2 + y**2 + z**2) + 1e-3
    result: Field = (length * (1 / radius - 1)).astype(np.float32)
    return result


def _temporal_lobes(head: _Head, x: Field, y: Field, z: Field) -> Field:
    ax: Field = np.abs(x)
    return _inside(ax - np.float32(0.58 * head.half_axes[0]), y - 6, z + 28, (21.0, 37.0, 22.0))


def _sulci(head: _Head, x: Field, y: Field, z: Field, depth: Field, rng: np.random.Generator) -> Field:
    """Distance in mm to the nearest sulcus: sheets that stand on the surface, where a noise changes sign.

    The noise depends on the direction from the middle of the hemisphere much more than on the depth, so the sheets
    run inwards. Distance to its zero is its value over its slope, to first order.
    """
    side = np.where(x < 0, -1, 1).astype(np.float32)
    hx, hy, hz = x - side * 22, y, z - 4
    length = np.sqrt(hx**2 + (0.8 * hy) ** 2 + hz**2) + 4
    stretch = 0.8 * 46 / length + 0.2
    step = 2.0
    size = 128
    texture = _noise(rng, (size, size, size), head.fold_length / step / 1.9)
    index = [(p * stretch + shift) / step + size / 2 for p, shift in ((hz, 0), (hy, 0), (hx, side * 40))]
    value: Field = ndimage.map_coordinates(texture, np.stack(index), order=1, mode="mirror", output=np.float32)
    slope = np.sqrt(sum(np.square(g) for g in np.gradient(value))) + 0.02
    across = np.abs(value) / slope
    limit = 19 + 5 * _noise(rng, head.field, 26)
    below = np.maximum(depth - limit, 0)
    # Sulci open towards the surface.
    opening = 0.8 * np.clip(1 - depth / 9, 0, 1)
    result: Field = np.hypot(across, below).astype(np.float32) - opening
    return result


def _longitudinal_fissure(x: Field, y: Field, z: Field) -> Field:
    """Distance to the plane between the hemispheres, except through corpus callosum, thalami and brain stem."""
    bridge = np.sqrt(((y + 4) / 38) ** 2 + ((z - 6) / 22) ** 2)
    below = np.where((z < -8) & (y < 30), 20, 0)
    result: Field = (np.abs(x) + np.maximum(1 - bridge, 0) * 60 + below).astype(np.float32)
    return result


def _sylvian_fissure(x: Field, y: Field, z: Field) -> Field:
    """Distance to the cleft that parts the temporal lobe from the lobes above it."""
    sheet = np.abs(z + 9 - 0.22 * (18 - y))
    beyond = np.maximum(0, 33 - np.abs(x)) + np.maximum(0, -24 - y) + np.maximum(0, y - 46)
    result: Field = np.hypot(sheet, beyond).astype(np.float32)
    return result


def _ventricles(head: _Head, x: Field, y: Field, z: Field) -> Field:
    """Distance to lateral, third and fourth ventricle: tubes along a polyline, and two ellipsoids."""
    nodes = [
        ((8.0, 32.0, 8.0), 4.5),
        ((8.0, 18.0, 15.0), 5.0),
        ((10.0, -8.0, 20.0), 4.5),
        ((20.0, -32.0, 13.0), 6.0),
        ((22.0, -52.0, 8.0), 2.5),
    ]
    horn = [nodes[3], ((31.0, -14.0, -12.0), 2.2), ((31.0, 4.0, -20.0), 1.6)]
    nearest = np.full(x.shape, 40, dtype=np.float32)
    near = (slice(30, 125), slice(25, -25), slice(20, -20))
    ax, y, z = np.abs(x[near]), y[near], z[near]
    tubes = [*pairwise(nodes), *pairwise(horn)]
    distances = [_tube(ax, y, z, start, end, head.ventricle_scale) for start, end in tubes]
    width = head.ventricle_scale
    distances.append(-_inside(ax, y + 2, z - 3, (2.2 * width, 12.0, 9.0)))
    distances.append(-_inside(ax, y + 34, z + 36, (6.0 * width, 4.0, 8.0)))
    nearest[near] = np.minimum.reduce(distances)
    return nearest


def _tube(
    x: Field,
    y: Field,
    z: Field,
    start: tuple[tuple[float, float, float], float],
    end: tuple[tuple[float, float, float], float],
    scale: float,
) -> Field:
    """Distance to a straight tube whose radius changes from one end to the other."""
    a, b = np.array(start[0], dtype=np.float32), np.array(end[0], dtype=np.float32)
    along = b - a
    t = np.clip(((x - a[0]) * along[0] + (y - a[1]) * along[1] + (z - a[2]) * along[2]) / float(along @ along), 0, 1)
    # Ventricles are higher than wide.
    dx, dy, dz = 1.15 * (x - a[0] - t * along[0]), y - a[1] - t * along[1], 0.9 * (z - a[2] - t * along[2])
    radius = scale * (start[1] + t * (end[1] - start[1]))
    result: Field = (np.sqrt(dx**2 + dy**2 + dz**2) - radius).astype(np.float32)
    return result


def _nuclei(x: Field, y: Field, z: Field) -> Field:
    """Distance to thalamus, caudate head and putamen, negative inside."""
    ax = np.abs(x)
    thalamus = _inside(ax - 11, y + 12, z - 6, (8.0, 14.0, 9.0))
    caudate = _inside(ax - 15, y - 22, z - 10, (4.5, 10.0, 9.0))
    putamen = _inside(ax - 26 - 0.1 * y, y - 4, z - 3, (5.0, 16.0, 10.0))
    return -np.maximum.reduce([thalamus, caudate, putamen])


def _tumour(head: _Head, anatomy: _Anatomy, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Labels 1 edema, 2 necrotic core, 3 enhancing rim: ragged blobs about one centre, kept out of the fluid."""
    x, y, z = np.ogrid[tuple(slice(0, n) for n in head.field)][::-1]
    centre = [c + (n - 1) / 2 for c, n in zip(head.tumour, reversed(head.field), strict=True)]
    distance = np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - _CENTRE_HEIGHT - centre[2]) ** 2)
    coarse, fine = _noise(rng, head.field, 15), _noise(rng, head.field, 6)
    core = distance + 2.5 * coarse + 0.8 * fine
    # Oedema follows the white matter and stops at the cortex.
    edema = distance + 4.5 * coarse + 1.2 * fine + np.clip(7 - anatomy.fluid, 0, 7) * 1.1
    labels = np.zeros(head.field, dtype=np.uint8)
    tissue = anatomy.brain & (anatomy.fluid > 0.3)
    labels[(edema < head.edema_radius) & tissue] = 1
    labels[(core < head.core_radius) & anatomy.brain & (anatomy.ventricles > 0)] = 3
    labels[(labels == 3) & (core + 1.5 * fine < head.core_radius - 4.5)] = 2
    return labels


def _painted(head: _Head, anatomy: _Anatomy, labels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.int16]:
    """Intensities by tissue with texture, blurred to about the resolution of a scanner, with bias field and noise."""
    texture = _noise(rng, head.field, 9)
    ribbon = 2.8 + 0.4 * texture
    image = np.where((anatomy.fluid < ribbon) | (anatomy.nuclei < 0), head.grey, head.white)
    # Caps of the ventricles shine a little in FLAIR.
    image += 0.35 * (head.grey - head.white) * (np.abs(anatomy.ventricles - 1.5) < 1.5)
    image = np.where(anatomy.fluid < 0, head.fluid, image)
    for value, intensity in ((1, head.edema), (2, head.necrosis), (3, head.enhancing)):
        image = np.where(labels == value, intensity, image)
    image = image * (1 + 0.035 * texture + 0.1 * (labels > 0) * _noise(rng, head.field, 5))
    image = ndimage.gaussian_filter(image.astype(np.float32), 0.65, truncate=3)
    image *= 1 + 0.05 * _noise(rng, head.field, 70)
    sigma = 0.025 * head.white
    real, imaginary = (rng.standard_normal(head.field, dtype=np.float32) for _ in range(2))
    image = np.hypot(image + sigma * real, sigma * imaginary)
    return np.where(anatomy.brain, np.maximum(np.rint(image), 1), 0).astype(np.int16)


def _noise(rng: np.random.Generator, shape: tuple[int, int, int], length: float) -> Field:
    """Smooth noise of zero mean and unit deviation that varies over `length` voxels: cubic B-splines on a lattice."""
    knots = [int(np.ceil(n / length)) + 3 for n in shape]
    values: NDArray[np.float32] = rng.standard_normal(knots, dtype=np.float32)
    for n, count in zip(shape, knots, strict=True):
        position = np.arange(n) / length + 1
        distance = np.abs(position[:, None] - np.arange(count)[None, :])
        near = 2 / 3 - distance**2 + distance**3 / 2
        weights = np.where(distance < 1, near, np.maximum(2 - distance, 0) ** 3 / 6).astype(np.float32)
        # Contract the leading axis; tensordot appends the result, so three rounds restore the order.
        values = np.tensordot(values, weights, axes=(0, 1))
    result: Field = ((values - values.mean()) / values.std()).astype(np.float32)
    return result


def _largest(mask: Mask) -> Mask:
    parts, _ = ndimage.label(mask)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    filled: Mask = ndimage.binary_fill_holes(parts == int(np.argmax(sizes)))
    return filled
