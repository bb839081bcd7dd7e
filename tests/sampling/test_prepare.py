"""Which slice informs the generation, where it stands, and how it is cut."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_gem3d import Grid, InputError, LabelMap, Volume, read_volume, resample, write_volume
from napari_gem3d.bundle import load_bundle
from napari_gem3d.bundle.plan import IntensityScheme, Plan
from napari_gem3d.foreground import foreground
from napari_gem3d.sampling.inputs import read_inputs
from napari_gem3d.sampling.prepare import Prepared, informed_picture, prepare, said_by_plan
from napari_gem3d.sampling.settings import Settings


@pytest.fixture(scope="module")
def plan(tiny_model) -> Plan:
    return load_bundle(tiny_model).plan


@pytest.fixture
def read(plan, tiny_patient):
    def reading(
        mask: Path = tiny_patient.labels, informed: Path = tiny_patient.scan, body: Path | None = None, **settings
    ) -> Prepared:
        return prepare(plan, read_inputs(mask, informed, body), Settings(**settings))

    return reading


def test_position_counts_from_the_lowest_to_the_highest_slice(read):
    assert read().informed_slice == read(position=0.5).informed_slice == 16
    assert read(position=0.25).informed_slice == round(0.25 * 31)
    assert read(slice=5).informed_slice == 5


@pytest.mark.parametrize(
    ("index", "position", "message"),
    [
        (32, None, "no slice 32; choose one from 0 to 31"),
        (-1, None, "no slice -1"),
        (None, 1.2, "position 1.2 .* 0 .* to 1"),
        (0, None, "Slice 0 of .*scan.nii.gz shows no body .* from 2 to 27"),
        (None, 1.0, "Slice 31 .* shows no body"),
        (3, 0.4, "both by slice and by position"),
    ],
)
def test_slices_that_cannot_inform_are_refused(read, index, position, message):
    with pytest.raises(InputError, match=message):
        read(slice=index, position=position)


def test_another_patients_slice_stands_for_the_same_position(read):
    assert read(slice=11).start == 11


def test_the_start_is_moved_to_the_nearest_slice_with_body(read, tiny_patient, tmp_path):
    scan = read_volume(tiny_patient.scan)
    # The same scan without its empty slices: its first slice shows body and is at position 0.
    cropped = resample(scan, scan.grid.box((2, 0, 0), (26, *scan.shape[1:])))
    write_volume(cropped, tmp_path / "cropped.nii.gz")
    lowest, highest = (read(informed=tmp_path / "cropped.nii.gz", slice=index) for index in (0, 25))
    assert (lowest.informed_slice, lowest.start) == (0, 2)
    assert highest.start == 27


def test_the_patients_own_slice_stands_for_its_place_whatever_the_fields_of_view(read, tiny_patient, tmp_path):
    scan = read_volume(tiny_patient.scan)
    larger = resample(scan, scan.grid.box((-10, -3, 4), (50, 40, 40)))
    write_volume(larger, tmp_path / "larger.nii.gz")
    prepared = read(tiny_patient.lesions, tmp_path / "larger.nii.gz", tmp_path / "larger.nii.gz", slice=26)
    assert (prepared.informed_slice, prepared.start) == (26, 16)


@pytest.mark.parametrize("own", [True, False], ids=["same-patient", "other-patient"])
def test_the_picture_is_the_slice_in_the_crop_that_training_saw(read, tiny_patient, own):
    paths = (tiny_patient.lesions, tiny_patient.scan, tiny_patient.scan) if own else ()
    inputs = read(*paths, slice=20)
    assert inputs.same_patient == own
    picture, intensities = informed_picture(inputs)
    assert picture.shape == (32, 32) and picture.dtype == np.float32
    canonical = resample(inputs.informed, inputs.informed.grid.canonical())
    box = inputs.case.box.box((20 - inputs.case.slices.start, 0, 0), (1, 32, 32))
    expected = resample(canonical, box).voxels[0].astype(np.float32)
    shown = intensities.inverse(picture)
    np.testing.assert_allclose(shown, np.clip(expected, intensities.low, intensities.high), atol=0.1)
    assert shown.max() > 300


def test_a_thick_slice_is_shown_as_it_is_not_mixed_with_its_neighbours(read, tiny_patient, tmp_path):
    grid = Grid((8, 36, 40), np.diag([1.0, 1.0, 4.0, 1.0]))
    voxels = np.zeros(grid.shape, np.int16)
    voxels[1:7, 6:30, 8:34] = (100 * np.arange(1, 7))[:, None, None]
    write_volume(Volume(voxels, grid.affine, "MR"), tmp_path / "thick.nii.gz")
    inputs = read(informed=tmp_path / "thick.nii.gz", slice=3)
    assert inputs.own.slices == range(1, 7)
    picture, intensities = informed_picture(inputs)
    shown = intensities.inverse(picture)
    assert {round(float(value)) for value in np.unique(shown)} == {0, 300}
    assert inputs.start == round(3 / 7 * 31)


def test_the_slice_of_a_larger_patient_is_cut_to_the_box_about_its_middle(read, tmp_path):
    voxels = np.zeros((10, 70, 60), np.int16)
    voxels[1:9, 5:65, 5:45] = 500
    voxels[:, 33:37, 23:27] *= 2
    write_volume(Volume(voxels, np.eye(4), "MR"), tmp_path / "large.nii.gz")
    picture, _ = informed_picture(read(informed=tmp_path / "large.nii.gz", slice=5))
    assert picture.shape == (32, 32)
    bright = np.argwhere(picture > 0.5)
    np.testing.assert_allclose(bright.mean(axis=0), [15.5, 15.5], atol=1)


def test_the_body_comes_from_the_scan_given_with_body(read, tiny_patient):
    inputs = read(tiny_patient.lesions, body=tiny_patient.scan)
    assert (inputs.case.labels == 4).any() and (inputs.case.labels == 1).any()
    assert inputs.case.slices == range(2, 28)
    np.testing.assert_array_equal(inputs.case.labels, read().case.labels)


def test_a_map_without_body_names_both_ways_out(read, tiny_patient):
    with pytest.raises(InputError, match=r"label 4 \(brain\).*--body"):
        read(tiny_patient.lesions)


def test_a_body_elsewhere_is_refused(read, tiny_patient, tmp_path):
    scan = read_volume(tiny_patient.scan)
    affine = scan.affine.copy()
    affine[:3, 3] += 500
    write_volume(Volume(scan.voxels, affine), tmp_path / "far.nii.gz")
    with pytest.raises(InputError, match=r"body's scan .*far.nii.gz does not overlap the label map"):
        read(tiny_patient.lesions, body=tmp_path / "far.nii.gz")


def test_unknown_label_values_are_refused(read, tmp_path):
    voxels = np.zeros((4, 8, 8), np.uint8)
    voxels[1, 2:5, 2:5] = 9
    write_volume(LabelMap(voxels, np.eye(4)), tmp_path / "odd.nii.gz")
    with pytest.raises(InputError, match="value 9"):
        read(tmp_path / "odd.nii.gz")


def test_a_scan_of_another_modality_is_refused(read, tmp_path):
    voxels = np.full((8, 20, 20), -1000, np.int16)
    voxels[:, 4:16, 4:16] = 40
    write_volume(Volume(voxels, np.eye(4)), tmp_path / "ct.nii.gz")
    with pytest.raises(InputError, match=r"ct.nii.gz is CT, but the model tiny draws MR"):
        read(informed=tmp_path / "ct.nii.gz")


@pytest.fixture
def ct_plan(plan) -> Plan:
    return plan.model_copy(update={"modality": "CT", "intensity": IntensityScheme(kind="window", low=-150, high=250)})


def clipped_ct() -> Volume:
    """Soft tissue and a lung in air, clipped to a window of HU as data sets often are: no value tells that it is CT."""
    voxels = np.full((8, 40, 40), -150, np.int16)
    voxels[:, 4:36, 4:36] = 40
    voxels[:, 12:20, 12:20] = -150
    return Volume(voxels, np.eye(4))


def test_a_nifti_that_says_nothing_is_what_the_model_draws(ct_plan, plan, tmp_path):
    write_volume(clipped_ct(), tmp_path / "clipped.nii.gz")
    assert read_volume(tmp_path / "clipped.nii.gz").modality == ""
    assert said_by_plan(ct_plan, read_volume(tmp_path / "clipped.nii.gz")).modality == "CT"
    assert said_by_plan(plan, read_volume(tmp_path / "clipped.nii.gz")).modality == "MR"


def test_what_a_scan_says_itself_is_not_said_again(ct_plan, plan):
    assert said_by_plan(ct_plan, replace(clipped_ct(), modality="MR")).modality == "MR"
    air = clipped_ct().with_voxels(np.where(clipped_ct().voxels < 0, -1000, 40))
    assert said_by_plan(plan, air).modality == ""


def test_the_body_and_the_intensities_of_a_clipped_ct_are_those_of_training(ct_plan, tmp_path):
    organ = np.zeros((8, 40, 40), np.uint8)
    organ[2:6, 24:30, 24:30] = 1
    scan, mask = tmp_path / "clipped.nii.gz", tmp_path / "organs.nii.gz"
    write_volume(clipped_ct(), scan)
    write_volume(LabelMap(organ, np.eye(4)), mask)
    inputs = prepare(ct_plan, read_inputs(mask, scan, scan), Settings(slice=4))
    # Training says CT when it reads the files: the whole field of view is then denser than air (-500 HU).
    said = foreground(replace(clipped_ct(), modality="CT"))
    np.testing.assert_array_equal(inputs.inside, said)
    assert not np.array_equal(said, foreground(clipped_ct()))
    assert (inputs.case.labels == 1).sum() == organ.sum()
    _, intensities = informed_picture(inputs)
    assert (intensities.low, intensities.high) == (-150, 250)
