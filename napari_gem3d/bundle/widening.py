"""Widening: a U-Net's input brought from the channels of one plan to those of another, its function unchanged."""

from __future__ import annotations

from dataclasses import replace

import torch
from diffusers import UNet2DModel
from torch import Tensor

from napari_gem3d.bundle.conditioning import Channel, input_channels
from napari_gem3d.bundle.plan import Plan
from napari_gem3d.errors import InputError
from napari_gem3d.labels import Label
from napari_gem3d.networks import SliceUNet


def widened_slice_unet(network: SliceUNet, old: Plan, new: Plan) -> SliceUNet:
    """A slice U-Net for the input channels of another plan, by the weights of one for those of `old`.

    A label that the old plan lacks is taken for the label that it was part of: a tissue for the body, an unspecified
    lesion for the first lesion, with the weights of that label. All other channels that the old plan lacks have no
    weight yet. So for every label map of the old plan the output is the same.

    Parameters
    ----------
    network
        The slice U-Net, with the input channels of `old`.
    old, new
        The plans; schemes and label tables may differ.

    Returns
    -------
    SliceUNet
        `network` itself if both plans have the same channels.

    Raises
    ------
    InputError
        If the new plan lacks channels of the old one, or has a label that was no part of another.
    """
    before, after = input_channels(old), input_channels(new)
    if before == after:
        return network
    lost = [channel for channel in before if channel not in after]
    if lost:
        what = f"the label '{lost[0].label}'" if lost[0].label else f"{lost[0].kind} channels"
        raise InputError(
            f"The plan of this run has no {what}, as the network to start from has; choose another bundle."
        )
    places = [_origin(channel, before, old, new) for channel in after]
    config = {**network.unet.config, "in_channels": len(after)}
    result = SliceUNet(UNet2DModel.from_config(config))
    state = dict(network.unet.state_dict())
    state["conv_in.weight"] = _columns(state["conv_in.weight"], places)
    result.unet.load_state_dict(state)
    return result


def _columns(weight: Tensor, places: list[int | None]) -> Tensor:
    """Input columns (out, len(places), 3, 3) of a convolution, by their place in `weight`; zeros where that is None."""
    columns = [torch.zeros_like(weight[:, 0]) if place is None else weight[:, place] for place in places]
    return torch.stack(columns, dim=1)


def _origin(channel: Channel, before: list[Channel], old: Plan, new: Plan) -> int | None:
    """Where among the old channels the weights of a new one are; None for none."""
    if channel in before:
        return before.index(channel)
    if channel.kind not in ("share", "part"):
        return None
    names = {label.name for label in old.labels}
    if channel.label not in names:
        channel = replace(channel, label=_whole(new.labels.by_name(channel.label), old))
    return before.index(channel) if channel in before else None


def _whole(label: Label, old: Plan) -> str:
    """Name of the old label that a new one was part of."""
    if label.meaning == "tissue" and old.labels.body is not None:
        return old.labels.body.name
    if label.meaning == "lesion" and old.labels.lesions:
        return old.labels.lesions[0].name
    raise InputError(f"The network to start from does not know the label '{label.name}'; choose another bundle.")
