"""Volumes: resampling copies where it can, interpolates where it must, and comes back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_gem3d.errors import InputError
from napari_gem3d.grid import Grid
from napari_gem3d.volume import Volume, resample


@st.composite
def volumes(draw: st.DrawFn) -> Volume:
    """Small volumes with permuted, flipped axes, single-precision affines far from the scanner's origin."""
    axes = np.zeros((3, 3))
    for column, row in enumerate(draw(st.permutations(range(3)))):
        axes[row, column] = draw(st.sampled_from([-1, 1]))
    angle = draw(st.floats(-0.5, 0.5))
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ axes * np.array(draw(st.tuples(*[st.floats(0.4, 6)] * 3)))
    affine[:3, 3] = draw(st.tuples(*[st.floats(-800, 800)] * 3))
    shape = draw(st.tuples(*[st.integers(1, 8)] * 3))
    dtype = draw(st.sampled_from([np.int16, np.uint8, np.float32, np.float64, np.int32, bool]))
    seed = draw(st.integers(0, 2**16))
    voxels = np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)
    return Volume(voxels, affine.astype(np.float32).astype(np.float64), "MR")


def assert_same_bits(one: Volume, other: Volume) -> None:
    assert one.voxels.dtype == other.voxels.dtype
    np.testing.assert_array_equal(one.voxels, other.voxels)


@given(volumes())
def test_canonical_and_back_is_bit_identical(volume):
    canonical = resample(volume, volume.grid.canonical())
    assert canonical.orientation == "RAS"
    assert canonical.voxels.dtype == volume.voxels.dtype
    back = resample(canonical, volume.grid)
    assert_same_bits(back, volume)
    assert back.grid == volume.grid


@given(volumes(), st.tuples(*[st.integers(-6, 3)] * 3), st.tuples(*[st.integers(0, 6)] * 3))
def test_padding_and_back_is_bit_identical(volume, start, extra):
    start = tuple(min(s, 0) for s in start)
    canonical = resample(volume, volume.grid.canonical())
    shape = tuple(n - s + e for n, s, e in zip(canonical.shape, start, extra, strict=True))
    padded = resample(canonical, canonical.grid.box(start, shape))
    assert padded.shape == shape
    assert padded.voxels.sum() == volume.voxels.sum()
    assert_same_bits(resample(padded, volume.grid), volume)


@given(volumes(), st.tuples(*[st.integers(-9, 9)] * 3), st.tuples(*[st.integers(1, 9)] * 3))
def test_box_takes_exactly_its_part(volume, start, shape):
    box = resample(volume, volume.grid.box(start, shape), fill=1)
    everywhere = np.pad(volume.voxels, 20, constant_values=1)
    slices = tuple(slice(20 + s, 20 + s + n) for s, n in zip(start, shape, strict=True))
    np.testing.assert_array_equal(box.voxels, everywhere[slices])
    back = resample(box, volume.grid, fill=0)
    inside = resample(box.with_voxels(np.ones(shape, bool)), volume.grid).voxels
    np.testing.assert_array_equal(back.voxels, np.where(inside, volume.voxels, 0))


@given(volumes())
def test_copying_agrees_with_geometry(volume):
    """Every copied voxel lies at the same place in the world as the voxel it came from."""
    canonical = resample(volume, volume.grid.canonical())
    index = np.argwhere(np.ones(canonical.shape, bool))
    there = np.rint(volume.grid.world_to_index(canonical.grid.index_to_world(index))).astype(int)
    np.testing.assert_array_equal(canonical.voxels.ravel(), volume.voxels[tuple(there.T)])


def head(spacing: tuple[float, float, float], shape: tuple[int, int, int]) -> Volume:
    """A smooth function of the world position, so that interpolation can be checked."""
    affine = np.diag([-spacing[2], spacing[1], spacing[0], 1.0])
    affine[:3, 3] = 17, -25, -31
    grid = Grid(shape, affine)
    index = np.indices(shape).reshape(3, -1).T
    x, y, z = grid.index_to_world(index).T
    voxels = 100 + 20 * np.sin(x / 11) + 15 * np.cos(y / 13) + 10 * np.sin(z / 12)
    return Volume(voxels.reshape(shape).astype(np.float32), affine)


def inner(voxels: np.ndarray, margin: int = 3) -> np.ndarray:
    return voxels[margin:-margin, margin:-margin, margin:-margin]


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.3, 2.0])
def test_resampling_and_back_is_close(factor):
    volume = head((1.0, 1.0, 1.0), (40, 44, 48))
    there = resample(volume, volume.grid.canonical().with_spacing((factor, factor, factor)))
    assert there.voxels.dtype == np.float32
    back = resample(there, volume.grid)
    assert back.grid == volume.grid
    # The function has an amplitude of 45; one voxel at the rim is extrapolated.
    assert np.abs(inner(back.voxels - volume.voxels)).max() < 0.5
    assert np.abs(back.voxels - volume.voxels).max() < 4


def test_interpolation_follows_geometry_when_sheared_and_turned():
    """A tilted gantry's shear and an oblique scan end at the right place of a straight grid."""
    volume = head((1.0, 1.0, 1.0), (60, 60, 60))
    matrix = np.eye(4)
    matrix[:3, :3] = [[0.98, -0.17, 0], [0.17, 0.98, 0.3], [0, 0, 1.5]]
    matrix[:3, 3] = -20, 5, 0
    sheared = Grid((15, 20, 20), matrix)
    result = resample(volume, sheared)
    x, y, z = sheared.index_to_world(np.indices(sheared.shape).reshape(3, -1).T).T
    expected = 100 + 20 * np.sin(x / 11) + 15 * np.cos(y / 13) + 10 * np.sin(z / 12)
    # factor 1.5 along z calls for a little smoothing, which costs some amplitude
    np.testing.assert_allclose(result.voxels.ravel(), expected, atol=0.3)


