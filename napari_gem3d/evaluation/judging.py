"""All figures of a synthetic scan beside the real scan of the same patient, and of any scan by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.evaluation.consistency import consistency, neighbours
from napari_gem3d.evaluation.contrast import LabelIntensities, label_intensities
from napari_gem3d.evaluation.frame import Frame
from napari_gem3d.evaluation.frechet import PLANES
from napari_gem3d.evaluation.inside import figures_inside
from napari_gem3d.evaluation.pairs import Pair
from napari_gem3d.evaluation.perceptual import PerceptualDistance, mean_distance
from napari_gem3d.evaluation.similarity import likeness, mean_ms_ssim
from napari_gem3d.evaluation.texture import mean_step, sharpness, step_ratio

# Figures of a pair in the order of tables, without the perceptual distance, whose name depends on the network.
_ALIKE = ("ms_ssim", "ms_ssim_max", "ssim_brain", "ssim", "psnr")
FIGURES = (
    *_ALIKE,
    "csf_dice",
    "lesion_corr",
    *(f"step_{plane}" for plane in PLANES),
    "sharpness",
    "slice_correlation",
    "real_slice_correlation",
    "flicker",
)
# Of a scan by itself.
OWN_FIGURES = ("brightness", *(f"step_{plane}" for plane in PLANES), "slice_correlation", "slice_step")
# Labels of a lesion, edema and tumour, in label maps whose files do not tell.
LESION = (1, 2, 3)


def figures_of(pairs: Sequence[Mapping[str, Any]], distance: str) -> list[str]:
    """The figures that pairs have, in the order of tables; all if there are no pairs.

    Parameters
    ----------
    pairs
        What `compare` says of them.
    distance
        Name of the perceptual distance's figure.
    """
    every = [*_ALIKE, distance, *FIGURES[len(_ALIKE) :]]
    return [name for name in every if not pairs or any(name in pair for pair in pairs)]


def judge(pair: Pair, perceptual: PerceptualDistance | None = None) -> dict[str, Any]:
    """Read the scans of a pair and `compare` them.

    Parameters
    ----------
    pair
        A real and a synthetic scan.
    perceptual
        A distance to measure as well.

    Raises
    ------
    InputError
        As `Pair.read`, `Frame.of` and `compare`.
    """
    real, made, labels = pair.read()
    voxels = None if labels is None else labels.voxels
    lesion = LESION if labels is None or labels.table is None else [label.value for label in labels.table.lesions]
    found = compare(real.voxels, made.voxels, Frame.of(real), voxels, perceptual, lesion)
    return {"case": pair.case, **found}


def compare(
    real: NDArray[Any],
    made: NDArray[Any],
    frame: Frame,
    labels: NDArray[np.integer] | None = None,
    perceptual: PerceptualDistance | None = None,
    lesion: Sequence[int] = LESION,
) -> dict[str, Any]:
    """All figures of a synthetic scan against the real one.

    Parameters
    ----------
    real, made
        (Z, Y, X) on one canonical grid, in the scans' units.
    frame
        Of the real scan: both are compared in it.
    labels
        The label map on the same grid.
    perceptual
        A distance to measure as well.
    lesion
        The labels of the lesion.

    Returns
    -------
    dict
        ``ms_ssim``, ``ssim`` and ``psnr`` (dB), see `likeness`; ``ms_ssim_max``, the first with the real scan's
        maximum as 1; ``ssim_brain``, ``csf_dice`` (not of a CT) and ``lesion_corr`` (with labels), see
        `figures_inside`; the perceptual distance by its figure's name; ``step_axial``, ``step_coronal``,
        ``step_sagittal`` and ``sharpness`` (synthetic / real, 1 is right); ``slice_correlation``,
        ``real_slice_correlation`` and ``flicker``, see `consistency`; the ``range`` of the frame in the scans' units;
        and ``contrast`` by label: means and deviations in the scans' units, their difference, and the ratio of the
        means in the frame, from its lower end (0, or air for CT) to its upper one.

    Raises
    ------
    InputError
        If the shapes differ or there is too little of a body.
    """
    shown = frame.apply(real), frame.apply(made)
    inside = frame.cropped
    found: dict[str, Any] = dict(likeness(*shown))
    found["ms_ssim_max"] = mean_ms_ssim(frame.apply(real, by_maximum=True), frame.apply(made, by_maximum=True))
    ill = None if labels is None else np.isin(labels[frame.box], lesion)
    found |= figures_inside(*shown, frame, ill)
    if perceptual is not None:
        found[perceptual.figure] = mean_distance(perceptual, *shown)
    found |= {f"step_{plane}": step_ratio(*shown, axis=axis, inside=inside) for plane, axis in PLANES.items()}
    found["sharpness"] = sharpness(*shown, inside=inside)
    found |= consistency(*shown, inside)
    found["range"] = [frame.low, frame.high]
    if labels is not None:
        found["contrast"] = _contrast(real, made, labels, label_intensities(*shown, labels[frame.box]))
    return found


def _contrast(
    real: NDArray[Any], made: NDArray[Any], labels: NDArray[np.integer], in_range: Mapping[int, LabelIntensities]
) -> dict[str, dict[str, float | None]]:
    return {
        str(value): {
            "ratio": in_range[value].ratio if value in in_range and in_range[value].real_mean else None,
            "difference": label.difference,
            "real_mean": label.real_mean,
            "synthetic_mean": label.made_mean,
            "real_deviation": label.real_deviation,
            "synthetic_deviation": label.made_deviation,
            "voxels": label.voxels,
        }
        for value, label in label_intensities(real, made, labels).items()
    }


def describe(shown: NDArray[np.float32], inside: NDArray[np.bool_]) -> dict[str, float]:
    """Figures of one scan by itself, for sets of scans that do not belong together in pairs.

    Parameters
    ----------
    shown
        (Z, Y, X) in [0, 1].
    inside
        The body, the same shape.

    Returns
    -------
    dict
        ``brightness``, the mean inside; ``step_axial``, … as `mean_step`; ``slice_correlation``, mean over neighbouring
        axial slices; ``slice_step``, the root mean square difference of their brightness. All but the correlation in
        shares of the range from the scan's background to its 99.5th percentile.

    Raises
    ------
    InputError
        If there is too little of a body.
    """
    correlation, steps = neighbours(shown, inside)
    return {
        "brightness": float(shown[inside].mean()),
        **{f"step_{plane}": mean_step(shown, inside, axis) for plane, axis in PLANES.items()},
        "slice_correlation": float(correlation.mean()),
        "slice_step": float(np.sqrt(np.square(steps).mean())),
    }
