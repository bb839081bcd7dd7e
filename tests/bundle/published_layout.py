"""Checkpoints in the published layout of any size, and what a network of that layout computes, spelt out by names.

Written from the layout alone: neither half knows the package, so both can contradict it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

Tensors = dict[str, Tensor]
UNET, VAE = "model.diffusion_model.", "first_stage_model."


@dataclass(frozen=True)
class Net:
    """Hyper-parameters in latent diffusion's words; `attends` are levels, not strides."""

    kind: str = "slice"
    base: int = 32
    mults: tuple[int, ...] = (1, 2)
    blocks: int = 1
    attends: tuple[int, ...] = (1,)
    head: int = 32
    latents: int = 4
    depth: int = 1
    token: int = 128


@dataclass(frozen=True)
class Auto:
    """Hyper-parameters of a VAE in latent diffusion's words."""

    base: int = 32
    mults: tuple[int, ...] = (1, 2)
    blocks: int = 1
    attends: tuple[int, ...] = ()
    z: int = 4
    embed: int = 4
    middle: bool = True


@dataclass
class Layout:
    """Collects names and shapes."""

    volumetric: bool = False
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def affine(self, name: str, *weight: int, bias: bool = True) -> None:
        self.shapes[f"{name}.weight"] = weight
        if bias:
            self.shapes[f"{name}.bias"] = weight[:1]

    def conv(self, name: str, inside: int, outside: int, size: int = 3, tem: str = "") -> None:
        self.affine(name, outside, inside, size, size)
        if tem and self.volumetric:
            self.affine(f"{tem}.temporal_conv", outside, outside, 3)

    def residual(self, name: str, inside: int, outside: int, time: int) -> None:
        self.affine(f"{name}.in_layers.0", inside)
        self.conv(f"{name}.in_layers.2", inside, outside, tem=f"{name}.in_layers_tem")
        self.affine(f"{name}.emb_layers.1", outside, time)
        self.affine(f"{name}.out_layers.0", outside)
        self.conv(f"{name}.out_layers.3", outside, outside, tem=f"{name}.out_layers_tem")
        if inside != outside:
            self.conv(f"{name}.skip_connection", inside, outside, 1)

    def attention(self, name: str, width: int, net: Net) -> None:
        self.affine(f"{name}.norm", width)
        if net.kind == "position":
            self.transformer(name, width, net)
            return
        for suffix in ("", "_tem") if self.volumetric else ("",):
            self.affine(f"{name}.qkv{suffix}", 3 * width, width, 1)
            self.affine(f"{name}.proj_out{suffix}", width, width, 1)

    def transformer(self, name: str, width: int, net: Net) -> None:
        self.conv(f"{name}.proj_in", width, width, 1)
        for layer in range(net.depth):
            block = f"{name}.transformer_blocks.{layer}"
            for attention, context in (("attn1", width), ("attn2", net.token)):
                for part, inside in (("to_q", width), ("to_k", context), ("to_v", context)):
                    self.affine(f"{block}.{attention}.{part}", width, inside, bias=False)
                self.affine(f"{block}.{attention}.to_out.0", width, width)
            self.affine(f"{block}.ff.net.0.proj", 8 * width, width)
            self.affine(f"{block}.ff.net.2", width, 4 * width)
            for norm in ("norm1", "norm2", "norm3"):
                self.affine(f"{block}.{norm}", width)
        self.conv(f"{name}.proj_out", width, width, 1)

    def vae_residual(self, name: str, inside: int, outside: int) -> None:
        self.affine(f"{name}.norm1", inside)
        self.conv(f"{name}.conv1", inside, outside)
        self.affine(f"{name}.norm2", outside)
        self.conv(f"{name}.conv2", outside, outside)
        if inside != outside:
            self.conv(f"{name}.nin_shortcut", inside, outside, 1)

    def vae_attention(self, name: str, width: int) -> None:
        self.affine(f"{name}.norm", width)
        for part in ("q", "k", "v", "proj_out"):
            self.conv(f"{name}.{part}", width, width, 1)


