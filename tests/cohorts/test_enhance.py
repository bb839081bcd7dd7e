"""A dataset drawn anew: what is made of it, and that neither interrupts, workers nor bad cases change the rest."""

import gzip
import json
import os
import shutil
import signal
from functools import partial

import nibabel as nib
import numpy as np
import psutil
import pytest
import torch
from conftest import write_dataset

from napari_gem3d import InputError, read_label_map, read_volume, replay, write_volume
from napari_gem3d.bundle import load_bundle, save_bundle
from napari_gem3d.cli.main import main
from napari_gem3d.cohorts import volumes
from napari_gem3d.cohorts.enhance import enhance as enhance_with_steps
from napari_gem3d.cohorts.layout import without_folders
from napari_gem3d.io import sha256
from napari_gem3d.labels import LabelMap
from napari_gem3d.networks import PositionUNet
from napari_gem3d.sampling.recipe import read_recipe

# What is made does not matter here, only how.
enhance = partial(enhance_with_steps, steps=1)


def files(folder):
    """Content of all files of a folder by their names in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def names(folder):
    return sorted(path.name.removesuffix(".nii.gz") for path in (folder / "labelsTr").iterdir())


def records(folder):
    volumes = json.loads((folder / "provenance.json").read_text())["volumes"]
    return {volume["name"]: volume for volume in volumes}


def check_as_nnunet_does(folder):
    """The rules of nnU-Net's verify_dataset_integrity, by other means."""
    facts = json.loads((folder / "dataset.json").read_text())
    assert {"channel_names", "labels", "numTraining", "file_ending"} <= facts.keys()
    images = list((folder / "imagesTr").glob(f"*{facts['file_ending']}"))
    cases = {file.name.removesuffix("_0000.nii.gz") for file in images}
    assert len(cases) == len(images) == facts["numTraining"]
    assert sorted(cases) == names(folder)
    known = sorted(facts["labels"].values())
    assert known == list(range(len(known)))
    for case in cases:
        image = nib.load(folder / "imagesTr" / f"{case}_0000.nii.gz")
        labels = nib.load(folder / "labelsTr" / f"{case}.nii.gz")
        assert image.shape == labels.shape and np.array_equal(image.affine, labels.affine)
        assert labels.get_data_dtype().kind == "u" and np.isin(labels.get_fdata(), known).all()
        assert np.isfinite(image.get_fdata()).all()


def test_variants_with_recipes_and_their_origin(dataset, tiny_model, tmp_path):
    out, lines = tmp_path / "out", []
    made = enhance(dataset, out, variants=2, seed=3, model=tiny_model, say=lines.append)
    assert names(out) == ["a-v1", "a-v2", "b-v1", "b-v2", "c-v1", "c-v2"] == list(made.records)
    assert (made.count("made"), made.failed, made.interrupted, len(lines)) == (6, (), False, 6)
    check_as_nnunet_does(out)
    for name, volume in records(out).items():
        image, labels = out / "imagesTr" / f"{name}_0000.nii.gz", out / "labelsTr" / f"{name}.nii.gz"
        recipe = read_recipe(out / "imagesTr" / f"{name}_0000.json")
        assert recipe.informed.sha256 == sha256(dataset / "imagesTr" / f"{volume['donor']}_0000.nii.gz")
        assert volume["donor"] != volume["case"] and volume["kind"] == "IC" and volume["seed"] == recipe.seed
        assert (volume["image_sha256"], volume["labels_sha256"]) == (sha256(image), sha256(labels))
        assert volume["model_sha256"] == recipe.model.sha256 and not volume["operations"]
        assert read_volume(image).meta["synthetic"] == "yes"
        own = read_label_map(dataset / "labelsTr" / f"{volume['case']}.nii.gz")
        assert np.array_equal(read_label_map(labels).voxels, own.voxels)
    assert len({volume["image_sha256"] for volume in records(out).values()}) == 6
    assert len((out / "provenance.csv").read_text().splitlines()) == 7
    assert json.loads((out / "dataset.json").read_text())["synthetic"] is True


