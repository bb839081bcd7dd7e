"""The slice U-Net of stage 1: denoises single slices under their condition channels (paper, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

from diffusers import UNet2DModel
from torch import Tensor, nn


class SliceUNet(nn.Module):
    """A ``diffusers.UNet2DModel`` conditioned by concatenation.

    Input channels are the noisy latents followed by the condition channels (label map, informed slice, offsets);
    the output has the latents' channels.
    """

    def __init__(self, unet: UNet2DModel) -> None:
        super().__init__()
        self.unet = unet

    @classmethod
    def build(
        cls,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (64, 128, 192),
        attention: Sequence[bool] = (False, True, True),
        layers_per_block: int = 2,
        head_channels: int = 32,
        norm_groups: int = 32,
    ) -> SliceUNet:
        """Make a slice U-Net with fresh weights.

        Parameters
        ----------
        in_channels
            Noisy latent channels plus condition channels.
        out_channels
            Latent channels.
        channels
            Width of each level, finest first.
        attention
            For each level, whether its residual blocks are followed by self-attention.
        layers_per_block
            Residual blocks a level.
        head_channels
            Width of an attention head.
        norm_groups
            Groups of every GroupNorm.
        """
        unet = UNet2DModel(
            in_channels=in_channels,
            out_channels=out_channels,
            block_out_channels=tuple(channels),
            layers_per_block=layers_per_block,
            down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attention),
            up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention)),
            attention_head_dim=head_channels,
            norm_num_groups=norm_groups,
            freq_shift=0,
            flip_sin_to_cos=True,
            norm_eps=1e-5,
        )
        return cls(unet)

    @property
    def in_channels(self) -> int:
        """Noisy latent channels plus condition channels."""
        return int(self.unet.config["in_channels"])

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Predict the target of diffusion.

        Parameters
        ----------
        x
            (N, C, h, w): noisy latents, then condition channels.
        t
            Timesteps, (N,) or a scalar.

        Returns
        -------
        Tensor
            (N, c, h, w): the noise or v, as the bundle's schedule says.
        """
        prediction: Tensor = self.unet(x, t).sample
        return prediction
