"""Cases that cannot be used: what people are told, that nothing half-written remains, and that the others can train."""

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_gem3d.cli.train import main
from napari_gem3d.errors import InputError
from napari_gem3d.io import read_label_map, read_volume, write_volume
from napari_gem3d.labels import LabelMap
from napari_gem3d.training.config.settings import TrainingConfig
from napari_gem3d.training.data.cache import Cache, read_json
from napari_gem3d.training.data.prepare import prepare
from napari_gem3d.volume import Volume

from .conftest import AFFINE, describe, drawn_ct, with_data, write_case


def _image(folder: Path) -> Path:
    return folder / "imagesTr" / "egg1_0000.nii.gz"


def _labels(folder: Path) -> Path:
    return folder / "labelsTr" / "egg1.nii.gz"


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    volume = read_volume(path)
    write_volume(Volume(change(volume.voxels), volume.affine), path)


def _relabel(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    labels = read_label_map(path)
    write_volume(Volume(change(labels.voxels), labels.affine), path)


def _place_labels(folder: Path, shift_mm: float, slices: int) -> None:
    affine = AFFINE.copy()
    affine[0, 3] = shift_mm
    write_volume(LabelMap(read_label_map(_labels(folder)).voxels[:slices], affine), _labels(folder))


def _with_nan(voxels: np.ndarray) -> np.ndarray:
    changed = voxels.astype(np.float32)
    changed[3, 20, 18] = np.nan
    return changed


def _thin(voxels: np.ndarray) -> np.ndarray:
    changed = np.zeros_like(voxels)
    changed[6] = voxels[6]
    return changed


def _outside_the_body(voxels: np.ndarray) -> np.ndarray:
    return np.where(np.indices(voxels.shape)[1] < 4, 1, 0).astype(np.uint8)


def _both_thin(folder: Path) -> None:
    _rewrite(_image(folder), _thin)
    _relabel(_labels(folder), _thin)


def _flat(folder: Path) -> None:
    write_volume(Volume(np.zeros((12, 40, 36), np.int16) + 7, AFFINE), _image(folder))


def _half(voxels: np.ndarray) -> np.ndarray:
    return voxels * np.float32(0.5)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "image truncated": (
        lambda f: _truncate(_image(f)),
        r"egg1_0000\.nii\.gz is truncated or damaged .*; copy it again",
    ),
    "labels truncated": (lambda f: _truncate(_labels(f)), r"egg1\.nii\.gz is truncated or damaged"),
    "empty file": (lambda f: _labels(f).write_bytes(b""), r"egg1\.nii\.gz is an empty file; copy it again"),
    "no label map": (lambda f: _labels(f).unlink(), r"no label map egg1\.nii\.gz; add it"),
    "no image": (lambda f: _image(f).unlink(), r"a label map but no image egg1_0000\.nii\.gz; add the image"),
    "unknown label": (
        lambda f: _relabel(_labels(f), lambda v: v * 7),
        "holds the value 7, but the dataset names only 1 yolk; relabel it or name the value",
    ),
    "fractions": (lambda f: _relabel(_labels(f), _half), "holds fractions, so it is no label map"),
    "negative labels": (lambda f: _relabel(_labels(f), lambda v: -v.astype(np.int16)), "holds the value -1"),
    "not finite": (lambda f: _rewrite(_image(f), _with_nan), "has 1 NaN voxels inside the image; replace them"),
    "constant": (_flat, r"egg1_0000\.nii\.gz is constant"),
    "two dimensions": (lambda f: _rewrite(_image(f), lambda v: v[:1]), "is a 2D image"),
    "labels moved": (
        lambda f: _place_labels(f, 9.0, 12),
        r"egg1\.nii\.gz has the voxels of its image, but lies up to 9 mm from it; one of the two headers is wrong",
    ),
    "labels elsewhere": (lambda f: _place_labels(f, 900.0, 9), "does not overlap its image in the patient's space"),
    "labels half outside": (lambda f: _place_labels(f, 20.0, 10), "of the labelled voxels of .* lie outside its image"),
    "labels beside the body": (
        lambda f: _relabel(_labels(f), _outside_the_body),
        "% of the labelled voxels of .* lie outside the body in",
    ),
    "one slice": (_both_thin, "body spans fewer than two slices of 1 mm"),
    "ignore": (
        lambda f: (
            describe(f, labels={"background": 0, "yolk": 1, "ignore": 2}),
            _relabel(_labels(f), lambda v: v * 2),
        ),
        "ml of it are marked 'ignore', so what is there is not known",
    ),
    "too large a value": (
        lambda f: (describe(f, labels={}), _relabel(_labels(f), lambda v: v.astype(np.uint16) * 300)),
        "holds the value 300; renumber labels to 1 up to 249",
    ),
}


def assert_nothing_half_written(run: Path) -> None:
    assert not (run / "plan.json").exists()
    assert not (run / "split.json").exists()
    assert not list(run.rglob(".*"))
    assert {path.name for path in run.rglob("*") if path.is_file()} <= {"fingerprint.json", "foreground.npy"}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_case_is_named_with_its_reason_and_left_out_when_told_to(
    own: Path, config: TrainingConfig, tmp_path: Path, kind: str
) -> None:
    breaking, message = BROKEN[kind]
    breaking(own)
    run = tmp_path / "run"
    with pytest.raises(InputError, match=r"1 of the cases cannot be used(.|\n)*--skip-broken") as refused:
        prepare(own, run, config, say=lambda _: None)
    reason = read_json(run / "fingerprint.json")["broken"]["egg1"]
    assert f"  egg1: {reason}\n" in str(refused.value)
    assert_nothing_half_written(run)
    assert re.search(message, reason)
    assert str(tmp_path) not in (run / "fingerprint.json").read_text()

    said: list[str] = []
    cache = prepare(own, run, config, said.append, skip_broken=True)
    assert sorted(cache.cases("train") + cache.cases("validation")) == ["egg0", "egg2"]
    assert any("left out" in line and reason in line for line in said)
    assert not cache.has("egg1", "images")


