"""How slices follow each other, and the range that scans are compared in, against closed forms."""

from itertools import pairwise

import numpy as np
import pytest

from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.consistency import consistency, neighbours, slice_means
from napari_gem3d.evaluation.frame import Frame, in_real_units
from napari_gem3d.evaluation.judging import describe
from napari_gem3d.evaluation.profiles import Profile
from napari_gem3d.volume import Volume

EVERYWHERE = np.ones((20, 12, 10), bool)


def stack(brightness: np.ndarray, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """A pattern that all slices have, each with its own brightness and noise."""
    rng = np.random.default_rng(seed)
    pattern = rng.normal(size=(12, 10))
    pattern = (pattern - pattern.mean()) / pattern.std()
    return brightness[:, None, None] + 0.1 * pattern + noise * rng.normal(size=(len(brightness), 12, 10))


def test_a_volume_is_as_consistent_as_itself() -> None:
    volume = stack(np.linspace(0.2, 0.8, 20), noise=0.05)
    found = consistency(volume, volume, EVERYWHERE)
    assert found["flicker"] == 1 and found["slice_correlation"] == found["real_slice_correlation"]


def test_flicker_is_the_ratio_of_brightness_steps() -> None:
    ramp = 0.02 * np.arange(20)
    alternating = ramp + 0.03 * (-1.0) ** np.arange(20)
    found = consistency(stack(ramp), stack(alternating), EVERYWHERE)
    # Steps of 0.02 become 0.02 ± 0.06, one more down than up among 19.
    wanted = np.sqrt((10 * 0.04**2 + 9 * 0.08**2) / 19) / 0.02
    assert found["flicker"] == pytest.approx(wanted, rel=1e-6)
    assert found["slice_correlation"] == pytest.approx(1), "brightness alone is no matter of likeness"
    even = stack(np.full(20, 0.5))
    assert consistency(even, stack(ramp), EVERYWHERE)["flicker"] is None


def test_correlation_is_that_of_numpy_and_of_known_noise() -> None:
    volume = stack(np.full(20, 0.5), noise=0.1)
    found, _ = neighbours(volume, EVERYWHERE)
    theirs = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairwise(volume)]
    np.testing.assert_allclose(found, theirs, atol=1e-9)
    # The pattern's variance is as large as the noise's.
    assert found.mean() == pytest.approx(0.5, abs=0.08)
    assert neighbours(np.zeros((3, 12, 10)), EVERYWHERE[:3])[0].tolist() == [0, 0]


def test_shuffled_slices_follow_each_other_less_well() -> None:
    z, y, x = np.mgrid[:20, :12, :10].astype(float)
    volume = np.sin(z / 4 + y / 3) + np.cos(x / 3 - z / 5) + 0.05 * z
    shuffled = volume[np.random.default_rng(0).permutation(20)]
    found = consistency(volume, shuffled, EVERYWHERE)
    assert found["slice_correlation"] < found["real_slice_correlation"] - 0.3 and found["flicker"] > 2


def test_slices_without_body_do_not_count() -> None:
    inside = EVERYWHERE.copy()
    inside[:4] = False
    inside[10, 4:] = False  # 40 voxels are left
    correlation, steps = neighbours(stack(np.arange(20.0)), inside)
    assert len(correlation) == len(steps) == 13 and steps == pytest.approx([1] * 13)
    assert slice_means(stack(np.arange(20.0)), inside) == pytest.approx([*range(4, 10), *range(11, 20)])
    with pytest.raises(InputError, match="No two neighbouring slices"):
        neighbours(stack(np.arange(20.0)), inside & (np.arange(20) % 2 == 0)[:, None, None])


def test_a_scan_described_by_itself() -> None:
    volume = stack(0.3 + 0.02 * np.arange(20)).astype(np.float32)
    found = describe(volume, EVERYWHERE)
    assert found["step_axial"] == pytest.approx(0.02, rel=1e-3) and found["slice_step"] == pytest.approx(0.02, rel=1e-3)
    assert found["brightness"] == pytest.approx(0.3 + 0.02 * 9.5, rel=1e-3)
    assert found["slice_correlation"] == pytest.approx(1)


def test_profiles_are_means_over_scans() -> None:
    profile = Profile()
    for level in (0.2, 0.4):
        profile.add(np.clip(stack(level + 0.01 * np.arange(20)), 0, 1).astype(np.float32), EVERYWHERE)
    found = profile.to_json()
    assert found["scans"] == 2 and sum(found["intensity"]) == pytest.approx(1, abs=1e-4)
    curve = found["brightness"]
    assert curve["mean"][0] == pytest.approx(0.3, abs=0.01) and curve["mean"][-1] == pytest.approx(0.49, abs=0.01)
    assert curve["deviation"] == pytest.approx([0.2 / np.sqrt(2)] * len(curve["mean"]), abs=0.01)
    assert found["slice_correlation"]["mean"] == pytest.approx([1] * len(curve["mean"]), abs=0.01)


def test_the_range_of_mr_ct_and_standardised_scans() -> None:
    z, y, x = np.mgrid[:20, :30, :30]
    inside = (z - 10) ** 2 + (y - 15) ** 2 + (x - 15) ** 2 < 81
    tissue = 100 + 5 * ((x + y + z) % 20)
    plain = Frame.of(Volume(np.where(inside, tissue, 0), np.eye(4), "MR"))
    assert plain.low == 0 and plain.high == pytest.approx(195) and (plain.inside == inside).all()
    ct = Frame.of(Volume(np.where(inside, tissue, -1000), np.eye(4), "CT"))
    assert ct.low == -1000 and ct.high == pytest.approx(195) and (ct.inside == inside).all()
    standard = Frame.of(Volume(np.where(inside, (tissue - 150.0) / 30, -5.0), np.eye(4), "MR"))
    assert standard.low == -5 and standard.high == pytest.approx(1.5) and (standard.inside == inside).all()
    # Background brighter than dark tissue: the tissue decides.
    bright = Frame.of(Volume(np.where(inside, (tissue - 150.0) / 30, 0.0), np.eye(4), "MR"))
    assert bright.low == pytest.approx(-50 / 30)
    shown = ct.apply(np.where(inside, tissue, -3000))
    assert shown.min() == 0 and shown.max() == 1 and shown.shape == (17, 17, 17)


def test_scans_without_a_range_are_refused() -> None:
    with pytest.raises(InputError, match="real scan is empty"):
        in_real_units(np.zeros((4, 4, 4)), np.ones((4, 4, 4)))
    with pytest.raises(InputError, match="cannot be compared"):
        in_real_units(np.ones((4, 4, 4)), np.ones((4, 4, 3)))
