"""Variants: mirror images with their names, rotations in millimetres, bends without folds."""

import numpy as np
import pytest

from napari_gem3d.bundle.plan import Plan
from napari_gem3d.labels import Label, LabelTable
from napari_gem3d.training.config.settings import DataSettings
from napari_gem3d.training.data import augmentation
from napari_gem3d.training.data.augmentation import mirrors, vary, with_texture

TABLE = LabelTable(
    (
        Label(1, "kidney_left", meaning="organ"),
        Label(2, "Kidney_Right", meaning="organ"),
        Label(3, "tumour"),
        Label(4, "body", meaning="body"),
    )
)
MR = Plan(name="x", labels=TABLE, spacing=(3.0, 1.0, 1.0))
CT = MR.model_copy(update={"modality": "CT", "background_outside_body": False})
STILL = {"max_rotation_deg": 0.0, "max_scaling": 0.0, "max_gamma": 0.0, "mirror": False}


def disc(spacing: tuple[float, float] = (1.0, 1.0), long: float = 40.0, short: float = 16.0) -> tuple[np.ndarray, ...]:
    """An upright ellipse (axes in mm) as image, smooth, and labels, (5, 96, 80)."""
    z, y, x = np.mgrid[:5, :96, :80].astype(np.float64)
    radius = np.hypot((y - 47.5) * spacing[0] / long, (x - 39.5) * spacing[1] / short)
    return (np.clip(2 * (1 - radius), -1, 1)).astype(np.float32), (4 * (radius < 1)).astype(np.uint8) + 0 * z.astype(
        np.uint8
    )


def angle_mm(labels: np.ndarray, spacing: tuple[float, float]) -> float:
    """Angle in degrees of the long axis from the rows' axis, in mm."""
    where = np.argwhere(labels[2]) * np.array(spacing)
    _, vectors = np.linalg.eigh(np.cov(where.T))
    y, x = vectors[:, 1] * np.sign(vectors[0, 1])
    return float(np.rad2deg(np.arctan2(x, y)))


def test_the_first_is_the_patient_and_the_second_its_mirror_image() -> None:
    rng = np.random.default_rng(0)
    image = rng.uniform(-1, 1, (2, 8, 8)).astype(np.float32)
    labels = rng.integers(0, 5, (2, 8, 8)).astype(np.uint8)
    for kept, wanted in zip(vary(image, labels, MR, DataSettings(), 0, rng), (image, labels), strict=True):
        np.testing.assert_array_equal(kept, wanted)
    mirrored, names = vary(image, labels, MR, DataSettings(), 1, rng)
    np.testing.assert_array_equal(mirrored, image[..., ::-1])
    # Left and right change names; everything else keeps its own.
    np.testing.assert_array_equal(names, np.array([0, 2, 1, 3, 4], np.uint8)[labels[..., ::-1]])


