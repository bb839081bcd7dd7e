"""The displacement around a lesion: as far as asked at the rim, none at the body's surface, and never a fold."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_gem3d import InputError
from napari_gem3d.grid import Grid
from napari_gem3d.masks import MassEffect

from .conftest import oblique, orientations

BODY = np.array((48.0, 52.0, 46.0))
SPACINGS = st.sampled_from([(2.0, 2.0, 2.0), (1.7, 2.3, 2.0), (3.0, 1.5, 1.8)])


@dataclass(frozen=True)
class Head:
    """An ellipsoidal body about the world's origin, with a lesion whose surface is known in every direction."""

    grid: Grid
    points: np.ndarray
    centre: np.ndarray
    radius: object

    @property
    def body(self) -> np.ndarray:
        return (((self.points / BODY) ** 2).sum(axis=-1) < 1).reshape(self.grid.shape)

    @property
    def lesion(self) -> np.ndarray:
        away = self.points - self.centre
        length = np.linalg.norm(away, axis=-1)
        return (length < self.radius(away / np.maximum(length, 1e-9)[:, None])).reshape(self.grid.shape)

    def rim(self) -> np.ndarray:
        """Points (400, 3) on the lesion's surface."""
        k = np.arange(400)
        height, turn = 1 - (2 * k + 1) / 400, k * np.pi * (3 - np.sqrt(5))
        wide = np.sqrt(1 - height**2)
        ways = np.stack([wide * np.cos(turn), wide * np.sin(turn), height], axis=1)
        return self.centre + ways * self.radius(ways)[:, None]

    def nearest(self) -> float:
        return float(np.linalg.norm(self.rim() - self.centre, axis=1).min())

    def ball(self, centre, radius: float) -> np.ndarray:
        return (np.linalg.norm(self.points - np.asarray(centre), axis=-1) < radius).reshape(self.grid.shape)


def head(spacing=(2.0, 2.0, 2.0), degrees=(0.0, 0.0, 0.0), shear=0.0, centre=(-10.0, 4.0, 3.0), radius=12.0) -> Head:
    affine = oblique(spacing, degrees)
    affine[:3, 2] += shear * affine[:3, 1]
    # Bigger than the body whichever way it is turned.
    shape = tuple(int(np.ceil(118 / mm)) for mm in spacing)
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape)[::-1] - 1) / 2
    grid = Grid(shape, affine)
    points = grid.index_to_world(np.indices(shape).reshape(3, -1).T)
    surface = radius if callable(radius) else lambda ways: np.full(len(ways), radius)
    return Head(grid, points, np.array(centre), surface)


def ellipsoid(semi_axes):
    return lambda ways: 1 / np.maximum(np.linalg.norm(ways / np.array(semi_axes), axis=-1), 1e-3)


def bumpy(radius: float, seed: int):
    """A surface of hills and valleys of up to a quarter of the radius."""
    rng = np.random.default_rng(seed)
    waves, phases = rng.normal(0, 2, (3, 8)), rng.uniform(0, 2 * np.pi, 8)
    return lambda ways: radius * (1 + np.cos(ways @ waves + phases).sum(axis=-1) / 32)


LESIONS = st.one_of(
    st.floats(9, 14),
    st.tuples(*[st.floats(10, 16)] * 3).map(ellipsoid),
    st.tuples(st.floats(10, 14), st.integers(0, 999)).map(lambda pair: bumpy(*pair)),
)
HEADS = st.builds(
    head,
    spacing=SPACINGS,
    degrees=st.tuples(*[st.floats(-45, 45)] * 3),
    shear=st.sampled_from([0.0, 0.2]),
    centre=st.tuples(*[st.floats(-8, 8)] * 3),
    radius=LESIONS,
)
# Of the distance between the lesion's centre and its surface where that is nearest.
SHARES = st.floats(0.05, 0.4)


def effect_of(case: Head, mm: float) -> MassEffect:
    return MassEffect.of(case.lesion, case.body, case.grid, mm)


