"""How unlike slices look to a network that was trained on photographs: LPIPS, or a distance without a download."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.extractors import EFFICIENTNET, find_weights, read_weights
from napari_gem3d.evaluation.similarity import axial_pairs
from napari_gem3d.networks.efficientnet import EfficientNetLite0

LPIPS = "lpips"
DISTANCES = (EFFICIENTNET, LPIPS)

_ALEXNET_URL = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
# Of the blocks with 1/2, 1/4, 1/8 and 1/16 of the resolution, the last but the deepest.
_BLOCKS = (0, 2, 4, 7)
# What five halvings leave something of.
_SMALLEST_SIDE = 64


class PerceptualDistance(Protocol):
    """Compares slices pair by pair.

    Attributes
    ----------
    name
        As the command line calls it.
    figure
        What the distance is called in ``report.json``.
    title
        What it is, for tables.
    """

    name: str
    figure: str
    title: str

    def __call__(self, real: Tensor, made: Tensor) -> Tensor:
        """Distance (N,) of pairs of slices (N, 1, H, W) in [0, 1]; 0 for equal ones."""


class EfficientNetDistance:
    """Squared distance of channel-normalised features of EfficientNet-Lite0, means over four blocks' maps, summed.

    The form is that of LPIPS (Zhang et al. 2018) without its weights fitted to people's judgement, and from another
    network: its values say nothing beside those of LPIPS. A VAE trained with the perceptual term of this package
    has learned to keep this very distance small.

    Raises
    ------
    InputError
        If the packages are not installed.
    """

    name = EFFICIENTNET
    figure = "efficientnet_distance"
    title = "features of EfficientNet-Lite0 (ImageNet); not LPIPS"

    def __init__(self) -> None:
        self.network = EfficientNetLite0(_BLOCKS)

    def __call__(self, real: Tensor, made: Tensor) -> Tensor:
        """See `PerceptualDistance`."""
        with torch.inference_mode():
            pairs = zip(*(self.network(slices * 2 - 1) for slices in (real, made)), strict=True)
            parts = [
                (functional.normalize(a, dim=1) - functional.normalize(b, dim=1)).square().sum(dim=1).mean(dim=(1, 2))
                for a, b in pairs
            ]
            return torch.stack(parts).sum(dim=0)


class LearnedDistance:
    """LPIPS 0.1 with AlexNet (Zhang et al. 2018), by the authors' package.

    Parameters
    ----------
    weights
        torchvision's file of AlexNet; by default it is looked for in PyTorch's cache. Nothing is downloaded.

    Raises
    ------
    InputError
        If lpips is not installed, or there are no weights or other ones than for AlexNet.
    """

    name = figure = LPIPS
    title = "LPIPS 0.1, AlexNet"

    def __init__(self, weights: Path | None = None) -> None:
        path = find_weights(_ALEXNET_URL, weights, "AlexNet", "--perceptual-weights", "--perceptual " + EFFICIENTNET)
        try:
            import lpips
        except (ImportError, RuntimeError) as error:  # torchvision of another build than PyTorch's is a RuntimeError
            raise InputError(f"LPIPS needs the package lpips ({error}): pip install 'napari-gem3d[fid]'.") from error
        # `pnet_rand` keeps the package from downloading AlexNet; the fitted weights of its layers lie in the package.
        self.network: Any = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).requires_grad_(False)
        _fill(self.network.net, read_weights(path), path)

    def __call__(self, real: Tensor, made: Tensor) -> Tensor:
        """See `PerceptualDistance`."""
        with torch.inference_mode():
            colours = (slices.expand(-1, 3, -1, -1) for slices in (real, made))
            found: Tensor = self.network(*colours, normalize=True)
            return found.reshape(-1)


def _fill(network: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Give the package's AlexNet, cut into five parts, the weights that torchvision stores for the whole."""
    for name, tensor in network.state_dict().items():
        _, number, kind = name.split(".")
        stored = weights.get(f"features.{number}.{kind}")
        if stored is None or stored.shape != tensor.shape:
            raise InputError(f"{path} has no weights of AlexNet; download {_ALEXNET_URL}.")
        tensor.copy_(stored)


def make_distance(name: str = EFFICIENTNET, weights: Path | None = None) -> PerceptualDistance:
    """A perceptual distance by its name, ``efficientnet-lite0`` or ``lpips``.

    Parameters
    ----------
    name
        One of `DISTANCES`.
    weights
        File of weights for ``lpips``, see `LearnedDistance`.

    Raises
    ------
    InputError
        If there is no such distance, or what it needs is not there.
    """
    if name == LPIPS:
        return LearnedDistance(weights)
    if name != EFFICIENTNET:
        raise InputError(f"There is no perceptual distance '{name}'; choose one of {', '.join(DISTANCES)}.")
    if weights is not None:
        raise InputError(f"{EFFICIENTNET} brings its weights along; leave --perceptual-weights out, or name lpips.")
    return EfficientNetDistance()


def mean_distance(distance: PerceptualDistance, real: NDArray[np.float32], made: NDArray[np.float32]) -> float:
    """Mean over pairs of axial slices of two scans (Z, Y, X) in [0, 1], without five at either end.

    Raises
    ------
    InputError
        If there are too few slices.
    """
    return float(torch.cat([distance(a, b) for a, b in axial_pairs(real, made, _SMALLEST_SIDE)]).mean())
