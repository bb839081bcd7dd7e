"""Dice and HD95 against closed forms and MONAI."""

import numpy as np
import pytest

from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.segmentation import BRATS_REGIONS, compare_regions, dice, hd95, region


def ball(centre: tuple[float, float, float], radius: float, spacing: tuple[float, float, float]) -> np.ndarray:
    """A ball in mm, in an array of 48 × 48 × 64 mm."""
    shape = [round(length / step) for length, step in zip((48, 48, 64), spacing, strict=True)]
    grid = np.meshgrid(*(np.arange(n) * step for n, step in zip(shape, spacing, strict=True)), indexing="ij")
    return sum((axis - c) ** 2 for axis, c in zip(grid, centre, strict=True)) <= radius**2


def test_dice_of_overlapping_boxes_is_that_of_their_volumes() -> None:
    a, b = np.zeros((2, 12, 12, 12), bool)
    a[2:8, 2:8, 2:8] = True
    b[4:8, 2:8, 2:10] = True  # 4 × 6 × 8, of which 4 × 6 × 6 are shared
    assert dice(a, b) == dice(b, a) == pytest.approx(2 * 144 / (216 + 192))
    assert dice(a, a) == 1 and dice(a, ~a) == 0


def test_the_distance_of_shifted_masks_is_their_shift_in_mm() -> None:
    # Every voxel of a slab's faces lies exactly the shift from the other slab's.
    slab = np.zeros((40, 30, 30), bool)
    slab[5:8] = True
    assert hd95(slab, np.roll(slab, 9, axis=0), (2.0, 1.0, 1.0)) == pytest.approx(18)
    assert hd95(slab, slab, (2.0, 1.0, 1.0)) == 0


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 1.0, 0.5)])
def test_the_distance_of_a_shifted_ball(spacing: tuple[float, float, float]) -> None:
    """The distance to the shifted sphere from a point at angle t to the shift d is √(r² + d² − 2 r d cos t) − r."""
    radius, shift = 15.0, 12.0
    a, b = (ball((24.0, 24.0, x), radius, spacing) for x in (20.0, 20.0 + shift))
    cosine = np.linspace(-1, 1, 100_001)  # uniform on a sphere
    distances = np.abs(np.sqrt(radius**2 + shift**2 - 2 * radius * shift * cosine) - radius)
    wanted = np.percentile(distances, 95)
    # Voxels round the sphere off by up to half their length, and do not lie on it uniformly.
    assert hd95(a, b, spacing) == pytest.approx(wanted, abs=0.5 * max(spacing))
    assert hd95(a, b, spacing) < shift + 1e-6


@pytest.mark.filterwarnings("ignore:monai.metrics.utils get_mask_edges:FutureWarning")
def test_distances_and_overlaps_are_those_of_monai() -> None:
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    rng = np.random.default_rng(0)
    spacing = (2.5, 1.0, 0.8)
    for _ in range(3):
        a, b = (rng.random((14, 20, 24)) > level for level in (0.97, 0.9))
        one, other = (torch.from_numpy(mask)[None, None] for mask in (a, b))
        wanted = metrics.compute_hausdorff_distance(one, other, include_background=True, percentile=95, spacing=spacing)
        assert hd95(a, b, spacing) == pytest.approx(float(wanted), rel=1e-5)
        assert dice(a, b) == pytest.approx(float(metrics.compute_dice(one, other)), rel=1e-5)


def test_empty_masks_agree_and_one_alone_has_no_distance() -> None:
    empty = np.zeros((4, 5, 6), bool)
    one = empty.copy()
    one[1, 2, 3] = True
    assert dice(empty, empty) == 1 and hd95(empty, empty, (1, 1, 1)) == 0
    assert dice(empty, one) == dice(one, empty) == 0
    assert np.isnan(hd95(empty, one, (1, 1, 1))) and np.isnan(hd95(one, empty, (1, 1, 1)))
    found = compare_regions(one.astype(np.uint8), empty.astype(np.uint8), (1, 1, 1))
    assert found["WT"] == {"dice": 0.0, "hd95": None, "voxels": 1, "predicted_voxels": 0}
    assert found["ET"]["dice"] == 1 and found["ET"]["hd95"] == 0


def test_regions_are_nested_as_those_of_brats() -> None:
    labels = np.arange(5, dtype=np.uint8).reshape(1, 1, 5)
    masks = {name: region(labels, values).ravel().tolist() for name, values in BRATS_REGIONS.items()}
    assert masks["WT"] == [False, True, True, True, False]
    assert masks["TC"] == [False, False, True, True, False]
    assert masks["ET"] == [False, False, False, True, False]
    found = compare_regions(labels, np.where(labels == 1, 2, labels), (1, 1, 1))
    assert found["WT"]["dice"] == 1 and found["TC"]["dice"] == pytest.approx(4 / 5) and found["ET"]["dice"] == 1


def test_what_cannot_be_compared_is_refused() -> None:
    mask = np.ones((2, 3, 4), bool)
    with pytest.raises(InputError, match="cannot be compared"):
        dice(mask, mask[1:])
    for spacing in ((1.0, 1.0), (1.0, 0.0, 1.0)):
        with pytest.raises(InputError, match="give a length for each"):
            hd95(mask, mask, spacing)
