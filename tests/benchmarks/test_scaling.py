"""What enhancing costs, on a small dataset in this process."""

import json
import shutil

import pytest

from benchmarks.scaling import main
from napari_gem3d import read_volume, write_volume


def test_the_same_volumes_are_made_and_told(tiny_patient, tiny_model, tmp_path, capsys):
    data = tmp_path / "data"
    scan = read_volume(tiny_patient.scan)
    for place in ("imagesTr", "labelsTr"):
        (data / place).mkdir(parents=True)
    for number, name in enumerate("ab"):
        write_volume(scan.with_voxels(scan.voxels // (number + 1)), data / "imagesTr" / f"{name}_0000.nii.gz")
        shutil.copy(tiny_patient.lesions, data / "labelsTr" / f"{name}.nii.gz")
    facts = {"channel_names": {"0": "FLAIR"}, "labels": {"background": 0, "edema": 1}, "file_ending": ".nii.gz"}
    (data / "dataset.json").write_text(json.dumps(facts))
    page = tmp_path / "page.md"
    page.write_text("# Scale\n\n## Measured\n\nold\n")
    call = [str(data), "--out", str(tmp_path / "out"), "--model", str(tiny_model), "--workers", "0"]
    main([*call, "--cases", "2", "--empty", "10", "--write-docs", str(page)])
    results = json.loads((tmp_path / "out" / "scaling.json").read_text())
    assert results["real"]["same"] and results["real"]["runs"][0]["volumes"] == 2 and results["real"]["bytes"] > 0
    assert [row["workers"] for row in results["empty"]] == [0]
    assert "| in-process | 2 |" in page.read_text() and "old" not in page.read_text()
    with pytest.raises(SystemExit, match="is there from an earlier run"):
        main(call)
