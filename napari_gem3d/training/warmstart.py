"""Networks that the stages start from: fresh ones, VAEs from elsewhere, and the networks of other bundles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL

from napari_gem3d.bundle import Plan, load_bundle
from napari_gem3d.bundle.conditioning import condition_channels
from napari_gem3d.bundle.parts import WEIGHTS, make_network, read_config, read_tensors
from napari_gem3d.bundle.store import find_bundle, read_plan
from napari_gem3d.bundle.widening import widened_slice_unet
from napari_gem3d.errors import InputError
from napari_gem3d.networks import PositionUNet, SliceUNet, SliceVAE, VolumeUNet
from napari_gem3d.networks.vae import EMBED_CHANNELS, STEM_CHANNELS, make_autoencoder
from napari_gem3d.training.config.geometry import read_geometry, vae_folder
from napari_gem3d.training.config.settings import TrainingConfig, UNetSettings
from napari_gem3d.training.stages.vae import build_vae

Say = Callable[[str], None]
_Network = TypeVar("_Network")
# Parts of a bundle as people call them.
NAMES = {"slice_unet": "slice U-Net", "volume_unet": "volume U-Net", "position_unet": "position U-Net"}


def start_vae(config: TrainingConfig, say: Say) -> SliceVAE:
    """The VAE of a run before it learns: fresh, or from elsewhere.

    Raises
    ------
    InputError
        If the VAE to start from is of no use.
    """
    folder = vae_folder(config)
    if folder is None:
        return build_vae(config.vae)
    say(f"vae: starts from {folder}")
    return load_vae(folder)


def start_slice_unet(config: TrainingConfig, plan: Plan, say: Say) -> SliceUNet:
    """The slice U-Net of a run before it learns; InputError if the one that its stage names does not fit."""
    inputs, outputs = plan.latents.channels + condition_channels(plan), plan.latents.channels
    return _start(
        config,
        "slice",
        lambda folder: find_slice_unet(folder, plan, say),
        lambda: SliceUNet.build(inputs, outputs, **_sizes(config.slice)),
        say,
    )


def start_volume_unet(config: TrainingConfig, slice_unet: SliceUNet, say: Say) -> VolumeUNet:
    """The volume U-Net of a run before it learns; InputError if the one that its stage names does not fit."""
    network = VolumeUNet.inflate(slice_unet)
    _start(config, "volume", lambda folder: copy_volumetric(folder, network), lambda: None, say)
    return network


def start_position_unet(config: TrainingConfig, plan: Plan, say: Say) -> PositionUNet:
    """The position U-Net of a run before it learns; InputError if the one that its stage names does not fit."""
    channels = plan.latents.channels
    return _start(
        config,
        "position",
        lambda folder: find_position_unet(folder, channels),
        lambda: PositionUNet.build(channels, **_sizes(config.position)),
        say,
    )


def _sizes(settings: UNetSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in UNetSettings.model_fields}


def _start(
    config: TrainingConfig, stage: str, find: Callable[[Path], _Network], build: Callable[[], _Network], say: Say
) -> _Network:
    """A network to start from: the stage's own must fit, that of the run's bundle is used if it does."""
    own = getattr(config, stage).init
    folder = own or config.init
    if folder is None:
        return build()
    try:
        network = find(folder)
    except InputError as error:
        if own is not None:
            raise
        say(f"{stage}: starts with fresh weights. {str(error).rsplit(';', 1)[0]}.")
        return build()
    say(f"{stage}: starts from {folder}")
    return network


def load_vae(folder: Path) -> SliceVAE:
    """A VAE with the weights of any ``AutoencoderKL`` of ``diffusers``; its latents are not yet normalised.

    Parameters
    ----------
    folder
        What ``save_pretrained`` wrote, or the ``vae`` of a bundle. A network for colour pictures sees a grey slice
        in each channel; one for 4 or 16 channels the planes of a pixel-unshuffle.

    Raises
    ------
    InputError
        If there is none, it is not complete, or it takes pictures that a grey slice cannot be.
    """
    geometry = read_geometry(folder)
    config = read_config(folder)
    if (folder / WEIGHTS).is_file() and {STEM_CHANNELS, EMBED_CHANNELS} & config.keys():
        # Imported weights, which diffusers itself would not understand.
        autoencoder = make_network(make_autoencoder, config, folder)
        autoencoder.load_state_dict(read_tensors(autoencoder.state_dict(), folder))
        return SliceVAE(autoencoder, geometry.unshuffle)
    try:
        # Old names of tensors are understood here, which a plain load_state_dict would refuse.
        autoencoder, report = AutoencoderKL.from_pretrained(
            folder, output_loading_info=True, local_files_only=True, torch_dtype=torch.float32
        )
    except Exception as error:  # what it raises depends on the file's format and on the version
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"The VAE in {folder} cannot be loaded ({reason[:200]}); get it again.") from error
    if report["missing_keys"]:
        lacking = f"{report['missing_keys'][0]} and {len(report['missing_keys']) - 1} other tensors"
        raise InputError(f"The VAE in {folder} is not complete (it lacks {lacking}); get it again.")
    return SliceVAE(autoencoder, geometry.unshuffle)


def find_slice_unet(folder: Path, plan: Plan, say: Say) -> SliceUNet:
    """A bundle's slice U-Net, widened to the input channels of a plan, ready to learn on.

    Raises
    ------
    InputError
        If it has none, or none that can be widened.
    """
    network: SliceUNet = _part(folder, "slice_unet")
    has, outputs = int(network.unet.config["out_channels"]), plan.latents.channels
    if has != outputs:
        raise InputError(
            f"The slice U-Net of {folder} draws latents of {has} channels, not {outputs}; choose another bundle."
        )
    widened = widened_slice_unet(network, read_plan(find_bundle(folder)), plan)
    if widened is not network:
        say(
            f"slice: the U-Net of {folder} is widened from {network.in_channels} to {widened.in_channels} input "
            "channels; it draws what it drew before"
        )
    return widened.requires_grad_(True)


def find_position_unet(folder: Path, channels: int) -> PositionUNet:
    """A bundle's position U-Net, ready to learn on.

    Raises
    ------
    InputError
        If it has none for latents of so many channels.
    """
    network: PositionUNet = _part(folder, "position_unet")
    if network.latent_channels != channels:
        raise InputError(
            f"The position U-Net of {folder} draws latents of {network.latent_channels} channels, not {channels}; "
            "choose another bundle."
        )
    return network.requires_grad_(True)


def copy_volumetric(folder: Path, network: VolumeUNet) -> None:
    """Take the layers along the slices from a bundle's volume U-Net.

    Raises
    ------
    InputError
        If it has none, or they have other sizes.
    """
    theirs = dict(_part(folder, "volume_unet").volumetric_parameters())
    own = dict(network.volumetric_parameters())
    if {name: p.shape for name, p in own.items()} != {name: p.shape for name, p in theirs.items()}:
        raise InputError(
            f"The volume U-Net of {folder} inflates a slice U-Net of another size than this run's; "
            "choose another bundle."
        )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(theirs[name])


def _part(folder: Path, part: str) -> Any:
    network = getattr(load_bundle(folder), part)
    if network is None:
        raise InputError(f"The bundle {folder} has no {NAMES[part]} to start from; choose another.")
    return network
