"""What figures are called in a report, and which values of them are right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NAMES = {
    "ms_ssim": "MS-SSIM",
    "ms_ssim_max": "MS-SSIM, by maximum",
    "ssim_brain": "SSIM, inside",
    "csf_dice": "Dice, fluid",
    "lesion_corr": "correlation, lesion",
    "ssim": "SSIM",
    "psnr": "PSNR, dB",
    "lpips": "LPIPS",
    "efficientnet_distance": "perceptual distance",
    "step_axial": "steps, axial",
    "step_coronal": "steps, coronal",
    "step_sagittal": "steps, sagittal",
    "slice_correlation": "slice correlation",
    "real_slice_correlation": "slice correlation, real",
    "slice_step": "brightness steps",
}
_RIGHT = {
    "ms_ssim": "1: the same",
    "ms_ssim_max": "1: the same; the scale of the paper's figures",
    "ssim_brain": "1: the same, background left out",
    "csf_dice": "1: ventricles and sulci where they are in the real scan",
    "lesion_corr": "1: the same inside the lesion",
    "ssim": "1: the same",
    "psnr": "higher is nearer",
    "lpips": "0: the same",
    "efficientnet_distance": "0: the same",
    "step_axial": "1; streaks above about 1.2, smeared below 0.8",
    "step_coronal": "1",
    "step_sagittal": "1",
    "sharpness": "1; blurred below about 0.8",
    "slice_correlation": "that of the real scans",
    "real_slice_correlation": "",
    "flicker": "1; brightness jumps from slice to slice above",
}
# Synthetic / real of a pair.
RATIOS = ("step_axial", "step_coronal", "step_sagittal", "sharpness", "flicker")
LIKENESS = (
    "ms_ssim",
    "ms_ssim_max",
    "ssim_brain",
    "ssim",
    "psnr",
    "efficientnet_distance",
    "lpips",
    "csf_dice",
    "lesion_corr",
)


def name_of(figure: str) -> str:
    """A figure's name for people."""
    return _NAMES.get(figure, figure.replace("_", " "))


def measured_by(title: str, what: str) -> str:
    """Which network a distance is measured by, as a sentence."""
    return f"{what[0].upper()}{what[1:]}: {title}."


def right_value(figure: str) -> str:
    """Which value of a figure is right."""
    return _RIGHT.get(figure, "")


def in_range(pair: Mapping[str, Any], label: str, units: str) -> dict[str, float]:
    """A label's contrast in the scans' units, HU; where these are arbitrary, in shares of the real scan's range."""
    low, high = (0.0, 1.0) if units else pair["range"]
    found = pair["contrast"][label]
    means = {key: (found[key] - low) / (high - low) for key in ("real_mean", "synthetic_mean")}
    widths = ("difference", "real_deviation", "synthetic_deviation")
    return means | {key: found[key] / (high - low) for key in widths}


def plane_name(plane: str, report: Mapping[str, Any]) -> str:
    """A plane of the Fréchet distance: FID-A, FID-C, FID-S as in the paper if it is FID."""
    return f"FID-{plane[0].upper()}, {plane}" if report["frechet_is_fid"] else plane


def distance_names(report: Mapping[str, Any]) -> tuple[str, str]:
    """What the Fréchet and the kernel distance of a report are called: FID and KID only with the features of these."""
    return ("FID", "KID") if report["frechet_is_fid"] else ("Fréchet distance (not FID)", "kernel distance (not KID)")


def several(count: int, what: str) -> str:
    """Such as "1 pair" or "6 pairs"."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def counts_of(report: Mapping[str, Any]) -> str:
    """How many scans there are on either side."""
    synthetic = several(report["synthetic_scans"], "synthetic scan")
    return f"n = {synthetic} against {several(report['real_scans'], 'real scan')}"


def pairs_of(report: Mapping[str, Any]) -> str:
    """How many pairs of how many cases there are."""
    return f"n = {several(len(report['pairs']), 'pair')} of {several(len(report['cases']), 'case')}"
