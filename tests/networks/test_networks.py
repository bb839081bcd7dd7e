"""The networks: shapes, the identity of a fresh inflation, independence of windows."""

import pytest
import torch
from torch import nn

from napari_gem3d.networks import SliceUNet, SliceVAE, VolumeUNet
from napari_gem3d.networks.volume_unet import InflatedAttention, InflatedConv2d


@pytest.fixture(scope="module")
def slice_unet() -> SliceUNet:
    torch.manual_seed(0)
    return SliceUNet.build(7, 3, (16, 32), (False, True), 1, head_channels=16, norm_groups=8).eval()


@pytest.fixture(scope="module")
def trained(slice_unet: SliceUNet) -> VolumeUNet:
    """A volume U-Net whose volumetric layers are no longer the identity."""
    network = VolumeUNet.inflate(slice_unet).eval()
    with torch.no_grad():
        for _, parameter in network.volumetric_parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return network


@pytest.mark.parametrize(("num_slices", "height", "width"), [(1, 8, 8), (5, 8, 12), (16, 6, 4)])
def test_fresh_inflation_is_the_slice_unet(slice_unet: SliceUNet, num_slices: int, height: int, width: int) -> None:
    x = torch.randn(2 * num_slices, 7, height, width)
    t = torch.randint(0, 1000, (2 * num_slices,))
    with torch.no_grad():
        expected = slice_unet(x, t)
        inflated = VolumeUNet.inflate(slice_unet).eval()(x, t, num_slices=num_slices)
    assert inflated.shape == (2 * num_slices, 3, height, width)
    torch.testing.assert_close(inflated, expected, rtol=1e-4, atol=1e-5)


def test_every_3x3_convolution_and_attention_is_inflated(slice_unet: SliceUNet) -> None:
    network = VolumeUNet.inflate(slice_unet)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert convolutions
    assert all(isinstance(m, InflatedConv2d) for m in convolutions)
    before = [m for m in slice_unet.modules() if type(m).__name__ == "Attention"]
    assert len([m for m in network.modules() if isinstance(m, InflatedAttention)]) == len(before) > 0


def test_inflated_convolution_equals_a_conv1d_along_the_slices(trained: VolumeUNet) -> None:
    layer = next(m for m in trained.modules() if isinstance(m, InflatedConv2d))
    layer.count.value = 4
    x = torch.randn(8, layer.in_channels, 6, 5)
    with torch.no_grad():
        spatial = nn.functional.conv2d(x, layer.weight, layer.bias, padding=1).unflatten(0, (2, 4))
        lines = spatial.permute(0, 3, 4, 2, 1).reshape(-1, layer.out_channels, 4)
        expected = layer.slices(lines).reshape(2, 6, 5, layer.out_channels, 4).permute(0, 4, 3, 1, 2).flatten(0, 1)
        torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


def test_windows_of_a_batch_do_not_see_each_other_and_slices_do(trained: VolumeUNet) -> None:
    x, t = torch.randn(8, 7, 8, 8), torch.tensor(500)
    changed = x.clone()
    changed[7] += 1
    with torch.no_grad():
        a, b = trained(x, t, num_slices=4), trained(changed, t, num_slices=4)
    assert torch.equal(a[:4], b[:4])
    assert (a[4] - b[4]).abs().max() > 0


def test_one_timestep_a_window_means_the_same_for_its_slices(trained: VolumeUNet) -> None:
    x, t = torch.randn(8, 7, 8, 8), torch.tensor([3, 900])
    with torch.no_grad():
        a, b = trained(x, t, num_slices=4), trained(x, t.repeat_interleave(4), num_slices=4)
    assert torch.equal(a, b)


def test_half_a_window_is_refused(trained: VolumeUNet) -> None:
    with pytest.raises(ValueError, match="whole number of windows"):
        trained(torch.randn(6, 7, 8, 8), torch.tensor(1), num_slices=4)


def test_freezing_leaves_gradients_to_the_volumetric_layers_alone(slice_unet: SliceUNet) -> None:
    network = VolumeUNet.inflate(slice_unet)
    network.freeze_spatial()
    network(torch.randn(4, 7, 8, 8), torch.tensor(10), num_slices=4).square().mean().backward()
    volumetric = {name for name, _ in network.volumetric_parameters()}
    with_gradient = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert with_gradient == volumetric
    assert not volumetric & {name.replace("unet.", "", 1) for name in slice_unet.state_dict()}


@pytest.mark.parametrize("unshuffle", [1, 2])
def test_vae_normalises_latents_and_undoes_it(unshuffle: int) -> None:
    torch.manual_seed(0)
    vae = SliceVAE.build(
        {
            "block_out_channels": (8, 8),
            "down_block_types": ("DownEncoderBlock2D",) * 2,
            "up_block_types": ("UpDecoderBlock2D",) * 2,
            "norm_num_groups": 4,
            "latent_channels": 2,
        },
        unshuffle,
    ).eval()
    assert vae.factor == 2 * unshuffle
    x = torch.rand(2, 1, 16, 24) * 2 - 1
    with torch.no_grad():
        raw = vae.encode(x)
        plain = vae.decode(raw)
        vae.set_latent_statistics([0.5, -1.0], [2.0, 4.0])
        normalised = vae.encode(x)
        again = vae.decode(normalised)
    assert raw.shape == (2, 2, 16 // vae.factor, 24 // vae.factor)
    torch.testing.assert_close(normalised[:, 1], (raw[:, 1] + 1.0) / 4.0)
    assert again.shape == x.shape
    torch.testing.assert_close(again, plain)
