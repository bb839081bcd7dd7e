"""Label maps of other conventions in the panel: renumbered by names, asked about without, never drawn as they are."""

import json

import numpy as np
import pytest
from napari.layers import Labels

from napari_gem3d.errors import InputError
from napari_gem3d.io import read_volume, write_volume
from napari_gem3d.labels import Label, LabelMap, LabelTable
from napari_gem3d.viewer.layers import require_numbered, required_origin
from napari_gem3d.volume import Volume

TABLE = LabelTable(
    (
        Label(1, "edema"),
        Label(2, "non-enhancing tumor"),
        Label(3, "enhancing tumor"),
        Label(4, "brain", meaning="body"),
    )
)


@pytest.fixture
def parts():
    """Names of parts of a lesion in a brain of 24 voxels, as BraTS 2018 numbers them and as the model does."""
    z, y, x = np.mgrid[:32, :36, :40] - np.array([16, 18, 20])[:, None, None, None]
    r = np.sqrt(z**2 + y**2 + x**2)
    model = np.select([r < 2, r < 4, r < 6], [2, 3, 1], 0).astype(np.uint8)
    return model, np.array([0, 2, 1, 4], np.uint8)[model], np.where(r < 13, 300, 0).astype(np.int16)


@pytest.fixture
def opened(panel, parts, tmp_path, qtbot):
    """A function that opens the scan and the map as BraTS numbers it, with names or without."""

    def open_both(names):
        qtbot.waitUntil(lambda: panel.workbench.state.loaded is not None, timeout=20000)
        panel.workbench.state.table = TABLE
        (tmp_path / "labelsTr").mkdir()
        if names:
            (tmp_path / "dataset.json").write_text(json.dumps({"labels": names}), encoding="utf-8")
        scan, labels = tmp_path / "scan.nii.gz", tmp_path / "labelsTr" / "map_seg.nii.gz"
        write_volume(Volume(parts[2], np.eye(4), "MR"), scan, description="")
        write_volume(LabelMap(parts[1], np.eye(4)), labels, description="")
        panel.workbench.patients.open_files([scan, labels])
        qtbot.waitUntil(lambda: panel.workbench.state.mask is not None, timeout=20000)
        return panel.workbench.state.mask

    return open_both


def test_names_decide(panel, parts, opened, qtbot):
    mask = opened({"NCR": 1, "ED": 2, "ET": 4})
    np.testing.assert_array_equal(mask.data, parts[0])
    assert "4 ET is drawn as enhancing tumor" in panel.workbench.state.message
    assert not panel.workbench.numbering.state.question
    require_numbered(mask, TABLE)
    path = required_origin(mask).path
    qtbot.waitUntil(path.exists)  # what recipes name
    np.testing.assert_array_equal(read_volume(path).voxels, parts[0])


def test_without_names_nothing_is_generated_before_the_answer(panel, parts, opened):
    mask = opened({})
    asked = panel.workbench.numbering.state
    assert asked.layer == mask and asked.choice == "brats2018" and "value 4" in asked.question
    assert panel.patients.numbers.isVisibleTo(panel.patients)
    np.testing.assert_array_equal(mask.data, parts[1])
    with pytest.raises(InputError, match="say in step 1 how it is numbered"):
        panel.workbench.generation.request("volume")
    panel.patients.numbers.use.click()
    np.testing.assert_array_equal(mask.data, parts[0])
    assert not asked.question and not panel.patients.numbers.isVisibleTo(panel.patients)
    assert panel.workbench.generation.request("volume").mask_name


def test_a_map_that_is_gone_is_not_asked_about(panel, opened):
    mask = opened({})
    panel.workbench.viewer.layers.remove(mask)
    assert panel.workbench.numbering.state.layer is None and not panel.workbench.numbering.state.question


def test_what_is_painted_has_the_numbers_of_the_model(panel, opened):
    opened({"NCR": 1, "ED": 2, "ET": 4})
    panel.workbench.masks.new()
    assert isinstance(panel.workbench.state.mask, Labels)
    require_numbered(panel.workbench.state.mask, TABLE)
