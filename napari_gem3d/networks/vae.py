"""The single-channel VAE between slices and latents (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional


class SliceVAE(nn.Module):
    """A ``diffusers.AutoencoderKL`` between grey slices and latents of unit scale.

    Slices pass a pixel-unshuffle before the encoder and a pixel-shuffle after the decoder, which makes a small
    network fast at full resolution. Each latent channel is normalised by its mean and deviation on the training
    set, so that diffusion meets unit variance whatever the scale the VAE was trained to.

    Parameters
    ----------
    autoencoder
        The network behind the pixel-unshuffle; its input channels are ``unshuffle ** 2``.
    unshuffle
        Factor of the pixel-unshuffle; 1 for none.
    latent_mean, latent_std
        Statistics of each latent channel over the training set.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(
        self,
        autoencoder: AutoencoderKL,
        unshuffle: int = 2,
        latent_mean: Sequence[float] | None = None,
        latent_std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        channels = int(autoencoder.config["latent_channels"])
        self.autoencoder = autoencoder
        self.unshuffle = unshuffle
        self.latent_channels = channels
        self.register_buffer("latent_mean", torch.zeros(channels), persistent=False)
        self.register_buffer("latent_std", torch.ones(channels), persistent=False)
        self.set_latent_statistics(latent_mean or [0.0] * channels, latent_std or [1.0] * channels)

    @classmethod
    def build(cls, config: dict[str, Any], unshuffle: int = 2) -> SliceVAE:
        """Make a VAE with fresh weights from keyword arguments of ``AutoencoderKL``."""
        channels = unshuffle**2
        return cls(AutoencoderKL(**{**config, "in_channels": channels, "out_channels": channels}), unshuffle)

    @property
    def factor(self) -> int:
        """How many voxels one latent spans along rows and along columns."""
        levels = len(self.autoencoder.config["block_out_channels"])
        return int(self.unshuffle * 2 ** (levels - 1))

    def set_latent_statistics(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Set the mean and deviation by which each latent channel is normalised."""
        self.latent_mean.copy_(torch.as_tensor(mean))
        self.latent_std.copy_(torch.as_tensor(std))

    def posterior(self, slices: Tensor) -> Any:
        """The posterior q(z | x) of slices (N, 1, H, W) in [-1, 1], not normalised; training needs its KL."""
        return self.autoencoder.encode(functional.pixel_unshuffle(slices, self.unshuffle)).latent_dist

    def encode(self, slices: Tensor) -> Tensor:
        """Encode slices by the mode of the posterior.

        Parameters
        ----------
        slices
            (N, 1, H, W) in [-1, 1]; H and W are multiples of :attr:`factor`.

        Returns
        -------
        Tensor
            Normalised latents (N, C, H / factor, W / factor).
        """
        latents = self.posterior(slices).mode()
        return (latents - self.latent_mean[:, None, None]) / self.latent_std[:, None, None]

    def decode_raw(self, latents: Tensor) -> Tensor:
        """Decode latents that are not normalised, as training draws them from the posterior."""
        return functional.pixel_shuffle(self.autoencoder.decode(latents).sample, self.unshuffle)

    def decode(self, latents: Tensor) -> Tensor:
        """Decode normalised latents (N, C, h, w) to slices (N, 1, h * factor, w * factor), about [-1, 1]."""
        return self.decode_raw(latents * self.latent_std[:, None, None] + self.latent_mean[:, None, None])
