"""`napari-gem3d mask` as people type it."""

import json
import shutil

import numpy as np
import pytest

from napari_gem3d import read_label_map, write_volume
from napari_gem3d.cli.main import main
from napari_gem3d.masks import operations_from_json, transform_mask


def run(patient, model, out, *steps: str) -> int:
    return main(["mask", "--mask", str(patient.labels), "--model", str(model), "--out", str(out), *steps])


def middle(labels) -> np.ndarray:
    return labels.grid.index_to_world(np.argwhere(labels.voxels == 1)).mean(axis=0)


def test_steps_are_done_in_their_order(tiny_patient, tiny_model, tmp_path, capsys):
    out = tmp_path / "new" / "out.nii.gz"
    turn = ["--centre", "-1", "13", "7.5", "--rotate", "0", "0", "90"]
    steps = [*turn, "--translate", "-2", "0.5", "1", "--scale", "0.9"]
    assert run(tiny_patient, tiny_model, out, *steps) == 0
    record = json.loads(out.with_name("out.json").read_bytes())
    assert [step["name"] for step in record["operations"]] == ["rotate", "translate", "scale"]
    assert record["operations"][0]["centre"] == record["operations"][2]["centre"] == [-1, 13, 7.5]
    before, after = read_label_map(tiny_patient.labels), read_label_map(out)
    assert after.grid == before.grid and after.voxels.dtype == before.voxels.dtype
    centre = np.array([-1, 13, 7.5])
    x, y, z = middle(before) - centre
    np.testing.assert_allclose(middle(after) - centre, (0.9 * (-y - 2), 0.9 * (x + 0.5), 0.9 * (z + 1)), atol=0.25)
    np.testing.assert_array_equal(after.voxels > 0, before.voxels > 0)


def test_volumes_are_printed_and_recorded(tiny_patient, tiny_model, tmp_path, capsys):
    out = tmp_path / "out.nii"
    assert run(tiny_patient, tiny_model, out, "--grow", "2") == 0
    lines = capsys.readouterr().out.splitlines()
    before, after = (read_label_map(path).volumes_ml() for path in (tiny_patient.labels, out))
    assert lines[0].split()[:2] == ["1", "edema"] and lines[1].split()[:2] == ["4", "brain"]
    assert f"{before[1]:.2f} ml → " in lines[0] and f"{after[1]:.2f} ml  {after[1] / before[1] - 1:+8.1%}" in lines[0]
    assert lines[-1] == f"Wrote {out} (record: out.json)."
    record = json.loads((tmp_path / "out.json").read_bytes())
    assert record["after_ml"]["1"] == pytest.approx(after[1], abs=1e-4)
    assert len(record["mask"]["sha256"]) == 64 and record["versions"]["scipy"] and record["seed"] is None


def test_every_step_has_its_option(tiny_patient, tiny_model, tmp_path):
    out, second = tmp_path / "out.nii.gz", tmp_path / "second.nii.gz"
    donor = ["--transplant", str(tiny_patient.lesions), "--to", "1", "10", "8"]
    steps = [
        "--flip",
        "--elastic",
        "2",
        "10",
        "--elastic",
        "1",
        "--shrink",
        "1",
        "--remove",
        *donor,
        "--flip",
        "up-down",
    ]
    assert run(tiny_patient, tiny_model, out, *steps, "--seed", "7") == 0
    record = json.loads((tmp_path / "out.json").read_bytes())
    names = ["flip", "elastic", "elastic", "shrink", "remove", "transplant", "flip"]
    assert [step["name"] for step in record["operations"]] == names
    first, other = record["operations"][1:3]
    assert (first["seed"], first["smoothness"], other["seed"], other["smoothness"]) == (7, 10, 8, 15)
    assert record["operations"][-1]["axis"] == "S" and len(record["donors"]) == 1
    again = transform_mask(read_label_map(tiny_patient.labels, None), operations_from_json([{"name": "remove"}]))
    assert again.after == {1: 0, 4: 0}  # without a table the brain is a lesion, too
    assert run(tiny_patient, tiny_model, second, *steps, "--seed", "7") == 0
    assert second.read_bytes() == out.read_bytes()