def test_a_recipe_makes_its_volume_again_wherever_both_folders_went(dataset, tiny_model, tmp_path):
    enhance(dataset, tmp_path / "out", model=tiny_model, augment="brain")
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for folder in ("data", "out"):
        shutil.move(tmp_path / folder, moved / folder)
    image = moved / "out" / "imagesTr" / "b-v1_0000.nii.gz"
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        replay(image.with_name("b-v1_0000.json"), tmp_path / "again.nii.gz")
    finally:
        torch.set_num_threads(before)
    assert (tmp_path / "again.nii.gz").read_bytes() == image.read_bytes()


def test_an_interrupted_run_goes_on_to_the_same_files(dataset, tiny_model, tmp_path, monkeypatch):
    settings = {"variants": 2, "seed": 3, "model": tiny_model}
    enhance(dataset, tmp_path / "whole", **settings)
    real, count = volumes.run_job, []

    def interrupted(job, out, **options):
        count.append(out)
        if len(count) == 3:
            raise KeyboardInterrupt
        return real(job, out, **options)

    monkeypatch.setattr(volumes, "run_job", interrupted)
    out = tmp_path / "parts"
    first = enhance(dataset, out, **settings)
    assert first.interrupted and first.count("made") == 2 and names(out) == ["a-v1", "a-v2"]
    check_as_nnunet_does(out)
    # What a process leaves that is killed while it writes.
    (out / "imagesTr" / ".123-b-v1_0000.nii.gz").write_bytes(b"half")
    (out / "imagesTr" / "b-v1_0000.nii.gz").write_bytes(b"without record")
    second = enhance(dataset, out, **settings)
    assert (second.count("there"), second.count("made")) == (2, 4)
    assert files(out) == files(tmp_path / "whole")


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_workers_that_are_killed_in_the_middle_make_the_same_files(dataset, tiny_model, tmp_path):
    pytest.importorskip("distributed")
    settings = {"variants": 1, "seed": 3, "model": tiny_model, "augment": "brain"}
    enhance(dataset, tmp_path / "here", **settings)
    killed = []

    def kill(line):
        # All that have started: so whatever is being worked on is lost, on a slow machine too.
        if not killed:
            processes = psutil.Process().children(recursive=True)
            killed.extend(one.pid for one in processes if "spawn_main" in " ".join(one.cmdline()))
            for worker in killed:
                os.kill(worker, signal.SIGKILL)

    made = enhance(dataset, tmp_path / "there", **settings, workers=2, say=kill)
    assert killed and not any(psutil.pid_exists(worker) for worker in killed)
    assert not made.failed and len({outcome.worker for outcome in made.outcomes}) >= 2, "new ones went on"
    assert files(tmp_path / "there") == files(tmp_path / "here")


def test_one_bad_case_stops_nothing_and_informs_nobody(dataset, tiny_model, tmp_path):
    bad = dataset / "imagesTr" / "b_0000.nii.gz"
    bad.write_bytes(bad.read_bytes()[:200])
    (dataset / "labelsTr" / "c.nii.gz").unlink()
    out = tmp_path / "out"
    made = enhance(dataset, out, variants=2, model=tiny_model, include_real=True)
    assert names(out) == ["a", "a-v1", "a-v2"]
    assert [one.name for one in made.failed] == ["b-v1", "b-v2", "b", "c-v1", "c-v2", "c"]
    assert "b_0000.nii.gz is truncated" in made.failed[0].reason and "c.nii.gz does not exist" in made.failed[3].reason
    assert {records(out)[name]["donor"] for name in ("a-v1", "a-v2")} == {"c"}
    notes = [note for volume in records(out).values() for note in volume["notes"]]
    assert len(notes) == 1 and notes[0].startswith("b does not inform it: ")
    assert {path.name for path in (out / "masks").iterdir()} == {"a-v1.nii.gz", "a-v2.nii.gz"}
    check_as_nnunet_does(out)
    missing = json.loads((out / "provenance.json").read_text())["missing"]
    assert [entry["name"] for entry in missing] == [one.name for one in made.failed]


