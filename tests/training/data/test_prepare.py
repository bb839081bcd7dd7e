"""Preparing: what is cached, what an edit or a change makes anew, and runs that are interrupted."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from napari_gem3d.bundle.preprocessing import prepare_labels, prepare_scan
from napari_gem3d.errors import InputError, OutputError
from napari_gem3d.foreground import foreground
from napari_gem3d.io import read_label_map, read_volume
from napari_gem3d.training.config.settings import TrainingConfig
from napari_gem3d.training.data import prepare as module
from napari_gem3d.training.data.cache import Cache, read_json
from napari_gem3d.training.data.prepare import prepare

from .conftest import describe, drawn_ct, with_data, write_case


def quiet(_: str) -> None:
    pass


def edit_plan(folder: Path, **changes: object) -> None:
    path = folder / "plan.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def times(folder: Path) -> dict[str, int]:
    """When each array was written."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*.npy")}


@pytest.fixture
def prepared(own: Path, config: TrainingConfig, tmp_path: Path) -> Cache:
    return prepare(own, tmp_path / "run", config, quiet)


def test_the_cache_is_what_generation_will_see(prepared: Cache, own: Path) -> None:
    plan = prepared.plan
    for case in prepared.cases("train") + prepared.cases("validation"):
        scan, mask = (
            read_volume(own / "imagesTr" / f"{case}_0000.nii.gz"),
            read_label_map(own / "labelsTr" / f"{case}.nii.gz"),
        )
        seen = prepare_labels(plan, mask, scan)
        images, labels = prepared.array(case, "images"), prepared.array(case, "labels")
        assert (images.dtype, labels.dtype) == (np.float16, np.uint8)
        assert images.shape == labels.shape == (2, len(seen.slices), 32, 32)
        np.testing.assert_array_equal(labels[0], seen.labels)
        np.testing.assert_array_equal(
            images[0], prepare_scan(plan, scan, seen.box, foreground(scan)).astype(np.float16)
        )
        np.testing.assert_array_equal(labels[1], labels[0][..., ::-1])
    assert [(label.name, label.meaning) for label in plan.labels] == [
        ("yolk", "organ"),
        ("brain", "body"),
        ("ventricles", "tissue"),
        ("csf", "tissue"),
        ("grey matter", "tissue"),
    ]


def test_scans_that_show_no_tissue_are_named_and_known_to_training(
    own: Path, config: TrainingConfig, tmp_path: Path
) -> None:
    said: list[str] = []
    cache = prepare(own, tmp_path / "run", config, said.append)
    stamp = cache.stamp(cache.cases("train")[0])
    assert stamp["unknown"] == [3, 4, 5]
    told = [line for line in said if "anatomy is not known" in line]
    assert len(told) == 1 and "egg0" in told[0] and "would be fluid" in told[0]
    again: list[str] = []
    prepare(own, tmp_path / "run", config, again.append)
    assert any("are prepared by" in line for line in again), "notes in a stamp do not make it out of date"


def test_the_fingerprint_measures_every_case(prepared: Cache) -> None:
    facts = read_json(prepared.folder / "fingerprint.json")
    egg = facts["cases"]["egg2"]
    assert facts["broken"] == {}
    assert (egg["shape"], egg["spacing"], egg["dtype"], egg["modality"]) == ([12, 40, 36], [1, 1, 1], "int16", "MR")
    assert egg["constant_background"] and egg["same_grid"]
    # An ellipsoid with half axes 5, 14 and 12 mm about a voxel: 9, 27 and 23 voxels lie inside.
    assert egg["body_mm"] == [9, 27, 23]
    assert egg["foreground_ml"] == pytest.approx(4 / 3 * np.pi * 5 * 14 * 12 / 1000, rel=0.02)
    assert egg["percentiles"][4] == pytest.approx(300, abs=10)
    assert egg["labels"]["1"]["volume_ml"] == pytest.approx(4 / 3 * np.pi * 2 * 4 * 4 / 1000, rel=0.2)
    assert egg["labels"]["1"]["percentiles"][1] == pytest.approx(500, abs=10)