def test_what_is_the_lesion_can_be_said(tiny_patient, tiny_model, tmp_path):
    out = tmp_path / "out.nii.gz"
    assert run(tiny_patient, tiny_model, out, "--only", "edema", "--component", "0", "0", "0", "--remove") == 0
    assert read_label_map(out).values() == (4,)
    assert run(tiny_patient, "none", out, "--only", "1", "--host", "4", "--translate", "0", "0", "3") == 0
    assert read_label_map(out).values() == (1, 4)
    assert run(tiny_patient, tiny_model, out, "--everything", "--rotate", "0", "0", "30") == 0
    assert json.loads((tmp_path / "out.json").read_bytes())["select"]["everything"] is True


def test_a_body_comes_from_the_scan(tiny_patient, tiny_model, tmp_path, capsys):
    out = tmp_path / "out.nii.gz"
    command = ["mask", "--mask", str(tiny_patient.lesions), "--model", str(tiny_model), "--out", str(out)]
    assert main([*command, "--body", str(tiny_patient.scan), "--translate", "-8", "0", "0"]) == 0
    assert "outside the body" in capsys.readouterr().out
    assert not read_label_map(out).voxels[read_label_map(tiny_patient.labels).voxels == 0].any()
    assert main([*command, "--translate", "-8", "0", "0"]) == 0
    assert "only the field of view limited the lesion" in capsys.readouterr().out


