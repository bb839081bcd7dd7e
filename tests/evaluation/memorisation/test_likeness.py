"""The correlations against their definition, one pair and one shift at a time."""

import numpy as np
import pytest

from napari_gem3d.evaluation.memorisation.likeness import (
    Spectra,
    correlation_of_channels,
    correlation_over_shifts,
    in_frame,
)

FRAME, REACH = (40, 36), 4


def blobs(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:24, :22]
    radii = rng.uniform(8, 11, (n, 1, 1))
    inside = (y - 11.5) ** 2 + (x - 10.5) ** 2 < radii**2
    return np.where(inside, rng.normal(size=inside.shape), 0).astype(np.float32), inside


def by_hand(a: np.ndarray, a_in: np.ndarray, b: np.ndarray, b_in: np.ndarray) -> float:
    best = -1.0
    for dy in range(-REACH, REACH + 1):
        for dx in range(-REACH, REACH + 1):
            moved, moved_in = np.roll(a, (dy, dx), (0, 1)), np.roll(a_in, (dy, dx), (0, 1))
            both = moved_in & b_in
            if both.sum() >= 0.7 * min(a_in.sum(), b_in.sum()):
                best = max(best, float(np.corrcoef(moved[both], b[both])[0, 1]))
    return best


def test_the_largest_correlation_over_shifts_is_that_of_the_overlaps() -> None:
    rng = np.random.default_rng(0)
    a, a_in = blobs(rng, 3)
    b, b_in = blobs(rng, 3)
    found = correlation_over_shifts(Spectra.of(a, a_in, FRAME), Spectra.of(b, b_in, FRAME), REACH)
    framed = [in_frame(v.astype(np.float32), FRAME) for v in (a, a_in, b, b_in)]
    wanted = [by_hand(p, q > 0, r, s > 0) for p, q, r, s in zip(*framed, strict=True)]
    assert found == pytest.approx(wanted, abs=1e-4)


def test_shift_brightness_and_contrast_do_not_matter() -> None:
    rng = np.random.default_rng(1)
    a, a_in = blobs(rng, 1)
    frame = in_frame(np.where(a_in, 3 * a + 5, 0).astype(np.float32), FRAME)
    moved = np.roll(frame, (3, -4), (1, 2))
    found = correlation_over_shifts(Spectra.of(a, a_in, FRAME), Spectra.of(moved, moved != 0, FRAME), REACH)
    assert found == pytest.approx([1], abs=1e-4)
    further = np.roll(frame, (REACH + 2, 0), (1, 2))
    found = correlation_over_shifts(Spectra.of(a, a_in, FRAME), Spectra.of(further, further != 0, FRAME), REACH)
    assert found[0] < 0.5


def test_bodies_that_do_not_overlap_or_show_nothing_are_unlike() -> None:
    values, inside = np.ones((1, 24, 22), np.float32), np.zeros((2, 24, 22), bool)
    inside[0, :3], inside[1, -3:] = True, True
    apart = [Spectra.of(values * part, part[None], FRAME) for part in inside]
    assert correlation_over_shifts(*apart, REACH) == pytest.approx([-1])
    assert correlation_over_shifts(apart[0], apart[0], REACH) == pytest.approx([-1])


def test_channels_are_correlated_together_about_the_mean_of_each() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 3, 8, 7)).astype(np.float32), rng.normal(size=(4, 3, 8, 7)).astype(np.float32)
    b[2] = a[1] * 2 + np.array([1, -4, 9], np.float32)[:, None, None]
    a_in, b_in = np.ones((2, 8, 7), bool), np.ones((4, 8, 7), bool)
    a_in[:, 0], b_in[:, :, 0] = False, False
    found = correlation_of_channels(a, a_in, b, b_in)
    assert found[1, 2] == pytest.approx(1, abs=1e-4)
    for i in range(2):
        for k in range(4):
            both = a_in[i] & b_in[k]
            pair = [v[:, both] - v[:, both].mean(axis=1, keepdims=True) for v in (a[i], b[k])]
            assert found[i, k] == pytest.approx(np.corrcoef(pair[0].ravel(), pair[1].ravel())[0, 1], abs=1e-4)
    a_in[0, :4], b_in[0, 4:] = False, False
    assert correlation_of_channels(a, a_in, b, b_in)[0, 0] == -1