def test_a_ct_is_not_mirrored_unless_wanted() -> None:
    assert mirrors(DataSettings(), MR) and not mirrors(DataSettings(), CT)
    assert mirrors(DataSettings(mirror=True), CT) and not mirrors(DataSettings(mirror=False), MR)
    image, labels = disc()
    image[:, :, :20], rng = 0.9, np.random.default_rng(0)
    settings = DataSettings(max_rotation_deg=0, max_scaling=0)
    for variant in range(1, 12):
        np.testing.assert_allclose(
            vary(image, labels, CT, settings, variant, rng)[0][:, 8:-8, 8:-8], image[:, 8:-8, 8:-8], atol=1e-4
        )


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.0, 0.6), (0.7, 1.3)])
def test_a_rotation_turns_by_its_angle_in_millimetres(
    spacing: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = MR.model_copy(update={"spacing": (3.0, *spacing)})
    image, labels = disc(spacing, long=26.0, short=10.0)

    class Most:
        def uniform(self, low: float, high: float) -> float:
            return high

    settings = DataSettings(**{**STILL, "max_rotation_deg": 20.0})
    turned, moved = vary(image, labels, plan, settings, 2, Most())  # type: ignore[arg-type]
    assert abs(angle_mm(moved, spacing)) == pytest.approx(20, abs=1.0)
    assert (moved > 0).sum() == pytest.approx((labels > 0).sum(), rel=0.02)
    assert turned.dtype == np.float32 and turned.min() >= -1 and turned.max() <= 1
    assert (turned[moved == 0] == -1).all()


def test_scaling_grows_both_axes() -> None:
    image, labels = disc(long=30.0, short=12.0)
    settings, areas = DataSettings(**{**STILL, "max_scaling": 0.1}), []
    rng = np.random.default_rng(1)
    for _ in range(20):
        areas.append((vary(image, labels, MR, settings, 2, rng)[1] > 0).sum() / (labels > 0).sum())
    assert 0.9**2 * 0.97 < min(areas) < 0.95
    assert 1.05 < max(areas) < 1.1**2 * 1.03


def test_gamma_changes_mr_and_leaves_hu_alone() -> None:
    image, labels = disc()
    settings, rng = DataSettings(**{**STILL, "max_gamma": 0.5}), np.random.default_rng(0)
    changed, _ = vary(image, labels, MR, settings, 2, rng)
    assert np.abs(changed - image)[labels > 0].max() > 0.05
    same, _ = vary(image, labels, CT, settings, 2, rng)
    np.testing.assert_allclose(same, image, atol=1e-4)


@pytest.mark.parametrize(("wavelength", "bands"), [(2, [0]), (16, [2, 3])])
def test_texture_changes_structures_of_its_size_alike_in_all_slices(wavelength: int, bands: list[int]) -> None:
    grating = 0.2 * np.sin(2 * np.pi * np.arange(96) / wavelength + 0.5)
    image = np.broadcast_to(grating[None, :, None], (3, 96, 80)).astype(np.float32)
    body = np.ones(image.shape, bool)
    for gain in (0.5, 2.0):
        gains = np.ones(4)
        gains[bands] = gain
        changed = with_texture(image, body, (3.0, 1.0, 1.0), gains)[:, 24:72]
        ratio = changed.std() / image[:, 24:72].std()
        assert abs(np.log2(ratio / gain)) < 0.6, "most of it is in those bands"
        np.testing.assert_allclose(changed[0], changed[2])
        others = np.where(np.isin(np.arange(4), bands), 1.0, gain)
        rest = with_texture(image, body, (3.0, 1.0, 1.0), others)[:, 24:72]
        assert abs(np.log2(rest.std() / image[:, 24:72].std())) < 0.6, "and little in the others"


def test_texture_is_varied_in_mr_if_wanted_and_only_inside_the_body() -> None:
    image, labels = disc()
    image = (image + 0.1 * np.random.default_rng(1).normal(size=image.shape)).clip(-1, 1).astype(np.float32)
    image[labels == 0] = -1
    np.testing.assert_array_equal(with_texture(image, labels > 0, MR.spacing, np.ones(4)), image)
    still, varied = (DataSettings(**STILL, max_texture=most) for most in (0.0, 1.0))
    (plain, inside), (changed, _) = (vary(image, labels, MR, s, 2, np.random.default_rng(0)) for s in (still, varied))
    assert np.abs(changed - plain)[inside > 0].max() > 0.05
    np.testing.assert_array_equal(changed[inside == 0], plain[inside == 0])
    same, other = (vary(image, labels, CT, s, 2, np.random.default_rng(0))[0] for s in (still, varied))
    np.testing.assert_array_equal(same, other)


def test_outside_the_body_is_background_in_mr_and_stays_in_ct() -> None:
    image, labels = disc()
    image[:, 90:92] = 0.3  # a table
    still, rng = DataSettings(**STILL), np.random.default_rng(0)
    assert (vary(image, labels, MR, still, 2, rng)[0][:, 90:92] == -1).all()
    np.testing.assert_allclose(vary(image, labels, CT, still, 2, rng)[0][:, 90:92], 0.3, atol=1e-4)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (5.0, 0.5, 1.0)])