def test_a_ct_prepares_by_default(own: Path, config: TrainingConfig, tmp_path: Path) -> None:
    describe(own, channel_names={}, labels={"background": 0, "kidney_left": 1, "kidney_right": 2})
    for index in range(3):
        write_case(own, f"egg{index}", *drawn_ct(index))
    said: list[str] = []
    cache = prepare(own, tmp_path / "run", config, said.append)
    plan = cache.plan
    assert (plan.modality, plan.intensity.kind, plan.intensity.low, plan.intensity.high) == (
        "CT",
        "window",
        -1000,
        1000,
    )
    assert not plan.background_outside_body and not cache.mirrored
    assert plan.labels.body is not None and (plan.labels.body.name, plan.labels.body.value) == ("body", 3)
    image = cache.array("egg0", "images")[0].astype(np.float32)
    tissue = image[cache.array("egg0", "labels")[0] == 3]
    assert 1000 * float(np.median(tissue)) == pytest.approx(40, abs=3)
    assert 1000 * float(image.min()) == pytest.approx(-1000, abs=30)
    table = next(line for line in said if "Plan of" in line)
    for words in ("3 of 3 patients", "-1000 to 1000 HU", "kidney_left", "3 body, each scan's foreground", "1 mm"):
        assert words in table


def test_preparing_again_writes_nothing(prepared: Cache, own: Path, config: TrainingConfig) -> None:
    before, said = times(prepared.folder), []
    prepare(own, prepared.folder, config, said.append)
    assert times(prepared.folder) == before
    assert said == [f"prepare: all 3 cases are prepared by {prepared.folder / 'plan.json'}"]


def test_names_and_colours_of_an_edited_plan_redo_nothing(prepared: Cache, own: Path, config: TrainingConfig) -> None:
    before = times(prepared.folder)
    labels = prepared.plan.labels.to_json()
    labels[0].update(name="tumour", colour="#123456", meaning="lesion")
    edit_plan(prepared.folder, labels=labels, default_steps=7, name="other")
    prepared.check()
    prepare(own, prepared.folder, config, quiet)
    assert times(prepared.folder) == before
    assert prepared.plan.labels.by_value(1).name == "tumour"


def test_an_edited_plan_is_noticed_and_followed(prepared: Cache, own: Path, config: TrainingConfig) -> None:
    prepared.write("egg0", "latents-abc", np.zeros(3))
    prepared.check()
    edit_plan(prepared.folder, spacing=[2, 1, 1], size=[64, 32])
    with pytest.raises(
        InputError, match=r"plan\.json was changed since egg\d was prepared; run napari-gem3d-train prepare"
    ):
        prepared.check()
    depth = prepared.array("egg0", "images").shape[1]
    prepare(own, prepared.folder, config, quiet)
    prepared.check()
    assert prepared.array("egg0", "images").shape[1] in (depth // 2, depth // 2 + 1)
    assert prepared.array("egg0", "labels").shape[2:] == (64, 32)
    assert not prepared.has("egg0", "latents-abc")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spacing": [0, 1, 1]}, r"plan\.json is not usable \(.*spacing must be positive\); correct it, or delete it"),
        ({"colour": 1}, r"plan\.json is not usable \(colour"),
        ({"size": [40, 32]}, r"size \(40, 32\); make both multiples of 32"),
        ({"labels": [{"value": 2, "name": "brain", "meaning": "body"}]}, r"egg0: .* holds the value 1, but only"),
        ({"labels": [{"value": 0, "name": "brain"}]}, r"plan\.json is not usable.* 0 "),
    ],
)
def test_an_edit_that_breaks_the_plan_is_named(
    prepared: Cache, own: Path, config: TrainingConfig, changes: dict[str, object], message: str
) -> None:
    edit_plan(prepared.folder, **changes)
    with pytest.raises(InputError, match=message):
        prepare(own, prepared.folder, config, quiet)
    assert not list(prepared.folder.rglob(".*"))


def test_settings_that_would_make_another_plan_are_not_ignored(
    prepared: Cache, own: Path, config: TrainingConfig
) -> None:
    with pytest.raises(InputError, match=r"made with another data\.spacing; edit that file, or delete it to plan anew"):
        prepare(own, prepared.folder, with_data(config, spacing=(2, 1, 1)), quiet)
    (prepared.folder / "plan.json").unlink()
    prepare(own, prepared.folder, with_data(config, spacing=(2, 1, 1)), quiet)
    assert prepared.plan.spacing == (2, 1, 1)
    prepared.check()


def test_other_variants_are_made_anew_and_others_stay(prepared: Cache, own: Path, config: TrainingConfig) -> None:
    image = np.array(prepared.array("egg1", "images"))
    prepare(own, prepared.folder, with_data(config, variants=3), quiet)
    assert prepared.array("egg1", "images").shape[0] == 3
    np.testing.assert_array_equal(prepared.array("egg1", "images")[:2], image)


def test_a_changed_scan_is_prepared_anew_and_no_other(prepared: Cache, own: Path, config: TrainingConfig) -> None:
    before = times(prepared.folder)
    file = own / "labelsTr" / "egg1.nii.gz"
    file.write_bytes((own / "labelsTr" / "egg0.nii.gz").read_bytes())
    prepare(own, prepared.folder, config, quiet)
    after = times(prepared.folder)
    assert {name.split("/")[1] for name in after if after[name] != before[name]} == {"egg1"}


