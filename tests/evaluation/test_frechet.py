"""Fréchet distance of normal distributions, and features of slices."""

import numpy as np
import pytest
from scipy import linalg

from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.frechet import distance_of_normals, frechet_distance, slice_features


def test_the_distance_of_known_normal_distributions() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(200_000, 2)) * [1.0, 2.0]
    b = rng.normal(size=(200_000, 2)) * [3.0, 0.5] + [1.0, -2.0]
    # For diagonal covariances the roots are those of each axis: (1 - 3)² + (2 - 0.5)², and 1² + 2² for the means.
    assert frechet_distance(a, b) == pytest.approx(4 + 2.25 + 5, rel=0.02)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))


def test_turning_both_sets_changes_nothing_and_few_samples_are_no_trouble() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(6, 20)), rng.normal(size=(9, 20)) + 0.5  # covariances of less than full rank
    turn, _ = np.linalg.qr(rng.normal(size=(20, 20)))
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(frechet_distance(a, b))
    assert frechet_distance(a, b) > 0


def normals(length: int = 6) -> tuple[np.ndarray, ...]:
    """Means and covariances of two normal distributions."""
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, length, length))
    return rng.normal(size=length), a @ a.T, rng.normal(size=length), b @ b.T


def test_the_distance_of_normals_in_closed_form() -> None:
    m1, c1, m2, _ = normals()
    # Covariances that commute have common axes: Σ (√λ - √μ)² beside the means' distance.
    values, vectors = np.linalg.eigh(c1)
    others = np.array([4.0, 0.25, 1.0, 9.0, 0.01, 2.0])
    c2 = (vectors * others) @ vectors.T
    wanted = ((m1 - m2) ** 2).sum() + ((np.sqrt(values) - np.sqrt(others)) ** 2).sum()
    assert distance_of_normals(m1, c1, m2, c2) == pytest.approx(wanted, rel=1e-8)
    assert distance_of_normals(m1, c1, m1, c1) == pytest.approx(0, abs=1e-9)
    # Scaled by s: (1 - s)² tr C.
    assert distance_of_normals(m1, c1, m1, 9 * c1) == pytest.approx(4 * np.trace(c1), rel=1e-9)


def test_the_distance_is_that_of_the_matrix_root_and_of_torchmetrics() -> None:
    m1, c1, m2, c2 = normals()
    root = linalg.sqrtm(c1 @ c2)
    wanted = ((m1 - m2) ** 2).sum() + np.trace(c1 + c2) - 2 * np.trace(root).real
    assert distance_of_normals(m1, c1, m2, c2) == pytest.approx(wanted, rel=1e-9)
    torch, fid = pytest.importorskip("torch"), pytest.importorskip("torchmetrics.image.fid")
    theirs = fid._compute_fid(*(torch.from_numpy(part) for part in (m1, c1, m2, c2)))
    assert distance_of_normals(m1, c1, m2, c2) == pytest.approx(float(theirs), rel=1e-6)


def test_one_feature_alone_has_no_distance() -> None:
    with pytest.raises(InputError, match="at least two"):
        frechet_distance(np.zeros((1, 3)), np.zeros((4, 3)))


def test_features_of_the_slices_of_a_plane() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    rng = np.random.default_rng(0)
    volume = rng.random((7, 40, 36)).astype(np.float32)
    volume[:2] = 0
    axial, coronal = slice_features([volume], "axial"), slice_features([volume, volume], "coronal")
    assert axial.shape == (5, 320), "empty slices are left out"
    assert coronal.shape == (80, 320)
    np.testing.assert_allclose(coronal[:40], coronal[40:], atol=1e-4)
    again = slice_features([volume[3:4]], "axial")
    np.testing.assert_allclose(again[0], axial[1], atol=1e-4)
    blurred = np.broadcast_to(volume[2:].mean(axis=0), (5, 40, 36))
    noise = np.random.default_rng(5).random((5, 40, 36)).astype(np.float32)
    alike = frechet_distance(axial, slice_features([noise], "axial"))
    assert alike < frechet_distance(axial, slice_features([blurred], "axial"))


def test_an_unknown_plane_is_refused() -> None:
    with pytest.raises(InputError, match="choose one of axial, coronal, sagittal"):
        slice_features([], "oblique")
