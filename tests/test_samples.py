"""The sample patients: readable, plausible, marked as synthetic, small, and nobody's."""

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from napari_gem3d.bundle import bundled_models
from napari_gem3d.bundle.store import read_plan
from napari_gem3d.cli import demo
from napari_gem3d.errors import InputError
from napari_gem3d.foreground import foreground, is_skull_stripped
from napari_gem3d.io import sha256
from napari_gem3d.samples import DATA, INDEX, read_samples, sample_patients
from napari_gem3d.sampling.recipe import read_recipe
from napari_gem3d.volume import resample

LARGEST_BYTES = 4e6
NAMES = tuple(sample_patients())


@pytest.fixture(scope="module", params=NAMES)
def patient(request):
    sample = sample_patients()[request.param]
    return sample, *sample.read()


def upright(labels):
    """The voxels in RAS: axis 0 runs upwards, axis 2 to the right."""
    return resample(labels, labels.grid.canonical(), order=0).voxels


def lesions(labels):
    return np.isin(labels.voxels, [label.value for label in labels.table.lesions])


def test_there_are_four_and_their_files_are_small_and_all_that_is_there():
    assert len(NAMES) >= 4
    files = {path.name for path in DATA.iterdir()}
    listed = {path.name for s in sample_patients().values() for path in (s.image, s.labels, s.recipe)}
    assert files == listed | {INDEX, "README.md"}
    assert sum(path.stat().st_size for path in DATA.iterdir()) <= LARGEST_BYTES


def test_scan_and_label_map_share_a_grid_and_a_brain(patient):
    _, scan, labels = patient
    assert scan.grid == labels.grid
    assert scan.voxels.dtype == labels.voxels.dtype == np.uint8
    assert is_skull_stripped(scan)
    np.testing.assert_array_equal(scan.voxels > 0, labels.voxels > 0)
    assert (foreground(scan) & (labels.voxels > 0)).sum() > 0.999 * (labels.voxels > 0).sum()
    assert not any(labels.voxels.take(end, axis).any() for axis in range(3) for end in (0, -1))
    assert 1000 < sum(labels.volumes_ml().values()) < 1900


def test_grids_differ_as_those_of_scans_do():
    read = [sample.read()[0] for sample in sample_patients().values()]
    assert len({scan.orientation for scan in read}) >= 3
    assert len({tuple(sorted(scan.spacing)) for scan in read}) >= 2


def test_the_labels_are_those_of_the_bundle(patient):
    sample, _, labels = patient
    labels.check_values(sample.table)
    assert sample.table.body.value in labels.values()
    if "brain-flair" in bundled_models():
        assert sample.table == read_plan(bundled_models()["brain-flair"]).labels


def test_the_tumour_lies_in_one_hemisphere_inside_the_brain(patient):
    _, _, labels = patient
    inside = ndimage.binary_erosion(labels.voxels > 0)
    assert inside[lesions(labels)].mean() > 0.99
    voxels = upright(labels)
    middle = np.flatnonzero(voxels.any(axis=(0, 1)))[[0, -1]].mean()
    columns = np.nonzero(np.isin(voxels, [label.value for label in labels.table.lesions]))[2]
    right = (columns > middle).mean()
    assert max(right, 1 - right) == 1
    assert ndimage.label(lesions(labels), np.ones((3, 3, 3)))[1] == 1


def test_tumours_are_as_large_as_gliomas_and_one_is_small():
    edema = [sample.read()[1].volumes_ml()[1] for sample in sample_patients().values()]
    assert all(2 < ml < 80 for ml in edema)
    assert sum(ml < 15 for ml in edema) == 1
    assert sum(ml > 20 for ml in edema) == len(edema) - 1


def test_brains_taper(patient):
    _, _, labels = patient
    area = (upright(labels) > 0).sum(axis=(1, 2))
    area = area[area > 0]
    assert area[0] < 0.2 * area.max()
    assert area[-1] < 0.2 * area.max()


def test_the_oedema_is_bright_as_in_flair(patient):
    _, scan, labels = patient
    assert np.median(scan.voxels[labels.voxels == 1]) > 1.2 * np.median(scan.voxels[labels.voxels == 4])


def test_files_and_titles_say_that_they_are_synthetic(patient):
    sample, _, _ = patient
    assert "Synthetic" in sample.title
    for path in (sample.image, sample.labels):
        assert bytes(nib.load(path).header["descrip"]).startswith(b"SYNTHETIC")
    assert json.loads((DATA / INDEX).read_text(encoding="utf-8"))["synthetic"] is True


def test_the_recipe_tells_how_it_was_drawn(patient):
    sample, _, _ = patient
    recipe = read_recipe(sample.recipe)
    assert recipe.informed is None  # the model drew the informed slice: no patient's scan came in
    assert recipe.body is None
    assert recipe.mask.path == sample.labels.name
    assert recipe.mask.sha256 == sha256(sample.labels)
    assert recipe.model.folder == "brain-flair"
    assert str(Path.home()) not in sample.recipe.read_text(encoding="utf-8")


def test_no_brain_is_like_a_patients():
    index = json.loads((DATA / INDEX).read_text(encoding="utf-8"))
    assert all(entry["likeness"] <= index["likeness_among_scans"]["median"] for entry in index["samples"])


def test_the_demo_informs_by_a_slice_below_both_tumours():
    for name in (demo.TARGET, demo.DONOR):
        labels = sample_patients()[name].read()[1]
        voxels = upright(labels)
        slices = np.flatnonzero(voxels.any(axis=(1, 2)))
        at = slices[0] + round(demo.POSITION * (slices[-1] - slices[0]))
        assert not np.isin(voxels[at - 1 : at + 2], [label.value for label in labels.table.lesions]).any()


@pytest.mark.parametrize("content", [None, "{}", "not json", '{"format": "napari-gem3d samples", "labels": 3}'])
def test_a_broken_installation_is_said_in_a_sentence(tmp_path, content):
    if content is not None:
        (tmp_path / INDEX).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(INDEX)):
        read_samples(tmp_path)
