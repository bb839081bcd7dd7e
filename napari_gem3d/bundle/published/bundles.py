"""From published checkpoints to a bundle."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from napari_gem3d.bundle.plan import Plan
from napari_gem3d.bundle.published.checkpoint import Checkpoint, read_checkpoint
from napari_gem3d.bundle.published.layout import Kind
from napari_gem3d.bundle.published.networks import UNet, import_unet, import_vae, kind_of, slice_of
from napari_gem3d.bundle.published.schemes import read_scheme
from napari_gem3d.bundle.store import ModelBundle
from napari_gem3d.errors import InputError
from napari_gem3d.networks import PositionUNet, SliceUNet, SliceVAE, VolumeUNet

KINDS: tuple[Kind, ...] = ("slice", "volume", "position")
HEAD_CHANNELS = 32
# Of the published configuration; the checkpoints hold the first only if it was measured, the others as tables.
SCALE = 0.18215
BETAS = (0.00085, 0.012)
TIMESTEPS = 1000
SIZE = 512
STEPS = 50


@dataclass(frozen=True)
class Source:
    """One checkpoint, imported.

    Attributes
    ----------
    path
        The file.
    unet
        Its U-Net.
    vae
        Its VAE, if it has one.
    schedule
        Fields of the plan's noise schedule that it tells.
    scale
        Factor from the VAE's latents to those of diffusion.
    """

    path: Path
    unet: UNet
    vae: SliceVAE | None
    schedule: dict[str, Any]
    scale: float


@dataclass(frozen=True)
class Converted:
    """A bundle of published weights.

    Attributes
    ----------
    bundle
        In memory, float32.
    warnings
        One sentence each.
    """

    bundle: ModelBundle
    warnings: tuple[str, ...]


def convert(
    paths: Sequence[Path | str],
    *,
    labels: str = "brain",
    name: str | None = None,
    averaged: Collection[Kind] | Literal["all"] = (),
    head_channels: int = HEAD_CHANNELS,
) -> Converted:
    """Turn checkpoints in the layout of the published GEM-3D weights into a bundle.

    Parameters
    ----------
    paths
        Checkpoints of the slice, the volume and the position model, any of them, in any order. A volume checkpoint
        brings the slice U-Net as well.
    labels
        "brain", "abdomen" or a JSON file, see `read_scheme`.
    name
        Of the bundle; the first file's by default.
    averaged
        The kinds ("slice", "volume", "position") whose moving averages (EMA) are wanted, or "all" that are given.
    head_channels
        Width of an attention head, which no tensor tells.

    Raises
    ------
    InputError
        If a file is no such checkpoint or not a whole one, or the files do not go together.
    """
    if head_channels < 1:
        raise InputError(f"Attention heads of width {head_channels} are not possible; give 1 or more.")
    scheme = read_scheme(labels)
    checkpoints = [read_checkpoint(Path(path)) for path in paths]
    wanted = {kind_of(checkpoint) for checkpoint in checkpoints} if averaged == "all" else set(averaged)
    sources = _import(checkpoints, wanted, head_channels)
    holder, warnings = _choose_vae(sources)
    vae, schedule, scale = holder.vae, holder.schedule, holder.scale
    assert vae is not None
    for source in sources.values():
        if (source.schedule, source.scale) != (schedule, scale):
            raise InputError(
                f"{source.path} and {holder.path} were trained with another noise schedule or another scale of "
                "latents; convert them into a bundle each."
            )
    networks = {source.unet.kind: source.unet.network for source in sources.values()}
    plan = _plan(name or Path(paths[0]).stem, scheme, vae, schedule, scale, networks)
    bundle = ModelBundle(plan, vae, card=_card(plan, sources, wanted))
    slices, volume, position = (networks.get(kind) for kind in KINDS)
    if isinstance(volume, VolumeUNet):
        bundle.volume_unet = volume
        bundle.slice_unet = slice_of(volume)
    if isinstance(slices, SliceUNet):
        bundle.slice_unet = slices
    if isinstance(position, PositionUNet):
        bundle.position_unet = position
    return Converted(bundle, warnings)


def _import(checkpoints: Sequence[Checkpoint], averaged: Collection[Kind], head_channels: int) -> dict[Kind, Source]:
    """The checkpoints by kind; files without a VAE are for the latents of the others'."""
    sources: dict[Kind, Source] = {}
    scales = [_scale(checkpoint) for checkpoint in checkpoints]
    vaes = [import_vae(checkpoint, scale) for checkpoint, scale in zip(checkpoints, scales, strict=True)]
    known = [vae.latent_channels for vae in vaes if vae is not None]
    if not known:
        raise InputError(
            f"{checkpoints[0].path} lacks the VAE (first_stage_model.*, all tensors missing); give a checkpoint that "
            "has it as well."
        )
    if set(known) != {known[0]}:
        raise InputError("The VAEs of these checkpoints have different latents; convert them into a bundle each.")
    for checkpoint, vae, scale in zip(checkpoints, vaes, scales, strict=True):
        kind = kind_of(checkpoint)
        if kind in sources:
            raise InputError(
                f"{sources[kind].path} and {checkpoint.path} are both a {kind} model; give one checkpoint of each kind."
            )
        unet = import_unet(checkpoint, known[0], head_channels, kind in averaged)
        sources[kind] = Source(checkpoint.path, unet, vae, _schedule(checkpoint), scale)
    absent = [kind for kind in averaged if kind not in sources]
    if absent:
        raise InputError(f"EMA weights of the {absent[0]} model are wanted, but no checkpoint is one; give it.")
    return sources