def unet_shapes(net: Net) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a U-Net's tensors, without their prefix."""
    put, time = Layout(net.kind == "volume"), 4 * net.base
    put.affine("time_embed.0", time, net.base)
    put.affine("time_embed.2", time, time)
    put.conv("input_blocks.0.0", net.latents * (1 if net.kind == "position" else 3), net.base, tem="input_blocks.0.1")
    width, index, skips = net.base, 0, [net.base]
    for level, mult in enumerate(net.mults):
        for _ in range(net.blocks):
            index += 1
            put.residual(f"input_blocks.{index}.0", width, mult * net.base, time)
            width = mult * net.base
            if level in net.attends:
                put.attention(f"input_blocks.{index}.1", width, net)
            skips.append(width)
        if level < len(net.mults) - 1:
            index += 1
            put.conv(f"input_blocks.{index}.0.op", width, width, tem=f"input_blocks.{index}.0.op_tem")
            skips.append(width)
    put.residual("middle_block.0", width, width, time)
    put.attention("middle_block.1", width, net)
    put.residual("middle_block.2", width, width, time)
    index = 0
    for level, mult in reversed(list(enumerate(net.mults))):
        for block in range(net.blocks + 1):
            name = f"output_blocks.{index}"
            put.residual(f"{name}.0", width + skips.pop(), mult * net.base, time)
            width, index = mult * net.base, index + 1
            if level in net.attends:
                put.attention(f"{name}.1", width, net)
            if level and block == net.blocks:
                up = f"{name}.{1 + (level in net.attends)}"
                put.conv(f"{up}.conv", width, width, tem=f"{up}.conv_tem")
    put.affine("out.0", width)
    put.conv("out.2", width, net.latents, tem="out_tem")
    return put.shapes


def vae_shapes(auto: Auto) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a VAE's tensors, without their prefix."""
    put, width, last = Layout(), auto.base, len(auto.mults) - 1
    put.conv("encoder.conv_in", 3, width)
    for level, mult in enumerate(auto.mults):
        for block in range(auto.blocks):
            put.vae_residual(f"encoder.down.{level}.block.{block}", width, mult * auto.base)
            width = mult * auto.base
            if level in auto.attends:
                put.vae_attention(f"encoder.down.{level}.attn.{block}", width)
        if level < last:
            put.conv(f"encoder.down.{level}.downsample.conv", width, width)
    for half in ("encoder", "decoder"):
        put.vae_residual(f"{half}.mid.block_1", width, width)
        if auto.middle:
            put.vae_attention(f"{half}.mid.attn_1", width)
        put.vae_residual(f"{half}.mid.block_2", width, width)
    put.affine("encoder.norm_out", width)
    put.conv("encoder.conv_out", width, 2 * auto.z)
    put.conv("quant_conv", 2 * auto.z, 2 * auto.embed, 1)
    put.conv("post_quant_conv", auto.embed, auto.z, 1)
    put.conv("decoder.conv_in", auto.z, width)
    for level in range(last, -1, -1):
        for block in range(auto.blocks + 1):
            put.vae_residual(f"decoder.up.{level}.block.{block}", width, auto.mults[level] * auto.base)
            width = auto.mults[level] * auto.base
            if level in auto.attends:
                put.vae_attention(f"decoder.up.{level}.attn.{block}", width)
        if level:
            put.conv(f"decoder.up.{level}.upsample.conv", width, width)
    put.affine("decoder.norm_out", width)
    put.conv("decoder.conv_out", width, 3)
    return put.shapes


def random_tensors(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> Tensors:
    """Values of about unit gain; norms near the identity."""
    generator, made = torch.Generator().manual_seed(seed), {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=generator)
        if len(shape) > 1:
            made[name] = values * math.prod(shape[1:]) ** -0.5
        else:
            made[name] = 1 + 0.1 * values if name.endswith(".weight") else 0.1 * values
    return made


def state_dict(net: Net, auto: Auto, seed: int = 0, vae_seed: int = 0) -> Tensors:
    """A whole checkpoint's tensors with the buffers that come with them."""
    made = {f"{UNET}{name}": tensor for name, tensor in random_tensors(unet_shapes(net), seed).items()}
    made |= {f"{VAE}{name}": tensor for name, tensor in random_tensors(vae_shapes(auto), vae_seed).items()}
    return made | {"betas": torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).float() ** 2}


