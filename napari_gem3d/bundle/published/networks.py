"""Our networks with the weights of a published checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from diffusers import UNet2DModel
from torch import Tensor, nn

from napari_gem3d.bundle.published.checkpoint import UNET, VAE, Checkpoint
from napari_gem3d.bundle.published.layout import (
    NORM_GROUPS,
    Kind,
    UNetLayout,
    VAELayout,
    unet_kind,
    unet_layout,
    vae_layout,
)
from napari_gem3d.bundle.published.names import Piece, differences, translate, unet_pieces, vae_pieces
from napari_gem3d.errors import InputError
from napari_gem3d.networks import PositionUNet, SliceUNet, SliceVAE, VolumeUNet
from napari_gem3d.networks.vae import EMBED_CHANNELS, STEM_CHANNELS, make_autoencoder

# Latents that the conditions of the U-Nets bring: those of the label map and of the informed slice.
_CONDITIONS = {"slice": 2, "volume": 2, "position": 0}


@dataclass(frozen=True)
class UNet:
    """A published U-Net as our network.

    Attributes
    ----------
    kind
        Which of the three it is.
    network
        Ours, float32.
    """

    kind: Kind
    network: SliceUNet | VolumeUNet | PositionUNet


def kind_of(checkpoint: Checkpoint) -> Kind:
    """Which of the three models a checkpoint is of, told by the names of its tensors."""
    return unet_kind(checkpoint.unet)


def import_vae(checkpoint: Checkpoint, scale: float) -> SliceVAE | None:
    """The VAE of a checkpoint; None if it has none.

    Parameters
    ----------
    checkpoint
        The file's tensors.
    scale
        The factor from the VAE's latents to those of diffusion.

    Raises
    ------
    InputError
        If tensors are missing, unknown, or of a wrong shape.
    """
    if not checkpoint.vae:
        return None
    shapes = _shapes(checkpoint.vae)
    layout = vae_layout(shapes)
    if layout is None:
        raise _refusal(checkpoint, f"it has no VAE of latent diffusion in {VAE}*")
    _check_groups(checkpoint, "VAE", (*layout.channels, layout.stem))
    with torch.device("meta"):
        autoencoder = make_autoencoder(_vae_config(layout))
    _fill(autoencoder, vae_pieces(layout, _shapes(autoencoder.state_dict())), checkpoint, checkpoint.vae, VAE)
    return SliceVAE(autoencoder, 1, None, [1 / scale] * layout.latent)


def import_unet(checkpoint: Checkpoint, latent_channels: int, head_channels: int, averaged: bool) -> UNet:
    """The U-Net of a checkpoint.

    Parameters
    ----------
    checkpoint
        The file's tensors.
    latent_channels
        Of the VAE.
    head_channels
        Width of an attention head, which no tensor tells.
    averaged
        Take the moving averages (EMA).

    Raises
    ------
    InputError
        If tensors are missing, unknown, or of a wrong shape, or this is another kind of U-Net.
    """
    shapes = _shapes(checkpoint.unet)
    layout = unet_layout(shapes, latent_channels)
    if layout is None:
        raise _refusal(checkpoint, f"{UNET}* is no U-Net of latent diffusion ({len(shapes)} tensors)")
    _check_channels(checkpoint, layout, latent_channels)
    _check_groups(checkpoint, "U-Net", layout.channels)
    attending = {width for width, has in zip(layout.channels, layout.attention, strict=True) if has}
    for width in sorted(attending | {layout.channels[-1]}):
        if width % head_channels:
            raise InputError(
                f"{checkpoint.path} has attention of width {width}, which is no multiple of {head_channels}; give the "
                "width of its heads with --head-channels."
            )
    with torch.device("meta"):
        network = _make_unet(layout, head_channels)
    pieces = unet_pieces(layout, _shapes(network.unet.state_dict()), head_channels)
    _check(checkpoint, pieces, shapes, UNET)
    tensors = checkpoint.averaged() if averaged else checkpoint.unet
    _fill(network.unet, pieces, checkpoint, tensors, UNET)
    return UNet(layout.kind, network)


def slice_of(volume: VolumeUNet) -> SliceUNet:
    """The slice U-Net that a volume U-Net inflates: its own 2D tensors, which stage 2 leaves as they were."""
    with torch.device("meta"):
        unet = UNet2DModel.from_config(volume.config)
    stored = volume.unet.state_dict()
    unet.load_state_dict({name: stored[name] for name in unet.state_dict()}, assign=True)
    return SliceUNet(unet)


def _make_unet(layout: UNetLayout, head_channels: int) -> SliceUNet | VolumeUNet | PositionUNet:
    if layout.kind == "position":
        return PositionUNet.build(
            layout.out_channels,
            layout.channels,
            layout.attention,
            layout.layers,
            head_channels,
            NORM_GROUPS,
            layout.token_channels,
            layout.depth,
        )
    slices = SliceUNet.build(
        layout.in_channels,
        layout.out_channels,
        layout.channels,
        layout.attention,
        layout.layers,
        head_channels,
        NORM_GROUPS,
    )
    return VolumeUNet.inflate(slices, norm_at="pixel") if layout.kind == "volume" else slices


def _vae_config(layout: VAELayout) -> dict[str, object]:
    down = ("AttnDownEncoderBlock2D" if attention else "DownEncoderBlock2D" for attention in layout.attention)
    up = ("AttnUpDecoderBlock2D" if attention else "UpDecoderBlock2D" for attention in reversed(layout.attention))
    config: dict[str, object] = {
        "in_channels": layout.in_channels,
        "out_channels": layout.out_channels,
        "down_block_types": tuple(down),
        "up_block_types": tuple(up),
        "block_out_channels": layout.channels,
        "layers_per_block": layout.layers,
        "latent_channels": layout.inner,
        "norm_num_groups": NORM_GROUPS,
        "mid_block_add_attention": layout.middle_attention,
    }
    if layout.stem != layout.channels[0]:
        config[STEM_CHANNELS] = layout.stem
    if layout.latent != layout.inner:
        config[EMBED_CHANNELS] = layout.latent
    return config


def _check_channels(checkpoint: Checkpoint, layout: UNetLayout, latent_channels: int) -> None:
    wanted = (1 + _CONDITIONS[layout.kind]) * latent_channels
    if (layout.in_channels, layout.out_channels) != (wanted, latent_channels):
        raise _refusal(
            checkpoint,
            f"its U-Net takes {layout.in_channels} and gives {layout.out_channels} channels where a {layout.kind} "
            f"U-Net on {latent_channels} latents takes {wanted} and gives {latent_channels}",
        )


def _check_groups(checkpoint: Checkpoint, what: str, widths: tuple[int, ...]) -> None:
    for width in widths:
        if width % NORM_GROUPS:
            raise _refusal(checkpoint, f"its {what} has the width {width}, which is no multiple of {NORM_GROUPS}")


def _check(checkpoint: Checkpoint, pieces: list[Piece], shapes: Mapping[str, tuple[int, ...]], prefix: str) -> None:
    said = differences(pieces, shapes, prefix)
    if said:
        raise InputError(f"{checkpoint.path} {said}; get the file again, or give a checkpoint of GEM-3D.")


def _fill(
    network: nn.Module, pieces: list[Piece], checkpoint: Checkpoint, tensors: Mapping[str, Tensor], prefix: str
) -> None:
    """Give a network made on the meta device its tensors."""
    _check(checkpoint, pieces, _shapes(tensors), prefix)
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{checkpoint.path} has values in {prefix}{name} that are not finite; get the file again.")
    network.load_state_dict(translate(pieces, tensors), assign=True)
    network.eval().requires_grad_(False)


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _refusal(checkpoint: Checkpoint, why: str) -> InputError:
    return InputError(
        f"{checkpoint.path} is not a GEM-3D checkpoint: {why}; give one of its slice, volume or position model."
    )
