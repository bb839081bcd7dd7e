"""Which published tensor becomes which of ours, checked strictly by name and shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from napari_gem3d.bundle.published.layout import Shapes, UNetLayout, VAELayout

# Suffixes of our tensors' modules, and of the published ones, in the order in which a block computes them.
_RESIDUAL = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "conv1.slices": "in_layers_tem.temporal_conv",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv2.slices": "out_layers_tem.temporal_conv",
    "conv_shortcut": "skip_connection",
}
_VAE_RESIDUAL = {name: name for name in ("norm1", "conv1", "norm2", "conv2")} | {"conv_shortcut": "nin_shortcut"}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


@dataclass(frozen=True)
class Piece:
    """One published tensor and what it becomes.

    Attributes
    ----------
    source, shape
        The published tensor's name, without the network's prefix, and its shape.
    targets
        Names of our tensors.
    split
        From the published tensor to ours, in the order of `targets`.
    """

    source: str
    shape: tuple[int, ...]
    targets: tuple[str, ...]
    split: Callable[[Tensor], tuple[Tensor, ...]]


def unet_pieces(layout: UNetLayout, shapes: Shapes, head_channels: int) -> list[Piece]:
    """Pieces of a U-Net.

    Parameters
    ----------
    layout
        Of the published U-Net.
    shapes
        Of our network's tensors, those of the ``diffusers`` network within.
    head_channels
        Width of an attention head.
    """
    pieces: list[Piece] = []
    for target, source in _plain_modules(layout):
        pieces += _same(shapes, target, source)
    for target, source in _residual_blocks(layout):
        pieces += [
            p for ours, theirs in _RESIDUAL.items() for p in _same(shapes, f"{target}.{ours}", f"{source}.{theirs}")
        ]
    for target, source in _attention_blocks(layout):
        if layout.kind == "position":
            pieces += _alike(shapes, target, source)
        else:
            pieces += _attention(shapes, target, source, head_channels)
    return pieces


def vae_pieces(layout: VAELayout, shapes: Shapes) -> list[Piece]:
    """Pieces of a VAE; `shapes` are those of the ``AutoencoderKL``'s tensors."""
    pieces = [*_alike(shapes, "quant_conv", "quant_conv"), *_alike(shapes, "post_quant_conv", "post_quant_conv")]
    for half in ("encoder", "decoder"):
        for target, source in (("conv_in", "conv_in"), ("conv_norm_out", "norm_out"), ("conv_out", "conv_out")):
            pieces += _same(shapes, f"{half}.{target}", f"{half}.{source}")
        for target, source in _vae_blocks(layout, half):
            table = _VAE_ATTENTION if ".attentions." in target else _VAE_RESIDUAL
            for ours, theirs in table.items():
                pieces += _same(shapes, f"{target}.{ours}", f"{source}.{theirs}", pointwise=2)
        for target, source in _vae_resampling(layout, half):
            pieces += _same(shapes, target, source)
    return pieces


def differences(pieces: list[Piece], shapes: Shapes, prefix: str = "") -> str:
    """What is wrong with published tensors: the first name of each kind with counts; empty if nothing is."""
    expected = {piece.source: piece.shape for piece in pieces}
    missing = [name for name in expected if name not in shapes]
    extra = sorted(name for name in shapes if name not in expected)
    wrong = [name for name, shape in expected.items() if name in shapes and tuple(shapes[name]) != shape]
    said = []
    if missing:
        said.append(f"lacks {prefix}{missing[0]} ({len(missing)} missing)")
    if extra:
        said.append(f"has the unknown tensor {prefix}{extra[0]} ({len(extra)} extra)")
    if wrong:
        name = wrong[0]
        said.append(
            f"has {prefix}{name} of shape {tuple(shapes[name])} instead of {expected[name]} ({len(wrong)} wrong)"
        )
    return ", ".join(said)