def test_augmentation_is_decided_by_its_seed(tiny_patient, tiny_model, tmp_path):
    out, again = tmp_path / "out.nii.gz", tmp_path / "again.nii.gz"
    for policy in ("brain", "abdomen"):
        assert run(tiny_patient, tiny_model, out, "--augment", policy, "--seed", "5") == 0
        assert run(tiny_patient, tiny_model, again, "--augment", policy, "--seed", "5") == 0
        assert out.read_bytes() == again.read_bytes()
        record = json.loads((tmp_path / "out.json").read_bytes())
        assert record["augment"] == policy and record["seed"] == 5


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([], "at least one step"),
        (["--centre", "body"], "at least one step"),
        (["--translate", "99", "0", "0"], "takes the lesion out of the label map's field of view"),
        (["--scale", "1", "2"], "--scale takes one factor, or three"),
        (["--scale", "9"], "Scale is not possible"),
        (["--scale", "nan"], "Scale is not possible"),
        (["--grow", "inf"], "Grow is not possible (mm: Input should be a finite number); change it."),
        (["--translate", "1e308", "0", "0"], "Translate is not possible"),
        (["--elastic", "1", "2", "3"], "--elastic takes an amplitude and a smoothness"),
        (["--centre", "here", "--scale", "0.9"], "The centre 'here' is not understood"),
        (["--transplant", "nowhere.nii", "--to", "0", "0", "0"], "nowhere.nii does not exist"),
        (["--to", "0", "0", "0"], "right after --transplant"),
        (["--augment", "brain", "--grow", "1"], "give --augment without others"),
        (["--only", "liver", "--remove"], "has no 'liver'"),
        (["--remove", "--seed", "-1"], "The seed -1 is not possible"),
        (["--remove", "--model", "mouse"], "There is no model 'mouse'"),
        (["--remove", "--mask", "no.nii"], "no.nii does not exist"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_2(tiny_patient, tiny_model, tmp_path, capsys, steps, message):
    assert run(tiny_patient, tiny_model, tmp_path / "out.nii.gz", *steps) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("napari-gem3d: ") and message in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_a_transplant_needs_a_place(tiny_patient, tiny_model, tmp_path, capsys):
    assert run(tiny_patient, tiny_model, tmp_path / "out.nii.gz", "--transplant", str(tiny_patient.lesions)) == 2
    assert "add --to R A S after it" in capsys.readouterr().err


def test_somebody_elses_json_is_not_overwritten(tiny_patient, tiny_model, tmp_path, capsys):
    (tmp_path / "out.json").write_text('{"format": "mine"}')
    assert run(tiny_patient, tiny_model, tmp_path / "out.nii.gz", "--remove") == 2
    assert "is no record of napari-gem3d" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


@pytest.mark.slow
def test_real_labels_of_every_kind(shared_data, tmp_path, capsys):
    """BraTS in LPS, thick slices as NRRD, a CT with 57 organs."""
    brain = shared_data / "Dataset501_GliomaFLAIR"
    thick, ct = shared_data / "inputs" / "mri_thick_slices_nrrd", shared_data / "inputs" / "ct_coarse"
    scan = brain / "imagesTs" / "Brats18_CBICA_ASE_1_0000.nii.gz"
    out = tmp_path / "out.nii.gz"
    turn = ["--rotate", "10", "20", "-30", "--out", str(out)]
    for mask, more in (
        (brain / "labelsTs" / "Brats18_CBICA_ASE_1.nii.gz", []),
        (thick / "label.nrrd", []),
        (ct / "organs.nii.gz", ["--model", "none", "--only", "5", "--host", "20"]),
    ):
        assert main(["mask", "--mask", str(mask), *turn, *more]) == 0
        before, after = read_label_map(mask), read_label_map(out)
        assert after.grid.same_as(before.grid) and after.voxels.dtype == before.voxels.dtype
        if not more:
            assert after.volumes_ml() == pytest.approx(before.volumes_ml(), rel=0.02)
    mask = str(brain / "labelsTs" / "Brats18_CBICA_ASE_1.nii.gz")
    assert main(["mask", "--mask", mask, "--body", str(scan), "--augment", "brain", "--seed", "1", *turn[-2:]]) == 0
    inside = read_label_map(mask).voxels > 0
    assert np.count_nonzero(read_label_map(out).voxels) == pytest.approx(np.count_nonzero(inside), rel=0.1)


def test_the_label_map_may_be_anything_integer(tiny_patient, tiny_model, tmp_path):
    labels = read_label_map(tiny_patient.labels)
    for dtype in (np.int32, np.uint16):
        path, out = tmp_path / "in.nii.gz", tmp_path / "out.nii.gz"
        write_volume(labels.with_voxels(labels.voxels.astype(dtype)), path)
        assert main(["mask", "--mask", str(path), "--model", str(tiny_model), "--shrink", "1", "--out", str(out)]) == 0
        assert read_label_map(out).voxels.dtype == dtype


def test_a_lesion_is_placed_with_its_shells(tiny_patient, tiny_model, tmp_path):
    out = tmp_path / "out.nii.gz"
    labels = read_label_map(tiny_patient.labels)
    point = labels.grid.index_to_world([np.argwhere(labels.voxels == 1).mean(axis=0)])[0]
    steps = ["--remove", "--lesion", *map(str, point), "--diameter", "8", "9", "10", "--shells", "edema"]
    assert run(tiny_patient, tiny_model, out, *steps) == 0
    placed = read_label_map(out)
    np.testing.assert_allclose(middle(placed), point, atol=0.5)
    assert placed.volumes_ml()[1] == pytest.approx(4 / 3 * np.pi * 4 * 4.5 * 5 / 1000, rel=0.1)
    operation = json.loads((tmp_path / "out.json").read_bytes())["operations"][1]
    assert operation["name"] == "lesion" and operation["diameter"] == [8, 9, 10]
    assert operation["shells"] == [{"label": "edema", "mm": None}]


def test_a_first_lesion_needs_no_label_map(tiny_patient, tiny_model, tmp_path):
    out = tmp_path / "out.nii.gz"
    labels = read_label_map(tiny_patient.labels)
    point = labels.grid.index_to_world([np.argwhere(labels.voxels == 1).mean(axis=0)])[0]
    steps = ["--lesion", *map(str, point), "--diameter", "8", "--shells", "edema", "--out", str(out)]
    assert main(["mask", "--body", str(tiny_patient.scan), "--model", str(tiny_model), *steps]) == 0
    assert read_label_map(out).values() == (1,)
    assert json.loads((tmp_path / "out.json").read_bytes())["mask"] is None
    assert main(["mask", "--model", str(tiny_model), *steps]) == 2


def test_painted_slices_are_joined(tiny_patient, tiny_model, tmp_path):
    labels = read_label_map(tiny_patient.labels)
    lesion = labels.voxels == 1
    rows = np.flatnonzero(lesion.any(axis=(1, 2)))
    gap = labels.voxels.copy()
    gap[rows[1:-1]] = np.where(lesion[rows[1:-1]], 4, gap[rows[1:-1]])
    painted, out = tmp_path / "painted.nii.gz", tmp_path / "out.nii.gz"
    write_volume(labels.with_voxels(gap), painted)
    arguments = ["mask", "--mask", str(painted), "--model", str(tiny_model), "--out", str(out)]
    assert main([*arguments, "--interpolate", "axial", "40"]) == 0
    assert (read_label_map(out).voxels[rows] == 1).any(axis=(1, 2)).all()
    step = json.loads((tmp_path / "out.json").read_bytes())["operations"][0]
    assert (step["slices"], step["largest_gap"]) == ("axial", 40)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (["--lesion", "0", "0", "0", "--shells", "edema"], "add --diameter after --lesion"),
        (["--lesion", "0", "0", "0", "--diameter", "9"], "add --shells after --lesion"),
        (["--diameter", "9"], "right after --lesion"),
        (["--lesion", "0", "0", "0", "--diameter", "9", "9", "--shells", "edema"], "one number, or three"),
        (["--lesion", "0", "0", "0", "--diameter", "9", "--shells", "edema=x"], "shell 'edema=x' is not understood"),
        (["--interpolate", "axial", "coronal"], "each at most once"),
        (["--interpolate", "oblique"], "Interpolate is not possible"),
    ],
)
def test_lesions_and_gaps_that_are_not_understood(tiny_patient, tiny_model, tmp_path, capsys, steps, message):
    assert run(tiny_patient, tiny_model, tmp_path / "out.nii.gz", *steps) == 2
    assert message in capsys.readouterr().err


