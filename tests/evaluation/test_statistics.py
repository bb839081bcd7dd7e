"""Running statistics and the kernel distance against numpy, torchmetrics and closed forms."""

import numpy as np
import pytest

from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.frechet import frechet_distance
from napari_gem3d.evaluation.kernel import kernel_distance, squared_mmd
from napari_gem3d.evaluation.statistics import FeatureStatistics, SliceSets


def features(count: int, length: int = 12, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, length)) @ rng.normal(size=(length, length)) + 1000 + shift).astype(np.float32)


def test_running_mean_and_covariance_are_those_of_everything_at_once() -> None:
    every = features(500)
    running = FeatureStatistics(12)
    for part in np.split(every, [3, 3, 4, 100, 377]):
        running.add(part)
    assert running.count == 500
    np.testing.assert_allclose(running.mean, every.astype(float).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(running.covariance, np.cov(every.astype(float), rowvar=False), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(running.sample, every)


def test_of_many_features_every_one_is_as_likely_to_be_kept() -> None:
    kept = np.zeros(60)
    for seed in range(400):
        running = FeatureStatistics(1, kept=12, seed=seed)
        for part in np.split(np.arange(60, dtype=np.float32)[:, None], [7, 30]):
            running.add(part)
        assert running.sample.shape == (12, 1) and len(np.unique(running.sample)) == 12
        kept[running.sample.astype(int).ravel()] += 1
    # A fifth of 400 draws: 80 ± 8.
    assert kept.sum() == 12 * 400 and kept.min() > 45 and kept.max() < 115
    assert kept[:12].mean() == pytest.approx(80, abs=12) and kept[-12:].mean() == pytest.approx(80, abs=12)


def test_too_few_features_have_no_covariance() -> None:
    running = FeatureStatistics(2)
    running.add(np.zeros((0, 2), np.float32))
    running.add(np.ones((1, 2), np.float32))
    with pytest.raises(InputError, match="1 slices have no covariance"):
        running.covariance  # noqa: B018


def test_the_kernel_distance_is_that_of_a_loop() -> None:
    a, b = features(7) / 1000, features(5, seed=1) / 1000

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((np.dot(x.astype(float), y.astype(float)) / 12 + 1) ** 3)

    def within(x: np.ndarray) -> float:
        return sum(kernel(p, q) for i, p in enumerate(x) for j, q in enumerate(x) if i != j) / (len(x) * (len(x) - 1))

    across = sum(kernel(p, q) for p in a for q in b) / (len(a) * len(b))
    assert squared_mmd(a, b) == pytest.approx(within(a) + within(b) - 2 * across, rel=1e-6, abs=1e-9)


def test_the_kernel_distance_is_that_of_torchmetrics() -> None:
    torch, kid = pytest.importorskip("torch"), pytest.importorskip("torchmetrics.image.kid")
    a, b = features(40) / 1000, features(40, seed=1, shift=300) / 1000
    wanted = float(kid.poly_mmd(*(torch.from_numpy(x.astype(np.float64)) for x in (a, b))))
    assert squared_mmd(a, b) == pytest.approx(wanted, rel=1e-6)


def test_the_kernel_distance_of_equal_distributions_is_about_nothing() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 400, 6))
    same, other = kernel_distance(a, b), kernel_distance(a, b + 1)
    assert abs(same.mean) < 3 * same.deviation < other.mean
    assert (same.subsets, same.size) == (100, 200) and kernel_distance(a, b) == same
    # E (x·y / d + 1)³ of normal x and y for d = 6: 1 + 3 + 3 · 54/36 + 576/216 if the means are 1, 1 + 3 · 6/36 if they
    # are 0, and 1 + 3 · 12/36 if one is 1 and one is 0.
    assert other.mean == pytest.approx((8.5 + 576 / 216) + 1.5 - 2 * 2, rel=0.15)
    with pytest.raises(InputError, match="too few for a kernel distance"):
        kernel_distance(a[:3], b)
    with pytest.raises(InputError, match="have no kernel distance"):
        squared_mmd(a, b[:, :3])


def test_sets_added_scan_by_scan_have_the_distance_of_all_slices_at_once() -> None:
    class Extractor:
        name, title, length, is_fid = "moments", "moments of a slice", 3, False

        def __call__(self, slices: np.ndarray) -> np.ndarray:
            return np.stack([slices.mean((1, 2)), slices.std((1, 2)), slices[:, 2:].mean((1, 2))], 1).astype(np.float32)

    rng = np.random.default_rng(0)
    scans = [[rng.random((9, 8, 7)).astype(np.float32) ** power for _ in range(3)] for power in (1, 2)]
    scans[0][0][:2] = 0
    sets = SliceSets(Extractor())
    for synthetic, volumes in enumerate(scans):
        for volume in volumes:
            sets.add(volume, bool(synthetic))
    found = sets.compare()
    assert found["slices"]["axial"] == {"real": 25, "synthetic": 27} and found["slices"]["sagittal"]["real"] == 21
    for axis, plane in enumerate(("axial", "coronal", "sagittal")):
        both = []
        for volumes in scans:
            slices = [np.moveaxis(volume, axis, 0) for volume in volumes]
            both.append(np.concatenate([Extractor()(s[s.any(axis=(1, 2))]) for s in slices]).astype(float))
        assert found["frechet"][plane] == pytest.approx(frechet_distance(*both), rel=1e-6)
        assert found["kernel"][plane]["size"] == min(map(len, both)) // 2 and found["kernel"][plane]["mean"] > 0
