"""Files that do not say all, from the command line to the recipe and back."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_gem3d import make_recipe, read_label_map, recipe_command
from napari_gem3d.cli.main import main, make_parser
from napari_gem3d.cli.options import settings_of
from napari_gem3d.sampling.generation import open_job
from napari_gem3d.sampling.recipe import Recipe


def without_position(source: Path, path: Path) -> Path:
    """The same voxels in the same order, of a header that does not say how they lie."""
    image = nib.load(source)
    image.header["sform_code"] = image.header["qform_code"] = 0
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), None, image.header), path)
    assert not nib.load(path).header["sform_code"]
    return path


@pytest.fixture
def lost(tiny_patient, tmp_path) -> tuple[Path, Path]:
    """Label map and scan of the patient, both without position."""
    names = ("labels", "scan")
    return tuple(without_position(getattr(tiny_patient, name), tmp_path / f"{name}.nii.gz") for name in names)


def test_a_lost_position_is_refused_and_nothing_written(lost, tiny_model, tmp_path, capsys):
    mask, scan = lost
    out = tmp_path / "out.nii.gz"
    for words in (
        ["generate", "--mask", mask, "--informed", scan, "--model", tiny_model, "--out", out],
        ["mask", "--mask", mask, "--model", tiny_model, "--grow", "1", "--out", out],
        ["body", scan, "--out", out],
    ):
        assert main(list(map(str, words))) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "--assume-orientation" in said and not out.exists()
    assert main(["body", str(scan), "--assume-orientation", "up", "--out", str(out)]) == 2
    assert "RAS, LAS or LPS" in capsys.readouterr().err


def test_an_assumed_position_is_in_the_recipe_and_its_command(lost, tiny_patient, tiny_model, tmp_path):
    mask, scan = lost
    recipe = make_recipe(mask, scan, body=scan, model=tiny_model, assume_orientation="lps", seed=1, slice=9)
    assert {file.assume_orientation for file in recipe.files} == {"LPS"}
    again = Recipe.model_validate_json(recipe.model_dump_json())
    assert open_job(again).recipe == again
    words = recipe_command(recipe, tmp_path / "out.nii.gz")
    assert words[words.index("--assume-orientation") + 1] == "LPS" and "--channel" not in words
    options = make_parser().parse_args(words[1:])
    assert settings_of(options).reading == {"assume_orientation": "LPS", "channel": None}
    # what says its position is written as ever
    plain = make_recipe(tiny_patient.labels, tiny_patient.scan, model=tiny_model, seed=1, slice=9)
    assert json.loads(plain.model_dump_json())["mask"].keys() == {"path", "sha256"}


def test_the_lesion_lies_where_it_was_assumed(lost, tiny_model, tmp_path, capsys):
    for letters, side in (("LPS", -1), ("RPS", 1)):
        out = tmp_path / f"{letters}.nii.gz"
        words = ["mask", "--mask", str(lost[0]), "--model", str(tiny_model), "--grow", "1", "--out", str(out)]
        assert main([*words, "--assume-orientation", letters]) == 0
        grown = read_label_map(out)
        x = grown.grid.index_to_world(np.argwhere(grown.voxels == 1)).mean(axis=0)[0]
        assert np.sign(x) == side and abs(x) == pytest.approx(4.5, abs=0.3)
        record = json.loads((tmp_path / f"{letters}.json").read_bytes())
        assert record["mask"]["assume_orientation"] == letters


def test_one_volume_of_several_is_named(tiny_patient, tiny_model, tmp_path, capsys):
    image = nib.load(tiny_patient.scan)
    voxels = np.asarray(image.dataobj)
    several = tmp_path / "several.nii.gz"
    nib.save(nib.Nifti1Image(np.stack([voxels * 0 + 7, voxels], axis=3), image.affine), several)
    out = tmp_path / "out.nii.gz"
    assert main(["body", str(several), "--out", str(out)]) == 2
    assert "--channel 0 to 1" in capsys.readouterr().err
    recipe = make_recipe(tiny_patient.labels, several, model=tiny_model, channel=1, seed=1, slice=9)
    assert recipe.informed is not None and recipe.informed.channel == 1
    words = recipe_command(recipe, out)
    assert words[words.index("--channel") + 1] == "1"
    assert open_job(recipe).recipe == recipe


def test_pixels_have_a_size(tiny_patient, tiny_model, tmp_path, capsys):
    words = ["generate", "--mask", str(tiny_patient.labels), "--informed", "none.png", "--out", str(tmp_path / "o.nii")]
    shutil.copyfile(tiny_patient.scan, tmp_path / "none.png")
    words[4] = str(tmp_path / "none.png")
    for size in ("-1", "0", "nan", "inf"):
        assert main([*words, "--pixel-mm", size]) == 2
        said = capsys.readouterr().err
        assert "pixel size" in said and f"{float(size):g}" in said and "choose more than 0" in said
