"""Grids: geometry that permutes, flips, crops, pads and resamples, and the way back."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_gem3d.errors import InputError
from napari_gem3d.grid import Grid

SIZES = st.tuples(*[st.integers(1, 9)] * 3)
SPACINGS = st.tuples(*[st.floats(0.3, 7)] * 3)
TRANSLATIONS = hnp.arrays(np.float64, 3, elements=st.floats(-800, 800))


def rotation(angles: np.ndarray) -> np.ndarray:
    """Rotation matrix about x, then y, then z."""
    (ca, cb, cc), (sa, sb, sc) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    about_y = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    about_z = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


@st.composite
def grids(draw: st.DrawFn, oblique: bool = True) -> Grid:
    """Any grid a scanner may produce: axes permuted, flipped, rotated and of different spacing."""
    axes = np.zeros((3, 3))
    for column, row in enumerate(draw(st.permutations(range(3)))):
        axes[row, column] = draw(st.sampled_from([-1, 1]))
    if oblique:
        axes = rotation(np.array(draw(st.tuples(*[st.floats(-0.6, 0.6)] * 3)))) @ axes
    affine = np.eye(4)
    affine[:3, :3] = axes * np.array(draw(SPACINGS))
    affine[:3, 3] = draw(TRANSLATIONS)
    return Grid(draw(SIZES), affine)


def centre(grid: Grid) -> np.ndarray:
    return grid.index_to_world((np.array(grid.shape) - 1) / 2)


def test_affine_maps_xyz_and_arrays_are_zyx():
    affine = np.array([[2.0, 0, 0, 10], [0, 3, 0, 20], [0, 0, 5, 30], [0, 0, 0, 1]])
    grid = Grid((4, 5, 6), affine)
    assert grid.spacing == (5, 3, 2)
    assert grid.voxel_volume == pytest.approx(30)
    assert grid.index_to_world([[1, 2, 3]]).tolist() == [[10 + 6, 20 + 6, 30 + 5]]
    assert grid.world_to_index([16, 26, 35]).tolist() == pytest.approx([1, 2, 3])


def test_orientation_names_the_direction_of_each_index():
    lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    assert Grid((3, 3, 3), lps).orientation == "LPS"
    assert not Grid((3, 3, 3), lps).is_canonical
    # x runs to superior, y to the right, z to posterior
    permuted = np.array([[0.0, 1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    assert Grid((3, 3, 3), permuted).orientation == "SRP"


def test_canonical_of_a_permuted_grid():
    permuted = np.array([[0.0, 2, 0, 0], [0, 0, -3, 0], [5, 0, 0, 0], [0, 0, 0, 1]])
    canonical = Grid((7, 8, 9), permuted).canonical()
    assert canonical.shape == (9, 7, 8)
    assert canonical.spacing == (5, 3, 2)
    np.testing.assert_allclose(canonical.affine[:3, 3], [0, -18, 0])


@given(grids())
def test_canonical_covers_the_same_voxels(grid):
    canonical = grid.canonical()
    assert canonical.is_canonical
    assert canonical.canonical() == canonical
    assert sorted(canonical.shape) == sorted(grid.shape)
    np.testing.assert_allclose(centre(canonical), centre(grid), atol=1e-6)
    matrix, offset = canonical.index_map(grid)
    np.testing.assert_allclose(matrix, np.rint(matrix), atol=1e-6)
    np.testing.assert_allclose(offset, np.rint(offset), atol=1e-5)


@given(grids(), hnp.arrays(np.float64, (5, 3), elements=st.floats(-20, 20)))
def test_index_and_world_are_inverse(grid, index):
    np.testing.assert_allclose(grid.world_to_index(grid.index_to_world(index)), index, atol=1e-6)


@given(grids(), grids(), hnp.arrays(np.float64, (4, 3), elements=st.floats(-20, 20)))
def test_index_map_goes_through_the_world(one, other, index):
    matrix, offset = one.index_map(other)
    expected = other.world_to_index(one.index_to_world(index))
    np.testing.assert_allclose(index @ matrix.T + offset, expected, atol=1e-5)


@given(grids(), SPACINGS)
def test_with_spacing_keeps_the_field_of_view(grid, spacing):
    new = grid.with_spacing(spacing)
    assert new.orientation == grid.orientation
    np.testing.assert_allclose(centre(new), centre(grid), atol=1e-6)
    for n, s, wanted, got, old in zip(grid.shape, grid.spacing, spacing, new.spacing, new.shape, strict=True):
        assert got == pytest.approx(wanted, rel=2e-4)
        assert abs(old * got - n * s) <= 0.51 * got or old == 1


@given(grids())
def test_with_spacing_keeps_what_it_need_not_change(grid):
    assert grid.with_spacing((None, None, None)) == grid
    assert grid.with_spacing(tuple(s * 1.00001 for s in grid.spacing)) == grid


@given(grids(), st.tuples(*[st.integers(-5, 5)] * 3), SIZES)
def test_box_and_back(grid, start, shape):
    box = grid.box(start, shape)
    assert box.shape == shape
    np.testing.assert_allclose(box.index_to_world([0, 0, 0]), grid.index_to_world(start), atol=1e-6)
    assert box.box([-n for n in start], grid.shape).same_as(grid)


@pytest.mark.parametrize("spacing", [0, -1, float("nan")])
def test_impossible_spacing(spacing):
    with pytest.raises(InputError, match="positive"):
        Grid((3, 3, 3), np.eye(4)).with_spacing((spacing, 1, 1))


def test_same_as_measures_in_mm():
    grid = Grid((100, 100, 100), np.eye(4))
    moved, turned = np.eye(4), np.eye(4)
    moved[0, 3] = 0.0005
    turned[1, 0] = 1e-4  # 0.01 mm at the far corner
    assert grid.same_as(Grid(grid.shape, moved))
    assert grid != Grid(grid.shape, moved)
    assert not grid.same_as(Grid(grid.shape, turned))
    assert grid.same_as(Grid(grid.shape, turned), atol=0.1)
    assert not grid.same_as(Grid((100, 100, 99), np.eye(4)))


def test_equal_grids_have_equal_hashes():
    assert len({Grid((2, 3, 4), np.eye(4)), Grid((2, 3, 4), np.eye(4)), Grid((2, 3, 5), np.eye(4))}) == 2


def test_grid_keeps_its_own_affine():
    affine = np.eye(4)
    grid = Grid((2, 2, 2), affine)
    affine[0, 0] = 7
    assert grid.spacing == (1, 1, 1)
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 7


@given(grids(), grids())
def test_overlap_is_mutual(one, other):
    assert one.overlaps(other) == other.overlaps(one)
    assert one.overlaps(one)


def test_touching_is_no_overlap():
    grid = Grid((4, 4, 4), np.eye(4))
    for axis, sign in itertools.product(range(3), (-1, 1)):
        start = [0, 0, 0]
        start[axis] = 4 * sign
        assert not grid.overlaps(grid.box(start, (4, 4, 4)))
        start[axis] = 3 * sign
        assert grid.overlaps(grid.box(start, (4, 4, 4)))


def test_overlap_of_turned_boxes_is_exact():
    """Bounding boxes overlap, the boxes themselves do not: a plate turned by 45° beside a cube's edge."""
    cube = Grid((10, 10, 10), np.eye(4))  # -0.5 … 9.5
    affine = np.eye(4)
    affine[:3, :3] = rotation(np.array([0, 0, np.pi / 4]))
    affine[:3, 3] = 13, 8, 0

    def plate(thickness: int) -> Grid:
        # x' runs along (1, 1), y' along (-1, 1): thin in x', 21 mm long in y'
        return Grid((10, 21, thickness), affine).box((0, -10, 0), (10, 21, thickness))

    assert not plate(2).overlaps(cube)
    assert plate(2).box((0, 0, -3), (10, 21, 2)).overlaps(cube)