def test_a_permuted_source_is_interpolated_in_the_right_place():
    volume = head((2.0, 1.0, 1.5), (20, 40, 30))
    permuted = np.zeros((4, 4))
    permuted[0, 2], permuted[1, 0], permuted[2, 1], permuted[3, 3] = -1.2, 0.9, 1.1, 1
    permuted[:3, 3] = 5, -15, -20
    grid = Grid((15, 20, 25), permuted)
    x, y, z = grid.index_to_world(np.indices(grid.shape).reshape(3, -1).T).T
    expected = 100 + 20 * np.sin(x / 11) + 15 * np.cos(y / 13) + 10 * np.sin(z / 12)
    np.testing.assert_allclose(resample(volume, grid).voxels.ravel(), expected, atol=0.5)


def test_coarser_voxels_average_finer_ones():
    # every third centre falls on a voxel: picking voxels would give 0 and 100 in turn
    checkers = np.indices((33, 33, 33)).sum(axis=0) % 2 * 100
    volume = Volume(checkers.astype(np.int16), np.eye(4))
    coarse = resample(volume, volume.grid.with_spacing((3, 3, 3)))
    assert np.abs(coarse.voxels - 50).max() < 3


def test_nearest_voxel_invents_no_values():
    voxels = np.random.default_rng(0).choice(np.array([0, 1, 4], np.uint8), (12, 12, 12))
    volume = Volume(voxels, np.eye(4))
    finer = resample(volume, volume.grid.with_spacing((0.7, 0.7, 0.7)), order=0)
    assert finer.voxels.dtype == np.uint8
    assert set(np.unique(finer.voxels)) == {0, 1, 4}


def test_half_size_voxels_and_back_by_nearest_is_identical():
    voxels = np.random.default_rng(0).integers(0, 5, (9, 10, 11)).astype(np.uint8)
    volume = Volume(voxels, np.diag([-1.0, 1, 3, 1]))
    there = resample(volume, volume.grid.canonical().with_spacing((1, 0.5, 0.5)), order=0)
    # odd factors put a fine voxel in the middle of each coarse one: nothing is ambiguous on the way back
    thirds = resample(volume, volume.grid.with_spacing((1, 1, 1)), order=0)
    np.testing.assert_array_equal(resample(thirds, volume.grid, order=0).voxels, voxels)
    assert there.shape == (27, 20, 22)


def test_outside_is_fill_and_the_outermost_voxel_reaches_its_edge():
    volume = Volume(np.full((4, 4, 4), 7, np.int16), np.diag([6.0, 6, 6, 1]))
    fine = volume.grid.with_spacing((1, 1, 1))
    result = resample(volume, fine.box((-3, -3, -3), (30, 30, 30)), fill=-1000)
    np.testing.assert_array_equal(result.voxels[3:-3, 3:-3, 3:-3], 7)
    assert (result.voxels[:3] == -1000).all()
    assert (result.voxels[:, :, -3:] == -1000).all()


def test_a_box_elsewhere_is_all_fill():
    volume = Volume(np.ones((4, 4, 4), np.int16), np.eye(4))
    assert (resample(volume, volume.grid.box((50, 0, 0), (3, 3, 3)), fill=-5).voxels == -5).all()


def test_rounded_affines_still_copy():
    """Two files of one scan whose affines differ in the seventh digit share their voxels."""
    affine = np.diag([-0.9765625, 0.9765625, 2, 1])
    affine[:3, 3] = 249.51171875, -61.51171875, -804.5
    volume = Volume(np.arange(20 * 30 * 30, dtype=np.int32).reshape(20, 30, 30), affine)
    rounded = affine.copy()
    rounded[:3] += np.random.default_rng(0).uniform(-2e-5, 2e-5, (3, 4))
    copied = resample(volume, Grid(volume.shape, rounded))
    assert_same_bits(copied, volume)


def test_a_quarter_voxel_is_not_rounded_away():
    volume = head((1.0, 1.0, 1.0), (12, 12, 12))
    moved = volume.affine.copy()
    moved[0, 3] += 0.25
    assert not np.array_equal(resample(volume, Grid(volume.shape, moved)).voxels, volume.voxels)


def test_with_voxels_keeps_everything_else():
    volume = Volume(np.zeros((2, 3, 4), np.int16), np.eye(4), "CT", meta={"space": "mni"})
    new = volume.with_voxels(np.ones((2, 3, 4), np.float32))
    assert (new.modality, dict(new.meta), new.voxels.dtype) == ("CT", {"space": "mni"}, np.float32)
    with pytest.raises(ValueError, match="do not fit"):
        volume.with_voxels(np.ones((4, 3, 2)))


@pytest.mark.parametrize(
    ("shape", "message"), [((3, 4), "dimensions"), ((2, 3, 4, 5), "dimensions"), ((0, 3, 4), "empty")]
)
def test_voxels_must_be_three_dimensional(shape, message):
    with pytest.raises(InputError, match=message):
        Volume(np.zeros(shape), np.eye(4))


def test_meta_cannot_be_changed():
    volume = Volume(np.zeros((2, 3, 4)), np.eye(4), meta={"space": "mni"})
    with pytest.raises(TypeError):
        volume.meta["space"] = "scanner"  # type: ignore[index]
