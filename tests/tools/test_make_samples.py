"""Sample patients are made from outlines, drawn tumours and a bundle; here from eggs and a bundle of random weights."""

import json
from pathlib import Path

import numpy as np
import pytest

from napari_gem3d.bundle import ModelBundle, load_bundle, save_bundle
from napari_gem3d.bundle.conditioning import condition_channels
from napari_gem3d.errors import InputError
from napari_gem3d.foreground import foreground
from napari_gem3d.io import read_volume, write_volume
from napari_gem3d.labels import Label, LabelMap, LabelTable
from napari_gem3d.networks import PositionUNet, SliceUNet, VolumeUNet
from napari_gem3d.samples import read_samples
from napari_gem3d.sampling.recipe import read_recipe
from napari_gem3d.volume import Volume, resample
from tools.anatomy import Shapes, Tumour, add_tumour, new_brain
from tools.make_samples import Patient, beside_lesion, fit, main, make_samples, packed, stored

TABLE = LabelTable(
    (
        Label(1, "edema"),
        Label(2, "non-enhancing tumor"),
        Label(3, "enhancing tumor"),
        Label(4, "brain", meaning="body"),
    )
)
TUMOUR = Tumour((0.5, 0.1, 0.3), (42, 48, 40), 8, 5, (0, 0, 15))
PATIENT = Patient("patient-a", "Synthetic patient A", "made for a test", 7, TUMOUR, orientation="PSR", slice_mm=3.0)


