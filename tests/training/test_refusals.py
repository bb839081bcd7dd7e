"""Configurations and states of a run that cannot be used: exit code 2, one sentence, and nothing written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_gem3d.cli import train as command
from napari_gem3d.cli.train import main
from napari_gem3d.training.config.loading import load_config
from napari_gem3d.training.record import Records, StageRecord, decide, stage_settings


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(
    capsys: pytest.CaptureFixture[str], stage: str, data: Path, out: Path, *options: object, config: str = "tiny"
) -> str:
    """Run the command line; returns its one sentence."""
    capsys.readouterr()
    arguments = [stage, "--data", data, "--out", out, "--config", config, *options]
    assert main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("napari-gem3d-train: ") and error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "slice.leraning_rate=1"], "There is no setting 'slice.leraning_rate'; did you mean"),
        (["--set", "vae.crop=big"], "The setting 'vae.crop' cannot be 'big'"),
        (["--config", "nowhere.yaml"], "There is no configuration 'nowhere.yaml'; give a YAML file or a preset"),
        (["--device", "tpu"], "The device 'tpu' is unknown"),
        (["--set", "precision=float16", "--device", "cpu"], "float16 trains on cuda alone, not on cpu"),
        (["--vae", "/nowhere/vae"], "There is no VAE in /nowhere/vae; give a folder of a diffusers AutoencoderKL"),
        (["--init", "/nowhere/bundle"], "There is no model '/nowhere/bundle'"),
        (["--data", "/nowhere/data"], "The dataset /nowhere/data does not exist; check --data."),
    ],
)
def test_what_cannot_be_used_is_told_before_anything_is_written(
    dataset: Path, tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, "all", dataset, tmp_path / "run", *options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("stage", "options", "message"),
    [
        ("all", [], "already holds the stage vae, finished; add --resume to go on from it, or --overwrite to train"),
        ("position", [], "already holds the stage position, finished"),
        ("all", ["--resume", "--set", "vae.channels=[16, 16, 16]"], "vae.channels was [8, 16, 16], is [16, 16, 16]"),
        ("slice", ["--resume", "--set", "slice.near_mm=3"], "slice.near_mm was 15.0, is 3.0"),
        ("all", ["--resume", "--set", "seed=1"], "The stage vae was finished with other settings (seed was 0, is 1)"),
        ("all", ["--resume", "--set", "informed=false"], "The stage slice was finished with other settings (informed"),
        ("all", ["--resume", "--set", "window=5"], "The stage volume was finished with other settings (window was 4"),
        ("all", ["--resume", "--set", "slice.steps=9"], "volume was trained on another result of the stage slice"),
        ("all", ["--resume", "--set", "vae.steps=9"], "slice was trained on another result of the stage vae"),
    ],
)
def test_a_finished_run_is_not_trained_over_unasked(
    finished: Path, dataset: Path, stage: str, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(finished)
    error = refused(capsys, stage, dataset, finished, *options)
    assert message in error
    assert "--overwrite" in error
    assert contents(finished) == before


def broken_records(folder: Path) -> None:
    (folder / "run.json").write_text("{")


def broken_plan(folder: Path) -> None:
    plan = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps({**plan, "size": [30, 30]}))


def no_bundle(folder: Path) -> None:
    shutil.rmtree(folder / "bundle")


def no_slice_unet(folder: Path) -> None:
    for part in ("slice_unet", "volume_unet"):
        shutil.rmtree(folder / "bundle" / part)


def broken_weights(folder: Path) -> None:
    (folder / "bundle" / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"nothing")


@pytest.mark.parametrize(
    ("spoil", "stage", "message"),
    [
        (broken_records, "all", "run.json is damaged; remove it to go on from the checkpoints"),
        (broken_plan, "vae", "plan.json is not usable"),
        (no_bundle, "volume", "has no VAE yet; run the stages prepare and vae first (or all)"),
        (no_slice_unet, "volume", "has no slice_unet yet; run the stages in the order prepare, vae, slice"),
        (broken_weights, "slice", "are missing or damaged; get the bundle again"),
    ],
)
def test_a_spoilt_run_is_told_and_nothing_of_it_lost(
    finished: Path,
    dataset: Path,
    tmp_path: Path,
    spoil: Callable[[Path], None],
    stage: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    spoil(folder)
    before = contents(folder)
    assert message in refused(capsys, stage, dataset, folder, "--overwrite")
    assert contents(folder) == before


def test_a_stage_without_those_before_it_is_told(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "run the stages prepare and vae first" in refused(capsys, "volume", dataset, tmp_path / "run")
    assert "run napari-gem3d-train prepare" in refused(capsys, "vae", dataset, tmp_path / "run")
    assert set(contents(tmp_path / "run")) <= {"config.yaml", "run.lock"}


def test_a_file_in_the_place_of_the_run_is_left_alone(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").write_text("notes")
    assert "is a file; give a folder with --out" in refused(capsys, "all", dataset, tmp_path / "run")
    assert (tmp_path / "run").read_text() == "notes"


def test_missing_packages_are_told_with_the_command(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "tensorboard" else object())
    error = refused(capsys, "slice", dataset, tmp_path / "run")
    assert error == (
        "napari-gem3d-train: Training needs tensorboard, which is not installed; "
        "run pip install 'napari-gem3d[train]'.\n"
    )


def test_options_that_argparse_refuses_are_one_sentence_too(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["vae", "--out", "x"], ["train"], ["all", "--data", "x", "--out", "y", "--steps", "3"]):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


def records_of(folder: Path, **stages: StageRecord) -> Records:
    """A run folder in which stages have checkpoints, and those that are finished a part of a bundle."""
    parts = {"vae": "vae", "slice": "slice_unet", "volume": "volume_unet", "position": "position_unet"}
    records = Records(folder)
    for stage, record in stages.items():
        (folder / stage).mkdir()
        (folder / stage / "checkpoint-000004.pt").touch()
        (folder / "bundle" / parts[stage]).mkdir(parents=True)
        (folder / "bundle" / parts[stage] / "config.json").touch()
        records.write(stage, record)
    return Records(folder)


def test_a_stage_under_way_may_change_its_course_but_not_its_network(tmp_path: Path) -> None:
    tiny = load_config("tiny")
    begun = StageRecord(settings=stage_settings(tiny, "slice"), upstream="v")
    vae = StageRecord(settings=stage_settings(tiny, "vae"), result="v", finished=True)
    records = records_of(tmp_path, vae=vae, slice=begun)
    for change in ("slice.learning_rate=1e-5", "slice.batch=2", "slice.steps=2", "slice.far_share=0"):
        config = load_config("tiny", [change])
        assert decide(records, config, ("vae", "slice"), resume=True, overwrite=False) == {
            "vae": "skip",
            "slice": "continue",
        }
    for change in ("slice.channels=[16, 16, 16]", "schedule.beta_end=0.02", "informed=false", "seed=3"):
        config = load_config("tiny", [change])
        with pytest.raises(ValueError, match="with other settings"):
            decide(records, config, ("vae", "slice"), resume=True, overwrite=False)


def test_technical_settings_may_always_change(tmp_path: Path) -> None:
    tiny = load_config("tiny")
    records = records_of(tmp_path, vae=StageRecord(settings=stage_settings(tiny, "vae"), result="v", finished=True))
    changes = [
        "vae.workers=1",
        "vae.validate_every=7",
        "vae.checkpoint_minutes=1",
        "device=cpu",
        "name=x",
        "vae.steps=1",
    ]
    assert decide(records, load_config("tiny", changes), ("vae",), resume=True, overwrite=False) == {"vae": "skip"}


def test_a_longer_budget_goes_on_and_none_is_the_longest(tmp_path: Path) -> None:
    config = load_config("tiny", ["vae.minutes=5"])
    records = records_of(tmp_path, vae=StageRecord(settings=stage_settings(config, "vae"), result="v", finished=True))
    for change, action in (("vae.minutes=6", "continue"), ("vae.minutes=4", "skip"), ("vae.minutes=null", "continue")):
        changed = load_config("tiny", [change])
        assert decide(records, changed, ("vae",), resume=True, overwrite=False) == {"vae": action}


def test_a_finished_stage_whose_result_is_gone_is_done_again_from_its_checkpoint(tmp_path: Path) -> None:
    tiny = load_config("tiny")
    vae = StageRecord(settings=stage_settings(tiny, "vae"), result="v", finished=True)
    below = StageRecord(settings=stage_settings(tiny, "slice"), upstream="v", result="s", finished=True)
    records = records_of(tmp_path, vae=vae, slice=below)
    shutil.rmtree(tmp_path / "bundle")
    actions = decide(records, tiny, ("vae", "slice"), resume=True, overwrite=False)
    assert actions == {"vae": "continue", "slice": "continue"}


def test_overwriting_alone_trains_everything_anew(tmp_path: Path) -> None:
    tiny = load_config("tiny")
    records = records_of(tmp_path, vae=StageRecord(settings=stage_settings(tiny, "vae"), result="v", finished=True))
    assert decide(records, tiny, ("vae", "slice"), resume=False, overwrite=True) == {"vae": "anew", "slice": "start"}
    assert decide(records, tiny, ("vae", "slice"), resume=True, overwrite=True) == {"vae": "skip", "slice": "start"}


def test_polishing_a_vae_needs_one(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is none; train one first" in refused(
        capsys, "all", dataset, tmp_path / "run", "--set", "vae.train_encoder=false"
    )
    assert not (tmp_path / "run" / "vae").exists()