def test_the_same_scan_under_another_name_is_no_donor(dataset, tiny_model, tmp_path):
    shutil.copy(dataset / "imagesTr" / "a_0000.nii.gz", dataset / "imagesTr" / "b_0000.nii.gz")
    enhance(dataset, tmp_path / "out", variants=2, model=tiny_model)
    donors = {name: volume["donor"] for name, volume in records(tmp_path / "out").items()}
    assert {donors[name] for name in ("a-v1", "a-v2", "b-v1", "b-v2")} == {"c"}


def test_lesions_moved_and_scans_edited_beside_the_real_ones(dataset, tiny_model, tmp_path):
    empty = read_label_map(dataset / "labelsTr" / "c.nii.gz")
    write_volume(LabelMap(np.zeros_like(empty.voxels), empty.affine), dataset / "labelsTr" / "c.nii.gz")
    out = tmp_path / "out"
    made = enhance(dataset, out, model=tiny_model, augment="brain", edit=2, include_real=True, seed=12)
    assert names(out) == ["a", "a-e1", "a-e2", "a-v1", "b", "b-e1", "b-e2", "b-v1", "c", "c-v1"]
    assert [(one.name, one.status) for one in made.outcomes if one.status != "made"] == [
        ("c-e1", "left out"),
        ("c-e2", "left out"),
    ]
    check_as_nnunet_does(out)
    told = records(out)
    scan, own = (read_volume(dataset / "imagesTr" / "a_0000.nii.gz"), read_label_map(dataset / "labelsTr" / "a.nii.gz"))
    for name in ("a-e1", "a-e2", "a-v1"):
        labels = read_label_map(out / "labelsTr" / f"{name}.nii.gz")
        assert told[name]["operations"] and not np.array_equal(labels.voxels, own.voxels)
        assert read_recipe(out / "imagesTr" / f"{name}_0000.json").plan.name == "tiny"
    edited = read_volume(out / "imagesTr" / "a-e1_0000.nii.gz")
    recipe = read_recipe(out / "imagesTr" / "a-e1_0000.json")
    assert recipe.task == "edit" and recipe.edit.edited.sha256 == sha256(out / "masks" / "a-e1.nii.gz")
    changed = edited.voxels != scan.voxels
    assert 0 < changed.mean() < 0.3, "the rest of the scan is as it was"
    assert not told["c-v1"]["operations"] and "no lesion" in told["c-v1"]["notes"][0]
    assert (out / "imagesTr" / "a_0000.nii.gz").read_bytes() == (dataset / "imagesTr" / "a_0000.nii.gz").read_bytes()
    assert [told["a"][key] for key in ("kind", "synthetic", "seed", "model")] == ["real", False, None, None]
    assert "synthetic" not in read_volume(out / "imagesTr" / "a_0000.nii.gz").meta


def test_abdomens_are_turned_with_their_body_which_the_dataset_does_not_name(dataset, tiny_model, tmp_path):
    out = tmp_path / "out"
    enhance(dataset, out, model=tiny_model, augment="abdomen")
    check_as_nnunet_does(out)
    mask, labels = (read_label_map(out / place / "a-v1.nii.gz") for place in ("masks", "labelsTr"))
    assert set(np.unique(mask.voxels)) == {0, 1, 4} and set(np.unique(labels.voxels)) == {0, 1}
    assert np.array_equal(mask.voxels == 1, labels.voxels == 1)
    assert [step["name"] for step in records(out)["a-v1"]["operations"]] == ["rotate"]


def test_informed_slices_that_the_model_draws(dataset, tiny_model, tmp_path):
    with pytest.raises(InputError, match="no position model"):
        enhance(dataset, tmp_path / "out", model=tiny_model, informed="generated")
    bundle = load_bundle(tiny_model)
    torch.manual_seed(1)
    bundle.position_unet = PositionUNet.build(4, (8, 16), (True, True), head_channels=8, norm_groups=8)
    model = save_bundle(bundle, tmp_path / "drawing")
    enhance(dataset, tmp_path / "out", model=model, informed="generated", position="random")
    told = records(tmp_path / "out")
    assert {volume["kind"] for volume in told.values()} == {"IG"} and not any(v["donor"] for v in told.values())
    starts = {read_recipe(tmp_path / "out" / "imagesTr" / f"{name}_0000.json").start for name in told}
    assert len(starts) > 1


