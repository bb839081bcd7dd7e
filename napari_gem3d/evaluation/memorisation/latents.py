"""Nearness in the latents of a bundle's VAE: what a slice is to the diffusion model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from napari_gem3d.bundle import ModelBundle
from napari_gem3d.bundle.conditioning import label_channels
from napari_gem3d.bundle.preprocessing import prepare_scan
from napari_gem3d.device import choose_device
from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.memorisation.likeness import correlation_of_channels, in_frame
from napari_gem3d.evaluation.memorisation.space import Nearest, Slices
from napari_gem3d.sampling.prepare import own_case
from napari_gem3d.volume import Volume

_EVERY_MM = 2.0
_TOGETHER = 8


class Latents:
    """Distance 1 − r of standardised latents, r their correlation over places and channels inside both bodies.

    Slices are prepared as for the model (its spacing, its frame about the body's middle, its intensities) and encoded;
    the slices asked about are encoded mirrored too. The model's frame takes care of shifts of the whole body; slices
    are looked for up to 12 mm from the like height. The body's outermost latents are left out.

    Parameters
    ----------
    bundle
        A bundle with a VAE.

    Raises
    ------
    InputError
        If it has none.
    """

    name = "latents"

    def __init__(self, bundle: ModelBundle) -> None:
        if bundle.vae is None:
            raise InputError(f"The model {bundle.plan.name} has no VAE; give one that has, or none.")
        self.plan, self.vae, self.device = bundle.plan, bundle.vae, choose_device()
        self.vae.to(self.device)
        known = f" ({bundle.sha256[:8]})" if bundle.sha256 else ""
        self.how = (
            f"1 − correlation of standardised latents of the VAE of {bundle.plan.name}{known}, and of mirror images"
        )

    def describe(self, scan: Volume, body: NDArray[np.bool_], asked: bool) -> Slices:
        """The latents of a scan's slices, about 2 mm apart; see `Space.describe`."""
        case = own_case(self.plan, scan, body)
        step = max(1, round(_EVERY_MM / case.box.spacing[0]))
        shown = prepare_scan(self.plan, scan, case.box, body)[::step]
        shares = label_channels(self.plan, case.labels[::step])[:, : len(self.plan.labels)].sum(dim=1).numpy() > 0.5
        inside = np.stack([ndimage.binary_erosion(plane) for plane in shares])
        numbers = np.asarray(case.slices, dtype=np.intp)[::step]
        places = np.linspace(0, 1, len(shown), dtype=np.float32)
        height = (len(shown) - 1) * step * case.box.spacing[0]
        mirrored = self._encode(shown[:, :, ::-1]) if asked else None
        return Slices(self._encode(shown), inside, places, height, numbers, mirrored)

    @torch.inference_mode()
    def _encode(self, slices: NDArray[np.float32]) -> NDArray[np.float16]:
        pictures = torch.from_numpy(np.ascontiguousarray(slices))[:, None]
        found = [self.vae.encode(few.to(self.device)).half().cpu() for few in pictures.split(_TOGETHER)]
        return torch.cat(found).numpy()

    def search(self, asked: Slices, largest: tuple[int, int]) -> Callable[[Slices], Nearest]:
        """See `Space.search`."""
        frame = max(asked.inside.shape[1], largest[0]), max(asked.inside.shape[2], largest[1])
        mirrored = asked.values[..., ::-1] if asked.mirrored is None else asked.mirrored
        both = np.concatenate([_framed(asked.values, frame), _framed(mirrored, frame)])
        bodies = np.concatenate([asked.inside, asked.inside[:, :, ::-1]]).astype(np.float32)
        inside = in_frame(bodies, frame) > 0

        def find(training: Slices) -> Nearest:
            theirs = in_frame(training.inside.astype(np.float32), frame) > 0
            likeness = correlation_of_channels(both, inside, _framed(training.values, frame), theirs)
            count = len(asked.places)
            near = np.full((count, len(theirs)), -np.inf, np.float32)
            for row, place in enumerate(asked.places):
                near[row, training.window(float(place))] = 0
            likeness = likeness.reshape(2, count, -1) + near
            turned = likeness[1].max(axis=1) > likeness[0].max(axis=1)
            best = np.where(turned[:, None], likeness[1], likeness[0])
            distance = np.minimum(1 - best.max(axis=1), 2).astype(np.float32)
            return Nearest(distance, training.numbers[best.argmax(axis=1)], turned)

        return find


def _framed(latents: NDArray[np.float16], frame: tuple[int, int]) -> NDArray[np.float32]:
    n, channels = latents.shape[:2]
    flat = in_frame(latents.reshape(n * channels, *latents.shape[2:]).astype(np.float32), frame)
    return flat.reshape(n, channels, *frame)
