"""Results passed on: the volume with its label maps and recipe, or as DICOM; nobody's scan is ever replaced."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from napari_gem3d import InputError, make_edit_recipe, make_recipe, read_label_map, read_volume, replay, write_volume
from napari_gem3d.cli.main import main
from napari_gem3d.sampling.export import export_dicom, export_nifti
from napari_gem3d.sampling.partial import identity
from napari_gem3d.sampling.recipe import Recipe, read_recipe
from napari_gem3d.volume import Volume


@pytest.fixture
def edited(tiny_patient, tmp_path) -> Path:
    labels = read_label_map(tiny_patient.labels)
    voxels = labels.voxels.copy()
    voxels[15:22, 16:24, 20:28] = 1
    write_volume(labels.with_voxels(voxels), tmp_path / "edited.nii.gz")
    return tmp_path / "edited.nii.gz"


@pytest.fixture
def recipe(tiny_patient, tiny_model) -> Recipe:
    return make_recipe(tiny_patient.labels, tiny_patient.scan, model=tiny_model, seed=7, steps=2)


@pytest.fixture
def made(tiny_patient) -> Volume:
    """Something with the voxels and the grid of a result."""
    scan = read_volume(tiny_patient.scan)
    return scan.with_voxels(scan.voxels[::-1].copy())


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def test_nifti_with_label_map_and_recipe(recipe, made, tiny_patient, tmp_path):
    folder = tmp_path / "new"
    written = export_nifti(made, recipe, folder / "out.nii.gz")
    assert [path.name for path in written] == ["out.nii.gz", "out_labels.nii.gz", "out.json"]
    assert set(contents(folder)) == {path.name for path in written}
    again = read_volume(folder / "out.nii.gz")
    np.testing.assert_array_equal(again.voxels, made.voxels)
    assert again.grid == made.grid and again.voxels.dtype == made.voxels.dtype
    header = nib.load(folder / "out.nii.gz").header
    assert b"synthetic: napari-gem3d, recipe " in header["descrip"].item() and header.get_xyzt_units()[0] == "mm"
    np.testing.assert_array_equal(
        read_label_map(folder / "out_labels.nii.gz").voxels, read_label_map(tiny_patient.labels).voxels
    )
    assert json.loads((folder / "out.json").read_text())["synthetic"] is True


def test_an_exported_folder_replays_though_the_session_is_gone(tiny_patient, tiny_model, edited, tmp_path, monkeypatch):
    before, first = tmp_path / "before.nii.gz", tmp_path / "first.nii.gz"
    before.write_bytes(tiny_patient.labels.read_bytes())
    recipe = make_edit_recipe(tiny_patient.scan, before, edited, model=tiny_model, seed=8, steps=2)
    from napari_gem3d.sampling.results import run_recipe

    run_recipe(recipe, first)
    folder = tmp_path / "shared"
    written = export_nifti(read_volume(first), recipe, folder / "out.nii.gz")
    assert [path.name for path in written[1:3]] == ["out_labels.nii.gz", "out_labels-before.nii.gz"]
    np.testing.assert_array_equal(read_label_map(written[1]).voxels, read_label_map(edited).voxels)
    before.unlink()
    edited.unlink()
    moved = folder.rename(tmp_path / "moved")
    # An export names neither the scan's folder nor the model's: one lies beside it, the other is known by its name.
    shutil.copy(tiny_patient.scan, moved)
    monkeypatch.chdir(tiny_model.parent)
    replay(moved / "out.json", tmp_path / "again.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "again.nii.gz").voxels, read_volume(first).voxels)


def test_a_second_export_replaces_the_first(recipe, made, tmp_path):
    export_nifti(made, recipe, tmp_path / "out.nii.gz")
    export_nifti(made.with_voxels(made.voxels + 1), recipe, tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "out.nii.gz").voxels, made.voxels + 1)


def test_sources_are_never_replaced(recipe, made, tiny_patient, tmp_path):
    other = tmp_path / "open.nii.gz"
    write_volume(made, other)
    link = tmp_path / "link.nii.gz"
    link.symlink_to(tiny_patient.scan)
    before = contents(tiny_patient.scan.parent)
    for path in (tiny_patient.scan, tiny_patient.labels, link):
        with pytest.raises(InputError, match="is one of the inputs; write the result somewhere else"):
            export_nifti(made, recipe, path)
    with pytest.raises(InputError, match=r"open\.nii\.gz is one of the inputs; write the result somewhere else"):
        export_nifti(made, recipe, other, sources=[other])
    assert contents(tiny_patient.scan.parent) == before


@pytest.mark.parametrize("name", ["out.nii.gz", "out_labels.nii.gz"])
def test_files_of_others_are_left_alone(recipe, made, tmp_path, name):
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.eye(4)), tmp_path / name)
    before = contents(tmp_path)
    with pytest.raises(InputError, match=f"{name} exists and was not written by napari-gem3d"):
        export_nifti(made, recipe, tmp_path / "out.nii.gz")
    assert contents(tmp_path) == before


def test_a_failure_leaves_the_earlier_export_whole(recipe, made, tmp_path, monkeypatch):
    export_nifti(made, recipe, tmp_path / "out.nii.gz")
    before = contents(tmp_path)

    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_gem3d.sampling.pair.write_volume", full_disk)
    with pytest.raises(InputError, match="No space left on device"):
        export_nifti(made.with_voxels(made.voxels + 1), recipe, tmp_path / "out.nii.gz")
    assert contents(tmp_path) == before and len(list(tmp_path.iterdir())) == len(before)


def test_dicom_with_the_recipe_beside_it(recipe, made, tmp_path):
    export_dicom(made, recipe, tmp_path / "series")
    again = read_volume(tmp_path / "series")
    assert again.modality == "MR"
    np.testing.assert_array_equal(again.voxels, made.voxels)
    np.testing.assert_allclose(again.affine, made.affine)
    told = read_recipe(tmp_path / "series.json")
    assert identity(told) == identity(recipe) and told.seed == recipe.seed == 7
    text = pydicom.dcmread(next((tmp_path / "series").iterdir())).DerivationDescription
    assert "seed 7" in text and "tiny" in text and "scan.nii" not in text
    with pytest.raises(InputError, match="has something in it already"):
        export_dicom(made, recipe, tmp_path / "series")


def test_export_on_the_command_line(recipe, made, tmp_path, capsys):
    export_nifti(made, recipe, tmp_path / "out.nii.gz")
    assert main(["export", str(tmp_path / "out.nii.gz"), "--dicom", str(tmp_path / "dcm")]) == 0
    assert capsys.readouterr().out == f"Wrote 32 DICOM files to {tmp_path / 'dcm'}.\n"
    again = read_volume(tmp_path / "dcm")
    np.testing.assert_array_equal(again.voxels, made.voxels)
    np.testing.assert_allclose(again.affine, made.affine)
    assert (tmp_path / "dcm.json").is_file()


def test_without_its_recipe_the_modality_must_be_told(recipe, made, tmp_path, capsys):
    write_volume(made, tmp_path / "out.nii.gz")
    assert main(["export", str(tmp_path / "out.nii.gz"), "--dicom", str(tmp_path / "dcm")]) == 2
    assert "give --modality" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "out.nii.gz"), "--dicom", str(tmp_path / "dcm"), "--modality", "CT"]) == 0
    assert read_volume(tmp_path / "dcm").modality == "CT"


def test_a_real_scan_is_not_exported_as_synthetic(made, tmp_path, capsys):
    write_volume(made, tmp_path / "scan.nii.gz", description="")
    assert main(["export", str(tmp_path / "scan.nii.gz"), "--dicom", str(tmp_path / "dcm")]) == 2
    assert "does not carry the mark of a synthetic volume" in capsys.readouterr().err
    assert not (tmp_path / "dcm").exists()


def test_replay_shows_the_command(recipe, tmp_path, capsys):
    from napari_gem3d.sampling.recipe import write_recipe

    write_recipe(recipe, tmp_path / "my out.json")
    assert main(["replay", str(tmp_path / "my out.json"), "--show-command"]) == 0
    line = capsys.readouterr().out
    assert line.startswith("napari-gem3d generate --mask ") and f"--out '{tmp_path}/my out.nii.gz'" in line
    assert not (tmp_path / "my out.nii.gz").exists()


def test_what_is_handed_on_names_files_and_no_folders(tiny_patient, tiny_model, edited, made, tmp_path):
    home = tmp_path / "StMarys-JaneDoe"
    home.mkdir()
    files = [Path(shutil.copy(path, home)) for path in (tiny_patient.scan, tiny_patient.labels, edited)]
    model = Path(shutil.copytree(tiny_model, home / "tiny"))
    recipes = (
        make_recipe(files[1], files[0], body=files[0], model=model, seed=7, steps=2),
        make_edit_recipe(*files, model=model, seed=7, steps=2),
    )
    for number, recipe in enumerate(recipes):
        assert "JaneDoe" in recipe.model_dump_json()
        export_nifti(made, recipe, tmp_path / f"nifti{number}" / "out.nii.gz")
        export_dicom(made, recipe, tmp_path / f"dicom{number}" / "series")
    for told in tmp_path.glob("*/*.json"):
        text = told.read_text()
        assert "JaneDoe" not in text and str(tmp_path) not in text, told
        assert all(Path(file.path).name == file.path for file in read_recipe(told).files)
    assert len(list(tmp_path.glob("*/*.json"))) == 4
