"""The informed slice as the networks see it: cut from a scan, or drawn for a position (paper, section 3.4)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_gem3d.bundle import ModelBundle
from napari_gem3d.device import autocast
from napari_gem3d.errors import InputError
from napari_gem3d.sampling.prepare import Prepared, informed_picture
from napari_gem3d.sampling.settings import Drawing
from napari_gem3d.sampling.solver import denoise, make_solver

# One slice costs next to nothing, and whatever is wrong with it goes through the whole volume.
DRAWING_STEPS = 50
# The slice's noise has a stream of its own: with that of the volume, its lowest slice would get the same noise.
_DRAWING_STREAM = 0x1F0A


def informed_latents(bundle: ModelBundle, prepared: Prepared) -> tuple[Tensor, NDArray[np.float32]]:
    """Latents of the informed slice, and the slice itself.

    Parameters
    ----------
    bundle
        Its VAE encodes a slice that is cut from a scan, its position U-Net draws one that is not.
    prepared
        The inputs, and which slice was chosen.

    Returns
    -------
    tuple
        (1, c, h, w) on the device, and (H, W) in [-1, 1].

    Raises
    ------
    InputError
        If the slice has to be drawn and the bundle has no position U-Net.
    """
    assert bundle.vae is not None, "jobs check that"
    drawing = prepared.drawing
    device, precision = torch.device(drawing.device), drawing.precision
    height, width = prepared.case.box.shape[1:]
    if prepared.drawn:
        slices = prepared.case.slices
        position = (prepared.start - slices.start) / max(len(slices) - 1, 1)
        if prepared.informed_seed is not None:
            drawing = drawing.model_copy(update={"seed": prepared.informed_seed})
        latents = draw_slice(bundle, position, (height, width), drawing)
        with torch.no_grad(), autocast(precision, device):
            drawn = bundle.vae.decode(latents)[0, 0]
        picture = np.clip(drawn.float().cpu().numpy(), -1, 1)
        return latents, picture
    picture, _ = informed_picture(prepared)
    with torch.no_grad(), autocast(precision, device):
        return bundle.vae.encode(torch.from_numpy(picture)[None, None].to(device)).float(), picture


def draw_slice(bundle: ModelBundle, position: float, shape: tuple[int, int], drawing: Drawing) -> Tensor:
    """Draw the latents of a slice for a position in the body (IG of the paper).

    Parameters
    ----------
    bundle
        With a position U-Net.
    position
        0 for the lowest slice of the body to 1 for the highest.
    shape
        Rows and columns of the slice, multiples of the VAE's factor.
    drawing
        Solver, seed, device; a seed draws the same slice whatever the number of steps of the volume.

    Returns
    -------
    Tensor
        (1, c, h, w) on the device.

    Raises
    ------
    InputError
        If the bundle has no position U-Net.
    """
    network, plan = bundle.position_unet, bundle.plan
    if network is None:
        raise InputError(
            f"The model {plan.name} has no position U-Net to draw an informed slice; give a scan as informed slice."
        )
    settings = drawing.model_copy(update={"steps": max(drawing.steps, DRAWING_STEPS)})
    device, factor = torch.device(drawing.device), plan.latents.factor
    generator = torch.Generator().manual_seed(drawing.seed ^ _DRAWING_STREAM)
    noise = torch.randn((1, plan.latents.channels, shape[0] // factor, shape[1] // factor), generator=generator)
    noise = noise.to(device)
    where = torch.tensor([position], dtype=torch.float32, device=device)

    @torch.no_grad()
    def predict(x: Tensor, timestep: int) -> Tensor:
        with autocast(settings.precision, device):
            return network(x, torch.full((1,), timestep, device=device), where)

    solver = make_solver(plan.schedule, settings.solver, settings.steps, settings.eta)
    nothing = torch.zeros((1, 1, 1, 1), device=device)
    latents = noise
    for latents in denoise(  # noqa: B007 — the last is the result
        predict, solver, plan.schedule.prediction_type, noise, torch.zeros_like(noise), nothing, generator
    ):
        pass
    return latents
