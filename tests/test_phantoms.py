"""The phantoms: plausible heads, the same every time."""

import numpy as np
import pytest

from napari_gem3d.errors import InputError
from napari_gem3d.foreground import foreground, is_skull_stripped
from napari_gem3d.io import read_label_map, read_volume
from napari_gem3d.phantoms import PHANTOM_LABELS, PHANTOMS, phantom, write_phantoms
from napari_gem3d.volume import resample


@pytest.fixture(scope="module", params=PHANTOMS)
def drawn(request):
    return request.param, *phantom(request.param)


def test_image_and_labels_share_a_grid(drawn):
    name, image, labels = drawn
    assert image.grid == labels.grid
    assert image.voxels.dtype == np.int16
    assert labels.voxels.dtype == np.uint8
    assert labels.table == PHANTOM_LABELS
    assert image.modality == "MR"
    assert image.spacing == (1, 1, 1)
    assert image.orientation == {"phantom-1": "RAS", "phantom-2": "LPS"}[name]


def test_brain_has_the_size_of_a_brain_and_fits_the_field(drawn):
    _, image, labels = drawn
    extents = [np.ptp(index) + 1 for index in np.nonzero(labels.voxels)]
    assert 125 <= extents[0] <= 150
    assert 150 <= extents[1] <= 190
    assert 125 <= extents[2] <= 155
    assert not any(labels.voxels.take(end, axis).any() for axis in range(3) for end in (0, -1))
    assert 1100 < sum(labels.volumes_ml().values()) < 1700
    assert is_skull_stripped(image)
    np.testing.assert_array_equal(foreground(image), labels.voxels > 0)
    np.testing.assert_array_equal(image.voxels > 0, labels.voxels > 0)


def test_tumour_has_all_its_parts(drawn):
    name, _, labels = drawn
    volumes = labels.volumes_ml()
    assert set(volumes) == {1, 2, 3, 4}
    assert volumes[1] > 20
    assert volumes[2] > 3
    assert volumes[3] > 3
    centre = labels.grid.index_to_world(np.argwhere((labels.voxels > 0) & (labels.voxels < 4))).mean(axis=0)
    # right frontal, left parietal
    side = {"phantom-1": (1, 1, 1), "phantom-2": (-1, -1, 1)}[name]
    assert (np.sign(centre) == side).all()
    assert (np.abs(centre) > 5).all()


def test_contrast_is_that_of_flair(drawn):
    _, image, labels = drawn
    mean = {value: image.voxels[labels.voxels == value].mean() for value in labels.values()}
    assert mean[1] > 1.3 * mean[4]
    assert mean[3] > 1.1 * mean[4]
    assert mean[2] < 0.9 * mean[4]
    brain = image.voxels[labels.voxels == 4]
    fluid, middle = np.percentile(brain, [2, 50])
    assert fluid < 0.6 * middle


def test_drawing_is_the_same_every_time_and_belongs_to_the_caller():
    image, labels = phantom("phantom-1")
    kept = image.voxels.copy(), labels.voxels.copy()
    image.voxels[:] = 0
    labels.voxels[:] = 0
    from napari_gem3d.phantoms import _drawn

    _drawn.cache_clear()
    again = phantom("phantom-1")
    np.testing.assert_array_equal(again[0].voxels, kept[0])
    np.testing.assert_array_equal(again[1].voxels, kept[1])


def test_phantoms_differ():
    one, two = (resample(phantom(name)[0], phantom(name)[0].grid.canonical()) for name in PHANTOMS)
    assert one.shape != two.shape
    assert np.median(two.voxels[two.voxels > 0]) > 2 * np.median(one.voxels[one.voxels > 0])


def test_written_phantoms_come_back(tmp_path):
    pairs = write_phantoms(tmp_path / "new" / "folder")
    assert [path.name for pair in pairs for path in pair] == [
        "phantom-1.nii.gz",
        "phantom-1_labels.nii.gz",
        "phantom-2.nii.gz",
        "phantom-2_labels.nii.gz",
    ]
    for name, (image_path, label_path) in zip(PHANTOMS, pairs, strict=True):
        image, labels = phantom(name)
        back = read_volume(image_path)
        np.testing.assert_array_equal(back.voxels, image.voxels)
        assert back.grid.same_as(image.grid)
        np.testing.assert_array_equal(read_label_map(label_path, PHANTOM_LABELS).voxels, labels.voxels)


def test_unknown_phantom():
    with pytest.raises(InputError, match="choose one of phantom-1, phantom-2"):
        phantom("phantom-3")


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        write_phantoms(tmp_path / "file")
