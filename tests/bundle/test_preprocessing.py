"""Preprocessing: crop about the body, intensities, and where the body comes from."""

from pathlib import Path

import numpy as np
import pytest

from napari_gem3d.bundle import Plan
from napari_gem3d.bundle.plan import IntensityScheme
from napari_gem3d.bundle.preprocessing import Intensities, fit_intensities, prepare_labels, prepare_scan
from napari_gem3d.errors import InputError
from napari_gem3d.foreground import foreground
from napari_gem3d.labels import Label, LabelMap, LabelTable
from napari_gem3d.volume import Volume, resample

PLAN = Plan(
    name="test",
    size=(64, 48),
    labels=LabelTable((Label(1, "edema"), Label(4, "brain", meaning="body"))),
)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def _patient(shape: tuple[int, int, int] = (20, 90, 80), lesion: bool = True) -> tuple[Volume, LabelMap]:
    rng = np.random.default_rng(0)
    scan, labels = np.zeros(shape, np.int16), np.zeros(shape, np.uint8)
    scan[4:17, 20:70, 30:62] = rng.integers(100, 1000, (13, 50, 32))
    if lesion:
        labels[8:12, 30:40, 40:50] = 1
    return Volume(scan, LPS, "MR"), LabelMap(labels, LPS)


def test_the_box_is_canonical_holds_the_body_and_centres_it() -> None:
    scan, mask = _patient()
    case = prepare_labels(PLAN, mask, scan)
    assert case.grid.orientation == "RAS"
    assert case.grid.shape == scan.shape
    assert case.slices == range(4, 17)
    assert case.box.shape == case.labels.shape == (13, 64, 48)
    rows, columns = (np.flatnonzero(case.labels.any(axis=axis)) for axis in ((0, 2), (0, 1)))
    assert (rows[0] + rows[-1] + 1) // 2 == 32
    assert (columns[0] + columns[-1] + 1) // 2 == 24
    assert (case.labels == 1).sum() == 4 * 10 * 10
    assert (case.labels == 4).sum() == 13 * 50 * 32 - 400


def test_the_way_back_returns_labels_to_the_source_grid() -> None:
    scan, mask = _patient()
    case = prepare_labels(PLAN, mask, scan)
    back = resample(LabelMap(case.labels, case.box.affine), mask.grid, order=0)
    assert np.array_equal(back.voxels == 1, mask.voxels == 1)
    assert np.array_equal(back.voxels > 0, scan.voxels > 0)


def test_a_body_label_in_the_map_is_used_and_the_scan_ignored() -> None:
    _, mask = _patient()
    voxels = mask.voxels.copy()
    voxels[6:14, 25:50, 35:55] = np.maximum(voxels[6:14, 25:50, 35:55], 0)
    voxels[(voxels == 0) & (np.indices(voxels.shape)[0] == 10)] = 4
    case = prepare_labels(PLAN, LabelMap(voxels, LPS), None)
    assert 10 in case.slices
    assert (case.labels == 4).any()


def test_a_map_without_body_and_without_scan_says_both_ways_out() -> None:
    _, mask = _patient()
    with pytest.raises(InputError, match=r"label 4 \(brain\).*--body"):
        prepare_labels(PLAN, mask, None)


def test_a_body_beyond_the_size_grows_the_box_instead_of_cutting_it() -> None:
    scan, mask = _patient()
    voxels = scan.voxels.copy()
    voxels[10, 5:85, 40] = 500
    case = prepare_labels(PLAN, mask, scan.with_voxels(voxels))
    assert case.box.shape[1:] == (96, 48)
    assert (case.labels > 0).sum() == (voxels > 0).sum()


def test_a_grown_box_still_fits_networks_as_deep_as_the_size_tells() -> None:
    scan, mask = _patient()
    voxels = scan.voxels.copy()
    voxels[10, 5:75, 40] = 500
    for size, rows in (((32, 32), 96), ((64, 64), 128)):
        plan = PLAN.model_copy(update={"size": size})
        assert prepare_labels(plan, mask, scan.with_voxels(voxels)).box.shape[1] == rows


def test_unknown_label_values_are_refused() -> None:
    scan, mask = _patient()
    with pytest.raises(InputError, match="value 7"):
        prepare_labels(PLAN, mask.with_voxels(mask.voxels * np.uint8(7)), scan)


def test_percentile_intensities_ignore_a_bright_voxel_and_return() -> None:
    scan, _ = _patient()
    plain = fit_intensities(PLAN, scan, scan.voxels > 0)
    spiked = scan.voxels.copy()
    spiked[10, 40, 40] = 32767
    assert abs(fit_intensities(PLAN, scan.with_voxels(spiked), spiked > 0).high / plain.high - 1) < 0.01
    values = np.linspace(0, plain.high, 50)
    np.testing.assert_allclose(plain.inverse(plain.forward(values)), values, atol=plain.high * 1e-5)
    assert plain.forward(np.array([-5.0, 1e6])).tolist() == [-1.0, 1.0]


def test_ct_uses_the_window_of_the_plan() -> None:
    plan = PLAN.model_copy(update={"intensity": IntensityScheme(kind="window", low=-160, high=240)})
    scan, _ = _patient()
    assert fit_intensities(plan, scan, scan.voxels > 0) == Intensities(-160, 240)


def test_a_scan_of_one_intensity_is_refused() -> None:
    scan, _ = _patient()
    with pytest.raises(InputError, match="one intensity in all of its foreground"):
        fit_intensities(PLAN, scan.with_voxels(np.where(scan.voxels > 0, -7, -9)), scan.voxels < 0)


def test_prepare_scan_lands_where_the_labels_are() -> None:
    scan, mask = _patient()
    case = prepare_labels(PLAN, mask, scan)
    image = prepare_scan(PLAN, scan, case.box, foreground(scan))
    assert image.shape == case.labels.shape
    assert (image[case.labels == 0] == -1).all()
    assert image.max() == 1.0


def test_real_gliomas_fit_the_shipped_size(shared_data: Path) -> None:
    from napari_gem3d.io import read_label_map, read_volume

    plan = Plan(
        name="brain",
        labels=LabelTable((Label(1, "a"), Label(2, "b"), Label(3, "c"), Label(4, "brain", meaning="body"))),
    )
    folder = shared_data / "Dataset501_GliomaFLAIR"
    mask = read_label_map(folder / "labelsTs" / "Brats18_2013_11_1.nii.gz")
    scan = read_volume(folder / "imagesTs" / "Brats18_2013_11_1_0000.nii.gz")
    case = prepare_labels(plan, mask, scan)
    assert case.box.shape[1:] == (192, 160)
    assert {1, 2, 3, 4} >= set(np.unique(case.labels)) - {0} >= {4}
    assert (case.labels > 0).sum() >= (scan.voxels > 0).sum()