def test_foreground_is_found_once_a_case(
    own: Path, config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_gem3d import foreground as room
    from napari_gem3d.bundle import preprocessing
    from napari_gem3d.training.data import fingerprint

    calls: list[int] = []

    def counted(volume: object) -> object:
        calls.append(1)
        return found(volume)

    found = room.foreground
    monkeypatch.setattr(preprocessing, "foreground", counted)
    monkeypatch.setattr(fingerprint, "foreground", counted)
    prepare(own, tmp_path / "run", config, quiet)
    assert len(calls) == 3


def test_processes_make_the_same_cache(prepared: Cache, own: Path, config: TrainingConfig, tmp_path: Path) -> None:
    environment = dict(os.environ)
    other = prepare(own, tmp_path / "parallel", with_data(config, workers=2), quiet)
    assert dict(os.environ) == environment
    for path in prepared.folder.rglob("*.npy"):
        assert path.read_bytes() == (other.folder / path.relative_to(prepared.folder)).read_bytes()
    assert (prepared.folder / "plan.json").read_bytes() == (other.folder / "plan.json").read_bytes()


def test_a_worker_loads_no_torch() -> None:
    report = "import napari_gem3d.training.data.prepare, sys; print({'torch', 'napari', 'skimage'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_case_that_was_interrupted_is_done_again(
    own: Path, config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(100))
    varied = module.vary

    def vary_and_stop(*args: object) -> object:
        if next(calls) == 3:  # in the second case, after its first variant
            raise KeyboardInterrupt
        return varied(*args)

    monkeypatch.setattr(module, "vary", vary_and_stop)
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        prepare(own, run, config, quiet)
    monkeypatch.undo()
    assert not list(run.rglob(".*"))
    done = [path.parent.name for path in run.rglob("images.npy")]
    assert done == ["egg0"]
    before = times(run)
    cache = prepare(own, run, config, quiet)
    after = times(run)
    assert all(after[name] == before[name] for name in before)
    whole = prepare(own, tmp_path / "whole", config, quiet)
    for case in ("egg0", "egg1", "egg2"):
        np.testing.assert_array_equal(cache.array(case, "images"), whole.array(case, "images"))


@pytest.mark.slow
def test_killed_while_preparing_it_goes_on(own: Path, config: TrainingConfig, tmp_path: Path) -> None:
    for index in range(3, 24):
        for sub, ending in (("imagesTr", "_0000.nii.gz"), ("labelsTr", ".nii.gz")):
            shutil.copy(own / sub / f"egg{index % 3}{ending}", own / sub / f"egg{index:02d}{ending}")
    run = tmp_path / "run"
    parallel = with_data(config, workers=2).model_dump_json()
    script = (
        "from pathlib import Path; from napari_gem3d.training.data.prepare import prepare, TrainingConfig\n"
        f"prepare(Path({str(own)!r}), Path({str(run)!r}), TrainingConfig.model_validate_json({parallel!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(run.glob("cache/*/images.npy"))) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert not psutil.wait_procs(workers, timeout=20)[1], "workers outlived the one that started them"
    before = times(run)
    assert before
    cache = prepare(own, run, config, quiet)
    complete = {case for case in cache.cases("train") + cache.cases("validation") if cache.stamp(case)}
    assert len(complete) == 24
    assert not list(run.rglob(".*"))
    cache.check()
    # What the killed processes were just writing, under hidden names, is gone.
    after = times(run)
    kept = [name for name, written in before.items() if after.get(name) == written and name.endswith("labels.npy")]
    assert len(kept) >= 1
    np.testing.assert_array_equal(cache.array("egg03", "images")[0], cache.array("egg0", "images")[0])


def test_a_full_disk_is_seen_before_anything_is_written(
    own: Path, config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(InputError, match=r"The cache needs .* GB, but .* has .* GB free; choose another --out"):
        prepare(own, tmp_path / "run", config, quiet)
    assert not list((tmp_path / "run").rglob("images.npy"))


def test_a_disk_that_fills_up_is_no_fault_of_the_cases(
    own: Path, config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", full)
    for skip in (False, True):
        with pytest.raises(OutputError, match=r"cannot be written \(No space left on device\)") as error:
            prepare(own, tmp_path / "run", config, quiet, skip_broken=skip)
        assert "of the cases" not in str(error.value)
    assert not (tmp_path / "run" / "fingerprint.json").exists()
