"""The condition channels of the U-Nets: label map, informed slice, and where one lies from the other.

The scheme ``labels+slice+offset`` concatenates, in this order:

1. one channel a label of the plan's table, area-pooled to the latent grid (no class is "more" than another);
2. the latents of the informed slice;
3. three constant channels: the slice's position in the body (-1 at its lowest slice, 1 at its highest), and the signed
   distance to the informed slice at a fine (4 mm) and a coarse (32 mm) scale, squashed by tanh. Without the distance
   the network cannot know how far to trust the anatomy it is shown.

The scheme ``labels``, of the Make-A-Volume baseline, has the first channels and the position alone: no informed slice,
and so no distance to it. What windows share is then all that holds a volume together.

The scheme ``grey``, of imported weights, concatenates the latents of the label map as a grey picture and those of the
informed slice. It makes labels ordinal, and is here because those weights know no other.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from napari_gem3d.bundle.plan import Plan
from napari_gem3d.device import autocast
from napari_gem3d.errors import InputError
from napari_gem3d.networks import SliceVAE

OFFSET_SCALES_MM = (4.0, 32.0)
PLACE_CHANNELS = 1 + len(OFFSET_SCALES_MM)
# Slices of a label map that pass the VAE together, which bounds the memory.
_ENCODED_TOGETHER = 4


def condition_channels(plan: Plan) -> int:
    """How many channels follow the noisy latents at the input of the U-Nets."""
    if plan.conditioning == "grey":
        return 2 * plan.latents.channels
    if plan.conditioning == "labels":
        return len(plan.labels.labels) + 1
    return len(plan.labels.labels) + plan.latents.channels + PLACE_CHANNELS


def label_channels(plan: Plan, labels: np.ndarray) -> Tensor:
    """One-hot label channels on the latent grid.

    Parameters
    ----------
    plan
        The bundle's plan; its label table gives the channels and their order.
    labels
        Integers (N, H, W), H and W multiples of the VAE's factor.

    Returns
    -------
    Tensor
        (N, K, h, w) float32: the share of each latent's area that each label covers.
    """
    factor = plan.latents.factor
    count, height, width = labels.shape
    blocks = labels.reshape(count, height // factor, factor, width // factor, factor)
    shares = [(blocks == label.value).mean(axis=(2, 4), dtype=np.float32) for label in plan.labels.labels]
    return torch.from_numpy(np.stack(shares, axis=1))


def grey_labels(plan: Plan, labels: np.ndarray) -> Tensor:
    """The label map as a grey picture, as the scheme ``grey`` wants it.

    Parameters
    ----------
    plan
        The bundle's plan; its grey codes.
    labels
        Label values (N, H, W).

    Returns
    -------
    Tensor
        (N, 1, H, W) float32: 2 · code / highest − 1.
    """
    grey = plan.grey
    if grey is None:
        raise ValueError("the plan has no grey codes")
    codes = np.full(256, grey.outside, np.float32)
    codes[list(plan.labels.values)] = grey.codes
    return torch.from_numpy(2 * codes[labels] / grey.highest - 1)[:, None]


def body_positions(num_slices: int) -> np.ndarray:
    """Position of each of a body's slices: -1 at the lowest, 1 at the highest; (num_slices,) float32."""
    return np.linspace(-1.0, 1.0, num_slices, dtype=np.float32) if num_slices > 1 else np.zeros(1, np.float32)


def condition(labels: Tensor, informed: Tensor | None, position: Tensor, offset_mm: Tensor) -> Tensor:
    """Concatenate the condition channels of N slices, as the schemes ``labels+slice+offset`` and ``labels`` want them.

    Parameters
    ----------
    labels
        (N, K, h, w) from :func:`label_channels`.
    informed
        Latents of the informed slice, (N, c, h, w) or (1, c, h, w) for all; None in the scheme ``labels``.
    position
        (N,) from :func:`body_positions`.
    offset_mm
        (N,): the slice's place along the axis minus that of the informed slice, in mm, positive towards the head.

    Returns
    -------
    Tensor
        (N, K + c + 3, h, w), or (N, K + 1, h, w) without informed slice.
    """
    count, _, height, width = labels.shape
    offsets = () if informed is None else tuple(torch.tanh(offset_mm / scale) for scale in OFFSET_SCALES_MM)
    constant = torch.stack([position, *offsets], dim=1).to(labels)[:, :, None, None].expand(-1, -1, height, width)
    if informed is None:
        return torch.cat([labels, constant], dim=1)
    return torch.cat([labels, informed.to(labels).expand(count, -1, -1, -1), constant], dim=1)


class Conditions:
    """The condition channels of one volume; what does not change from window to window is computed once.

    Parameters
    ----------
    plan
        The bundle's plan; its scheme, label table and spacing.
    labels
        (Z, H, W) label values of the slices that hold body.
    device
        Where the channels are wanted.
    vae
        Encodes the label map in the scheme ``grey``, on `device`.
    precision
        "float32" or "bfloat16", in which it does so.
    """

    def __init__(
        self,
        plan: Plan,
        labels: np.ndarray,
        device: torch.device,
        vae: SliceVAE | None = None,
        precision: str = "float32",
    ) -> None:
        self._grey, self._informed = plan.conditioning == "grey", plan.informed
        # Latents lie on the plan's grid, so the plan's spacing is the distance of neighbouring slices in mm.
        self._spacing = plan.spacing[0]
        if self._grey:
            if vae is None:
                raise InputError(f"The model {plan.name} has no VAE, which its label maps need; choose a complete one.")
            self._labels = _encode(vae, grey_labels(plan, labels), device, precision)
        else:
            self._labels = label_channels(plan, labels).to(device)
        self._positions = torch.from_numpy(body_positions(len(labels))).to(device)

    def labels(self, slices: range) -> Tensor:
        """The channels of the label map alone, (n, K, h, w), of neighbouring slices."""
        return self._labels[slices.start : slices.stop]

    def window(self, slices: range, informed: Tensor, origin: int) -> Tensor:
        """Condition channels (n, C, h, w) of neighbouring slices.

        Parameters
        ----------
        slices
            Which slices of the volume.
        informed
            Latents (1, c, h, w) of their informed slice; the scheme ``labels`` does not look at them.
        origin
            The slice of the volume that the informed slice stands for.
        """
        where = slice(slices.start, slices.stop)
        if self._grey:
            labels = self._labels[where]
            return torch.cat([labels, informed.to(labels).expand(len(labels), -1, -1, -1)], dim=1)
        offset = (torch.arange(slices.start, slices.stop, device=self._labels.device) - origin) * self._spacing
        shown = informed if self._informed else None
        return condition(self._labels[where], shown, self._positions[where], offset)


@torch.no_grad()
def _encode(vae: SliceVAE, pictures: Tensor, device: torch.device, precision: str) -> Tensor:
    """Latents (N, c, h, w) float32 of pictures (N, 1, H, W), a few at a time."""
    with autocast(precision, device):
        return torch.cat([vae.encode(few.to(device)).float() for few in pictures.split(_ENCODED_TOGETHER)])
