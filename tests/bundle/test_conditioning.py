"""Condition channels: shares of labels, and what the distance to the informed slice says."""

import numpy as np
import torch

from napari_gem3d.bundle import Plan
from napari_gem3d.bundle.conditioning import (
    Channel,
    Conditions,
    body_positions,
    condition,
    condition_channels,
    first_informed,
    input_channels,
    label_channels,
)
from napari_gem3d.labels import UNKNOWN, Label, LabelTable

PLAN = Plan(name="test", size=(16, 24), labels=LabelTable((Label(2, "edema"), Label(7, "brain", meaning="body"))))


def test_label_channels_are_shares_of_area_in_the_tables_order() -> None:
    labels = np.zeros((2, 16, 24), np.uint8)
    labels[0, :8, :8] = 7
    labels[0, :4, :8] = 2
    labels[1, 8:, 16:] = 2
    shares = label_channels(PLAN, labels)
    assert shares.shape == (2, 2, 2, 3)
    assert shares[0, :, 0, 0].tolist() == [0.5, 0.5]
    assert shares[1, 0, 1, 2] == 1
    assert shares.sum() == 2


def test_condition_has_the_channels_it_promises_and_tells_the_distance() -> None:
    labels = torch.rand(3, 2, 2, 3)
    informed = torch.randn(1, 8, 2, 3)
    channels = condition(labels, informed, torch.from_numpy(body_positions(3)), torch.tensor([-2.0, 0.0, 40.0]))
    assert channels.shape == (3, condition_channels(PLAN), 2, 3)
    assert torch.equal(channels[:, :2], labels)
    assert torch.equal(channels[1, 2:10], informed[0])
    position, fine, coarse = channels[:, 10:, 0, 0].T
    assert position.tolist() == [-1, 0, 1]
    assert fine[1] == coarse[1] == 0
    assert fine[0] < coarse[0] < 0 < coarse[2] < fine[2] < 1.0001
    assert (channels[:, 10:] == channels[:, 10:, :1, :1]).all()


def test_a_body_of_one_slice_is_in_the_middle() -> None:
    assert body_positions(1).tolist() == [0]


def test_windows_of_a_volume_have_the_channels_of_their_slices() -> None:
    labels = np.random.default_rng(0).choice(np.array([0, 2, 7], np.uint8), (5, 16, 24))
    informed = torch.randn(1, 8, 2, 3)
    window = Conditions(PLAN, labels, torch.device("cpu")).window(range(1, 4), informed, origin=2)
    offset = torch.tensor([-1.0, 0.0, 1.0]) * PLAN.spacing[0]
    positions = torch.from_numpy(body_positions(5))[1:4]
    assert torch.equal(window, condition(label_channels(PLAN, labels)[1:4], informed, positions, offset))


FINE = Plan(
    name="test",
    size=(16, 24),
    conditioning="fine+slice+offset",
    labels=LabelTable((Label(2, "edema"), Label(3, "csf", meaning="tissue"), Label(7, "brain", meaning="body"))),
)


def test_fine_channels_tell_the_label_map_within_each_latents_cell() -> None:
    labels = np.random.default_rng(1).choice(np.array([0, 2, 3, 7], np.uint8), (2, 16, 24))
    channels = label_channels(FINE, labels)
    assert channels.shape == (2, 3 + 3 * 16 + 1, 2, 3)
    coarse = label_channels(FINE.model_copy(update={"conditioning": "labels+slice+offset"}), labels)
    assert torch.allclose(channels[:, :3], coarse)
    for number, value in enumerate((2, 3, 7)):
        for row, column in ((0, 0), (1, 3), (3, 2)):
            part = labels[1, 8 + 2 * row : 10 + 2 * row, 16 + 2 * column : 18 + 2 * column] == value
            assert channels[1, 3 + 16 * number + 4 * row + column, 1, 2] == part.mean()
    assert (channels[:, -1] == 0).all()


def test_tissue_that_is_not_known_is_body_with_a_flag() -> None:
    labels = np.full((1, 16, 24), 7, np.uint8)
    known = label_channels(FINE, labels)
    everywhere = label_channels(FINE, labels, unknown=(3,))
    assert torch.equal(everywhere[:, :-1], known[:, :-1])
    assert (everywhere[:, -1] == 1).all()
    labels[0, :8, :4] = UNKNOWN
    place = label_channels(FINE, labels)
    assert torch.equal(place[:, :-1], known[:, :-1])
    assert place[0, -1, 0].tolist() == [0.5, 0, 0]


def test_every_scheme_has_the_channels_that_it_names() -> None:
    labels = np.random.default_rng(1).choice(np.array([0, 2, 3, 7], np.uint8), (4, 16, 24))
    for scheme in ("fine+slice+offset", "fine", "labels+slice+offset", "labels"):
        plan = FINE.model_copy(update={"conditioning": scheme})
        window = Conditions(plan, labels, torch.device("cpu")).window(range(1, 3), torch.randn(1, 8, 2, 3), origin=0)
        assert window.shape[1] == condition_channels(plan) == len(input_channels(plan)) - plan.latents.channels
        assert len(set(input_channels(plan))) == len(input_channels(plan))
    informed = torch.randn(1, 8, 2, 3)
    window = Conditions(FINE, labels, torch.device("cpu")).window(range(1, 3), informed, origin=0)
    first = first_informed(FINE)
    assert torch.equal(window[0, first : first + 8], informed[0])
    assert input_channels(FINE)[8 + first] == Channel("informed")


def test_persistence_sees_the_shares_of_labels_alone() -> None:
    labels = np.random.default_rng(1).choice(np.array([0, 2, 3, 7], np.uint8), (4, 16, 24))
    assert Conditions(FINE, labels, torch.device("cpu")).labels(range(1, 3)).shape == (2, 3, 2, 3)
