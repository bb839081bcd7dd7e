"""Two volumes in one picture, by numbers."""

import numpy as np
import pytest

from napari_gem3d.viewer.runs.comparison import Shown, checkerboard, difference, matched
from napari_gem3d.volume import Volume


def shown(voxels: np.ndarray, limits=(0.0, 100.0), spacing=(1.0, 1.0, 2.0)) -> Shown:
    return Shown(Volume(voxels, np.diag([*spacing, 1.0])), limits)


def test_a_checkerboard_has_cubes_of_its_size_in_mm():
    ones, twos = np.ones((10, 8, 12), np.int16), np.full((10, 8, 12), 2, np.int16)
    mixed = checkerboard(shown(ones), shown(twos), tile_mm=4)
    assert (mixed[:2, :4, :4] == 1).all()  # 2 mm along z, 1 mm along y and x
    assert (mixed[2:4, :4, :4] == 2).all() and (mixed[:2, 4:, :4] == 2).all() and (mixed[:2, :4, 4:8] == 2).all()
    assert (mixed[2:4, 4:, :4] == 1).all()


def test_a_difference_is_signed_and_measured():
    a = np.zeros((4, 5, 6), np.int16)
    b = a.copy()
    b[1, 2, 3], b[2, 2, 2] = 30, -10
    found = difference(shown(b), shown(a))
    assert found.voxels[1, 2, 3] == 30 and found.voxels[2, 2, 2] == -10
    assert found.share == pytest.approx(2 / 120) and found.mean == 20 and found.largest == 30
    assert 29 < found.limit <= 30


def test_equal_volumes_do_not_differ():
    a = np.arange(24).reshape(2, 3, 4)
    found = difference(shown(a), shown(a))
    assert found.share == 0 and found.limit > 0 and not found.voxels.any()


def test_windows_are_matched_and_grids_resampled():
    fine = np.full((8, 8, 8), 50.0)
    coarse = shown(np.full((4, 4, 4), 500, np.int16), (0.0, 1000.0), (2.0, 2.0, 2.0))
    like = shown(fine, (0.0, 100.0), (1.0, 1.0, 1.0))
    again = matched(coarse, like)
    assert again.shape == fine.shape
    np.testing.assert_allclose(again[:7, :7, :7], 50)
    assert difference(like, like).share == 0
