"""What the VAE alone makes of real scans: the best that volumes drawn through it can be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from napari_gem3d.bundle import ModelBundle
from napari_gem3d.bundle.preprocessing import prepare_labels, prepare_scan
from napari_gem3d.device import autocast, choose_device, choose_precision
from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.texture import mean_step
from napari_gem3d.foreground import foreground
from napari_gem3d.io import read_label_map, read_volume

_TOGETHER = 8


def reconstruction(bundle: ModelBundle, scan: Path, labels: Path) -> dict[str, float]:
    """Encode and decode a scan, as far as the networks see it.

    Parameters
    ----------
    bundle
        The model.
    scan, labels
        Files of one patient.

    Returns
    -------
    dict
        Of all slices of the crop together, intensities in [-1, 1]: ``psnr`` in dB, the peak being the whole range, and
        ``sharpness``, in-plane differences of neighbouring voxels, reconstructed / real.

    Raises
    ------
    InputError
        If a file cannot be used or the bundle has no VAE.
    """
    if bundle.vae is None:
        raise InputError(f"The model {bundle.plan.name} has no VAE; choose a bundle that is trained to the end.")
    volume = read_volume(scan)
    case = prepare_labels(bundle.plan, read_label_map(labels, bundle.plan.labels), volume)
    real = prepare_scan(bundle.plan, volume, case.box, foreground(volume))
    precision = choose_precision("auto", choose_device("cpu"))
    made = []
    with torch.inference_mode(), autocast(precision, torch.device("cpu")):
        for few in torch.from_numpy(real)[:, None].split(_TOGETHER):
            made.append(bundle.vae.decode(bundle.vae.encode(few)).float().clamp(-1, 1)[:, 0].numpy())
    decoded = np.concatenate(made)
    everywhere = np.ones(real.shape, bool)
    wanted, got = (sum(mean_step(slices, everywhere, axis) for axis in (1, 2)) for slices in (real, decoded))
    error = float(np.square((decoded - real) / 2, dtype=np.float64).mean())
    return {"psnr": -10 * float(np.log10(max(error, 1e-12))), "sharpness": got / wanted}


def mean_of(patients: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The mean over patients of each figure of `reconstruction`."""
    return {name: float(np.mean([found[name] for found in patients.values()])) for name in ("psnr", "sharpness")}
