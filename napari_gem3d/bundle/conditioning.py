"""The condition channels of the U-Nets: label map, informed slice, and where one lies from the other.

The scheme ``fine+slice+offset`` concatenates, in this order:

1. one channel a label of the plan's table, area-pooled to the latent grid (no class is "more" than another);
2. for every label the shares of the `CELLS` × `CELLS` parts of each latent's cell, by pixel-unshuffle: at 1 mm and
   latents of 8 voxels the networks see the label map at 2 mm;
3. for every tissue label a channel that says where that tissue is not known (there the body's label means "body, or
   that tissue");
4. the latents of the informed slice;
5. three constant channels: the slice's position in the body (-1 at its lowest slice, 1 at its highest), and the signed
   distance to the informed slice at a fine (4 mm) and a coarse (32 mm) scale, squashed by tanh. Without the distance
   the network cannot know how far to trust the anatomy it is shown.

The scheme ``labels+slice+offset`` lacks 2 and 3. The schemes ``fine`` and ``labels``, of the Make-A-Volume baseline,
are the same without 4 and without the distances of 5: no informed slice. What windows share is then all that holds a
volume together.

The scheme ``grey``, of imported weights, concatenates the latents of the label map as a grey picture and those of the
informed slice. It makes labels ordinal, and is here because those weights know no other.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import gcd

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from napari_gem3d.bundle.plan import Plan
from napari_gem3d.device import autocast
from napari_gem3d.errors import InputError
from napari_gem3d.labels import UNKNOWN
from napari_gem3d.networks import SliceVAE

OFFSET_SCALES_MM = (4.0, 32.0)
# Parts of a latent's cell along rows, and along columns, in which fine schemes tell the label map.
CELLS = 4
# Slices of a label map that pass the VAE together, which bounds the memory.
_ENCODED_TOGETHER = 4


@dataclass(frozen=True)
class Channel:
    """What one input channel of the U-Nets holds, by which channels of two plans are compared.

    Attributes
    ----------
    kind
        "latent" (noisy), "share" or "part" (of a label), "unknown" (of a tissue label), "informed", "place", or "grey".
    label
        Name of the label, if it belongs to one.
    index
        Which of its kind and label.
    """

    kind: str
    label: str = ""
    index: int = 0


def input_channels(plan: Plan) -> list[Channel]:
    """What each input channel of the slice and volume U-Nets holds, in order, the noisy latents first."""
    latents = range(plan.latents.channels)
    noisy, informed = ([Channel(kind, index=i) for i in latents] for kind in ("latent", "informed"))
    if plan.conditioning == "grey":
        return [*noisy, *(Channel("grey", index=i) for i in latents), *informed]
    channels = [*noisy, *(Channel("share", label.name) for label in plan.labels)]
    if plan.fine:
        parts = _parts(plan) ** 2
        channels += [Channel("part", label.name, i) for label in plan.labels for i in range(parts)]
        channels += [Channel("unknown", label.name) for label in plan.labels.tissues]
    if not plan.informed:
        return [*channels, Channel("place")]
    return [*channels, *informed, *(Channel("place", index=i) for i in range(1 + len(OFFSET_SCALES_MM)))]


def condition_channels(plan: Plan) -> int:
    """How many channels follow the noisy latents at the input of the U-Nets."""
    return len(input_channels(plan)) - plan.latents.channels


def first_informed(plan: Plan) -> int:
    """Index among the condition channels of the first latent of the informed slice."""
    return input_channels(plan).index(Channel("informed")) - plan.latents.channels


def _parts(plan: Plan) -> int:
    """Into how many parts a latent's cell is divided along rows, and along columns."""
    return gcd(CELLS, plan.latents.factor)


def label_channels(plan: Plan, labels: NDArray[np.uint8], unknown: Collection[int] = ()) -> Tensor:
    """The channels of the label map on the latent grid.

    Parameters
    ----------
    plan
        The bundle's plan; its label table gives the channels and their order.
    labels
        Label values (N, H, W), H and W multiples of the VAE's factor. `UNKNOWN` is body whose tissue is not known.
    unknown
        Values of tissue labels that are known nowhere; the map does not hold them.

    Returns
    -------
    Tensor
        (N, K, h, w) float32: the share of each latent's area that each label covers; in fine schemes followed by the
        shares of the parts of its cell, and by where each tissue is not known.
    """
    count, height, width = labels.shape
    parts = _parts(plan) if plan.fine else 1
    side = plan.latents.factor // parts
    body = plan.labels.body

    def shares(where: NDArray[np.bool_]) -> NDArray[np.float32]:
        blocks = where.reshape(count, height // side, side, width // side, side)
        return blocks.mean(axis=(2, 4), dtype=np.float32)

    undecided = labels == UNKNOWN
    fine = torch.from_numpy(
        np.stack(
            [
                shares((labels == label.value) | undecided if label == body else labels == label.value)
                for label in plan.labels
            ],
            axis=1,
        )
    )
    if not plan.fine:
        return fine
    coarse = functional.avg_pool2d(fine, parts)
    local = functional.avg_pool2d(torch.from_numpy(shares(undecided))[:, None], parts)
    flags = [torch.ones_like(local) if label.value in unknown else local for label in plan.labels.tissues]
    return torch.cat([coarse, functional.pixel_unshuffle(fine, parts), *flags], dim=1)


def grey_labels(plan: Plan, labels: NDArray[np.uint8]) -> Tensor:
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
    """Concatenate the condition channels of N slices, as all schemes but ``grey`` want them.

    Parameters
    ----------
    labels
        (N, K, h, w) from :func:`label_channels`.
    informed
        Latents of the informed slice, (N, c, h, w) or (1, c, h, w) for all; None in the baseline's schemes.
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
    unknown
        Values of tissue labels that are known nowhere, as `label_channels` wants them.
    """

    def __init__(
        self,
        plan: Plan,
        labels: NDArray[np.uint8],
        device: torch.device,
        vae: SliceVAE | None = None,
        precision: str = "float32",
        unknown: Collection[int] = (),
    ) -> None:
        self._grey, self._informed = plan.conditioning == "grey", plan.informed
        # Latents lie on the plan's grid, so the plan's spacing is the distance of neighbouring slices in mm.
        self._spacing = plan.spacing[0]
        if self._grey:
            if vae is None:
                raise InputError(f"The model {plan.name} has no VAE, which its label maps need; choose a complete one.")
            self._labels = _encode(vae, grey_labels(plan, labels), device, precision)
        else:
            self._labels = label_channels(plan, labels, unknown).to(device)
        self._shares = self._labels.shape[1] if self._grey else len(plan.labels)
        self._positions = torch.from_numpy(body_positions(len(labels))).to(device)

    def labels(self, slices: range) -> Tensor:
        """The shares of the labels alone, (n, K, h, w), of neighbouring slices; the grey label map's latents."""
        return self._labels[slices.start : slices.stop, : self._shares]

    def window(self, slices: range, informed: Tensor, origin: int) -> Tensor:
        """Condition channels (n, C, h, w) of neighbouring slices.

        Parameters
        ----------
        slices
            Which slices of the volume.
        informed
            Latents (1, c, h, w) of their informed slice; the baseline's schemes do not look at them.
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
