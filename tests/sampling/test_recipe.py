"""Recipes: complete, checked when made and when read, and free of what does not belong in them."""

import json
import os
from pathlib import Path

import pytest
import torch

from napari_gem3d import InputError, make_recipe
from napari_gem3d.sampling.recipe import InputFile, Recipe, read_recipe, result_of, sidecar, write_recipe


@pytest.fixture
def recipe(tiny_patient, tiny_model) -> Recipe:
    return make_recipe(tiny_patient.labels, tiny_patient.scan, model=tiny_model, seed=3, device="cpu")


def test_a_recipe_survives_its_file(recipe, tmp_path):
    write_recipe(recipe, tmp_path / "out.json")
    assert read_recipe(tmp_path / "out.json") == recipe


def test_a_recipe_says_everything(recipe, tiny_patient, tiny_model):
    assert recipe.mask.path == str(tiny_patient.labels) and len(recipe.mask.sha256) == 64
    assert recipe.body is None and not recipe.same_patient
    assert (recipe.informed_slice, recipe.start, recipe.seed) == (16, 16, 3)
    assert (recipe.solver, recipe.steps, recipe.eta) == ("dpmsolver++", 3, 0.0)
    assert recipe.device == "cpu" and recipe.precision in ("float32", "bfloat16")
    assert recipe.model.folder == str(tiny_model) and len(recipe.model.sha256) == 64
    assert recipe.plan.labels.by_value(3).name == "enhancing"
    assert {"napari-gem3d", "torch", "diffusers", "python", "platform"} <= recipe.versions.keys()
    assert recipe.versions["torch"] == torch.__version__


def test_a_recipe_holds_no_paths_but_the_given_ones(tiny_patient, tiny_model, monkeypatch):
    monkeypatch.chdir(tiny_patient.labels.parent)
    model = os.path.relpath(tiny_model)
    text = make_recipe("labels.nii.gz", "scan.nii.gz", model=model).model_dump_json()
    assert str(Path.home()) not in text and str(tiny_patient.labels.parent) not in text
    assert Path.home().name not in json.loads(text)["versions"].values()


def test_the_same_scan_for_body_and_slice_is_the_same_patient(tiny_patient, tiny_model):
    recipe = make_recipe(tiny_patient.lesions, tiny_patient.scan, body=tiny_patient.scan, model=tiny_model)
    assert recipe.same_patient and recipe.body == recipe.informed


def test_seeds_that_nobody_chose_differ_and_are_recorded(tiny_patient, tiny_model):
    seeds = {make_recipe(tiny_patient.labels, tiny_patient.scan, model=tiny_model).seed for _ in range(3)}
    assert len(seeds) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed -1 .* 0 to 4294967295"),
        ({"seed": 2**32}, "seed 4294967296"),
        ({"steps": 0}, "number of steps 0"),
        ({"solver": "euler"}, "solver euler is not possible"),
        ({"eta": 0.5}, "eta must be 0"),
        ({"device": "abacus"}, "device 'abacus' is unknown"),
        ({"precision": "float8"}, "precision float8 is not possible"),
        ({"model": "brain-of-a-mouse"}, "no model 'brain-of-a-mouse'.*brain-flair"),
        ({"slice": 99}, "no slice 99"),
        ({"body": "nowhere.nii.gz"}, "nowhere.nii.gz does not exist"),
        ({"informed": "generated"}, "tiny has no position model"),
        ({"informed": "nothing.nii.gz"}, "nothing.nii.gz does not exist"),
    ],
)
def test_what_cannot_be_done_is_refused(tiny_patient, tiny_model, options, message):
    arguments = {"mask": tiny_patient.labels, "informed": tiny_patient.scan, "model": tiny_model, **options}
    with pytest.raises(InputError, match=message):
        make_recipe(**arguments)


def edited(recipe: Recipe, path: Path, **changes: object) -> Path:
    path.write_text(json.dumps({**json.loads(recipe.model_dump_json()), **changes}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "something else"}, "is no recipe of napari-gem3d"),
        ({"format_version": 2}, "format version 2, not 1; update"),
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"task": "everything"}, "task"),
        ({"steps": 0}, "steps"),
        ({"seed": 1.5}, "seed"),
        ({"labels": [{"value": 1}]}, "labels"),
    ],
)
def test_recipes_that_are_not_understood_are_refused(recipe, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        read_recipe(edited(recipe, tmp_path / "r.json", **changes))


def test_a_damaged_label_table_is_refused_in_one_sentence(recipe, tmp_path):
    plan = json.loads(recipe.plan.model_dump_json())
    plan["labels"][0]["value"] = 0
    with pytest.raises(InputError, match=r"r.json is not understood \(.*label value 0.*\); generate anew"):
        read_recipe(edited(recipe, tmp_path / "r.json", plan=plan))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe\x00", b'"text"'])
def test_other_files_are_no_recipes(tmp_path, content):
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(InputError, match="is no recipe of napari-gem3d"):
        read_recipe(tmp_path / "r.json")


def test_a_missing_recipe_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_recipe(tmp_path / "missing.json")


def test_an_input_is_found_beside_the_recipe_and_known_by_its_content(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "a.txt"
    file.write_text("one")
    monkeypatch.chdir(file.parent)
    given = InputFile.of("a.txt")
    assert given.path == "a.txt" and given.found() == Path("a.txt")
    monkeypatch.chdir(tmp_path)
    assert given.found(beside=file.parent) == file
    assert InputFile(path="elsewhere/a.txt", sha256=given.sha256).found(beside=file.parent) == file
    with pytest.raises(InputError, match="does not exist"):
        given.found()
    file.write_text("two")
    with pytest.raises(InputError, match=r"a.txt has changed since the recipe was made"):
        given.found(beside=file.parent)


@pytest.mark.parametrize(("result", "beside"), [("out.nii.gz", "out.json"), ("a.b.nii", "a.b.json")])
def test_recipe_and_result_find_each_other(tmp_path, result, beside):
    (tmp_path / result).touch()
    assert sidecar(tmp_path / result) == tmp_path / beside
    assert result_of(tmp_path / beside) == tmp_path / result


def test_changed_versions_are_told(recipe):
    assert recipe.changed_versions() == []
    older = recipe.model_copy(update={"versions": {**recipe.versions, "torch": "1.0"}})
    assert older.changed_versions() == [f"torch 1.0 then, {torch.__version__} now"]