def test_informed_slices_of_a_folder_and_of_nobody_for_a_baseline(
    dataset, tiny_patient, tiny_model, tiny_baseline, tmp_path
):
    others = write_dataset(tiny_patient, tmp_path / "others", "axy") / "imagesTr"
    enhance(dataset, tmp_path / "out", model=tiny_model, informed=others, variants=2)
    donors = {name: volume["donor"] for name, volume in records(tmp_path / "out").items()}
    assert {donors["a-v1"], donors["a-v2"]} == {"x", "y"} and set(donors.values()) <= {"a", "x", "y"}
    enhance(dataset, tmp_path / "plain", model=tiny_baseline)
    plain = records(tmp_path / "plain")["a-v1"]
    assert (plain["kind"], plain["donor"]) == ("baseline", None)


def test_patients_of_a_csv_do_not_inform_themselves(dataset, tiny_model, tmp_path):
    rows = [f"imagesTr/{name}_0000.nii.gz,labelsTr/{name}.nii.gz,{name},{whose}" for name, whose in ("ap", "bp", "cq")]
    (dataset / "scans.csv").write_text("\n".join(["image,labels,case,patient", *rows]))
    enhance(dataset / "scans.csv", tmp_path / "out", model=tiny_model, variants=2)
    told = records(tmp_path / "out")
    assert {told[name]["donor"] for name in ("a-v1", "a-v2", "b-v1", "b-v2")} == {"c"}


def test_the_test_patients_of_a_dataset(dataset, tiny_model, tmp_path):
    for what in ("images", "labels"):
        shutil.move(dataset / f"{what}Tr", dataset / f"{what}Ts")
    with pytest.raises(InputError, match="no images named imagesTr"):
        enhance(dataset, tmp_path / "out", model=tiny_model)
    enhance(dataset, tmp_path / "out", model=tiny_model, split="Ts")
    assert names(tmp_path / "out") == ["a-v1", "b-v1", "c-v1"]


def test_what_is_damaged_or_made_of_other_files_is_made_again(dataset, tiny_model, tmp_path):
    out = tmp_path / "out"
    enhance(dataset, out, model=tiny_model)
    before = files(out)
    (out / "imagesTr" / "a-v1_0000.nii.gz").write_bytes(b"damaged")
    (out / "labelsTr" / "b-v1.nii.gz").unlink()
    again = enhance(dataset, out, model=tiny_model)
    assert [one.status for one in again.outcomes] == ["made", "made", "there"] and files(out) == before
    labels = read_label_map(dataset / "labelsTr" / "c.nii.gz")
    write_volume(labels.with_voxels(np.roll(labels.voxels, 2, axis=1)), dataset / "labelsTr" / "c.nii.gz")
    changed = enhance(dataset, out, model=tiny_model)
    assert [one.status for one in changed.outcomes] == ["there", "there", "made"]


def test_volumes_stay_while_a_file_is_out_of_reach_and_go_with_their_case(dataset, tiny_model, tmp_path):
    out = tmp_path / "out"
    enhance(dataset, out, model=tiny_model)
    before = files(out / "imagesTr")
    labels = dataset / "labelsTr" / "c.nii.gz"
    labels.rename(tmp_path / "away")
    again = enhance(dataset, out, model=tiny_model)
    assert [one.name for one in again.failed] == ["c-v1"] and "does not exist" in again.failed[0].reason
    assert files(out / "imagesTr") == before
    check_as_nnunet_does(out)
    (dataset / "imagesTr" / "c_0000.nii.gz").unlink()
    fewer = enhance(dataset, out, model=tiny_model)
    assert names(out) == ["a-v1", "b-v1"] == list(fewer.records)
    check_as_nnunet_does(out)


