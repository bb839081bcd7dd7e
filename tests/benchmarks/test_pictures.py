"""The pictures of the documentation can be drawn again, of any patients."""

import numpy as np
import pytest
from PIL import Image

from benchmarks.pictures import CHANGES, main
from napari_gem3d import read_label_map, read_volume, write_volume
from napari_gem3d.bundle.store import read_plan


def test_the_set_is_drawn_from_kept_volumes(tiny_patient, tiny_model, tmp_path):
    first = read_label_map(tiny_patient.lesions)
    box = np.zeros_like(first.voxels)
    box[10:13, 14:18, 20:26] = 1
    write_volume(first.with_voxels(box), tmp_path / "donor.nii.gz")
    pairs = ((tiny_patient.scan, tiny_patient.lesions), (tiny_patient.scan, tmp_path / "donor.nii.gz"))
    patients = [argument for pair in pairs for argument in ("--patient", *map(str, pair))]
    out, work = tmp_path / "out", tmp_path / "work"
    common = ["--model", str(tiny_model), "--steps", "1", "--out", str(out), "--work", str(work)]
    main([*patients, *common])
    pictures = {path.name: path.read_bytes() for path in out.iterdir()}
    assert set(pictures) == {"counterfactual-edits.png", "counterfactual-volumes.png", "harmonised.png", "failures.png"}
    # One row more: the volume drawn from the unchanged label map.
    heights = [Image.open(out / f"counterfactual-{name}.png").height for name in ("edits", "volumes")]
    assert heights[1] / heights[0] == pytest.approx(6 / 5, rel=0.02)

    table = read_plan(tiny_model).labels
    before = read_label_map(tiny_patient.lesions, table).voxels
    lesion = {name: read_label_map(work / f"{name}-labels.nii.gz", table).voxels == 1 for name in CHANGES}
    assert not lesion["removed"].any() and (lesion["enlarged"] >= (before == 1)).all()
    assert lesion["enlarged"].sum() > (before == 1).sum()
    assert (lesion["moved"] != (before == 1)).any() and lesion["moved"].sum() > 0.5 * (before == 1).sum()
    assert lesion["transplanted"].sum() == box.sum(), "nothing is left of the tumour that was there"
    scan, edited = (read_volume(path).voxels for path in (tiny_patient.scan, work / "removed-edit.nii.gz"))
    assert (edited[before == 1] != scan[before == 1]).any() and np.array_equal(edited[0], scan[0])

    made = {path: path.stat().st_mtime_ns for path in work.glob("*-*.nii.gz") if "labels" not in path.name}
    main([*patients, *common])
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert {path.name: path.read_bytes() for path in out.iterdir()} == pictures


def test_pictures_of_other_patients_do_not_go_into_the_documentation(tiny_patient, capsys):
    with pytest.raises(SystemExit):
        main(["--patient", str(tiny_patient.scan), str(tiny_patient.labels)] * 2)
    assert "do not belong into docs" in capsys.readouterr().err
