"""Widening: the same network under another plan's channels draws what it drew."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_gem3d.bundle import Plan
from napari_gem3d.bundle.conditioning import Conditions, condition_channels
from napari_gem3d.bundle.widening import widened_slice_unet
from napari_gem3d.errors import InputError
from napari_gem3d.labels import Label, LabelTable
from napari_gem3d.networks import SliceUNet, VolumeUNet

OLD = Plan(
    name="old",
    size=(32, 32),
    labels=LabelTable((Label(1, "edema"), Label(2, "core"), Label(4, "brain", meaning="body"))),
    latents={"channels": 4, "factor": 8},
)
NEW = OLD.model_copy(
    update={
        "conditioning": "fine+slice+offset",
        "labels": LabelTable(
            (
                *OLD.labels,
                Label(5, "ventricles", meaning="tissue"),
                Label(6, "csf", meaning="tissue"),
                Label(8, "lesion"),
            )
        ),
    }
)


def network(plan: Plan) -> SliceUNet:
    torch.manual_seed(0)
    channels = plan.latents.channels
    return SliceUNet.build(channels + condition_channels(plan), channels, (32, 32), (False, True), 1).eval()


def labels(values) -> np.ndarray:
    return np.random.default_rng(2).choice(np.array(values, np.uint8), (6, 32, 32))


@torch.no_grad()
def drawn(net: SliceUNet, plan: Plan, labels: np.ndarray, unknown: tuple[int, ...] = ()) -> torch.Tensor:
    """A window through the inflated network."""
    generator = torch.Generator().manual_seed(3)
    noisy = torch.randn(6, 4, 4, 4, generator=generator, dtype=torch.float64)
    informed = torch.randn(1, 4, 4, 4, generator=generator, dtype=torch.float64)
    conditions = Conditions(plan, labels, torch.device("cpu"), unknown=unknown).window(range(6), informed, origin=2)
    volume = VolumeUNet.inflate(net).double().eval()
    return volume(torch.cat([noisy, conditions.double()], dim=1), torch.full((6,), 500), num_slices=6)


def test_a_widened_network_draws_what_it_drew_before():
    net = network(OLD)
    wide = widened_slice_unet(net, OLD, NEW)
    assert wide.in_channels == 4 + condition_channels(NEW) > net.in_channels
    plain = labels([0, 1, 2, 4])
    before = drawn(net, OLD, plain)
    # In double precision: sums over more channels are rounded otherwise.
    for unknown in ((), (5, 6), (6,)):
        assert (drawn(wide, NEW, plain, unknown) - before).abs().max() < 1e-12 * before.abs().max()


def test_new_labels_are_taken_for_what_they_were_part_of():
    net = network(OLD)
    wide = widened_slice_unet(net, OLD, NEW)
    detailed = labels([0, 1, 2, 4, 5, 6, 8])
    plain = np.where(np.isin(detailed, (5, 6)), 4, np.where(detailed == 8, 1, detailed)).astype(np.uint8)
    assert (drawn(wide, NEW, detailed) - drawn(net, OLD, plain)).abs().max() < 1e-6


def test_the_baseline_is_widened_too():
    old, new = (plan.model_copy(update={"conditioning": scheme}) for plan, scheme in ((OLD, "labels"), (NEW, "fine")))
    net = network(old)
    plain = labels([0, 1, 2, 4])
    wide = widened_slice_unet(net, old, new)
    assert (drawn(wide, new, plain) - drawn(net, old, plain)).abs().max() < 1e-12


def test_a_fine_network_goes_on_with_more_labels():
    fewer = NEW.model_copy(update={"labels": LabelTable(tuple(NEW.labels)[:4])})
    net = network(fewer)
    wide = widened_slice_unet(net, fewer, NEW)
    plain = labels([0, 1, 2, 4, 5])
    assert (drawn(wide, NEW, plain) - drawn(net, fewer, plain)).abs().max() < 1e-12
    detailed = labels([0, 1, 2, 4, 5, 6])
    as_body = np.where(detailed == 6, 4, detailed).astype(np.uint8)
    assert (drawn(wide, NEW, detailed) - drawn(net, fewer, as_body)).abs().max() < 1e-6


def test_the_same_channels_need_no_widening():
    net = network(OLD)
    assert widened_slice_unet(net, OLD, OLD.model_copy(update={"name": "other"})) is net


def test_what_cannot_be_widened_is_refused():
    with pytest.raises(InputError, match="plan of this run has no"):
        widened_slice_unet(network(NEW), NEW, OLD)
    stranger = OLD.model_copy(update={"labels": LabelTable((*OLD.labels, Label(9, "liver", meaning="organ")))})
    with pytest.raises(InputError, match="does not know the label 'liver'"):
        widened_slice_unet(network(OLD), OLD, stranger)