def jacobian(displacement: np.ndarray, grid: Grid) -> np.ndarray:
    """Determinant (Z, Y, X) of the derivative of a map, from differences of its displacement (3, Z, Y, X) in mm."""
    by_index = np.stack([np.stack(np.gradient(part)[::-1]) for part in displacement])
    by_mm = np.einsum("cx...,xw->...cw", by_index, np.linalg.inv(grid.affine[:3, :3]))
    return np.linalg.det(by_mm + np.eye(3))


@given(case=HEADS, share=SHARES)
@settings(max_examples=8, deadline=None)
def test_nothing_folds_and_nothing_moves_outside_the_body(case, share):
    mm = share * case.nearest()
    effect = effect_of(case, mm)
    for displacement in (effect.displacement(), effect.origin_displacement()):
        assert jacobian(displacement, case.grid).min() > 0
        assert not displacement[:, ~case.body].any()
        assert np.abs(displacement).max() > 0.5 * mm


@given(case=HEADS, share=SHARES)
@settings(max_examples=8, deadline=None)
def test_the_rim_moves_as_far_as_asked_and_outwards(case, share):
    mm = share * case.nearest()
    effect = effect_of(case, mm)
    rim = case.rim()
    way = rim - effect.origins(rim)
    np.testing.assert_allclose(np.linalg.norm(way, axis=1), mm, rtol=0.1)
    assert ((way * (rim - case.centre)).sum(axis=1) > 0).all()
    assert effect.reached > 0.9


@given(case=HEADS, share=SHARES)
@settings(max_examples=8, deadline=None)
def test_there_and_back_is_where_one_was(case, share):
    mm = share * case.nearest()
    effect = effect_of(case, mm)
    points = case.points[case.body.ravel()][::11]
    for there, back in ((effect.moved, effect.origins), (effect.origins, effect.moved)):
        assert np.linalg.norm(back(there(points)) - points, axis=1).max() < min(case.grid.spacing)


@given(case=HEADS, share=SHARES, way=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda way: np.linalg.norm(way) > 0.3))
@settings(max_examples=8, deadline=None)
def test_a_ventricle_beside_the_lesion_becomes_smaller_and_moves_away(case, share, way):
    mm = share * case.nearest()
    away = np.array(way) / np.linalg.norm(way)
    middle = case.centre + away * (case.radius(away[None])[0] + 9)
    ventricle = case.ball(middle, 7)
    assert not (ventricle & case.lesion).any()
    effect = effect_of(case, mm)
    pushed = effect.pushed(ventricle.astype(np.float32))
    assert pushed.sum() < 0.999 * ventricle.sum()
    moved = (pushed.ravel() @ case.points) / pushed.sum() - case.points[ventricle.ravel()].mean(axis=0)
    assert moved @ away > 0.05 * mm
    again = effect.pulled(pushed)
    assert again.sum() == pytest.approx(ventricle.sum(), rel=0.05)  # interpolated twice


def test_the_displacement_becomes_smaller_with_the_distance():
    case = head(radius=12.0, centre=(0.0, 0.0, 0.0))
    effect = effect_of(case, 4)
    away = np.linalg.norm(effect.origins(np.stack([np.arange(12.0, 46), *np.zeros((2, 34))], 1)), axis=1)
    way = np.arange(12.0, 46) - away
    assert way[0] == pytest.approx(4, rel=0.05) and (np.diff(way) < 0.1).all()
    # An incompressible medium would move by a quarter of it at twice the radius.
    assert 0.3 < way[12] < 1.0 and way[24:].max() < 0.1


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64, bool])
@pytest.mark.parametrize("order", [0, 1, 3])
def test_0_mm_changes_no_bit(dtype, order):
    case = head(radius=8.0)
    effect = effect_of(case, 0)
    voxels = np.random.default_rng(0).uniform(0, 200, case.grid.shape).astype(dtype)
    for changed in (effect.pushed(voxels, order), effect.pulled(voxels, order)):
        assert changed.dtype == voxels.dtype and changed is not voxels
        np.testing.assert_array_equal(changed, voxels)
    assert not effect.displacement().any() and effect.reached == 1
    np.testing.assert_array_equal(effect.moved(case.points[:5]), case.points[:5])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64, bool])
