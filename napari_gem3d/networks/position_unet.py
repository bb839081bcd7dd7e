"""The position U-Net: draws an informed slice for a position in the volume (paper, section 3.4, "IG")."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor, nn

POSITION_SCALE = 1000.0


class PositionUNet(nn.Module):
    """A ``diffusers.UNet2DConditionModel`` whose only condition is where the slice lies.

    The position p in [0, 1] becomes one token, the sinusoidal embedding of 1000 · p (cosines first), which every
    transformer block attends to.
    """

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet

    @classmethod
    def build(
        cls,
        latent_channels: int,
        channels: Sequence[int] = (64, 128, 160),
        attention: Sequence[bool] = (True, True, True),
        layers_per_block: int = 1,
        head_channels: int = 32,
        norm_groups: int = 32,
        token_channels: int = 128,
        transformer_depth: int = 1,
    ) -> PositionUNet:
        """Make a position U-Net with fresh weights.

        Parameters
        ----------
        latent_channels
            Channels of the latents, in and out.
        channels
            Width of each level, finest first.
        attention
            For each level, whether its residual blocks are followed by a transformer block.
        layers_per_block
            Residual blocks a level.
        head_channels
            Width of an attention head.
        norm_groups
            Groups of every GroupNorm.
        token_channels
            Length of the position's embedding, even.
        transformer_depth
            Transformer layers after a residual block.
        """
        unet = UNet2DConditionModel(
            in_channels=latent_channels,
            out_channels=latent_channels,
            block_out_channels=tuple(channels),
            layers_per_block=layers_per_block,
            down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attention),
            up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention)),
            # What diffusers calls attention_head_dim here is the number of heads.
            attention_head_dim=tuple(max(1, width // head_channels) for width in channels),
            transformer_layers_per_block=transformer_depth,
            cross_attention_dim=token_channels,
            norm_num_groups=norm_groups,
            norm_eps=1e-5,
            freq_shift=0,
            flip_sin_to_cos=True,
        )
        return cls(unet)

    @property
    def latent_channels(self) -> int:
        """Channels of the latents it draws."""
        return int(self.unet.config["in_channels"])

    def token(self, position: Tensor) -> Tensor:
        """The token (N, 1, token_channels) of positions (N,) in [0, 1]."""
        width = int(self.unet.config["cross_attention_dim"])
        return get_timestep_embedding(
            position.float() * POSITION_SCALE, width, flip_sin_to_cos=True, downscale_freq_shift=0
        )[:, None]

    def forward(self, x: Tensor, t: Tensor, position: Tensor) -> Tensor:
        """Predict the target of diffusion.

        Parameters
        ----------
        x
            Noisy latents (N, c, h, w).
        t
            Timesteps, (N,) or a scalar.
        position
            (N,), 0 for the lowest slice to 1 for the highest.

        Returns
        -------
        Tensor
            (N, c, h, w): the noise or v, as the bundle's schedule says.
        """
        token = self.token(torch.as_tensor(position, device=x.device)).to(x.dtype)
        prediction: Tensor = self.unet(x, t, encoder_hidden_states=token).sample
        return prediction
