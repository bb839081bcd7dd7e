"""Forgetting: how often label maps lack tissue, of which kind, and what is left of them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from napari_gem3d.bundle import Plan
from napari_gem3d.labels import UNKNOWN, Label, LabelTable
from napari_gem3d.training.config.settings import VolumeSettings
from napari_gem3d.training.stages.forgetting import forget

PLAN = Plan(
    name="test",
    size=(32, 32),
    conditioning="fine+slice+offset",
    labels=LabelTable(
        (
            Label(1, "edema"),
            Label(2, "core"),
            Label(4, "brain", meaning="body"),
            Label(5, "ventricles", meaning="tissue"),
            Label(6, "csf", meaning="tissue"),
            Label(8, "lesion"),
        )
    ),
)
LABELS = np.random.default_rng(0).choice(np.array([0, 1, 2, 4, 5, 6], np.uint8), (8, 96, 96))


def kinds(settings, draws=2000):
    """How often all, some, one place or nothing was left out."""
    rng = np.random.default_rng(1)
    counts = Counter()
    for _ in range(draws):
        labels, unknown = forget(PLAN, LABELS, settings, "varied", rng)
        kind = "all" if unknown == (5, 6) else "some" if unknown else "place" if (labels == UNKNOWN).any() else "none"
        counts[kind] += 1
        assert np.array_equal(labels > 0, LABELS > 0)
        assert not np.isin(labels, unknown).any()
        changed = labels != LABELS
        assert np.isin(LABELS[changed], (4, 5, 6)).all()
        if kind == "place":
            assert set(np.unique(labels[changed]).tolist()) == {UNKNOWN}
    return {kind: count / draws for kind, count in counts.items()}


def test_tissue_is_left_out_as_often_as_the_settings_say():
    shares = kinds(VolumeSettings(unknown_share=0.4, whole_lesion_share=0))
    assert shares["none"] == pytest.approx(0.6, abs=0.04)
    # "Some" may be all of two kinds.
    assert shares["all"] + shares["some"] == pytest.approx(0.3, abs=0.04)
    assert shares["place"] == pytest.approx(0.1, abs=0.03)
    assert shares["all"] > 0.2 > shares["some"] > 0.01


def test_lesions_become_one_label_as_often_as_the_settings_say():
    rng, settings = np.random.default_rng(1), VolumeSettings(unknown_share=0, whole_lesion_share=0.25)
    whole = 0
    for _ in range(1000):
        labels, unknown = forget(PLAN, LABELS, settings, "varied", rng)
        assert unknown == ()
        if (labels == 8).any():
            whole += 1
            assert np.array_equal(labels == 8, np.isin(LABELS, (1, 2)))
        else:
            assert np.array_equal(labels, LABELS)
    assert whole / 1000 == pytest.approx(0.25, abs=0.05)


def test_held_out_patients_are_told_all_or_nothing():
    rng, settings = np.random.default_rng(1), VolumeSettings(unknown_share=1, whole_lesion_share=1)
    labels, unknown = forget(PLAN, LABELS, settings, "all", rng)
    assert labels is LABELS and unknown == ()
    labels, unknown = forget(PLAN, LABELS, settings, "none", rng)
    assert unknown == (5, 6)
    assert np.array_equal(labels, np.where(LABELS >= 5, 4, LABELS))
    assert rng.random() == np.random.default_rng(1).random(), "nothing was drawn"


def test_other_schemes_are_left_alone():
    plan = PLAN.model_copy(update={"conditioning": "labels+slice+offset"})
    rng, settings = np.random.default_rng(1), VolumeSettings(unknown_share=1, whole_lesion_share=1)
    assert forget(plan, LABELS, settings, "varied", rng)[0] is LABELS
