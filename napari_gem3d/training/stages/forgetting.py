"""Forgetting: label maps of which the networks are told less, so that they learn to do without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.bundle.plan import Plan
from napari_gem3d.labels import UNKNOWN, UNSPECIFIED
from napari_gem3d.training.config.settings import DiffusionSettings

Knowledge = Literal["varied", "all", "none"]

# Of the samples that lack anatomy labels: those that lack all, and those that lack some; the others lack one place.
_ALL, _SOME = 0.5, 0.25
# Radius of such a place, mm: from a small lesion to a hemisphere's lobe.
_PLACE_MM = (8.0, 35.0)


def forget(
    plan: Plan, labels: NDArray[np.uint8], settings: DiffusionSettings, knowledge: Knowledge, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
    """Leave anatomy labels out of a window of a label map, and what lesions are made of.

    Parameters
    ----------
    plan
        Its label table; where its scheme is not fine nothing is left out.
    labels
        Label values (n, H, W) of neighbouring slices.
    settings
        How often.
    knowledge
        "varied": by the settings; "all": nothing is left out; "none": all anatomy is.
    rng
        Draws what is left out.

    Returns
    -------
    labels
        (n, H, W): tissue that is left out is body, or `UNKNOWN` where only that of a place is.
    unknown
        Values of the tissue labels that are left out everywhere, as `label_channels` wants them.
    """
    tissues, body = plan.labels.tissues, plan.labels.body
    if not plan.fine or knowledge == "all":
        return labels, ()
    if knowledge == "varied":
        labels = _whole_lesions(plan, labels, settings, rng)
    if not tissues or body is None or (knowledge == "varied" and rng.random() >= settings.unknown_share):
        return labels, ()
    values = [label.value for label in tissues]
    kind = 0.0 if knowledge == "none" else rng.random()
    if kind < _ALL:
        return _replaced(labels, values, body.value), tuple(values)
    if kind < _ALL + _SOME:
        some = rng.permutation(values)[: int(rng.integers(1, len(values) + 1))].tolist()
        return _replaced(labels, some, body.value), tuple(some)
    place = _place(plan, labels, rng) & np.isin(labels, [body.value, *values])
    return np.where(place, np.uint8(UNKNOWN), labels), ()


def _whole_lesions(
    plan: Plan, labels: NDArray[np.uint8], settings: DiffusionSettings, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """All lesion labels become that of the unspecified lesion, if the plan has one and the draw says so."""
    lesions = plan.labels.lesions
    whole = next((label.value for label in lesions if label.name == UNSPECIFIED), None)
    if whole is None or len(lesions) < 2 or rng.random() >= settings.whole_lesion_share:
        return labels
    return _replaced(labels, [label.value for label in lesions], whole)


def _replaced(labels: NDArray[np.uint8], values: Sequence[int], by: int) -> NDArray[np.uint8]:
    table = np.arange(256, dtype=np.uint8)
    table[list(values)] = by
    result: NDArray[np.uint8] = table[labels]
    return result


def _place(plan: Plan, labels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.bool_]:
    """A ball (n, H, W) about a point of the body."""
    inside = np.argwhere(labels[:, ::4, ::4] > 0) * (1, 4, 4)
    if not len(inside):
        return np.zeros(labels.shape, bool)
    centre, radius = inside[int(rng.integers(len(inside)))], rng.uniform(*_PLACE_MM)
    axes = [
        ((np.arange(length) - middle) * mm) ** 2
        for length, middle, mm in zip(labels.shape, centre, plan.spacing, strict=True)
    ]
    ball: NDArray[np.bool_] = axes[0][:, None, None] + axes[1][:, None] + axes[2] <= radius**2
    return ball