def test_another_dataset_is_not_mixed_in(dataset, tiny_model, tmp_path):
    out = tmp_path / "out"
    enhance(dataset, out, model=tiny_model)
    before = files(out)
    for settings in ({"seed": 1}, {"variants": 2}, {"steps": 2}, {"position": 0.4}, {"threads": 2}):
        (name,) = settings
        with pytest.raises(InputError, match=f"was begun with {name} "):
            enhance(dataset, out, model=tiny_model, **settings)
    with pytest.raises(InputError, match="was not made by this command"):
        enhance(dataset, dataset / "imagesTr", model=tiny_model)
    with pytest.raises(InputError, match="is the dataset itself"):
        enhance(dataset, dataset, model=tiny_model)
    assert files(out) == before


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"variants": 0}, "nothing to make"),
        ({"augment": "heart"}, "cannot vary by 'heart'"),
        ({"informed": "nobody"}, "no folder of scans"),
        ({"steps": 0}, "steps"),
        ({"threads": 0}, "0 threads"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_made(dataset, tiny_model, tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        enhance(dataset, tmp_path / "out", model=tiny_model, **settings)
    assert not (tmp_path / "out").exists()


def test_labels_that_the_dataset_does_not_name_are_told(dataset, tiny_model, tmp_path):
    labels = read_label_map(dataset / "labelsTr" / "b.nii.gz")
    write_volume(labels.with_voxels(labels.voxels * np.uint8(3)), dataset / "labelsTr" / "b.nii.gz")
    made = enhance(dataset, tmp_path / "out", model=tiny_model)
    (failed,) = made.failed
    assert failed.name == "b-v1" and "value 3, which dataset.json does not name" in failed.reason
    check_as_nnunet_does(tmp_path / "out")


def test_the_command(dataset, tiny_model, tmp_path, capsys):
    call = ["enhance", str(dataset), "--out", str(tmp_path / "out"), "--model", str(tiny_model), "--steps", "1"]
    assert main(call) == 0
    told = capsys.readouterr().out
    assert "[1/3] a-v1: made (" in told and "3 volumes (3 made, 0 there, 0 left out, 0 failed)" in told
    assert main([*call, "--seed", "2"]) == 2
    assert "was begun with seed 0, not 2" in capsys.readouterr().err
    (dataset / "labelsTr" / "b.nii.gz").write_bytes(b"")
    assert main(call) == 1
    assert "b-v1: " in capsys.readouterr().err and names(tmp_path / "out") == ["a-v1", "c-v1"]


def test_nnunet_accepts_it(dataset, tiny_model, tmp_path):
    integrity = pytest.importorskip("nnunetv2.experiment_planning.verify_dataset_integrity")
    enhance(dataset, tmp_path / "out", model=tiny_model, augment="brain", edit=1, include_real=True)
    integrity.verify_dataset_integrity(str(tmp_path / "out"), 1)


def test_nothing_of_a_patient_but_voxels_and_nothing_of_the_machine(dataset, tiny_model, tmp_path):
    """Identifiers in every text field of the headers, and in the folders' names; one case fails, which is told."""
    source = tmp_path / "JaneDoe at StMarys" / "Dataset001"
    shutil.copytree(dataset, source)
    scans = sorted(source.glob("*/*.nii.gz"))
    for number, path in enumerate(scans):
        image = nib.load(path)
        image = nib.Nifti1Image(np.asanyarray(image.dataobj), image.affine, image.header)
        for field in ("data_type", "db_name", "descrip", "aux_file", "intent_name"):
            image.header[field] = f"Doe{number:03d}"
        for code in (4, 6, 44):  # AFNI, comment, and a code that nobody has
            image.header.extensions.append(nib.nifti1.Nifti1Extension(code, b"PatientName=Doe^Jane"))
        nib.save(image, path)
    broken = sorted((source / "imagesTr").iterdir())[0]
    broken.write_bytes(broken.read_bytes()[:200])
    out = tmp_path / "out"
    made = enhance(source, out, variants=0, model=tiny_model, include_real=True)
    assert len(made.failed) == 1 and len(made.records) >= 1
    for path in out.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
            assert b"Doe" not in content and b"StMarys" not in content, path
    told = json.loads((out / "provenance.json").read_text())
    assert told["settings"]["dataset"] == "Dataset001" and broken.name in told["missing"][0]["reason"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("/home/jane doe/x y/a.nii.gz is truncated (3 bytes); copy it.", "a.nii.gz is truncated (3 bytes); copy it."),
        ("'/home/jane/a.nii' and data/b.nii differ, and/or fail.", "'a.nii' and b.nii differ, and/or fail."),
        ("C:\\Users\\Jane Doe\\a.nii.gz is empty, 3 mm/s.", "a.nii.gz is empty, 3 mm/s."),
    ],
)
def test_sentences_name_files_without_their_folders(said, told):
    assert without_folders(said) == told


def test_files_that_do_not_say_all(tiny_model, dataset, tmp_path):
    """The Decathlon's files of several volumes, whose position is lost: the one that is named, where it is assumed."""
    for name in "abc":
        path = dataset / "imagesTr" / f"{name}_0000.nii.gz"
        voxels = np.asarray(nib.load(path).dataobj)
        path.unlink()
        for folder, content in (("imagesTr", np.stack([voxels, voxels // 2], axis=3)), ("labelsTr", None)):
            target = dataset / folder / f"{name}.nii.gz"
            image = nib.Nifti1Image(np.asarray(nib.load(target).dataobj) if content is None else content, None)
            image.header["sform_code"] = image.header["qform_code"] = 0
            nib.save(image, target)
    facts = json.loads((dataset / "dataset.json").read_bytes())
    training = [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in "abc"]
    del facts["channel_names"]
    (dataset / "dataset.json").write_text(json.dumps({**facts, "training": training}))
    real = {"variants": 0, "model": tiny_model, "include_real": True}
    made = enhance(dataset, tmp_path / "unnamed", **real)
    assert made.count("failed") == 3 and all("--channel 0 to 1" in one.reason for one in made.failed)
    made = enhance(dataset, tmp_path / "lost", channel=1, **real)
    assert made.count("failed") == 3 and all("--assume-orientation" in one.reason for one in made.failed)
    made = enhance(dataset, tmp_path / "named", channel=1, assume_orientation="LPS", **real)
    assert made.count("made") == 3
    written = read_volume(tmp_path / "named" / "imagesTr" / "a_0000.nii.gz")
    source = read_volume(dataset / "imagesTr" / "a.nii.gz", channel=1, assume_orientation="LPS")
    np.testing.assert_array_equal(written.voxels, source.voxels)
    assert written.orientation == "LPS" and written.grid.same_as(source.grid)
    settings = json.loads((tmp_path / "named" / "provenance.json").read_bytes())["settings"]
    assert (settings["channel"], settings["assume_orientation"]) == (1, "LPS")


def test_labels_of_other_numbers_are_drawn_as_what_they_are(dataset, tiny_model, tmp_path):
    """A dataset numbered as BraTS 2018: refused by its names, drawn the same with --labels, written as it was."""
    settings = {"informed": "others", "model": tiny_model, "steps": 1, "seed": 4, "edit": 1}
    wanted = enhance(dataset, tmp_path / "wanted", **settings).folder
    facts = json.loads((dataset / "dataset.json").read_text())
    facts["labels"] = {"background": 0, "ED": 2, "ET": 4}
    (dataset / "dataset.json").write_text(json.dumps(facts), encoding="utf-8")
    for path in (dataset / "labelsTr").iterdir():
        labels = read_label_map(path)
        write_volume(labels.with_voxels(labels.voxels * np.uint8(2)), path)
    with pytest.raises(InputError, match=r"names its labels 2 ED, 4 ET, but .* --labels 'brats2018'"):
        enhance(dataset, tmp_path / "refused", **settings)
    assert not (tmp_path / "refused").exists()
    made = enhance(dataset, tmp_path / "made", labels="brats2018", **settings).folder
    assert json.loads((made / "dataset.json").read_text())["labels"] == facts["labels"]
    for name in names(wanted):
        one, other = (read_volume(folder / "imagesTr" / f"{name}_0000.nii.gz") for folder in (wanted, made))
        np.testing.assert_array_equal(one.voxels, other.voxels)
        one, other = (read_label_map(folder / "labelsTr" / f"{name}.nii.gz") for folder in (wanted, made))
        np.testing.assert_array_equal(2 * one.voxels, other.voxels)
