"""Patients found among layers by geometry."""

import numpy as np
from napari.layers import Image, Layer

from napari_gem3d.labels import LabelMap
from napari_gem3d.viewer.layers import METADATA, Origin, image_layer, labels_layer, origin_of
from napari_gem3d.viewer.patients import find_patients, matching_slice
from napari_gem3d.volume import Volume

LPS = np.diag([-1.0, -1.0, 3.0, 1.0])


def scan(name: str, affine: np.ndarray = LPS, depth: int = 6) -> Layer:
    voxels = np.random.default_rng(0).random((depth, 8, 8)).astype(np.float32)
    return Layer.create(*image_layer(Volume(voxels, affine), name))


def mask(name: str, affine: np.ndarray = LPS, rows: slice = slice(2, 4)) -> Layer:
    voxels = np.zeros((6, 8, 8), np.uint8)
    voxels[rows, 3:5, 3:5] = 1
    return Layer.create(*labels_layer(LabelMap(voxels, affine), name))


def shifted(mm: float) -> np.ndarray:
    affine = LPS.copy()
    affine[0, 3] = mm
    return affine


def test_a_mask_belongs_to_the_scan_on_its_grid() -> None:
    near, far = scan("a"), scan("b", shifted(500))
    of_far = mask("x", shifted(500))
    first, second = find_patients([near, far, of_far])
    assert first.masks == []
    assert second.masks == [of_far]
    assert second.mask is of_far


def test_names_decide_between_patients_on_one_grid() -> None:
    layers = [scan("Brats_7_0000"), scan("Brats_8_0000"), mask("Brats_8"), mask("Brats_7")]
    first, second = find_patients(layers)
    assert [m.name for m in first.masks] == ["Brats_7"]
    assert [m.name for m in second.masks] == ["Brats_8"]


def test_without_telling_names_the_order_decides() -> None:
    first, second = find_patients([scan("anna"), scan("bert"), mask("x"), mask("y")])
    assert [m.name for m in first.masks] == ["x"]
    assert [m.name for m in second.masks] == ["y"]


def test_another_axis_order_of_the_same_grid_fits() -> None:
    flipped = np.diag([1.0, -1.0, 3.0, 1.0])
    flipped[0, 3] = -7
    (patient,) = find_patients([scan("a"), mask("organs", flipped)])
    assert patient.mask is not None


def test_a_mask_elsewhere_belongs_to_nobody() -> None:
    (patient,) = find_patients([scan("a"), mask("x", shifted(900))])
    assert patient.mask is None


def test_results_and_layers_of_others_are_no_patients() -> None:
    synthetic = scan("Synthetic 1")
    origin = origin_of(synthetic)
    assert origin is not None
    synthetic.metadata[METADATA] = Origin(origin.grid, synthetic=True)
    assert find_patients([synthetic, Image(np.zeros((4, 4, 4)))]) == []


def test_patients_stay_the_same_objects_and_keep_their_choice() -> None:
    layers = [scan("a"), mask("one"), mask("two")]
    (patient,) = find_patients(layers)
    patient.mask = layers[1]
    (again,) = find_patients([*layers, scan("b", shifted(500))], [patient])[:1]
    assert again is patient
    assert again.mask is layers[1]
    find_patients([layers[0], layers[2]], [patient])
    assert patient.mask is layers[2]


def test_the_line_says_what_was_reordered() -> None:
    sagittal = np.array([[0.0, 0, -2, 0], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    assert find_patients([scan("a")])[0].describe() == (
        "LPS axes, 1 × 1 × 3 mm, 8 × 8 × 6 voxels; shown flipped left–right and front–back, not resampled"
    )
    stored = find_patients([scan("a", np.eye(4))])[0].describe()
    assert stored == "RAS axes, 1 × 1 × 1 mm, 8 × 8 × 6 voxels; shown as stored"
    assert (
        "with its axes reordered, flipped up–down and left–right" in find_patients([scan("a", sagittal)])[0].describe()
    )


def test_the_middle_is_the_lesions() -> None:
    (patient,) = find_patients([scan("a"), mask("m", rows=slice(4, 6))])
    assert patient.middle_slice() == 4
    patient.mask = None
    assert patient.middle_slice() == 3


def test_matching_is_by_relative_position() -> None:
    short, tall = find_patients([scan("a"), scan("b", depth=21)])
    assert matching_slice(0, short, tall) == 0
    assert matching_slice(5, short, tall) == 20
    assert matching_slice(2, short, tall) == 8
