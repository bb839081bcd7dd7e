"""Label maps as people have them, on the way to a volume: their numbers, their grid, their place."""

import json
from dataclasses import replace

import numpy as np
import pytest

import napari_gem3d as gem
from napari_gem3d.cli.main import main
from napari_gem3d.errors import InputError
from napari_gem3d.sampling.generation import edit, generate
from napari_gem3d.sampling.prepare import prepare
from napari_gem3d.sampling.recipe import read_recipe
from napari_gem3d.volume import resample


@pytest.fixture(scope="module")
def bundle(tiny_model):
    return gem.load_bundle(tiny_model)


@pytest.fixture(scope="module")
def scan(tiny_patient):
    return gem.read_volume(tiny_patient.scan)


@pytest.fixture(scope="module")
def rings(tiny_patient):
    """The lesion with an enhancing core, by the model's numbers."""
    lesions = gem.read_label_map(tiny_patient.lesions)
    z, y, x = np.mgrid[:32, :36, :40]
    core = ((z - 18) / 2) ** 2 + ((y - 20) / 2.5) ** 2 + ((x - 24) / 2.5) ** 2 < 1
    return lesions.with_voxels(np.where(core, 3, lesions.voxels).astype(np.uint8))


def as_brats(labels):
    """Edema 2, enhancing 4."""
    return labels.with_voxels(np.choose(labels.voxels, [0, 2, 0, 4]).astype(np.uint8))


def test_a_map_by_another_convention_gives_the_same_volume(bundle, scan, rings):
    wanted = generate(bundle, gem.Inputs(rings, informed=scan, body=scan), gem.Settings(seed=1)).result()
    theirs = as_brats(rings)
    for labels, choice in (
        (theirs, "brats2018"),
        (theirs, "edema=2,enhancing=4"),
        (replace(theirs, meta={"segments": {2: "ED", 4: "ET"}}), None),
    ):
        found = generate(bundle, gem.Inputs(labels, informed=scan, body=scan), gem.Settings(seed=1, labels=choice))
        assert dict(found.recipe.relabel) == {2: 1, 4: 3}
        np.testing.assert_array_equal(found.result().voxels, wanted.voxels)
    with pytest.raises(InputError, match=r"holds the value 2, but only these labels are known.* brats2018"):
        generate(bundle, gem.Inputs(theirs, informed=scan, body=scan), gem.Settings(seed=1))


def test_an_edit_takes_both_maps_by_the_same_convention(bundle, scan, rings):
    grown = rings.with_voxels(np.where((rings.voxels == 1) & (np.arange(40) > 24), 3, rings.voxels).astype(np.uint8))
    settings = gem.Settings(seed=1)
    wanted = edit(bundle, gem.EditInputs(scan, rings, grown), settings).result()
    names = {"segments": {2: "ED", 4: "ET"}}
    theirs = replace(as_brats(rings), meta=names)
    for edited in (replace(as_brats(grown), meta=names), as_brats(grown)):
        np.testing.assert_array_equal(
            edit(bundle, gem.EditInputs(scan, theirs, edited), settings).result().voxels, wanted.voxels
        )


def test_a_replay_needs_no_word_and_gives_the_same_bytes(tiny_patient, tiny_model, rings, tmp_path, capsys):
    gem.write_volume(as_brats(rings), tmp_path / "brats.nii.gz", description="")
    out, again = tmp_path / "out.nii.gz", tmp_path / "again.nii.gz"
    scan, mask = str(tiny_patient.scan), str(tmp_path / "brats.nii.gz")
    words = ["generate", "--mask", mask, "--informed", scan, "--body", scan, "--model", str(tiny_model), "--seed", "1"]
    assert main([*words, "--labels", "brats2018", "--out", str(out)]) == 0
    assert read_recipe(tmp_path / "out.json").relabel == {2: 1, 4: 3}
    assert main(["replay", str(tmp_path / "out.json"), "--out", str(again)]) == 0
    assert again.read_bytes() == out.read_bytes()
    assert main([*words, "--out", str(tmp_path / "no.nii.gz")]) == 2
    assert "--labels" in capsys.readouterr().err and not (tmp_path / "no.nii.gz").exists()


def test_a_cropped_map_is_drawn_on_the_grid_of_its_scan(bundle, scan, rings):
    where = np.argwhere(rings.voxels)
    low, high = where.min(axis=0) - 1, where.max(axis=0) + 2
    cropped = resample(rings, rings.grid.box(tuple(low), tuple(high - low)), order=0)
    settings = gem.Settings(seed=1)
    wanted = generate(bundle, gem.Inputs(rings, informed=scan, body=scan), settings).result()
    found = generate(bundle, gem.Inputs(cropped, informed=scan, body=scan), settings).result()
    assert found.grid == scan.grid
    np.testing.assert_array_equal(found.voxels, wanted.voxels)
    # A slab of whole slices is a slab.
    slab = resample(rings, rings.grid.box((10, 0, 0), (12, 36, 40)), order=0)
    assert generate(bundle, gem.Inputs(slab, informed=scan, body=scan), settings).result().grid == slab.grid


def test_what_lies_elsewhere_is_said_or_refused(bundle, scan, rings):
    def inputs(shift):
        affine = rings.affine.copy()
        affine[:3, 3] += shift
        return gem.Inputs(replace(rings, affine=affine), informed=scan, body=scan)

    assert prepare(bundle.plan, inputs((0, 0, 0)), gem.Settings()).notes == ()
    with pytest.raises(InputError, match=r"% of the lesion in .* lies outside the body"):
        prepare(bundle.plan, inputs((14, 0, 0)), gem.Settings())
    slab = resample(rings, rings.grid.box((10, 0, 0), (12, 36, 40)), order=0)
    (note,) = prepare(bundle.plan, gem.Inputs(slab, informed=scan, body=scan), gem.Settings()).notes
    assert "of the body" in note and "outside the field of view of" in note


def test_a_body_in_the_map_does_not_silence_another_scan(bundle, scan, tiny_patient):
    labels = gem.read_label_map(tiny_patient.labels)
    assert prepare(bundle.plan, gem.Inputs(labels, informed=scan, body=scan), gem.Settings()).notes == ()
    smaller = labels.with_voxels(np.where(np.arange(40) > 18, labels.voxels, 0).astype(np.uint8))
    (note,) = prepare(bundle.plan, gem.Inputs(smaller, informed=scan, body=scan), gem.Settings()).notes
    assert "(label 4) is drawn, not the body" in note


def test_mask_writes_the_models_numbers(tiny_patient, tiny_model, rings, tmp_path, capsys):
    gem.write_volume(as_brats(rings), tmp_path / "brats.nii.gz", description="")
    out = tmp_path / "model.nii.gz"
    words = ["mask", "--mask", str(tmp_path / "brats.nii.gz"), "--model", str(tiny_model), "--out", str(out)]
    assert main([*words, "--labels", "brats2018", "--relabel"]) == 0
    np.testing.assert_array_equal(gem.read_label_map(out).voxels, rings.voxels)
    assert json.loads((tmp_path / "model.json").read_text())["relabel"] == {"2": 1, "4": 3}
    assert main([*words, "--relabel"]) == 2
    assert "value 2" in capsys.readouterr().err