@dataclass
class Run:
    """Computes what tensors in the published layout mean.

    Attributes
    ----------
    tensors
        By names without their network's prefix.
    head
        Width of an attention head.
    emb, token
        Embedding of the timesteps (N, …), and the tokens (N, 1, …) that spatial transformers attend to.
    slices
        Slices of a window.
    """

    tensors: Tensors
    head: int = 32
    slices: int = 1
    emb: Tensor = field(default_factory=lambda: torch.zeros(0))
    token: Tensor = field(default_factory=lambda: torch.zeros(0))

    def unet(self, x: Tensor, t: Tensor, position: Tensor | None = None) -> Tensor:
        emb = self.linear("time_embed.0", sinusoids(t, self.tensors["time_embed.0.weight"].shape[1]))
        self.emb = self.linear("time_embed.2", F.silu(emb))
        if position is not None:
            width = next(t.shape[1] for name, t in self.tensors.items() if name.endswith("attn2.to_k.weight"))
            self.token = sinusoids(1000 * position, width)[:, None]
        skips = []
        for stage in self.stages("input_blocks"):
            x = self.chain(stage, x)
            skips.append(x)
        x = self.chain("middle_block", x)
        for stage in self.stages("output_blocks"):
            x = self.chain(stage, torch.cat([x, skips.pop()], dim=1))
        return self.conv("out.2", F.silu(self.norm("out.0", x)), "out_tem")

    def stages(self, name: str) -> Iterator[str]:
        numbers = {int(key.split(".")[1]) for key in self.tensors if key.startswith(f"{name}.")}
        yield from (f"{name}.{number}" for number in sorted(numbers))

    def chain(self, stage: str, x: Tensor) -> Tensor:
        for part in sorted(
            {key.removeprefix(f"{stage}.").split(".")[0] for key in self.tensors if key.startswith(f"{stage}.")}
        ):
            x = self.module(f"{stage}.{part}", x)
        return x

    def module(self, name: str, x: Tensor) -> Tensor:
        has = {key.removeprefix(f"{name}.") for key in self.tensors if key.startswith(f"{name}.")}
        if "in_layers.0.weight" in has:
            return self.residual(name, x)
        if "op.weight" in has:
            return self.conv(f"{name}.op", x, f"{name}.op_tem", stride=2)
        if "conv.weight" in has:
            return self.conv(f"{name}.conv", F.interpolate(x, scale_factor=2.0, mode="nearest"), f"{name}.conv_tem")
        if "qkv.weight" in has:
            return self.attention(name, x)
        if "proj_in.weight" in has:
            return self.transformer(name, x)
        return self.along(name, x) if "temporal_conv.weight" in has else self.conv(name, x)

    def residual(self, name: str, x: Tensor) -> Tensor:
        h = self.conv(f"{name}.in_layers.2", F.silu(self.norm(f"{name}.in_layers.0", x)), f"{name}.in_layers_tem")
        h = h + self.linear(f"{name}.emb_layers.1", F.silu(self.emb))[:, :, None, None]
        h = self.conv(f"{name}.out_layers.3", F.silu(self.norm(f"{name}.out_layers.0", h)), f"{name}.out_layers_tem")
        return h + (self.conv(f"{name}.skip_connection", x) if f"{name}.skip_connection.weight" in self.tensors else x)

    def attention(self, name: str, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        y = x.reshape(n, c, h * w)
        y = y + self.legacy_attention(name, "", y)
        if f"{name}.qkv_tem.weight" in self.tensors:
            y = y.reshape(-1, self.slices, c, h * w).permute(0, 3, 2, 1).reshape(-1, c, self.slices)
            y = y + self.legacy_attention(name, "_tem", y)
            y = y.reshape(-1, h * w, c, self.slices).permute(0, 3, 2, 1)
        return y.reshape(n, c, h, w)

    def legacy_attention(self, name: str, suffix: str, y: Tensor) -> Tensor:
        fused = F.conv1d(self.norm(f"{name}.norm", y), *self.pair(f"{name}.qkv{suffix}"))
        mixed = []
        for rows in fused.split(3 * self.head, dim=1):  # one head after the other, each with its q, k and v
            q, k, v = rows.split(self.head, dim=1)
            weights = torch.softmax(q.transpose(1, 2) @ k / self.head**0.5, dim=-1)
            mixed.append(v @ weights.transpose(1, 2))
        return F.conv1d(torch.cat(mixed, dim=1), *self.pair(f"{name}.proj_out{suffix}"))

    def transformer(self, name: str, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        y = self.conv(f"{name}.proj_in", self.norm(f"{name}.norm", x, 1e-6)).reshape(n, c, h * w).transpose(1, 2)
        layers = sorted(
            {key.split(".transformer_blocks.")[1].split(".")[0] for key in self.tensors if key.startswith(f"{name}.tr")}
        )
        for layer in layers:
            block = f"{name}.transformer_blocks.{layer}"
            normed = self.layer_norm(f"{block}.norm1", y)
            y = y + self.heads(f"{block}.attn1", normed, normed)
            y = y + self.heads(f"{block}.attn2", self.layer_norm(f"{block}.norm2", y), self.token)
            value, gate = self.linear(f"{block}.ff.net.0.proj", self.layer_norm(f"{block}.norm3", y)).chunk(2, dim=-1)
            y = y + self.linear(f"{block}.ff.net.2", value * F.gelu(gate))
        return x + self.conv(f"{name}.proj_out", y.transpose(1, 2).reshape(n, c, h, w))

    def heads(self, name: str, y: Tensor, context: Tensor) -> Tensor:
        q, k, v = (
            self.linear(f"{name}.{part}", of) for part, of in (("to_q", y), ("to_k", context), ("to_v", context))
        )
        mixed = []
        for one in zip(*(part.split(self.head, dim=-1) for part in (q, k, v)), strict=True):
            weights = torch.softmax(one[0] @ one[1].transpose(1, 2) / self.head**0.5, dim=-1)
            mixed.append(weights @ one[2])
        return self.linear(f"{name}.to_out.0", torch.cat(mixed, dim=-1))

    def encode(self, picture: Tensor) -> Tensor:
        """Moments (N, 2 · latents, h, w)."""
        x = self.conv("encoder.conv_in", picture)
        for level in self.vae_levels("encoder.down"):
            x = self.vae_level(level, x)
            if f"{level}.downsample.conv.weight" in self.tensors:
                x = F.conv2d(F.pad(x, (0, 1, 0, 1)), *self.pair(f"{level}.downsample.conv"), stride=2)
        x = self.vae_middle("encoder", x)
        return self.conv("quant_conv", self.conv("encoder.conv_out", F.silu(self.norm("encoder.norm_out", x, 1e-6))))

    def decode(self, latents: Tensor) -> Tensor:
        x = self.vae_middle("decoder", self.conv("decoder.conv_in", self.conv("post_quant_conv", latents)))
        for level in reversed(self.vae_levels("decoder.up")):
            x = self.vae_level(level, x)
            if f"{level}.upsample.conv.weight" in self.tensors:
                x = self.conv(f"{level}.upsample.conv", F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return self.conv("decoder.conv_out", F.silu(self.norm("decoder.norm_out", x, 1e-6)))

    def vae_levels(self, name: str) -> list[str]:
        numbers = {
            int(key.removeprefix(f"{name}.").split(".")[0]) for key in self.tensors if key.startswith(f"{name}.")
        }
        return [f"{name}.{number}" for number in sorted(numbers)]

    def vae_level(self, level: str, x: Tensor) -> Tensor:
        for block in range(9):
            if f"{level}.block.{block}.norm1.weight" in self.tensors:
                x = self.vae_residual(f"{level}.block.{block}", x)
            if f"{level}.attn.{block}.norm.weight" in self.tensors:
                x = self.vae_attention(f"{level}.attn.{block}", x)
        return x

    def vae_middle(self, half: str, x: Tensor) -> Tensor:
        x = self.vae_residual(f"{half}.mid.block_1", x)
        if f"{half}.mid.attn_1.norm.weight" in self.tensors:
            x = self.vae_attention(f"{half}.mid.attn_1", x)
        return self.vae_residual(f"{half}.mid.block_2", x)

    def vae_residual(self, name: str, x: Tensor) -> Tensor:
        h = self.conv(f"{name}.conv1", F.silu(self.norm(f"{name}.norm1", x, 1e-6)))
        h = self.conv(f"{name}.conv2", F.silu(self.norm(f"{name}.norm2", h, 1e-6)))
        return h + (self.conv(f"{name}.nin_shortcut", x) if f"{name}.nin_shortcut.weight" in self.tensors else x)

    def vae_attention(self, name: str, x: Tensor) -> Tensor:
        normed = self.norm(f"{name}.norm", x, 1e-6)
        q, k, v = (self.conv(f"{name}.{part}", normed).flatten(2) for part in "qkv")
        weights = torch.softmax(q.transpose(1, 2) @ k / q.shape[1] ** 0.5, dim=-1)
        return x + self.conv(f"{name}.proj_out", (v @ weights.transpose(1, 2)).reshape(x.shape))

    def pair(self, name: str) -> tuple[Tensor, Tensor | None]:
        return self.tensors[f"{name}.weight"], self.tensors.get(f"{name}.bias")

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, *self.pair(name))

    def norm(self, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
        return F.group_norm(x, 32, *self.pair(name), eps=eps)

    def layer_norm(self, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], *self.pair(name))

    def conv(self, name: str, x: Tensor, tem: str = "", stride: int = 1) -> Tensor:
        weight, bias = self.pair(name)
        y = F.conv2d(x, weight, bias, stride=stride, padding=weight.shape[-1] // 2)
        return self.along(tem, y) if f"{tem}.temporal_conv.weight" in self.tensors else y

    def along(self, name: str, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        y = x.reshape(-1, self.slices, c, h * w).permute(0, 3, 2, 1).reshape(-1, c, self.slices)
        y = F.conv1d(y, *self.pair(f"{name}.temporal_conv"), padding=1)
        return y.reshape(-1, h * w, c, self.slices).permute(0, 3, 2, 1).reshape(n, c, h, w)


def sinusoids(values: Tensor, width: int) -> Tensor:
    """(N, width): cosines, then sines, of frequencies from 1 to nearly 1 / 10000."""
    frequencies = torch.exp(-math.log(10000) * torch.arange(width // 2) / (width // 2))
    angles = values.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)