@pytest.mark.parametrize("order", [0, 1, 3])
def test_voxels_come_from_where_the_inverse_leads(dtype, order):
    """On a ramp interpolation is exact, so the pushed voxels say where they come from."""
    case = head((2.0, 2.0, 3.0), (10, -20, 15), radius=11.0)
    effect = effect_of(case, 4)
    ramp = case.points[:, 0].reshape(case.grid.shape) + 110
    voxels = ramp > 100 if dtype is bool else ramp.astype(dtype)
    pushed = effect.pushed(voxels, order)
    assert pushed.dtype == voxels.dtype
    still = ~effect.origin_displacement().any(axis=0)
    np.testing.assert_array_equal(pushed[still], voxels[still])
    expected = ramp + effect.origin_displacement()[0]
    if dtype is bool:
        assert (pushed != (expected > 100)).mean() < 2e-3
    else:
        tolerance = {0: 2.1, 1: 0.8, 3: 0.8}[order] + (voxels.dtype.kind != "f")
        np.testing.assert_allclose(pushed, expected, atol=tolerance)
    if order == 0:
        assert set(np.unique(pushed)) <= set(np.unique(voxels))


def test_cubic_interpolation_stays_within_the_range_of_whole_numbers():
    case = head(radius=11.0)
    stripes = (np.indices(case.grid.shape)[2] // 2 % 2 * 255).astype(np.uint8)
    pushed = effect_of(case, 4).pushed(stripes, 3).astype(int)
    # A value that wrapped around would be on the other side of its neighbours.
    float_pushed = effect_of(case, 4).pushed(stripes.astype(np.float32), 3)
    assert float_pushed.min() < 0 and float_pushed.max() > 255
    np.testing.assert_allclose(pushed, np.clip(float_pushed, 0, 255), atol=0.51)


def test_arrays_on_another_grid_are_pushed_alike():
    case, other = head(radius=11.0), head((3.0, 1.5, 2.0), (20, 5, -10), radius=11.0)
    effect = effect_of(case, 4)
    voxels = other.points[:, 1].reshape(other.grid.shape)
    there = effect.on(other.grid)
    expected = effect.origins(other.points)[:, 1].reshape(other.grid.shape)
    np.testing.assert_allclose(there.pushed(voxels), expected, atol=0.01)
    far = Grid((9, 9, 9), np.array([[1.0, 0, 0, 500], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    np.testing.assert_array_equal(effect.on(far).pushed(np.ones((9, 9, 9))), 1)


def test_how_the_voxels_are_stored_does_not_matter():
    case = head((3.0, 2.0, 2.0), radius=ellipsoid((14.0, 10.0, 11.0)))
    rim = case.rim()
    expected = effect_of(case, 4).origins(rim)
    for grid in orientations(case.grid)[::9]:
        points = grid.index_to_world(np.indices(grid.shape).reshape(3, -1).T)
        stored = Head(grid, points, case.centre, case.radius)
        np.testing.assert_allclose(effect_of(stored, 4).origins(rim), expected, atol=0.2)


def test_it_falls_to_nothing_towards_the_surface_beside_the_lesion():
    case = head(centre=(-30.0, 0.0, 0.0), radius=12.0)
    effect = effect_of(case, 4)
    near, far = np.array([[-42.0, 0, 0]]), np.array([[-18.0, 0, 0]])
    way = [float(np.linalg.norm(point - effect.origins(point))) for point in (near, far)]
    assert way[0] < 3 and way[1] == pytest.approx(4, rel=0.1)
    assert 0.25 < effect.reached < 0.95
    assert jacobian(effect.displacement(), case.grid).min() > 0


def test_a_gap_in_the_body_narrower_than_the_lattice_stays_where_it_is():
    case = head((1.0, 1.0, 1.0), centre=(0.0, 0.0, 0.0), radius=14.0)
    body = case.body
    body[:, :, int(case.grid.world_to_index([[25.0, 0, 0]])[0, 2])] = False
    effect = MassEffect.of(case.lesion, body, case.grid, 4)
    assert not effect.displacement()[:, ~body].any()
    assert effect.displacement()[0][body & (case.points[:, 0] > 15).reshape(body.shape)].max() > 1


def test_holes_in_body_and_lesion_are_filled():
    case = head(radius=12.0)
    expected = effect_of(case, 4).origin_displacement()
    ring, body = case.lesion & ~case.ball(case.centre, 6), case.body & ~case.ball((15.0, 4.0, 3.0), 4)
    np.testing.assert_array_equal(MassEffect.of(ring, body, case.grid, 4).origin_displacement(), expected)


def test_the_body_ends_with_the_field_of_view():
    case = head(centre=(0.0, 0.0, 0.0), radius=10.0)
    everywhere = np.ones(case.grid.shape, bool)
    cut = case.grid.box((20, 0, 0), (25, *case.grid.shape[1:]))
    effect = MassEffect.of(case.lesion[20:45], everywhere[20:45], cut, 2)
    displacement = effect.displacement()
    assert not displacement[:, [0, -1]].any() and jacobian(displacement, cut).min() > 0


def test_what_is_impossible_is_refused_with_what_is_possible():
    case = head(radius=10.0)
    with pytest.raises(InputError, match=r"too thin to push its surroundings by 9 mm; give \d\.\d mm or less") as error:
        effect_of(case, 9)
    largest = float(str(error.value).split("give ")[1].split(" mm")[0])
    assert 4.5 < largest < 6.1 and effect_of(case, largest).reached > 0.9
    # A plate between the surface and the surface has no room on either side.
    plate = case.body & (np.abs(case.points[:, 0]) < 18).reshape(case.grid.shape)
    thin = np.abs(case.points[:, 0]).reshape(case.grid.shape) < 8
    with pytest.raises(InputError, match=r"too near the body's surface .* give \d\.\d mm or less") as error:
        MassEffect.of(plate & thin, plate, case.grid, 4)
    largest = float(str(error.value).split("give ")[1].split(" mm")[0])
    assert MassEffect.of(plate & thin, plate, case.grid, largest).mm == largest
    one = np.zeros(case.grid.shape, bool)
    one[30, 30, 30] = True
    with pytest.raises(InputError, match="too thin"):
        MassEffect.of(one, case.body, case.grid, 3)


def test_small_lesions_far_from_each_other_are_refused():
    case = head(radius=8.0, centre=(-25.0, 0.0, 0.0))
    others = [case.ball((r, a, s), 3.5) for r in (-5, 10, 25) for a in (-18, 0, 18) for s in (-18, 0, 18)]
    with pytest.raises(InputError, match=r"Only \d+% of the lesion's surface would push by 3 mm"):
        MassEffect.of(np.any([case.lesion, *others], axis=0), case.body, case.grid, 3)


def test_input_that_cannot_be_used():
    case = head(radius=10.0)
    with pytest.raises(InputError, match="no lesion that could push"):
        MassEffect.of(np.zeros(case.grid.shape, bool), case.body, case.grid, 3)
    for mm in (-1, np.nan, np.inf):
        with pytest.raises(InputError, match="give 0 or a positive number"):
            effect_of(case, mm)
    with pytest.raises(InputError, match="align them"):
        MassEffect.of(case.lesion[1:], case.body, case.grid, 3)
    with pytest.raises(InputError, match="give one on the grid"):
        effect_of(case, 3).pushed(np.zeros((3, 3, 3)))
