"""Networks whose features tell how alike sets of slices are, by name, and where their weights come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from napari_gem3d.errors import InputError
from napari_gem3d.io import sha256
from napari_gem3d.networks.efficientnet import EfficientNetLite0

EFFICIENTNET, INCEPTION = EXTRACTORS = ("efficientnet-lite0", "inception")

_INCEPTION_URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
)
_LAST_BLOCK = 15
# EfficientNet-Lite0 halves a slice five times.
_SMALLEST_SIDE = 96
_TOGETHER = 16


class Extractor(Protocol):
    """Turns slices into features.

    Attributes
    ----------
    name
        As the command line calls it.
    title
        What it is, for tables.
    length
        Of a slice's features.
    is_fid
        Whether Fréchet distances of these features are what papers call FID.
    """

    name: str
    title: str
    length: int
    is_fid: bool

    def __call__(self, slices: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features (N, length) of slices (N, H, W) in [0, 1]."""


class EfficientNetFeatures:
    """Mean over each of the 320 feature maps of EfficientNet-Lite0's last block; its weights come as a package.

    Raises
    ------
    InputError
        If the packages are not installed.
    """

    name = EFFICIENTNET
    title = "EfficientNet-Lite0 (ImageNet), mean over the last feature maps; not FID"
    length = 320
    is_fid = False

    def __init__(self) -> None:
        self.network = EfficientNetLite0((_LAST_BLOCK,))

    def __call__(self, slices: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Extractor`; slices smaller than 96 pixels are padded with 0."""
        missing = [max(0, _SMALLEST_SIDE - length) for length in slices.shape[1:]]
        shown = functional.pad(torch.from_numpy(slices), (0, missing[1], 0, missing[0]))[:, None]
        with torch.inference_mode():
            parts = [self.network(few * 2 - 1)[0].mean(dim=(2, 3)) for few in shown.split(_TOGETHER)]
        found: NDArray[np.float32] = torch.cat(parts).numpy()
        return found


class InceptionFeatures:
    """The 2048 features of Inception v3 that FID is defined by (Heusel et al. 2017), as torch-fidelity computes them.

    Parameters
    ----------
    weights
        torch-fidelity's file of weights; by default it is looked for in PyTorch's cache. Nothing is downloaded.

    Raises
    ------
    InputError
        If torch-fidelity is not installed, or there are no weights or other ones than for this network.
    """

    name = INCEPTION
    length = 2048

    def __init__(self, weights: Path | None = None) -> None:
        path = find_weights(
            _INCEPTION_URL, weights, "Inception v3", "--extractor-weights", "--extractor " + EFFICIENTNET
        )
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except (ImportError, RuntimeError) as error:  # torchvision of another build than PyTorch's is a RuntimeError
            raise InputError(
                f"The extractor 'inception' needs torch-fidelity ({error}): pip install 'napari-gem3d[fid]'."
            ) from error
        # torch-fidelity would run code from a forged file: look at it safely before.
        read_weights(path)
        try:
            self.network: Any = FeatureExtractorInceptionV3(
                "napari-gem3d", [str(self.length)], feature_extractor_weights_path=str(path)
            )
        except (RuntimeError, AttributeError, TypeError) as error:
            raise InputError(f"{path} has no weights of Inception v3; download {_INCEPTION_URL}.") from error
        digest = sha256(path)
        self.is_fid = digest.startswith(_hash_of(_INCEPTION_URL))
        known = "torch-fidelity's weights of 2015-12-05" if self.is_fid else f"other weights, {digest[:8]}; not FID"
        self.title = f"Inception v3, {self.length} features, {known}"

    def __call__(self, slices: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Extractor`; slices become 8 bit and 299 × 299 as for FID."""
        grey = torch.from_numpy(np.rint(slices * 255).astype(np.uint8))[:, None]
        with torch.inference_mode():
            parts = [self.network(few.expand(-1, 3, -1, -1))[0] for few in grey.split(_TOGETHER)]
        found: NDArray[np.float32] = torch.cat(parts).numpy()
        return found


def make_extractor(name: str = EFFICIENTNET, weights: Path | None = None) -> Extractor:
    """An extractor by its name, ``efficientnet-lite0`` or ``inception``.

    Parameters
    ----------
    name
        One of `EXTRACTORS`.
    weights
        File of weights for ``inception``, see `InceptionFeatures`.

    Raises
    ------
    InputError
        If there is no such extractor, or what it needs is not there.
    """
    if name == INCEPTION:
        return InceptionFeatures(weights)
    if name != EFFICIENTNET:
        raise InputError(f"There is no extractor '{name}'; choose one of {', '.join(EXTRACTORS)}.")
    if weights is not None:
        raise InputError(f"{EFFICIENTNET} brings its weights along; leave --extractor-weights out, or name inception.")
    return EfficientNetFeatures()


def find_weights(url: str, given: Path | None, what: str, option: str, instead: str) -> Path:
    """The file of a network's weights: the one given, or that of `url` in PyTorch's cache.

    Parameters
    ----------
    url
        Where people find the file; its name is that in the cache.
    given
        The file, if the user named one.
    what, option, instead
        For the message: the network, the option that names a file, and the one that does without.

    Raises
    ------
    InputError
        If the file is not there. Nothing is downloaded: that would tell a stranger who works on what.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2] if given is None else given
    if not path.is_file():
        raise InputError(
            f"The weights of {what} are not at {path}; download {url} to there or name the file with {option}, or use "
            f"{instead}."
        )
    return path


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors in a file of weights, read without running any code in it; InputError if it is not such a file."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what it comes across
        raise InputError(f"{path} is no file of weights ({type(error).__name__}); download it again.") from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise InputError(f"{path} holds something else than weights; download it again.")
    return found


def _hash_of(url: str) -> str:
    """The begin of the file's SHA-256, which is part of its name."""
    return url.rpartition("-")[2].removesuffix(".pth")
