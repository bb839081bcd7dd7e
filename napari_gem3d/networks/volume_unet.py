"""The volume U-Net of stage 2: the slice U-Net inflated along the slices (paper, section 3.3)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from napari_gem3d.networks.slice_unet import SliceUNet

NormAt = Literal["slice", "pixel"]


# Held by whoever calls a volume U-Net that others may call as well: its layers learn from one place how many slices
# there are. Two generations in threads of their own take turns.
IN_TURN = Lock()


@dataclass
class SliceCount:
    """How many slices of one volume follow each other in the batch; shared by all inflated layers."""

    value: int = 1


class InflatedConv2d(nn.Conv2d):
    """A 3×3 convolution followed by a Conv1d along the slices that starts as the identity (Dirac)."""

    def __init__(self, spatial: nn.Conv2d, count: SliceCount) -> None:
        super().__init__(
            spatial.in_channels,
            spatial.out_channels,
            3,
            stride=spatial.stride,  # type: ignore[arg-type]
            padding=spatial.padding,  # type: ignore[arg-type]
        )
        self.load_state_dict(spatial.state_dict())
        self.slices = nn.Conv1d(spatial.out_channels, spatial.out_channels, 3, padding=1)
        nn.init.dirac_(self.slices.weight)
        nn.init.zeros_(self.slices.bias)  # type: ignore[arg-type]
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B*n, C, h, w) in the plane, then along the n slices."""
        y = super().forward(x)
        height = y.shape[-2]
        # As one 3×1 convolution over (slices, pixels): the same sum as a Conv1d a pixel, in one call.
        y = rearrange(y, "(b n) c h w -> b c n (h w)", n=self.count.value)
        y = functional.conv2d(y, self.slices.weight[..., None], self.slices.bias, padding=(1, 0))
        return rearrange(y, "b c n (h w) -> (b n) c h w", h=height)


class InflatedAttention(nn.Module):
    """Attention processor: the block's own self-attention in the plane, then a second one along the slices.

    The second has its own query, key and value, a zero-initialised output, and uses the block's GroupNorm again:
    over all pixels of each slice, or, as the published networks do, over all slices at each pixel.
    """

    def __init__(self, attention: Attention, count: SliceCount, norm_at: NormAt = "slice") -> None:
        super().__init__()
        channels = attention.to_q.in_features
        self.heads = attention.heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.count = count
        self.norm_at = norm_at
        self.spatial = AttnProcessor2_0()

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Spell out the arguments: ``diffusers`` passes a processor only those that its ``__call__`` names."""
        result: Tensor = super().__call__(attn, hidden_states, temb)
        return result

    def forward(self, attn: Attention, hidden_states: Tensor, temb: Tensor | None) -> Tensor:
        """Attend within each slice of (B*n, C, h, w), then at each pixel across the n slices."""
        y: Tensor = self.spatial(attn, hidden_states, temb=temb)
        height = y.shape[-2]
        if self.norm_at == "slice":
            tokens = rearrange(attn.group_norm(y.flatten(2)), "(b n) c p -> (b p) n c", n=self.count.value)
        else:
            pixels = rearrange(y, "(b n) c h w -> (b h w) c n", n=self.count.value)
            tokens = attn.group_norm(pixels).transpose(1, 2)
        q, k, v = rearrange(self.qkv(tokens), "s n (three heads c) -> three s heads n c", three=3, heads=self.heads)
        mixed = rearrange(functional.scaled_dot_product_attention(q, k, v), "s heads n c -> s n (heads c)")
        change = rearrange(self.out(mixed), "(b h w) n c -> (b n) c h w", h=height, w=y.shape[-1])
        return y + change


class VolumeUNet(nn.Module):
    """The slice U-Net with a Conv1d after every 3×3 convolution and slice attention in every attention block.

    At initialisation it computes exactly what the slice U-Net does. It takes any number of slices and any size in
    the plane. Build one with :meth:`inflate`.
    """

    def __init__(self, unet: nn.Module, count: SliceCount, norm_at: NormAt = "slice") -> None:
        super().__init__()
        self.unet = unet
        self.count = count
        self.norm_at = norm_at

    @classmethod
    def inflate(cls, slice_unet: SliceUNet, norm_at: NormAt = "slice") -> VolumeUNet:
        """Inflate a copy of a slice U-Net; the original is left as it is.

        Parameters
        ----------
        slice_unet
            The network of stage 1.
        norm_at
            What the GroupNorm before slice attention spans: "slice", all pixels of a slice, or "pixel", all slices
            at a pixel, as in the published weights.
        """
        unet = copy.deepcopy(slice_unet.unet)
        count = SliceCount()
        for parent in list(unet.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.Conv2d) and child.kernel_size == (3, 3):
                    setattr(parent, name, InflatedConv2d(child, count))
                elif isinstance(child, Attention):
                    child.set_processor(InflatedAttention(child, count, norm_at))
        return cls(unet, count, norm_at)

    @property
    def config(self) -> Mapping[str, Any]:
        """Configuration of the slice U-Net that it inflates."""
        unet: Any = self.unet
        return dict(unet.config)

    def volumetric_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield name and parameter of the layers along the slices, the only ones stage 2 trains."""
        for name, parameter in self.named_parameters():
            if ".slices." in name or ".processor." in name:
                yield name, parameter

    def spatial_state(self) -> dict[str, Tensor]:
        """The 2D tensors by the names they have in the slice U-Net: all but those along the slices."""
        own = {name for name, _ in self.volumetric_parameters()}
        return {name: tensor for name, tensor in self.state_dict().items() if name not in own}

    def freeze_spatial(self) -> None:
        """Leave gradients to the volumetric parameters alone (stage 2)."""
        volumetric = {id(parameter) for _, parameter in self.volumetric_parameters()}
        for parameter in self.parameters():
            parameter.requires_grad_(id(parameter) in volumetric)

    def forward(self, x: Tensor, t: Tensor, num_slices: int) -> Tensor:
        """Predict the target of diffusion for windows of slices.

        Parameters
        ----------
        x
            (B * n, C, h, w): the n slices of a window follow each other; noisy latents, then condition channels.
        t
            Timesteps, (B * n,), (B,) or a scalar.
        num_slices
            n, the number of slices of a window.

        Returns
        -------
        Tensor
            (B * n, c, h, w): the noise or v, as the bundle's schedule says.

        Raises
        ------
        ValueError
            If the batch is not a whole number of windows.
        """
        if x.shape[0] % num_slices:
            raise ValueError(f"{x.shape[0]} slices are not a whole number of windows of {num_slices}.")
        t = torch.as_tensor(t, device=x.device)
        if t.ndim and t.shape[0] != x.shape[0]:
            t = t.repeat_interleave(num_slices)
        self.count.value = num_slices
        prediction: Tensor = self.unet(x, t).sample
        return prediction
