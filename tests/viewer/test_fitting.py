"""Label maps that fit no scan: said, and resampled when asked for."""

import numpy as np

from napari_gem3d.io import write_volume
from napari_gem3d.labels import LabelMap


def coarse_map(path, shift: float = 0.0) -> None:
    """The lesion of `make_scan`, on voxels of 2 × 2 × 4 mm, whose field of view starts elsewhere."""
    affine = np.diag([2.0, 2.0, 4.0, 1.0])
    affine[:3, 3] = (-26 + shift, -16, 15)
    voxels = np.zeros((18, 20, 20), np.uint8)
    voxels[6:11, 8:13, 4:9] = 3
    write_volume(LabelMap(voxels, affine), path)


def test_a_map_from_elsewhere_is_refused_and_says_what_differs(panel, open_scan, tmp_path, qtbot) -> None:
    open_scan("anna", labels=False)
    coarse_map(tmp_path / "other_seg.nii.gz")
    workbench = panel.workbench
    workbench.viewer.open(str(tmp_path / "other_seg.nii.gz"), plugin="napari-gem3d")
    assert workbench.state.mask is None
    said = panel.patients.misfit.text()
    assert "other_seg does not fit anna_0000" in said
    assert "20 × 20 × 18 voxels, not 40 × 48 × 20" in said
    assert "voxels of 2 × 2 × 4 mm, not 1.2 × 1 × 4 mm" in said
    assert "mm away" in said
    assert not panel.patients.resample.isHidden()
    panel.patients.resample.click()
    qtbot.waitUntil(lambda: workbench.state.mask is not None)
    mask = workbench.state.mask
    assert mask.name == "other_seg on anna_0000"
    assert mask.data.shape == workbench.state.patient.image.data.shape
    millilitres = (np.asarray(mask.data) == 3).sum() * 4.8 / 1000
    assert abs(millilitres - 2.0) < 0.1
    assert "enhancing 2 → " in workbench.state.message
    assert panel.patients.misfit.isHidden()
    assert "other_seg" in workbench.viewer.layers  # the map itself stays


def test_a_map_that_lies_elsewhere_cannot_be_resampled(panel, open_scan, tmp_path) -> None:
    open_scan("anna", labels=False)
    coarse_map(tmp_path / "far_seg.nii.gz", shift=500)
    panel.workbench.viewer.open(str(tmp_path / "far_seg.nii.gz"), plugin="napari-gem3d")
    assert "no place in common" in panel.patients.misfit.text()
    assert panel.patients.resample.isHidden()
    panel.workbench.viewer.layers.remove("far_seg")
    assert panel.patients.misfit.isHidden()


def test_a_map_opened_before_its_scan_waits_for_it(panel, make_scan) -> None:
    scan = make_scan("anna")
    viewer = panel.workbench.viewer
    viewer.open(str(scan.labels), plugin="napari-gem3d")
    assert panel.patients.misfit.isHidden()
    other = make_scan("bert", shift=300)
    viewer.open(str(other.image), plugin="napari-gem3d")
    assert "anna does not fit bert_0000" in panel.patients.misfit.text()
    viewer.open(str(scan.image), plugin="napari-gem3d")
    assert panel.patients.misfit.isHidden()
    assert panel.workbench.state.mask.name == "anna"
