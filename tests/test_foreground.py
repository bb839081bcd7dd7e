"""The foreground of skull-stripped and other MR, and of CT."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from napari_gem3d.errors import InputError
from napari_gem3d.foreground import _without_holes, find_floor, foreground, is_ct, is_skull_stripped, otsu
from napari_gem3d.io import read_label_map, read_volume
from napari_gem3d.volume import Volume, resample


def ball(shape: tuple[int, int, int], centre: tuple[float, float, float], radius: float) -> np.ndarray:
    z, y, x = np.ogrid[tuple(slice(0, n) for n in shape)]
    return (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 < radius**2


HEAD = ball((40, 40, 40), (20, 20, 20), 14)


def test_skull_stripped_brain_with_dark_ventricles_and_stray_voxels():
    voxels = np.where(HEAD, 300, 0).astype(np.int16)
    voxels[ball(HEAD.shape, (20, 20, 20), 4)] = 0  # as dark as the background, but enclosed
    voxels[2, 2, 2:5] = 200
    volume = Volume(voxels, np.eye(4), "MR")
    assert is_skull_stripped(volume)
    np.testing.assert_array_equal(foreground(volume), HEAD)


@pytest.mark.parametrize("background", [-5, 17])
def test_background_need_not_be_zero(background):
    volume = Volume(np.where(HEAD, 3, background).astype(np.float32), np.eye(4), "MR")
    np.testing.assert_array_equal(foreground(volume), HEAD)


@pytest.mark.parametrize("how", ["smoothed", "turned and rounded", "offset", "jpeg"])
def test_a_halo_is_not_body(how):
    """Smoothing, interpolation and JPEG leave a margin of faint voxels around a stripped brain."""
    rng = np.random.default_rng(0)
    voxels = np.where(HEAD, 300 + 40 * rng.standard_normal(HEAD.shape), 0).astype(np.float32)
    true = HEAD
    if how == "jpeg":
        buffer = io.BytesIO()
        Image.fromarray(np.clip(voxels[20] / 2, 0, 255).astype(np.uint8)).resize((160, 160)).save(
            buffer, "jpeg", quality=70
        )
        voxels = np.asarray(Image.open(buffer))[None].astype(np.uint8)
        true = ndimage.zoom(HEAD[20:21].astype(float), (1, 4, 4), order=1) > 0.5
    elif how == "turned and rounded":
        voxels = np.rint(ndimage.rotate(voxels, 20, axes=(1, 2), reshape=False, order=3)).astype(np.int16)
    else:
        voxels = ndimage.gaussian_filter(voxels, 0.8) + (200 if how == "offset" else 0)
    volume = Volume(voxels, np.eye(4), "MR")
    assert np.count_nonzero(voxels != voxels[0, 0, 0]) > 1.08 * true.sum()  # as it was
    found = foreground(volume)
    assert 0.96 * true.sum() < found.sum() < 1.04 * true.sum()
    assert np.count_nonzero(found & true) > 0.95 * true.sum()


def test_a_brain_with_dark_fluid_at_its_rim_has_no_halo():
    voxels = np.where(HEAD, 300, 0).astype(np.int16)
    fluid = HEAD & ~ball(HEAD.shape, (20, 20, 20), 12.5)
    voxels[fluid] = np.random.default_rng(0).integers(8, 60, fluid.sum())
    np.testing.assert_array_equal(foreground(Volume(voxels, np.eye(4), "MR")), HEAD)


def noisy(inside: np.ndarray, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.hypot(inside + 6 * rng.standard_normal(inside.shape), 6 * rng.standard_normal(inside.shape))


def test_head_in_noise_with_bright_fat():
    """Fat several times as bright as the brain must not hide it."""
    fat = HEAD & ~ball(HEAD.shape, (20, 20, 20), 11)
    fat[:, 20:] = False  # no closed shell: filling holes must not do the work
    volume = Volume(noisy(np.where(fat, 900.0, np.where(HEAD, 150.0, 0))), np.eye(4), "MR")
    assert not is_skull_stripped(volume)
    found = foreground(volume)
    assert np.count_nonzero(found != HEAD) < 0.01 * HEAD.sum()


@pytest.mark.parametrize("modality", ["CT", ""])
def test_ct_body_with_lungs_and_table(modality):
    body = np.broadcast_to(ball((1, 60, 60), (0, 30, 30), 20), (30, 60, 60)).copy()
    voxels = np.where(body, 40, -1000)
    voxels[:, 25:35, 20:28] = -850  # a lung that leaves the field of view at both ends
    voxels[:, 55:57, 10:50] = 100  # the table
    volume = Volume(voxels.astype(np.int16), np.eye(4), modality)
    assert is_ct(volume)
    assert not is_skull_stripped(volume)
    np.testing.assert_array_equal(foreground(volume), body)


def test_holes_are_filled_in_axial_slices_whatever_the_axes():
    """Stored sagittally, an open lung is still closed in the axial plane."""
    body = np.broadcast_to(ball((1, 60, 60), (0, 30, 30), 20), (30, 60, 60))
    voxels = np.where(body, 40, -1000).astype(np.int16)
    voxels[:, 25:35, 20:28] = -850
    axial = Volume(voxels, np.eye(4), "CT")
    permuted = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 59], [0, 1, 0, 0], [0, 0, 0, 1]])
    sagittal = Volume(np.ascontiguousarray(voxels.transpose(2, 0, 1)[:, :, ::-1]), permuted, "CT")
    np.testing.assert_array_equal(resample(sagittal, axial.grid).voxels, voxels)
    found = resample(sagittal.with_voxels(foreground(sagittal)), axial.grid, order=0)
    np.testing.assert_array_equal(found.voxels, body)


def test_nothing_there():
    with pytest.raises(InputError, match="no body"):
        foreground(Volume(np.full((9, 9, 9), -1000, np.int16), np.eye(4), "CT"))
    with pytest.raises(InputError, match="no body"):
        foreground(Volume(np.zeros((9, 9, 9), np.int16), np.eye(4), "MR"))


def test_modality_of_the_header_decides():
    voxels = np.where(HEAD, 0, -1000)
    assert not is_ct(Volume(voxels, np.eye(4), "MR"))
    assert is_ct(Volume(voxels, np.eye(4), ""))
    assert not is_ct(Volume(voxels + 1000, np.eye(4), ""))


def test_otsu_separates_two_classes():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(10, 2, 9000), rng.normal(50, 4, 3000)])
    assert 18 < otsu(values) < 36


def test_real_brain_is_the_non_zero_part(shared_data):
    scan = read_volume(next(iter(sorted((shared_data / "Dataset501_GliomaFLAIR/imagesTs").iterdir()))))
    found = foreground(scan)
    assert is_skull_stripped(scan)
    millilitres = found.sum() * scan.grid.voxel_volume / 1000
    assert 1000 < millilitres < 2000
    outside = np.count_nonzero((scan.voxels != 0) & ~found)
    assert outside < 0.001 * found.sum()


@pytest.mark.parametrize(
    ("scan", "labels", "stripped", "ct", "litres"),
    [
        ("ct_coarse/ct.nii.gz", "ct_coarse/organs.nii.gz", False, True, (15, 35)),
        ("ct_dicom_series", "ct_dicom_organs.nii.gz", False, True, (2, 5)),
        ("mri_thick_slices_nrrd/image.nrrd", "mri_thick_slices_nrrd/label.nrrd", False, False, (2.5, 5)),
        ("mri_ms_lesion/flair.nii.gz", "mri_ms_lesion/lesions.nii.gz", True, False, (0.9, 1.8)),
    ],
)
def test_real_bodies_hold_their_labels(shared_data, scan, labels, stripped, ct, litres):
    volume = read_volume(shared_data / "inputs" / scan)
    assert is_ct(volume) == ct
    assert is_skull_stripped(volume) == stripped
    found = foreground(volume)
    inside = found[read_label_map(shared_data / "inputs" / labels).aligned_to(volume.grid).voxels > 0]
    # arms beside a trunk are parts of their own
    assert inside.mean() > 0.98
    assert litres[0] < found.sum() * volume.grid.voxel_volume / 1e6 < litres[1]


def test_holes_are_what_scipy_fills() -> None:
    inside = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(24, 26, 28)), 1.2) > -0.08
    filled = ndimage.binary_fill_holes(inside)
    assert filled.sum() > inside.sum()
    np.testing.assert_array_equal(_without_holes(inside), filled)


@pytest.mark.parametrize(
    ("scale", "offset", "around", "low", "background"),
    [
        (1, 0, 0, 0, 0),
        (1e4, 0, 0, 0, 0),
        (1 / 80, -2.5, -2.5, -2.5, -2.5),  # a z-score of all voxels
        (1 / 80, -2.5, 0, -2.5 + 20 / 80, 0),  # of the brain alone
        (2 / 400, -1, -1, -1, -1),
        (1, 1000, 1000, 1000, 1000),
        (1, 0, 255, 20, 255),  # a white background
    ],
)
def test_intensities_begin_where_the_data_say(scale, offset, around, low, background):
    rng = np.random.default_rng(0)
    brain = np.where(HEAD, np.clip(200 + 60 * rng.standard_normal(HEAD.shape), 20, 400), 0)
    voxels = np.where(HEAD, brain * scale + offset, around).astype(np.float32)
    floor = find_floor(Volume(voxels, np.eye(4), "MR"), HEAD)
    assert floor.low == pytest.approx(low, abs=0.02 * 400 * scale)
    assert floor.background == pytest.approx(background)


def test_overshoot_of_interpolation_and_one_broken_voxel_do_not_decide():
    voxels = np.where(HEAD, 200, 0).astype(np.float32)
    voxels[20, 20, 6] = -7
    assert find_floor(Volume(voxels, np.eye(4), "MR"), HEAD).is_zero
    scored = np.where(HEAD, np.random.default_rng(0).standard_normal(HEAD.shape), 0).astype(np.float32)
    scored[20, 20, 20] = -500
    assert -6 < find_floor(Volume(scored, np.eye(4), "MR"), HEAD).low < -2
