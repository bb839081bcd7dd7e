"""Sample volumes of a run: what the networks make of a held-out patient, in three planes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_gem3d.bundle import ModelBundle
from napari_gem3d.bundle.plan import Plan
from napari_gem3d.bundle.preprocessing import Intensities
from napari_gem3d.device import autocast
from napari_gem3d.labels import LabelMap
from napari_gem3d.networks import SliceUNet, SliceVAE, VolumeUNet
from napari_gem3d.pictures import three_planes
from napari_gem3d.sampling.propagation import Propagation
from napari_gem3d.sampling.settings import Drawing
from napari_gem3d.training.data.cache import Cache
from napari_gem3d.training.stages.batches import Patient
from napari_gem3d.training.stages.stored import Stored
from napari_gem3d.volume import Volume

_SEED, _STEPS = 1, 5
_DECODED_TOGETHER = 4
# Only the proportions matter to a picture: where a percentile of the scan decided, the scale is any.
_ANY_SCALE = (0.0, 1000.0)


@contextmanager
def undisturbed(device: torch.device, *networks: nn.Module) -> Iterator[None]:
    """Put networks in evaluation mode for a while; they, their device and torch's generators are then as before."""
    modes = [network.training for network in networks]
    forked = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=forked):
        try:
            for network in networks:
                network.eval()
            yield
        finally:
            for network, mode in zip(networks, modes, strict=True):
                network.to(device).train(mode)


def sample_volume(
    cache: Cache,
    plan: Plan,
    patient: Patient,
    network: SliceUNet | VolumeUNet,
    vae: SliceVAE,
    device: torch.device,
    precision: str,
) -> NDArray[np.float32]:
    """Draw a patient's volume from its label map and its own middle slice, with the sampler that users have.

    Parameters
    ----------
    cache
        With the label maps.
    plan
        Its window, schedule and default solver; the steps are few.
    patient
        Its latents give the informed slice.
    network
        The volume U-Net, or a slice U-Net, which is inflated to one.
    vae
        Decodes.
    device, precision
        Where and how the networks run.

    Returns
    -------
    ndarray
        (Z, H, W) in [-1, 1], background outside the body where the plan says so.
    """
    labels = Stored.of(cache, patient.name, "labels").read(0, range(patient.depth))
    with undisturbed(device, network, vae):
        inflated = network if isinstance(network, VolumeUNet) else VolumeUNet.inflate(network).to(device)
        middle = patient.depth // 2
        informed = torch.from_numpy(patient.latents.read(0, range(middle, middle + 1)).astype(np.float32))
        drawing = Drawing(solver=plan.default_solver, steps=_STEPS, seed=_SEED, device=str(device), precision=precision)
        propagation = Propagation(ModelBundle(plan, vae=vae, volume_unet=inflated), labels, informed, middle, drawing)
        for _ in propagation.run():
            pass
        made = decode(vae, propagation.latents, propagation.place.device, propagation.place.precision)
    return np.where(labels > 0, made, np.float32(-1)) if plan.background_outside_body else made


@torch.no_grad()
def decode(vae: SliceVAE, latents: Tensor, device: torch.device, precision: str) -> NDArray[np.float32]:
    """Slices (N, H, W) in [-1, 1] of normalised latents (N, c, h, w), a few at a time."""
    with autocast(precision, device):
        few = [vae.decode(part.to(device))[:, 0].float().cpu() for part in latents.split(_DECODED_TOGETHER)]
    return torch.cat(few).clamp(-1, 1).numpy()


def draw_planes(
    cache: Cache, plan: Plan, case: str, make: Callable[[], NDArray[np.float32]], path: Path, say: Callable[[str], None]
) -> None:
    """Draw a patient's scan and, below, what is made of it, as PNG; what goes wrong is said, not raised.

    Parameters
    ----------
    cache, plan, case
        Whose scan and labels, and how large a voxel is.
    make
        Makes a volume (Z, H, W) in [-1, 1] on the scan's grid.
    path
        The PNG.
    say
        Receives what went wrong, if anything.
    """
    try:
        images, labels = (Stored.of(cache, case, kind) for kind in ("images", "labels"))
        whole = range(images.shape[1])
        affine = np.diag([*plan.spacing[::-1], 1.0])
        scheme = plan.intensity
        intensities = Intensities(*((scheme.low, scheme.high) if scheme.kind == "window" else _ANY_SCALE))
        real, made = (
            Volume(intensities.inverse(scaled.astype(np.float32)), affine, plan.modality)
            for scaled in (images.read(0, whole), make())
        )
        three_planes(real, LabelMap(labels.read(0, whole), affine, table=plan.labels), path, below=[made])
    except Exception as error:  # a picture is not worth a run, whatever is wrong with it
        say(f"no sample volume of {case} ({str(error) or type(error).__name__}); training goes on")
