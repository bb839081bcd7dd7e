"""MS-SSIM of axial pairs."""

import numpy as np
import pytest

from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.frame import in_real_units
from napari_gem3d.evaluation.similarity import ms_ssim


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