def test_the_command_exits_with_2_and_one_message(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _truncate(_image(own))
    assert main(["prepare", "--data", str(own), "--out", str(tmp_path / "run"), "--config", "tiny"]) == 2
    shown = capsys.readouterr().err
    assert "egg1: egg1_0000.nii.gz is truncated" in shown
    assert "Traceback" not in shown


def test_a_repaired_case_is_looked_at_again(own: Path, config: TrainingConfig, tmp_path: Path) -> None:
    whole = _image(own).read_bytes()
    _truncate(_image(own))
    cache = prepare(own, tmp_path / "run", config, lambda _: None, skip_broken=True)
    held_out = cache.cases("validation")
    _image(own).write_bytes(whole)
    prepare(own, tmp_path / "run", config, lambda _: None)
    assert "egg1" in cache.cases("train")
    assert cache.cases("validation") == held_out
    assert read_json(cache.folder / "fingerprint.json")["broken"] == {}


def test_a_case_that_breaks_between_inspection_and_preparation(
    own: Path, config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_gem3d.training.data import prepare as module

    planned = module.make_plan

    def plan_and_break(*args: object) -> object:
        _truncate(_image(own))
        return planned(*args)

    monkeypatch.setattr(module, "make_plan", plan_and_break)
    with pytest.raises(InputError, match=r"1 of the cases cannot be prepared(.|\n)*egg1: .* is truncated"):
        prepare(own, tmp_path / "run", config, say=lambda _: None)
    cache = Cache(tmp_path / "run")
    assert not list(cache.folder.rglob(".*"))
    assert not cache.has("egg1", "images") and not cache.has("egg1", "labels")
    assert cache.has("egg0", "images") and cache.has("egg2", "images")
    with pytest.raises(InputError, match="egg1 is not prepared; run napari-gem3d-train prepare again"):
        cache.check()


def test_values_of_a_ct_that_are_not_hu(own: Path, config: TrainingConfig, tmp_path: Path) -> None:
    describe(own, channel_names={"0": "CT"}, labels={"liver": 1, "spleen": 2})
    for index in range(3):
        scan, labels = drawn_ct(index)
        write_case(own, f"egg{index}", scan + (1200 if index == 1 else 0), labels)
    with pytest.raises(InputError, match=r"egg1: egg1_0000.nii.gz runs from \d+ to \d+, which is not HU; rescale it"):
        prepare(own, tmp_path / "run", config, say=lambda _: None)
    assert_nothing_half_written(tmp_path / "run")


def test_a_case_without_the_label_that_is_the_body(own: Path, config: TrainingConfig, tmp_path: Path) -> None:
    describe(own, labels={"yolk": 1, "egg": 2})
    for index in (0, 2):
        file = own / "labelsTr" / f"egg{index}.nii.gz"
        image = read_volume(own / "imagesTr" / f"egg{index}_0000.nii.gz").voxels
        _relabel(file, lambda v, image=image: np.where(v == 1, 1, 2 * (image > 0)).astype(np.uint8))
    with pytest.raises(InputError, match="egg1: It has no voxel of the body label 'egg'; label the body"):
        prepare(own, tmp_path / "run", with_data(config, body_label="egg"), say=lambda _: None)
    assert_nothing_half_written(tmp_path / "run")


def test_scans_of_two_kinds(own: Path, config: TrainingConfig, tmp_path: Path) -> None:
    describe(own, channel_names={}, labels={})
    write_case(own, "egg1", *drawn_ct())
    with pytest.raises(InputError, match=r"values of a CT \(egg1\) and some have not \(egg0\).*data\.modality"):
        prepare(own, tmp_path / "run", config, say=lambda _: None)
    assert_nothing_half_written(tmp_path / "run")


def test_a_healthy_case_is_not_broken(own: Path, config: TrainingConfig, tmp_path: Path) -> None:
    _relabel(_labels(own), np.zeros_like)
    cache = prepare(own, tmp_path / "run", config, say=lambda _: None)
    assert set(np.unique(cache.array("egg1", "labels"))) == {0, 2}


@pytest.mark.parametrize("where", ["fingerprint.foreground", "prepare.prepare_scan"])
def test_what_nobody_has_thought_of_does_not_end_the_run(
    own: Path, config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    module, name = where.split(".")
    home = importlib.import_module(f"napari_gem3d.training.data.{module}")
    real = getattr(home, name)

    def stumbling(*given: Any, **more: Any) -> Any:
        scan = next(one for one in given if isinstance(one, Volume))
        if "egg1" in str(scan.source):
            raise IndexError("list index out of range")
        return real(*given, **more)

    monkeypatch.setattr(home, name, stumbling)
    with pytest.raises(
        InputError, match=r"1 of the cases cannot be(.|\n)*egg1: It cannot be .* \(IndexError: list index"
    ):
        prepare(own, tmp_path / "run", config, say=lambda _: None)