def _choose_vae(sources: dict[Kind, Source]) -> tuple[Source, tuple[str, ...]]:
    """The source whose VAE the bundle keeps, and what to say if others differ."""
    order: tuple[Kind, ...] = ("volume", "slice", "position")
    holders = [sources[kind] for kind in order if kind in sources and sources[kind].vae is not None]
    kept = holders[0]
    if all(_same(kept.vae, other.vae) for other in holders[1:]):
        return kept, ()
    names = " and ".join(str(source.path) for source in holders)
    return kept, (f"The VAEs of {names} differ; the bundle keeps that of {kept.path}.",)


def _same(one: SliceVAE | None, other: SliceVAE | None) -> bool:
    if one is None or other is None:
        return False
    mine, yours = one.state_dict(), other.state_dict()
    return mine.keys() == yours.keys() and all(torch.equal(mine[name], yours[name]) for name in mine)


def _scale(checkpoint: Checkpoint) -> float:
    stored = checkpoint.tables.get("scale_factor")
    value = float(stored) if stored is not None and stored.numel() == 1 else 0.0
    return float(f"{value:.6g}") if value > 0 else SCALE


def _schedule(checkpoint: Checkpoint) -> dict[str, Any]:
    """The noise schedule that the betas tell; the published one if there are none."""
    stored = checkpoint.tables.get("betas")
    if stored is None or not stored.any():
        return _schedule_fields(TIMESTEPS, *BETAS, "scaled_linear")
    betas = stored.double().numpy()
    first, last = float(betas[0]), float(betas[-1])
    if betas.ndim == 1 and len(betas) > 1 and 0 < first < 1 and 0 < last < 1:
        shapes = {
            "scaled_linear": np.linspace(first**0.5, last**0.5, len(betas)) ** 2,
            "linear": np.linspace(first, last, len(betas)),
        }
        for kind, expected in shapes.items():
            if np.allclose(betas, expected, rtol=1e-4, atol=0):
                return _schedule_fields(len(betas), float(f"{first:.6g}"), float(f"{last:.6g}"), kind)
    raise InputError(f"The betas of {checkpoint.path} are no noise schedule that is known; give a GEM-3D checkpoint.")


def _schedule_fields(timesteps: int, start: float, end: float, kind: str) -> dict[str, Any]:
    return {"num_train_timesteps": timesteps, "beta_start": start, "beta_end": end, "beta_schedule": kind}


def _plan(
    name: str,
    scheme: dict[str, Any],
    vae: SliceVAE,
    schedule: dict[str, Any],
    scale: float,
    networks: dict[Kind, SliceUNet | VolumeUNet | PositionUNet],
) -> Plan:
    channels = vae.latent_channels
    unets: list[Any] = [network.unet for network in networks.values()]
    levels = max(len(unet.config["block_out_channels"]) for unet in unets)
    multiple = vae.factor * 2 ** (levels - 1)
    size = -(-SIZE // multiple) * multiple
    fields: dict[str, Any] = {
        "size": (size, size),
        "conditioning": "grey",
        "default_solver": "ddim",
        "default_steps": STEPS,
        **scheme,
    }
    return Plan(
        name=name,
        schedule={
            **schedule,
            "prediction_type": "epsilon",
            "rescale_betas_zero_snr": False,
            "timestep_spacing": "leading",
            "set_alpha_to_one": False,
        },
        latents={
            "channels": channels,
            "factor": vae.factor,
            "unshuffle": 1,
            "mean": (0.0,) * channels,
            "std": (1 / scale,) * channels,
        },
        **fields,
    )


def _card(plan: Plan, sources: dict[Kind, Source], averaged: Collection[Kind]) -> str:
    files = "".join(
        f"- {kind}: `{source.path.name}`{', moving average (EMA)' if kind in averaged else ''}\n"
        for kind, source in sources.items()
    )
    return (
        f"# {plan.name}\n\nConverted with `napari-gem3d convert` from checkpoints in the layout of the published "
        f"GEM-3D weights ([Zhu et al., 2024](https://arxiv.org/abs/2403.12852)):\n\n{files}\n"
        f"Labels: {plan.labels}. Size of a slice: {plan.size[0]} × {plan.size[1]}.\n\n"
        "The licence of the weights is their authors', not that of napari-gem3d. For research; not a medical device.\n"
    )