@pytest.mark.parametrize(("distance", "overlap"), [(15, False), (13.5, True)])
def test_overlap_of_cubes_edge_to_edge(distance, overlap):
    """Two cubes of 10 mm that face each other with crossing edges, 7.07 mm from their centres."""

    def cube(angles: tuple[float, float, float], x: float) -> Grid:
        affine = np.eye(4)
        affine[:3, :3] = rotation(np.array(angles))
        affine[:3, 3] = np.array([x, 0, 0]) - affine[:3, :3] @ (4.5, 4.5, 4.5)
        return Grid((10, 10, 10), affine)

    assert cube((0, 0, np.pi / 4), 0).overlaps(cube((0, np.pi / 4, 0), distance)) == overlap


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (np.zeros((4, 4)), "valid position"),
        (np.diag([1.0, 1, 0, 1]), "singular"),
        (np.array([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "singular"),
        (np.diag([1.0, np.nan, 1, 1]), "valid position"),
        (np.eye(3), "valid position"),
    ],
)
def test_bad_affines(affine, message):
    with pytest.raises(InputError, match=message) as caught:
        Grid((3, 3, 3), affine)
    assert str(caught.value).count(".") == 1


def test_empty_grid():
    with pytest.raises(InputError, match="empty"):
        Grid((3, 0, 3), np.eye(4))


def test_differences_are_said_in_the_words_of_people():
    grid = Grid((20, 48, 40), np.diag([1.2, 1.0, 4.0, 1.0]))
    flipped = Grid((20, 48, 40), grid.affine @ np.array([[-1, 0, 0, 39], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    assert grid.differences(flipped) == []
    moved = np.array(grid.affine)
    moved[0, 3] += 3
    moved[1, 3] -= 4
    assert Grid(grid.shape, moved).differences(grid) == ["its middle is 5 mm away"]
    rounded = np.array(grid.affine)
    rounded[0, 3] += 0.004
    assert Grid(grid.shape, rounded).differences(grid) == []
    assert Grid((10, 48, 40), grid.affine).differences(grid)[0] == "40 × 48 × 10 voxels, not 40 × 48 × 20"
    thick = grid.with_spacing((8.0, None, None))
    assert thick.differences(grid)[:2] == [
        "40 × 48 × 10 voxels, not 40 × 48 × 20",
        "voxels of 1.2 × 1 × 8 mm, not 1.2 × 1 × 4 mm",
    ]
    cosine, sine = np.cos(np.radians(7)), np.sin(np.radians(7))
    turn = np.array([[cosine, -sine, 0, 0], [sine, cosine, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert "turned by 7°" in Grid(grid.shape, turn @ grid.affine).differences(grid)
