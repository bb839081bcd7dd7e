"""The command that a recipe becomes: parsed by the real command line it makes the same recipe, and the same bytes."""

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_gem3d import make_edit_recipe, make_recipe, read_label_map, read_volume, write_volume
from napari_gem3d.cli import edit, generate
from napari_gem3d.cli.main import main
from napari_gem3d.sampling.command_line import recipe_command, shell_line
from napari_gem3d.sampling.recipe import Recipe
from napari_gem3d.sampling.results import run_recipe


@pytest.fixture
def typed(monkeypatch, tmp_path):
    """Type a recipe's command into another folder; returns the recipe that the command line makes of it."""

    def type_it(recipe: Recipe) -> Recipe:
        made = []

        def keep(job, options, started):
            made.append((job.recipe, options.out))
            return 0

        for command in (generate, edit):
            monkeypatch.setattr(command, "run_with_progress", keep)
        line = shell_line(recipe_command(recipe, tmp_path / "my results" / "it's.nii.gz"))
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        monkeypatch.chdir(elsewhere)
        words = shlex.split(line)
        assert words[0] == "napari-gem3d"
        assert main(words[1:]) == 0
        ((again, out),) = made
        assert out == tmp_path / "my results" / "it's.nii.gz"
        return again

    return type_it


@pytest.fixture
def edited(tiny_patient, tmp_path) -> Path:
    """The patient's label map with a larger lesion, in a folder whose name needs quotes."""
    labels = read_label_map(tiny_patient.labels)
    voxels = labels.voxels.copy()
    voxels[15:22, 16:24, 20:28] = 1
    folder = tmp_path / "O'Neill & $HOME"
    folder.mkdir()
    write_volume(labels.with_voxels(voxels), folder / "my edit.nii.gz")
    return folder / "my edit.nii.gz"


WHOLE = [
    {"slice": 9, "seed": 3},
    {"position": 0.3, "seed": 2**32 - 1, "steps": 4, "solver": "ddim", "eta": 0.1, "precision": "bfloat16"},
    {"position": "random", "seed": 5, "known_level": "published", "compiled": True, "device": "cpu"},
]


@pytest.mark.parametrize("options", WHOLE)
def test_a_whole_volume(typed, tiny_patient, tiny_model, options):
    recipe = make_recipe(tiny_patient.lesions, tiny_patient.scan, body=tiny_patient.scan, model=tiny_model, **options)
    assert typed(recipe) == recipe


def test_a_scan_that_the_seed_chose_from_a_folder(typed, tiny_patient, tiny_model, tmp_path):
    pool = tmp_path / "pool"
    pool.mkdir()
    for name in "abc":
        (pool / f"{name}.nii.gz").symlink_to(tiny_patient.scan)
    recipe = make_recipe(tiny_patient.labels, pool, model=tiny_model, position="random", allow_own=True)
    assert typed(recipe) == recipe


@pytest.mark.parametrize("position", [0.0, 0.37, 1.0])
def test_a_picture(typed, tiny_patient, tiny_model, tmp_path, position):
    picture = tmp_path / "a picture.png"
    plane = read_volume(tiny_patient.scan).voxels[14]
    Image.fromarray((plane / plane.max() * 255).astype(np.uint8)).save(picture)
    recipe = make_recipe(tiny_patient.labels, picture, model=tiny_model, position=position)
    assert recipe.pixel_mm is not None
    assert typed(recipe) == recipe


def test_a_drawn_slice(typed, tiny_patient, tiny_model, tmp_path):
    from napari_gem3d.bundle import load_bundle, save_bundle
    from napari_gem3d.networks import PositionUNet

    bundle = load_bundle(tiny_model)
    bundle.position_unet = PositionUNet.build(4, (8, 16), (True, True), head_channels=8, norm_groups=8)
    model = save_bundle(bundle, tmp_path / "drawing")
    recipe = make_recipe(tiny_patient.labels, "generated", model=model, position=0.61, informed_seed=8)
    assert recipe.informed is None
    assert typed(recipe) == recipe


@pytest.mark.parametrize("options", [{}, {"slice": 12}, {"margin_mm": 3.3, "position": 0.4, "steps": 2}])
def test_an_edit(typed, tiny_patient, tiny_model, edited, options):
    recipe = make_edit_recipe(tiny_patient.scan, tiny_patient.labels, edited, model=tiny_model, **options)
    assert typed(recipe) == recipe


def test_relative_paths_become_absolute(typed, tiny_patient, tiny_model, monkeypatch):
    monkeypatch.chdir(tiny_patient.labels.parent)
    recipe = make_recipe("labels.nii.gz", "scan.nii.gz", model=tiny_model, seed=1)
    again = typed(recipe)
    assert again.mask.path == str(tiny_patient.labels) and again.mask.sha256 == recipe.mask.sha256


def test_the_command_writes_the_same_bytes(tiny_patient, tiny_model, edited, tmp_path):
    first, second = tmp_path / "first.nii.gz", tmp_path / "second.nii.gz"
    recipe = make_edit_recipe(tiny_patient.scan, tiny_patient.labels, edited, model=tiny_model, seed=8, steps=2)
    run_recipe(recipe, first)
    assert main(shlex.split(shell_line(recipe_command(recipe, second)))[1:]) == 0
    assert second.read_bytes() == first.read_bytes()


def test_windows_has_quotes_of_its_own(monkeypatch):
    monkeypatch.setattr("napari_gem3d.sampling.command_line.os.name", "nt")
    assert shell_line(["napari-gem3d", r"C:\my scans\a.nii.gz"]) == r'napari-gem3d "C:\my scans\a.nii.gz"'