def test_a_mass_effect_pushes_anatomy(tiny_patient, tiny_model, tmp_path, capsys):
    """The lesion is an ellipsoid of 3 × 4 × 4 mm, beside which a ventricle is drawn."""
    model = tmp_path / "anatomy"
    shutil.copytree(tiny_model, model)
    plan = json.loads((model / "model.json").read_text())
    plan["labels"].append({"value": 5, "name": "ventricles", "colour": "", "meaning": "tissue"})
    (model / "model.json").write_text(json.dumps(plan))
    labels = read_label_map(tiny_patient.labels)
    voxels = labels.voxels.copy()
    voxels[14:22, 18:23, 16:20] = np.where(voxels[14:22, 18:23, 16:20] == 4, 5, voxels[14:22, 18:23, 16:20])
    mask, out, plain = (tmp_path / name for name in ("mask.nii.gz", "out.nii.gz", "plain.nii.gz"))
    write_volume(labels.with_voxels(voxels), mask)
    arguments = ["mask", "--mask", str(mask), "--model", str(model), "--grow", "1"]
    assert main([*arguments, "--out", str(plain)]) == 0
    assert main([*arguments, "--mass-effect", "2", "--out", str(out)]) == 0
    assert "5 ventricles" in capsys.readouterr().out
    records = [json.loads(path.with_name(path.name[:-7] + ".json").read_bytes()) for path in (plain, out)]
    assert [record["mass_effect_mm"] for record in records] == [0, 2]
    without, pushed = read_label_map(plain).voxels, read_label_map(out).voxels
    for value in (0, 1):
        np.testing.assert_array_equal(pushed == value, without == value)
    columns = [np.argwhere(voxels == 5)[:, 2].mean() for voxels in (without, pushed)]
    assert columns[1] < columns[0] - 0.2
    assert main([*arguments, "--mass-effect", "9", "--out", str(out)]) == 2
    assert "push its surroundings by 9 mm" in capsys.readouterr().err
