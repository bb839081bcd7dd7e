"""Models on this computer: found, described, added whole or not at all; the command line does the same."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from published_layout import Auto, Net, state_dict

from napari_gem3d.bundle import bundled_models, known_models, load_bundle
from napari_gem3d.bundle.library import add_model, add_published, describe_model, list_models
from napari_gem3d.bundle.parts import WEIGHTS
from napari_gem3d.bundle.store import find_bundle
from napari_gem3d.cli.main import main
from napari_gem3d.doctor import report
from napari_gem3d.errors import InputError


@pytest.fixture(autouse=True)
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's models are in a folder of the test's own."""
    folder = tmp_path / "library"
    monkeypatch.setattr("napari_gem3d.bundle.places.models_folder", lambda: folder)
    monkeypatch.setattr("napari_gem3d.bundle.library.models_folder", lambda: folder)
    return folder


def test_an_added_model_is_found_by_its_name_everywhere(tiny_model, library):
    target = add_model(tiny_model, "mine")
    assert target == library / "mine" == find_bundle("mine")
    assert load_bundle("mine").sha256 == load_bundle(tiny_model).sha256
    assert list(known_models()) == [*bundled_models(), "mine"]
    info = list_models()[-1]
    assert (info.name, info.added, info.problem) == ("mine", True, "")
    assert info.size == sum(path.stat().st_size for path in tiny_model.rglob("*") if path.is_file())
    assert [path.name for path in library.iterdir()] == ["mine"]


def test_what_is_said_of_a_model_is_what_is_in_its_folder(tiny_model, tmp_path):
    whole = describe_model(tiny_model)
    assert whole.draws == (tiny_model / "position_unet").is_dir()
    bare = Path(shutil.copytree(tiny_model, tmp_path / "bare"))
    shutil.rmtree(bare / "volume_unet")
    assert set(whole.parts) - set(describe_model(bare).parts) == {"volume_unet"}
    (bare / "model.json").write_text("{")
    broken = describe_model(bare)
    assert broken.plan is None and "is not JSON" in broken.problem and broken.problem in broken.describe()


def test_a_damaged_model_is_refused_and_nothing_is_left(tiny_model, tmp_path, library):
    damaged = Path(shutil.copytree(tiny_model, tmp_path / "damaged"))
    weights = damaged / "slice_unet" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match="missing or damaged"):
        add_model(damaged, "mine")
    assert not library.exists() or not list(library.iterdir())


def test_a_copy_that_fails_leaves_nothing(tiny_model, library, monkeypatch):
    def full(source: Path, target: Path, symlinks: bool) -> None:
        target.mkdir()
        (target / "model.json").write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_gem3d.bundle.library.shutil.copytree", full)
    with pytest.raises(InputError, match=r"No space left on device.*nothing was added"):
        add_model(tiny_model, "mine")
    assert list(library.iterdir()) == [] and "mine" not in known_models()


@pytest.mark.parametrize("name", ["../up", ".hidden", "a b", "/etc"])
def test_names_that_are_no_folders_are_refused(tiny_model, name, library):
    with pytest.raises(InputError, match="no name for a model"):
        add_model(tiny_model, name)
    assert not library.exists()


def test_a_name_that_is_taken_is_refused(tiny_model):
    add_model(tiny_model, "mine")
    with pytest.raises(InputError, match="There is a model 'mine' already"):
        add_model(tiny_model, "mine")
    for name in bundled_models():
        with pytest.raises(InputError, match="already"):
            add_model(tiny_model, name)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"the folder that holds its model\.json"):
        add_model(tmp_path, "mine")


def test_published_checkpoints_come_into_the_library(tmp_path, library):
    checkpoint = tmp_path / "volume.ckpt"
    torch.save({"state_dict": state_dict(Net(kind="volume"), Auto(mults=(1, 1, 2)))}, checkpoint)
    target, warnings = add_published([checkpoint], "published")
    assert target == library / "published" and warnings == ()
    assert load_bundle("published").volume_unet is not None
    with pytest.raises(InputError, match="already"):
        add_published([checkpoint], "published")


def test_the_command_line_adds_shows_and_lists(tiny_model, library, capsys):
    assert main(["models", "--add", str(tiny_model), "--name", "mine"]) == 0
    assert capsys.readouterr().out.strip() == str(library / "mine")
    assert main(["models"]) == 0
    shown = capsys.readouterr().out
    assert "mine: " in shown and "added by you" in shown and all(name in shown for name in bundled_models())
    (library / "mine" / "README.md").write_text("# The card\n")
    assert main(["models", "mine"]) == 0
    assert "# The card" in capsys.readouterr().out
    assert main(["models", "--name", "x"]) == main(["models", "mine", "--add", str(tiny_model)]) == 2


def test_doctor_tells_of_added_models_without_their_names_and_folders(tiny_model, library):
    add_model(tiny_model, "StMarys-JaneDoe")
    assert "  added model 1: " in report() and ", loads" in report()
    (library / "StMarys-JaneDoe" / "vae" / WEIGHTS).write_bytes(b"")
    told = report()
    assert "added model 1: " in told and "damaged" in told
    assert str(library) not in told and "JaneDoe" not in told


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_nothing_outside_a_model_comes_into_the_library(tiny_model, tmp_path, library, kind):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "passwd").write_text("mine")
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    if kind == "pipe":
        os.mkfifo(folder / "vae" / "notes.txt")
    else:
        (folder / "notes.txt").symlink_to(secret / "passwd" if kind == "link" else secret)
    with pytest.raises(InputError, match="not followed"):
        add_model(folder, "mine")
    assert not list(library.rglob("*"))
