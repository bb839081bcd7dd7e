"""Bundles on disk: a folder with ``model.json``, a card, and a folder of configuration and safetensors a network."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from diffusers import UNet2DConditionModel, UNet2DModel
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from napari_gem3d.bundle.conditioning import condition_channels
from napari_gem3d.bundle.parts import MOST_BYTES, WEIGHTS, make_network, read_config, read_tensors
from napari_gem3d.bundle.places import known_models
from napari_gem3d.bundle.plan import Plan
from napari_gem3d.errors import InputError, OutputError, first_problem, shown
from napari_gem3d.io import sha256
from napari_gem3d.io.documents import read_json, read_text
from napari_gem3d.io.files import check_writable, put_folder, staging
from napari_gem3d.networks import PositionUNet, SliceUNet, SliceVAE, VolumeUNet
from napari_gem3d.networks.vae import make_autoencoder
from napari_gem3d.networks.volume_unet import NormAt

PARTS = ("vae", "slice_unet", "volume_unet", "position_unet")


@dataclass
class ModelBundle:
    """A trained GEM-3D model: networks, and the plan by which data meets them.

    Attributes
    ----------
    plan
        Preprocessing, label table, window, noise schedule: the contents of ``model.json``.
    vae, slice_unet, volume_unet, position_unet
        The networks in evaluation mode, or None where the bundle has none.
    card
        The model card, Markdown.
    path
        The folder it came from, or None.
    sha256
        Over the plan and all weights; identifies the model in recipes. Empty for a bundle made in memory.
    """

    plan: Plan
    vae: SliceVAE | None = None
    slice_unet: SliceUNet | None = None
    volume_unet: VolumeUNet | None = None
    position_unet: PositionUNet | None = None
    card: str = ""
    path: Path | None = None
    sha256: str = ""

    def to(self, device: torch.device | str) -> ModelBundle:
        """Move all networks to a device; returns the bundle itself."""
        for name in PARTS:
            part = getattr(self, name)
            if part is not None:
                part.to(device)
        return self


def find_bundle(folder: Path | str) -> Path:
    """The folder of a bundle given by path, or by the name of a model that came with the package or was added.

    Raises
    ------
    InputError
        If there is neither such a folder nor such a model.
    """
    path = Path(folder)
    if (path / "model.json").is_file():
        return path
    models = known_models()
    if str(folder) in models:
        return models[str(folder)]
    known = ", ".join(models) or "none"
    raise InputError(f"There is no model '{folder}': give a folder with a model.json, or one that is known ({known}).")


def read_plan(folder: Path) -> Plan:
    """Read and check ``model.json``.

    Raises
    ------
    InputError
        If it is missing, not JSON, of another format version, or has fields or values this version does not know.
    """
    path = folder / "model.json"
    raw = read_json(path, MOST_BYTES)
    if isinstance(raw, dict) and raw.get("format_version", 1) != 1:
        version = shown(raw["format_version"])
        raise InputError(f"The bundle {folder} has format version {version}, not 1; update napari-gem3d to use it.")
    try:
        return Plan.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"The model file {path} is not understood ({first_problem(error)}); get it again.") from error


def load_bundle(folder: Path | str) -> ModelBundle:
    """Load a bundle from its folder, or a model that is known by its name. Nothing is ever unpickled.

    Parameters
    ----------
    folder
        A folder with a ``model.json``, or a name such as ``brain-flair``.

    Returns
    -------
    ModelBundle
        Networks in float32, evaluation mode, on the processor.

    Raises
    ------
    InputError
        If the bundle is not found, incomplete, damaged, or says something this version does not know.
    """
    path = find_bundle(folder)
    plan = read_plan(path)
    card = path / "README.md"
    bundle = ModelBundle(plan, card=read_text(card, MOST_BYTES) if card.is_file() else "", path=path)
    if (path / "vae").is_dir():
        bundle.vae = _load_vae(path, plan)
    if (path / "slice_unet").is_dir():
        bundle.slice_unet = _load_slice_unet(path, plan)
    if (path / "volume_unet").is_dir():
        bundle.volume_unet = _load_volume_unet(path, plan, bundle.slice_unet)
    if (path / "position_unet").is_dir():
        bundle.position_unet = _load_position_unet(path, plan)
    for name in PARTS:
        part = getattr(bundle, name)
        if part is not None:
            part.eval().requires_grad_(False)
    bundle.sha256 = hash_bundle(path)
    return bundle


# Networks are made on the meta device, which spares drawing weights that the stored ones replace.
_UNFILLED = "meta"


def _load_vae(path: Path, plan: Plan) -> SliceVAE:
    latents = plan.latents
    with torch.device(_UNFILLED):
        autoencoder = make_network(make_autoencoder, read_config(path / "vae"), path / "vae")
    vae = SliceVAE(autoencoder, latents.unshuffle, latents.mean or None, latents.std or None)
    if (vae.factor, vae.latent_channels) != (latents.factor, latents.channels):
        raise InputError(f"The VAE of {path} does not fit the latents of its model.json; get the bundle again.")
    autoencoder.load_state_dict(read_tensors(autoencoder.state_dict(), path / "vae"), assign=True)
    return vae


def _load_slice_unet(path: Path, plan: Plan) -> SliceUNet:
    with torch.device(_UNFILLED):
        config = read_config(path / "slice_unet")
        network = SliceUNet(make_network(UNet2DModel.from_config, config, path / "slice_unet"))
    _check_input(network, path / "slice_unet", plan)
    network.unet.load_state_dict(read_tensors(network.unet.state_dict(), path / "slice_unet"), assign=True)
    return network


def _load_volume_unet(path: Path, plan: Plan, slice_unet: SliceUNet | None) -> VolumeUNet:
    folder = path / "volume_unet"
    config = read_config(folder)
    norm_at = config.get("norm_at", "slice")
    if norm_at not in get_args(NormAt):
        raise InputError(f"The volume U-Net of {path} has the norm '{norm_at}'; update napari-gem3d to use it.")
    whole = "unet" in config  # not only what inflation adds
    if slice_unet is None and not whole:
        raise InputError(f"The bundle {path} has a volume U-Net but no slice U-Net to inflate; get the bundle again.")
    with torch.device(_UNFILLED):
        unet = config["unet"] if slice_unet is None or whole else slice_unet.unet.config
        inflated = SliceUNet(make_network(UNet2DModel.from_config, unet, folder))
        network = VolumeUNet.inflate(inflated, norm_at)
    _check_input(inflated, folder, plan)
    if slice_unet is None or whole:
        tensors = read_tensors(network.state_dict(), folder)
    else:
        tensors = {f"unet.{name}": tensor.clone() for name, tensor in slice_unet.unet.state_dict().items()}
        tensors |= read_tensors(dict(network.volumetric_parameters()), folder)
    network.load_state_dict(tensors, assign=True)
    return network


def _check_input(network: SliceUNet, folder: Path, plan: Plan) -> None:
    """Refuse a U-Net whose channels are not the plan's, or that cannot halve slices of the plan's size."""
    expected = plan.latents.channels + condition_channels(plan)
    if network.in_channels != expected:
        raise InputError(
            f"The U-Net in {folder} takes {network.in_channels} channels where its model.json needs {expected}; "
            "get the bundle again."
        )
    multiple = plan.latents.factor * 2 ** (len(network.unet.config["block_out_channels"]) - 1)
    if any(length % multiple for length in plan.size):
        raise InputError(
            f"The size {plan.size} of the model {plan.name} is no multiple of {multiple}, as the U-Net in {folder} "
            "needs; change it in its model.json."
        )


def _load_position_unet(path: Path, plan: Plan) -> PositionUNet:
    with torch.device(_UNFILLED):
        config = read_config(path / "position_unet")
        network = PositionUNet(make_network(UNet2DConditionModel.from_config, config, path / "position_unet"))
    if network.latent_channels != plan.latents.channels:
        raise InputError(
            f"The position U-Net of {path} draws {network.latent_channels} channels where its model.json has "
            f"{plan.latents.channels}; get the bundle again."
        )
    network.unet.load_state_dict(read_tensors(network.unet.state_dict(), path / "position_unet"), assign=True)
    return network


def save_bundle(bundle: ModelBundle, folder: Path | str, dtype: torch.dtype = torch.float16) -> Path:
    """Write a bundle, replacing one that was there only when everything is written.

    Parameters
    ----------
    bundle
        What to write; networks that are None are left out. Where the volume U-Net inflates the slice U-Net, only
        what inflation adds is stored of it; where their 2D tensors differ, or there is no slice U-Net, all of it.
    folder
        The bundle's folder.
    dtype
        Of the weights.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If the folder holds something else than a bundle, or cannot be written.
    """
    folder = Path(folder)
    check_folder(folder)
    try:
        with staging(folder) as temporary:
            staged = temporary / "bundle"
            staged.mkdir()
            (staged / "model.json").write_text(bundle.plan.model_dump_json(indent=2) + "\n", encoding="utf-8")
            if bundle.card:
                (staged / "README.md").write_text(bundle.card, encoding="utf-8")
            for name, (config, tensors) in _stored(bundle, dtype).items():
                _save_network(staged / name, config, tensors, dtype)
            put_folder(staged, folder)
    except (OSError, SafetensorError) as error:  # a full disk is a SafetensorError where weights meet it
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{folder} cannot be written ({reason}); choose another place, or make room.") from error
    return folder


def check_folder(folder: Path) -> None:
    """Make the folder above a bundle's; InputError if the bundle's own would replace something that is no bundle."""
    check_writable(folder.parent)
    if (
        folder.exists()
        and not (folder / "model.json").is_file()
        and not (folder.is_dir() and not any(folder.iterdir()))
    ):
        raise InputError(f"{folder} exists and is no model bundle; write to another folder.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"The folder {folder.parent} cannot be made ({error.strerror}); choose another place."
        ) from error


def _stored(bundle: ModelBundle, dtype: torch.dtype) -> dict[str, tuple[Mapping[str, Any], Mapping[str, Tensor]]]:
    """Configuration and tensors of every network of a bundle, by the names of their folders."""
    stored: dict[str, tuple[Mapping[str, Any], Mapping[str, Tensor]]] = {}
    if bundle.vae is not None:
        stored["vae"] = bundle.vae.autoencoder.config, bundle.vae.autoencoder.state_dict()
    for name in ("slice_unet", "position_unet"):
        network = getattr(bundle, name)
        if network is not None:
            stored[name] = network.unet.config, network.unet.state_dict()
    if bundle.volume_unet is not None:
        volume = bundle.volume_unet
        config: dict[str, Any] = {"_class_name": "VolumeUNet"}
        if volume.norm_at != "slice":
            config["norm_at"] = volume.norm_at
        if _inflates(volume, bundle.slice_unet, dtype):
            stored["volume_unet"] = {**config, "inflates": "slice_unet"}, dict(volume.volumetric_parameters())
        else:
            stored["volume_unet"] = {**config, "unet": _public(volume.config)}, volume.state_dict()
    return stored


def _inflates(volume: VolumeUNet, slices: SliceUNet | None, dtype: torch.dtype) -> bool:
    """Whether a volume U-Net's 2D tensors are, as stored, those of a slice U-Net."""
    if slices is None or _public(volume.config) != _public(slices.unet.config):
        return False
    inflated = volume.unet.state_dict()
    return all(
        torch.equal(tensor.to(dtype), inflated[name].to(dtype)) for name, tensor in slices.unet.state_dict().items()
    )


def _public(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in ("_name_or_path", "_use_default_values")}


def _save_network(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(_public(config), indent=2, sort_keys=True) + "\n", encoding="utf-8")
    cast = {name: t.detach().cpu().to(dtype).contiguous() for name, t in tensors.items()}
    save_file(cast, folder / WEIGHTS, metadata={"format": "pt"})
    # safetensors lets the user alone read its files; bundles are for sharing, as far as the umask says.
    (folder / WEIGHTS).chmod(stat.S_IMODE((folder / "config.json").stat().st_mode))


def hash_bundle(folder: Path) -> str:
    """SHA-256 over the names and bytes of everything in a bundle that decides what it draws (not the card)."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in (".json", ".safetensors"):
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(bytes.fromhex(sha256(path)))
    return digest.hexdigest()
