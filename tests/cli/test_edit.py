"""``napari-gem3d edit`` as people type it."""

import json

import numpy as np
import pytest

from napari_gem3d import read_label_map, read_volume, write_volume
from napari_gem3d.anatomy import Completed
from napari_gem3d.cli.main import main


@pytest.fixture
def edited(tiny_patient, tmp_path):
    """The label map of `tiny_patient` without its lesion."""
    labels = read_label_map(tiny_patient.labels)
    write_volume(labels.with_voxels(np.where(labels.voxels == 1, 4, labels.voxels)), tmp_path / "edited.nii.gz")
    return tmp_path / "edited.nii.gz"


@pytest.fixture
def arguments(tiny_patient, tiny_model, edited, tmp_path):
    files = ["--image", str(tiny_patient.scan), "--mask", str(tiny_patient.labels), "--edited", str(edited)]
    return ["edit", *files, "--model", str(tiny_model), "--seed", "1", "--out", str(tmp_path / "new" / "out.nii.gz")]


def test_edit_then_replay(arguments, tiny_patient, tmp_path, capsys):
    assert main([*arguments, "--margin", "2", "--device", "cpu"]) == 0
    out = tmp_path / "new" / "out.nii.gz"
    printed = capsys.readouterr()
    assert printed.out.startswith(f"Wrote {out} (recipe: out.json, seed 1) in ")
    changed = read_volume(out).voxels != read_volume(tiny_patient.scan).voxels
    # The lesion is in slices 16 to 20; a margin of 2 mm reaches one more on each side.
    assert set(np.flatnonzero(changed.any(axis=(1, 2)))) == set(range(15, 22))
    assert json.loads(out.with_name("out.json").read_bytes())["edit"]["margin_mm"] == 2.0
    assert main(["replay", str(out.with_name("out.json")), "--out", str(tmp_path / "again.nii.gz")]) == 0
    assert (tmp_path / "again.nii.gz").read_bytes() == out.read_bytes()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--edited", "nowhere.nii.gz"], "nowhere.nii.gz does not exist; check the path."),
        (["--informed", "nowhere.nii.gz"], "nowhere.nii.gz does not exist; check the path."),
        (["--margin", "-1"], "margin -1 mm is not possible"),
        (["--slice", "99"], "no slice 99"),
        (["--model", "brain-of-a-mouse"], "There is no model 'brain-of-a-mouse'"),
    ],
)
def test_bad_input_is_one_sentence_and_2(arguments, more, message, capsys, tmp_path):
    assert main([*arguments, *more]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("napari-gem3d: ") and message in line
    assert not (tmp_path / "new").exists()


def test_what_the_scan_does_not_tell_goes_to_stderr(arguments, monkeypatch, capsys):
    notes = ("csf: slices of 5 mm are too thick.", "grey matter: the sequence is not known.")
    monkeypatch.setattr(
        "napari_gem3d.sampling.edit_anatomy.complete_anatomy", lambda labels, *rest: Completed(labels, (), notes)
    )
    assert main(arguments) == 0
    printed = capsys.readouterr()
    sentence = "(csf: slices of 5 mm are too thick; grey matter: the sequence is not known); the model draws the rest"
    assert sentence in " ".join(printed.err.split()) and "too thick" not in printed.out


def test_maps_without_a_difference_are_2(arguments, tiny_patient, capsys):
    assert main([*arguments, "--edited", str(tiny_patient.labels)]) == 2
    assert "has the same labels as" in capsys.readouterr().err


def test_slice_and_position_exclude_each_other(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([*arguments, "--slice", "9", "--position", "0.5"])
    assert exit_.value.code == 2 and "not allowed with" in capsys.readouterr().err
