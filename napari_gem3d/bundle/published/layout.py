"""Hyper-parameters of a published network, read off the names and shapes of its tensors.

Every number is the vote of all tensors that tell it, so that one tensor that is missing or of a wrong shape does not
change the verdict about the others: it is then named by the strict comparison in `names`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["slice", "volume", "position"]
Shapes = Mapping[str, tuple[int, ...]]

# Latent diffusion's GroupNorm has this many groups, whatever the width.
NORM_GROUPS = 32
_VOLUMETRIC = ("_tem.", "temporal_conv.")


@dataclass(frozen=True)
class UNetLayout:
    """Hyper-parameters of a published U-Net.

    Attributes
    ----------
    kind
        "volume" if tensors act along the slices, "position" if it has spatial transformers, else "slice".
    in_channels, out_channels
        Latents with their conditions in, latents out.
    channels
        Width of each level, finest first.
    layers
        Residual blocks a level (one more on the way up).
    attention
        For each level, whether its residual blocks are followed by attention.
    depth
        Transformer layers of each spatial transformer ("position").
    token_channels
        Length of the tokens they attend to ("position").
    """

    kind: Kind
    in_channels: int
    out_channels: int
    channels: tuple[int, ...]
    layers: int
    attention: tuple[bool, ...]
    depth: int = 1
    token_channels: int = 0


@dataclass(frozen=True)
class VAELayout:
    """Hyper-parameters of a published VAE.

    Attributes
    ----------
    in_channels, out_channels
        Channels of the pictures, 3 in the published weights.
    stem
        Width behind the first convolution.
    channels
        Width of each level, finest first.
    layers
        Residual blocks a level of the encoder (one more in the decoder).
    attention
        For each level, whether its residual blocks are followed by attention.
    middle_attention
        Whether there is attention in the middle.
    inner, latent
        Channels of the moments before, and of the latents behind, the 1×1 convolutions between them.
    """

    in_channels: int
    out_channels: int
    stem: int
    channels: tuple[int, ...]
    layers: int
    attention: tuple[bool, ...]
    middle_attention: bool
    inner: int
    latent: int


def vote(values: Iterable[Any], default: Any = None) -> Any:
    """The commonest value, the first of them in a draw; `default` if there is none."""
    counts = Counter(values)
    return counts.most_common(1)[0][0] if counts else default


def unet_kind(names: Iterable[str]) -> Kind:
    """Which of the three models a U-Net is, by the names of its tensors."""
    found = list(names)
    if any(mark in name for name in found for mark in _VOLUMETRIC):
        return "volume"
    return "position" if any(".transformer_blocks." in name for name in found) else "slice"


def unet_layout(shapes: Shapes, latent_channels: int) -> UNetLayout | None:
    """Hyper-parameters of a U-Net.

    Parameters
    ----------
    shapes
        By names without the prefix ``model.diffusion_model.``.
    latent_channels
        Of the VAE, for what a missing first convolution would tell.

    Returns
    -------
    UNetLayout or None
        None if this is no U-Net of latent diffusion.
    """
    levels = _levels(shapes)
    widths = [vote(width for block in level for width in _block_widths(shapes, block)) for level in levels]
    if not levels or None in widths:
        return None
    kind = unet_kind(shapes)
    concatenated = latent_channels if kind == "position" else 3 * latent_channels
    depths = Counter(place for place, _ in _transformers(shapes))
    return UNetLayout(
        kind=kind,
        in_channels=_size(shapes, "input_blocks.0.0.weight", 1, concatenated),
        out_channels=vote(_sizes(shapes, ("out.2.weight", 0), ("out.2.bias", 0)), latent_channels),
        channels=tuple(widths),
        layers=vote(len(level) for level in levels),
        attention=tuple(_mostly(bool(_children(shapes, f"{block}.1.")) for block in level) for level in levels),
        depth=vote(depths.values(), 1),
        token_channels=vote((shape[1] for name, shape in shapes.items() if _reads_token(name) and len(shape) == 2), 0),
    )


def vae_layout(shapes: Shapes) -> VAELayout | None:
    """Hyper-parameters of a VAE by names without the prefix ``first_stage_model.``; None if it is none."""
    numbers = [int(part) for part in _children(shapes, "encoder.down.") if part.isdigit()]
    levels = [f"encoder.down.{index}" for index in range(max(numbers, default=-1) + 1)]
    blocks = [[f"{level}.block.{b}" for b in sorted(_children(shapes, f"{level}.block."))] for level in levels]
    widths = [vote(w for block in level for w in _sizes(shapes, *_vae_widths(block))) for level in blocks]
    if not levels or None in widths:
        return None
    moments = _sizes(shapes, ("encoder.conv_out.weight", 0), ("encoder.conv_out.bias", 0))
    latent_moments = _sizes(shapes, ("quant_conv.weight", 0), ("quant_conv.bias", 0))
    inner = [*(n // 2 for n in moments), *_sizes(shapes, ("decoder.conv_in.weight", 1), ("post_quant_conv.bias", 0))]
    latent = [*(n // 2 for n in latent_moments), *_sizes(shapes, ("post_quant_conv.weight", 1))]
    stem = _sizes(
        shapes,
        ("encoder.conv_in.weight", 0),
        ("encoder.conv_in.bias", 0),
        ("encoder.down.0.block.0.norm1.weight", 0),
        ("encoder.down.0.block.0.norm1.bias", 0),
    )
    inner_channels = vote(inner, 4)
    return VAELayout(
        in_channels=_size(shapes, "encoder.conv_in.weight", 1, 3),
        out_channels=vote(_sizes(shapes, ("decoder.conv_out.weight", 0), ("decoder.conv_out.bias", 0)), 3),
        stem=vote(stem, widths[0]),
        channels=tuple(widths),
        layers=vote(len(level) for level in blocks),
        attention=tuple(bool(_children(shapes, f"{level}.attn.")) for level in levels),
        middle_attention=any(".mid.attn_1." in name for name in shapes),
        inner=inner_channels,
        latent=vote(latent, inner_channels),
    )


def _levels(shapes: Shapes) -> list[list[str]]:
    """Prefixes of the residual blocks of every level on the way down; a downsampling ends a level."""
    numbers = [int(part) for part in _children(shapes, "input_blocks.") if part.isdigit()]
    levels: list[list[str]] = [[]]
    for index in range(1, max(numbers, default=0) + 1):
        block = f"input_blocks.{index}"
        if any(part.startswith("op") for part in _children(shapes, f"{block}.0.")):
            levels.append([])
        else:
            levels[-1].append(block)
    return [level for level in levels if level]


def _block_widths(shapes: Shapes, block: str) -> list[int]:
    names = ("in_layers.2", "out_layers.0", "out_layers.3")
    return _sizes(shapes, *((f"{block}.0.{name}.{part}", 0) for name in names for part in ("weight", "bias")))


def _vae_widths(block: str) -> list[tuple[str, int]]:
    return [(f"{block}.{name}.{part}", 0) for name in ("conv1", "norm2", "conv2") for part in ("weight", "bias")]


def _transformers(shapes: Shapes) -> set[tuple[str, str]]:
    """Pairs of a spatial transformer's prefix and the number of one of its layers."""
    split = [name.split(".transformer_blocks.") for name in shapes if ".transformer_blocks." in name]
    return {(prefix, rest.split(".")[0]) for prefix, rest in split}


def _reads_token(name: str) -> bool:
    return name.endswith((".attn2.to_k.weight", ".attn2.to_v.weight"))


def _children(shapes: Shapes, prefix: str) -> set[str]:
    return {name[len(prefix) :].split(".")[0] for name in shapes if name.startswith(prefix)}


def _size(shapes: Shapes, name: str, axis: int, default: int) -> int:
    return vote(_sizes(shapes, (name, axis)), default)


def _sizes(shapes: Shapes, *where: tuple[str, int]) -> list[int]:
    return [shapes[name][axis] for name, axis in where if name in shapes and len(shapes[name]) > axis]


def _mostly(answers: Iterable[bool]) -> bool:
    given = list(answers)
    return 2 * sum(given) > len(given)
