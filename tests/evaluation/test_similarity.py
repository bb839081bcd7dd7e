"""MS-SSIM, SSIM and PSNR of axial pairs, against other implementations."""

import numpy as np
import pytest

from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.frame import in_real_units
from napari_gem3d.evaluation.similarity import likeness, mean_ms_ssim, ms_ssim, psnr


@pytest.fixture(scope="module")
def brain() -> np.ndarray:
    z, y, x = np.mgrid[:20, :48, :40].astype(np.float32)
    inside = ((z - 9.5) / 9) ** 2 + ((y - 24) / 20) ** 2 + ((x - 20) / 16) ** 2 < 1
    return np.where(inside, 300 + 80 * np.sin(x / 3) + 60 * np.cos(y / 4), 0).astype(np.float32)


def test_a_scan_is_like_itself_in_any_units_and_less_like_a_noisy_one(brain: np.ndarray) -> None:
    assert ms_ssim(brain, brain) == pytest.approx(1, abs=1e-5)
    noise = np.random.default_rng(0).normal(0, 120, brain.shape)
    little, much = (ms_ssim(brain, np.where(brain > 0, brain + k * noise, 0)) for k in (1, 3))
    assert 0.2 < much < little - 0.002 < 0.998
    assert ms_ssim(brain / 7, np.where(brain > 0, brain + noise, 0) / 7) == pytest.approx(little, abs=1e-4)


def test_only_the_box_of_the_real_foreground_counts(brain: np.ndarray) -> None:
    stray = brain.copy()
    stray[:, 0, 0] = 1000
    assert ms_ssim(brain, stray) == pytest.approx(1, abs=1e-5)
    real, made = in_real_units(brain, stray)
    assert real.shape == made.shape != brain.shape and real.min() == 0 and real.max() == 1


def test_what_cannot_be_compared_is_refused(brain: np.ndarray) -> None:
    with pytest.raises(InputError, match="cannot be compared"):
        ms_ssim(brain, brain[1:])
    with pytest.raises(InputError, match="real scan is empty"):
        ms_ssim(np.zeros_like(brain), brain)
    with pytest.raises(InputError, match="8 slices of body are too few"):
        ms_ssim(brain[6:14], brain[6:14])
    with pytest.raises(InputError, match="too small for the five scales of MS-SSIM; resize them to 176 pixels"):
        ms_ssim(brain, brain, size=None)
    with pytest.raises(InputError, match="Slices of 175 × 512 pixels are too small"):
        ms_ssim(brain, brain, size=(175, 512))


def test_unrelated_noise_is_not_alike_however_small() -> None:
    """Padded with zeros to 176 pixels, as once, two such volumes had 0.83."""
    rng = np.random.default_rng(0)
    pair = rng.uniform(0.1, 1, (2, 14, 40, 36)).astype(np.float32)
    assert mean_ms_ssim(*pair) < 0.3


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    """Two volumes in [0, 1] whose slices are large enough for five scales: smooth, and smooth with noise."""
    from scipy import ndimage

    rng = np.random.default_rng(0)
    real = ndimage.gaussian_filter(rng.normal(size=(13, 180, 190)), (1, 4, 4))
    real = np.clip(0.5 + 0.2 * real / real.std(), 0, 1).astype(np.float32)
    return real, np.clip(0.9 * real + 0.05 * rng.normal(size=real.shape), 0, 1).astype(np.float32)


def test_ms_ssim_is_that_of_monai(pair: tuple[np.ndarray, np.ndarray]) -> None:
    torch, metrics = pytest.importorskip("torch"), pytest.importorskip("monai.metrics")
    # Five slices at either end do not count.
    real, made = (torch.from_numpy(volume[5:8, None]) for volume in pair)
    # Every fourth of the three that are left is the first.
    real, made = real[:1], made[:1]
    theirs = metrics.MultiScaleSSIMMetric(spatial_dims=2, data_range=1.0, kernel_size=11, kernel_sigma=1.5)(made, real)
    found = mean_ms_ssim(*pair, size=None)
    assert found == pytest.approx(float(theirs.mean()), abs=1e-4) and 0.5 < found < 0.99


def test_ssim_and_psnr_are_those_of_scikit_image(pair: tuple[np.ndarray, np.ndarray]) -> None:
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    pytest.importorskip("torchmetrics")
    how = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    theirs = [structural_similarity(a, b, **how) for a, b in zip(*(volume[5:8] for volume in pair), strict=True)]
    found = likeness(*pair)
    # Theirs leaves out five pixels at the edges of a slice, torchmetrics continues the slice beyond them.
    assert found["ssim"] == pytest.approx(np.mean(theirs), abs=1e-3) and 0.2 < found["ssim"] < 0.9
    assert found["psnr"] == pytest.approx(peak_signal_noise_ratio(*pair, data_range=1.0), rel=1e-5)
    assert psnr(pair[0], pair[0]) == 120, "no report holds infinity"


def test_a_scan_without_its_ends_is_like_itself_in_every_way(pair: tuple[np.ndarray, np.ndarray]) -> None:
    pytest.importorskip("torchmetrics")
    spoilt = pair[0].copy()
    spoilt[:5], spoilt[-5:] = 0, 1
    found = likeness(pair[0], spoilt)
    assert found["ms_ssim"] == pytest.approx(1, abs=1e-6) and found["ssim"] == pytest.approx(1, abs=1e-6)
    assert found["psnr"] < 20, "it counts all voxels"