def write_eggs(folder: Path, number: int) -> None:
    """A dataset of eggs as large as brains, in voxels of 3 mm, each with a bump elsewhere; stored LPS."""
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    rng = np.random.default_rng(0)
    z, y, x = np.mgrid[:52, :64, :56] - np.array([26, 32, 28])[:, None, None, None]
    affine = np.array([[-3.0, 0, 0, 80], [0, -3, 0, 90], [0, 0, 3, -70], [0, 0, 0, 1]])
    for i in range(number):
        a, b, c = rng.normal((22, 27, 21), 0.7)
        bump = np.exp(-((x - rng.uniform(-9, 9)) ** 2 + (y - rng.uniform(-9, 9)) ** 2) / 40) * rng.uniform(-0.5, 0.2)
        inside = (x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2 < 1 + bump
        scan = np.where(inside, rng.integers(300, 900, inside.shape), 0).astype(np.int16)
        write_volume(Volume(scan, affine, "MR"), folder / "imagesTr" / f"egg{i}_0000.nii.gz")
        write_volume(LabelMap(np.zeros(inside.shape, np.uint8), affine), folder / "labelsTr" / f"egg{i}.nii.gz")
    names = {"background": 0, "edema": 1, "non-enhancing tumor": 2, "enhancing tumor": 3}
    facts = {"channel_names": {"0": "FLAIR"}, "labels": names, "numTraining": number, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(facts), encoding="utf-8")


@pytest.fixture(scope="module")
def eggs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("eggs")
    write_eggs(folder, 6)
    return folder


@pytest.fixture(scope="module")
def shapes(eggs) -> Shapes:
    return Shapes.of(sorted((eggs / "imagesTr").iterdir()))


@pytest.fixture(scope="module")
def brain(shapes) -> LabelMap:
    return new_brain(shapes, TABLE, 3)


@pytest.fixture(scope="module")
def drawer(tiny_model, tmp_path_factory) -> Path:
    """The tiny bundle, with a position U-Net and all the labels of a tumour."""
    import torch

    tiny = load_bundle(tiny_model)
    plan = tiny.plan.model_copy(update={"labels": TABLE})
    channels = plan.latents.channels
    torch.manual_seed(0)
    flat = SliceUNet.build(channels + condition_channels(plan), channels, (16, 16), (False, True), 1, 8, 8)
    drawing = PositionUNet.build(channels, (8, 16), (True, True), 1, 8, 4, 16)
    bundle = ModelBundle(plan, tiny.vae, flat, VolumeUNet.inflate(flat), drawing)
    return save_bundle(bundle, tmp_path_factory.mktemp("models") / "tiny")


def test_an_average_is_as_large_as_its_brains_and_is_none_of_them(shapes, brain):
    inside = brain.voxels > 0
    extents = [np.ptp(index) + 1 for index in np.nonzero(inside)]
    np.testing.assert_allclose(extents, shapes.common, rtol=0.15)
    assert 0.8 < shapes.likeness(inside, brain.spacing) < 0.99


def test_likeness_knows_a_brain_again_stretched_or_mirrored(eggs, shapes):
    scan = read_volume(next((eggs / "imagesTr").iterdir()))
    own = foreground(resample(scan, scan.grid.canonical()))
    assert shapes.likeness(own, (3, 3, 3)) > 0.999
    assert shapes.likeness(own[..., ::-1], (2, 4, 3)) > 0.98
    assert max(shapes.likeness_among) < 0.99


def test_a_seed_makes_one_brain(shapes, brain):
    np.testing.assert_array_equal(new_brain(shapes, TABLE, 3).voxels, brain.voxels)
    assert not np.array_equal(new_brain(shapes, TABLE, 4).voxels.sum(), brain.voxels.sum())


def test_a_tumour_has_all_its_parts_on_its_side(brain):
    labels = add_tumour(brain, TUMOUR, 5)
    np.testing.assert_array_equal(labels.voxels > 0, brain.voxels > 0)
    volumes = labels.volumes_ml()
    assert set(volumes) == {1, 2, 3, 4}
    assert volumes[1] > volumes[3] > 0.5
    _, y, x = np.nonzero(np.isin(labels.voxels, (1, 2, 3)))
    assert (x > brain.shape[2] / 2).all()
    assert y.size


def test_the_informed_slice_keeps_clear_of_the_tumour(brain):
    labels = add_tumour(brain, TUMOUR, 5)
    body = np.flatnonzero(labels.voxels.any(axis=(1, 2)))
    lesion = np.flatnonzero(np.isin(labels.voxels, (1, 2, 3)).any(axis=(1, 2)))
    position = beside_lesion(labels, 0.65)
    at = body[0] + position * (body[-1] - body[0])
    assert abs(position - 0.65) < 0.3
    assert np.abs(lesion - at).min() > 4
    assert beside_lesion(labels, 0.0) == 0


def test_a_slice_fits_if_its_outline_does_and_nothing_shines():
    labels = np.zeros((40, 40), np.uint8)
    labels[5:35, 8:32] = 4
    right = np.where(labels > 0, 500, 0).astype(np.float32)
    shining, smaller = right.copy(), right.copy()
    shining[10:20, 10:20] = 950
    smaller[:12] = 0
    assert fit(right, labels) == pytest.approx(1)
    assert 0.1 < fit(shining, labels) < fit(smaller, labels) < 0.95
    assert fit(np.zeros_like(right), labels) == 0


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PSR", "AIL"])
def test_a_map_is_stored_as_its_patient_is(brain, orientation):
    patient = Patient("a", "A", "", 1, TUMOUR, orientation=orientation, slice_mm=2.0)
    labels = stored(brain, patient)
    assert labels.orientation == orientation
    assert sorted(labels.spacing) == [1, 1, 2]
    assert labels.grid.canonical().spacing == (2, 1, 1)
    assert labels.volumes_ml()[4] == pytest.approx(brain.volumes_ml()[4], rel=0.02)


def test_packing_keeps_body_and_contrast():
    body = np.zeros((6, 8, 10), bool)
    body[1:5, 2:6, 3:7] = True
    voxels = np.where(body, np.linspace(-3, 1000, body.size).reshape(body.shape), 77)
    scan = packed(Volume(voxels, np.eye(4)), body)
    assert scan.voxels.dtype == np.uint8
    np.testing.assert_array_equal(scan.voxels > 0, body)
    brightest = np.percentile(voxels[body], 99.9)
    np.testing.assert_allclose(scan.voxels[body], voxels[body] * 240 / brightest, atol=1.01)


def test_one_command_makes_files_that_read(eggs, drawer, tmp_path, capsys):
    out = tmp_path / "samples"
    index = make_samples(
        eggs, str(drawer), out, patients=[PATIENT], candidates=2, pictures=tmp_path / "pictures", seeds={}
    )
    (sample,) = read_samples(out).values()
    scan, labels = sample.read()
    assert scan.grid == labels.grid
    assert scan.orientation == "PSR"
    np.testing.assert_array_equal(scan.voxels > 0, labels.voxels > 0)
    recipe = read_recipe(sample.recipe)
    assert recipe.mask.path == sample.labels.name
    assert index["samples"][0]["seed"] == recipe.seed in (7, 8)
    assert index["samples"][0]["likeness"] < index["likeness_among_scans"]["median"]
    assert {path.name for path in out.iterdir()} == {
        "patient-a.nii.gz",
        "patient-a_labels.nii.gz",
        "patient-a.recipe.json",
        "samples.json",
    }
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 2
    assert "| Synthetic patient A |" in capsys.readouterr().out


def test_too_few_scans_or_no_position_model_make_nothing(tiny_model, eggs, drawer, tmp_path, capsys):
    write_eggs(tmp_path / "few", 4)
    with pytest.raises(SystemExit, match="2"):  # the exit code
        main([str(tmp_path / "few"), "--model", str(drawer), "--out", str(tmp_path / "out")])
    assert "an average needs 5" in capsys.readouterr().err
    with pytest.raises(InputError, match="no position model"):
        make_samples(eggs, str(tiny_model), tmp_path / "out", patients=[PATIENT])
    assert not list((tmp_path / "out").glob("*"))
