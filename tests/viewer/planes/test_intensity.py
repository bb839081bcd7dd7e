"""Window and level: presets and drags."""

import numpy as np
import pytest

from napari_gem3d.viewer.planes.intensity import contrast_limits, dragged, preset_hint, preset_limits, preset_names


def test_contrast_ignores_background_and_outliers() -> None:
    voxels = np.zeros((20, 20, 20), np.int16)
    voxels[5:15] = np.random.default_rng(0).integers(200, 400, (10, 20, 20))
    voxels[10, 10, 10] = 32767
    low, high = contrast_limits(voxels, "MR")
    assert low == 0
    assert 380 <= high <= 400
    assert contrast_limits(np.full((3, 3, 3), -5, np.int16)) == (-5, -4)
    assert contrast_limits(voxels, "CT") == (-160, 240)


def test_presets_of_ct_are_in_hu_and_those_of_mr_in_percentiles() -> None:
    voxels = np.zeros((10, 10, 10), np.float32)
    voxels[2:] = np.linspace(100, 200, 800).reshape(8, 10, 10)
    assert preset_names("CT") == ("Brain", "Soft tissue", "Lung", "Bone")
    assert preset_limits("Brain", voxels) == (0, 80)
    assert preset_limits("Lung", voxels) == (-1350, 150)
    assert preset_limits("Full range", voxels) == (0, 200)
    low, high = preset_limits("Strong contrast", voxels)
    assert low == pytest.approx(110, abs=0.5) and high == pytest.approx(198, abs=0.5)
    assert all(preset_hint(name) for modality in ("CT", "MR") for name in preset_names(modality))


def test_a_drag_to_the_right_widens_and_upwards_brightens() -> None:
    low, high = dragged((0, 100), 300, 0)
    assert (low, high) == (-50, 150)
    low, high = dragged((0, 100), 0, 300)
    assert (low, high) == (-100, 0)
    low, high = dragged((0, 100), -10_000, 0)
    assert low < high
