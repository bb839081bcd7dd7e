"""The VAE between grey slices and latents (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn
from torch.nn import functional

from napari_gem3d.errors import InputError

# Keys of a VAE's configuration that ``AutoencoderKL`` does not know.
STEM_CHANNELS = "stem_channels"
EMBED_CHANNELS = "embed_channels"
# Decoded slices lie about [-1, 1], those of networks that are hardly trained within a few times that.
_OVERFLOWN = 1000.0


def make_autoencoder(config: Mapping[str, Any]) -> AutoencoderKL:
    """Make an ``AutoencoderKL`` from its configuration, which may have two keys more than ``diffusers`` knows.

    Latent diffusion's VAEs may be narrower or wider behind the first convolution than in the first level
    (``stem_channels``), and the 1×1 convolutions about the latents may change their number: ``embed_channels`` are
    then the latents, and ``latent_channels`` what encoder and decoder have inside.
    """
    inner = {key: value for key, value in config.items() if key not in (STEM_CHANNELS, EMBED_CHANNELS)}
    autoencoder = AutoencoderKL.from_config(inner)
    settings = autoencoder.config
    stem, embed = config.get(STEM_CHANNELS), config.get(EMBED_CHANNELS)
    if stem:
        encoder, width, groups = autoencoder.encoder, settings["block_out_channels"][0], settings["norm_num_groups"]
        encoder.conv_in = nn.Conv2d(settings["in_channels"], stem, 3, padding=1)
        first = ResnetBlock2D(in_channels=stem, out_channels=width, temb_channels=None, groups=groups, eps=1e-6)
        encoder.down_blocks[0].resnets[0] = first
        autoencoder.register_to_config(**{STEM_CHANNELS: stem})
    if embed:
        latent = settings["latent_channels"]
        autoencoder.quant_conv = nn.Conv2d(2 * latent, 2 * embed, 1)
        autoencoder.post_quant_conv = nn.Conv2d(embed, latent, 1)
        autoencoder.register_to_config(**{EMBED_CHANNELS: embed})
    return autoencoder


class SliceVAE(nn.Module):
    """A ``diffusers.AutoencoderKL`` between grey slices and latents of unit scale.

    Slices pass a pixel-unshuffle before the encoder and a pixel-shuffle after the decoder, which makes a small
    network fast at full resolution. A network for colour pictures sees a grey slice in each of its channels, and
    its first is what it draws. Each latent channel is normalised by its mean and deviation on the training
    set, so that diffusion meets unit variance whatever the scale the VAE was trained to.

    Parameters
    ----------
    autoencoder
        The network behind the pixel-unshuffle; its input channels are ``unshuffle ** 2``, or those of a colour
        picture without unshuffle.
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
        settings = autoencoder.config
        channels = int(settings.get(EMBED_CHANNELS) or settings["latent_channels"])
        self.copies = int(settings["in_channels"]) // unshuffle**2
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
        pictures = slices.expand(-1, self.copies, -1, -1)
        return self.autoencoder.encode(functional.pixel_unshuffle(pictures, self.unshuffle)).latent_dist

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
        return functional.pixel_shuffle(self.autoencoder.decode(latents).sample, self.unshuffle)[:, :1]

    def decode(self, latents: Tensor) -> Tensor:
        """Decode normalised latents (N, C, h, w) to slices (N, 1, h * factor, w * factor), about [-1, 1].

        Raises
        ------
        InputError
            If a voxel is NaN, infinite or far outside [-1, 1]: what overflowed must not become a picture.
        """
        slices = self.decode_raw(latents * self.latent_std[:, None, None] + self.latent_mean[:, None, None])
        if not bool((slices.abs() < _OVERFLOWN).all()):  # false for NaN too
            raise InputError(
                "The model draws no slices but NaN, infinite or huge values; get it again, or use the precision "
                "float32 if it was another."
            )
        return slices