def test_a_bend_reaches_as_far_as_set_without_folds(spacing: tuple[float, float, float]) -> None:
    settings = DataSettings(**{**STILL, "max_elastic_mm": 12.0})
    shape, reached = (24, 160, 128), 0.0
    still = np.indices(shape[1:]).reshape(2, 1, *shape[1:])
    for seed in range(5):
        matrix, bends = augmentation._moved_places(shape, spacing, settings, np.random.default_rng(seed))
        np.testing.assert_allclose(matrix, np.eye(3), atol=1e-12)
        assert not bends[0].any()
        places = still + np.stack(bends[1:])
        moved_mm = (places - still) * np.array(spacing[1:]).reshape(2, 1, 1, 1)
        reached = max(reached, np.abs(moved_mm).max())
        dy, dx = np.gradient(places[0], axis=(1, 2)), np.gradient(places[1], axis=(1, 2))
        assert (dy[0] * dx[1] - dy[1] * dx[0]).min() > 0
        # Neighbouring slices move alike.
        assert np.abs(np.diff(moved_mm, axis=1)).max() < 0.15 * spacing[0] * 12
    assert 3 < reached <= 12


def test_a_bend_moves_image_and_labels_alike() -> None:
    image, labels = disc()
    settings = DataSettings(**{**STILL, "max_elastic_mm": 10.0})
    bent, moved = vary(image, labels, MR, settings, 2, np.random.default_rng(3))
    assert (moved != labels).mean() > 0.005
    overlap = (bent > 0.02) & (moved > 0)
    assert overlap.sum() > 0.97 * (bent > 0.02).sum()


def ball(spacing: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """A ball of 24 mm with a rod from front to back (along Y), image and labels (Z, 64, 64 mm of voxels)."""
    shape = [round(64 / length) for length in spacing]
    z, y, x = (np.indices(shape) - (np.array(shape) - 1).reshape(3, 1, 1, 1) / 2) * np.array(spacing).reshape(
        3, 1, 1, 1
    )
    inside, rod = np.sqrt(z**2 + y**2 + x**2) < 24, np.hypot(z, x) < 5
    image = np.where(inside, np.exp(-(z**2 + x**2) / 50) - 0.9, -1).astype(np.float32)
    return image, (4 * inside - (inside & rod)).astype(np.uint8)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 1.0, 0.8)])
def test_a_tilt_turns_out_of_the_plane_in_millimetres(spacing: tuple[float, float, float]) -> None:
    image, labels = ball(spacing)
    settings, found = DataSettings(**{**STILL, "max_tilt_deg": 20.0}), []
    plan = MR.model_copy(update={"spacing": spacing})
    for seed in range(8):
        tilted, moved = vary(image, labels, plan, settings, 2, np.random.default_rng(seed))
        where = np.argwhere(moved == 3) * np.array(spacing)
        _, vectors = np.linalg.eigh(np.cov(where.T))
        along = vectors[:, 2] * np.sign(vectors[1, 2])
        found.append(np.rad2deg(np.arctan2(along[0], along[1])))
        assert (moved == 3).sum() == pytest.approx((labels == 3).sum(), rel=0.05)
        # Bright where the rod is: image and labels turn alike.
        assert tilted[moved == 3].mean() == pytest.approx(image[labels == 3].mean(), abs=0.03)
    assert 8 < np.abs(found).max() <= 21 and min(found) < 0 < max(found)


def test_a_bend_along_the_slices_reaches_as_far_as_set() -> None:
    settings = DataSettings(**{**STILL, "max_slice_elastic_mm": 10.0})
    reached = []
    for seed in range(5):
        _, bends = augmentation._moved_places((60, 64, 64), (2.0, 1.0, 1.0), settings, np.random.default_rng(seed))
        assert not np.stack(bends[1:]).any()
        reached.append(2.0 * np.abs(bends[0]).max())
        # No slice passes another.
        assert np.diff(np.arange(60)[:, None, None] + bends[0], axis=0).min() > 0
    assert 2 < max(reached) <= 10
    image, labels = ball((2.0, 1.0, 1.0))
    plan = MR.model_copy(update={"spacing": (2.0, 1.0, 1.0)})
    bent, moved = vary(image, labels, plan, settings, 2, np.random.default_rng(3))
    assert (moved != labels).mean() > 0.005
    assert bent[moved == 3].mean() == pytest.approx(image[labels == 3].mean(), abs=0.05)