def translate(pieces: list[Piece], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors, float32, from published ones that show no `differences`."""
    translated: dict[str, Tensor] = {}
    for piece in pieces:
        parts = piece.split(tensors[piece.source].detach().to(torch.float32))
        translated.update(zip(piece.targets, (part.contiguous() for part in parts), strict=True))
    return translated


def _plain_modules(layout: UNetLayout) -> Iterator[tuple[str, str]]:
    yield from (("time_embedding.linear_1", "time_embed.0"), ("time_embedding.linear_2", "time_embed.2"))
    yield from (("conv_in", "input_blocks.0.0"), ("conv_in.slices", "input_blocks.0.1.temporal_conv"))
    step = layout.layers + 1
    last = len(layout.channels) - 1
    for level in range(last):
        ours, theirs = f"down_blocks.{level}.downsamplers.0.conv", f"input_blocks.{(level + 1) * step}.0.op"
        yield from ((ours, theirs), (f"{ours}.slices", f"{theirs}_tem.temporal_conv"))
        up = level  # counted from the coarsest
        place = 2 if layout.attention[last - up] else 1
        ours, theirs = f"up_blocks.{up}.upsamplers.0.conv", f"output_blocks.{up * step + layout.layers}.{place}.conv"
        yield from ((ours, theirs), (f"{ours}.slices", f"{theirs}_tem.temporal_conv"))
    yield from (("conv_norm_out", "out.0"), ("conv_out", "out.2"), ("conv_out.slices", "out_tem.temporal_conv"))


def _places(layout: UNetLayout) -> Iterator[tuple[str, int, str, bool]]:
    """Our block, the number within it, the published block, and whether attention follows the residual block."""
    levels = len(layout.channels)
    for level in range(levels):
        for j in range(layout.layers):
            source = f"input_blocks.{1 + level * (layout.layers + 1) + j}"
            yield f"down_blocks.{level}", j, source, layout.attention[level]
    for up in range(levels):
        for j in range(layout.layers + 1):
            source = f"output_blocks.{up * (layout.layers + 1) + j}"
            yield f"up_blocks.{up}", j, source, layout.attention[levels - 1 - up]


def _residual_blocks(layout: UNetLayout) -> Iterator[tuple[str, str]]:
    yield from (("mid_block.resnets.0", "middle_block.0"), ("mid_block.resnets.1", "middle_block.2"))
    yield from ((f"{block}.resnets.{j}", f"{source}.0") for block, j, source, _ in _places(layout))


def _attention_blocks(layout: UNetLayout) -> Iterator[tuple[str, str]]:
    yield "mid_block.attentions.0", "middle_block.1"
    yield from ((f"{block}.attentions.{j}", f"{source}.1") for block, j, source, has in _places(layout) if has)


def _vae_blocks(layout: VAELayout, half: str) -> Iterator[tuple[str, str]]:
    yield from ((f"{half}.mid_block.resnets.{j}", f"{half}.mid.block_{j + 1}") for j in range(2))
    if layout.middle_attention:
        yield f"{half}.mid_block.attentions.0", f"{half}.mid.attn_1"
    way, last = ("down", 0) if half == "encoder" else ("up", len(layout.channels) - 1)
    for level, attention in enumerate(layout.attention):
        target = f"{half}.{way}_blocks.{abs(last - level)}"
        for j in range(layout.layers + (half == "decoder")):
            yield f"{target}.resnets.{j}", f"{half}.{way}.{level}.block.{j}"
            if attention:
                yield f"{target}.attentions.{j}", f"{half}.{way}.{level}.attn.{j}"


def _vae_resampling(layout: VAELayout, half: str) -> Iterator[tuple[str, str]]:
    last = len(layout.channels) - 1
    for level in range(last):
        if half == "encoder":
            yield f"encoder.down_blocks.{level}.downsamplers.0.conv", f"encoder.down.{level}.downsample.conv"
        else:
            yield f"decoder.up_blocks.{level}.upsamplers.0.conv", f"decoder.up.{last - level}.upsample.conv"


def _same(shapes: Shapes, target: str, source: str, pointwise: int = 0) -> Iterator[Piece]:
    """Pieces of a module whose tensors keep their values; none if we have no such module.

    A published linear map over channels may be a 1×1 convolution: `pointwise` more axes of length one.
    """
    for part in ("weight", "bias"):
        ours = f"{target}.{part}"
        if ours in shapes:
            shape = tuple(shapes[ours])
            axes = pointwise if len(shape) == 2 else 0
            yield Piece(f"{source}.{part}", shape + (1,) * axes, (ours,), partial(_reshaped, shape=shape))


def _reshaped(tensor: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, ...]:
    return (tensor.reshape(shape),)


def _alike(shapes: Shapes, target: str, source: str) -> Iterator[Piece]:
    """Pieces of a module whose tensors have the same names and shapes on both sides."""
    for name in shapes:
        if name.startswith(f"{target}."):
            yield Piece(source + name[len(target) :], tuple(shapes[name]), (name,), lambda t: (t,))


def _attention(shapes: Shapes, target: str, source: str, head_channels: int) -> Iterator[Piece]:
    """Pieces of a self-attention block: in the plane, and along the slices if we have that."""
    yield from _same(shapes, f"{target}.group_norm", f"{source}.norm")
    yield from _same(shapes, f"{target}.to_out.0", f"{source}.proj_out", pointwise=1)
    yield from _same(shapes, f"{target}.processor.out", f"{source}.proj_out_tem", pointwise=1)
    for part in ("weight", "bias"):
        q, k, v = (f"{target}.to_{which}.{part}" for which in "qkv")
        single = tuple(shapes[q])
        shape = (3 * single[0], *single[1:], *(1,) * (len(single) - 1))
        yield Piece(f"{source}.qkv.{part}", shape, (q, k, v), lambda t: tuple(_heads_apart(t, head_channels)))
        volumetric = f"{target}.processor.qkv.{part}"
        if volumetric in shapes:
            yield Piece(
                f"{source}.qkv_tem.{part}",
                shape,
                (volumetric,),
                lambda t: (_heads_apart(t, head_channels).flatten(0, 1),),
            )


def _heads_apart(fused: Tensor, head_channels: int) -> Tensor:
    """(3, C, …): query, key and value of all heads, from rows that run head by head, each with its q, k and v."""
    rows = fused.reshape(-1, 3, head_channels, *fused.shape[1:2])
    return rows.transpose(0, 1).flatten(1, 2)
