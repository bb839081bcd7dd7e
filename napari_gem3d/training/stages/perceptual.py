"""Losses beyond voxels: features of a pretrained network, and a patch discriminator."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_gem3d.networks.efficientnet import EfficientNetLite0

_BLOCKS = (0, 2, 4, 7)


class PerceptualLoss(nn.Module):
    """Squared distance of channel-normalised features of EfficientNet-Lite0 (ImageNet weights), frozen.

    Raises
    ------
    InputError
        If the packages are not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = EfficientNetLite0(_BLOCKS)
        self.eval()

    def train(self, mode: bool = True) -> PerceptualLoss:
        """Stay in evaluation mode, as the network does."""
        super().train(False)
        return self

    def features(self, slices: Tensor) -> list[Tensor]:
        """Channel-normalised feature maps of slices (N, 1, H, W) in [-1, 1]."""
        return [functional.normalize(x.float(), dim=1, eps=1e-6) for x in self.network(slices)]

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """Distance between two batches of slices (N, 1, H, W); a scalar."""
        with torch.no_grad():
            wanted = self.features(real)
        pairs = zip(self.features(made), wanted, strict=True)
        return torch.stack([(a - b).square().sum(dim=1).mean() for a, b in pairs]).sum()


class PatchDiscriminator(nn.Sequential):
    """Tells real from reconstructed patches: one logit for each 8×8 block, (N, 1, H, W) to (N, 1, H/8, W/8)."""

    def __init__(self, channels: tuple[int, int, int] = (48, 96, 160)) -> None:
        layers: list[nn.Module] = []
        previous = 1
        for width in channels:
            layers += [nn.Conv2d(previous, width, 4, stride=2, padding=1)]
            layers += [nn.GroupNorm(8, width)] if previous > 1 else []
            layers += [nn.LeakyReLU(0.2)]
            previous = width
        super().__init__(*layers, nn.Conv2d(previous, 1, 3, padding=1))

    @staticmethod
    def loss(real: Tensor, made: Tensor) -> Tensor:
        """Hinge loss of the discriminator from its logits."""
        return functional.relu(1 - real).mean() + functional.relu(1 + made).mean()
