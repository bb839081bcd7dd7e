"""The command line as people type it: exit codes, one sentence for every mistake, Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from napari_gem3d import InputError, __version__, read_label_map, read_volume
from napari_gem3d.cli import demo, view
from napari_gem3d.cli.main import COMMANDS, main
from napari_gem3d.sampling.job import Job
from napari_gem3d.sampling.recipe import read_recipe


def generate_arguments(patient, model, out: Path, *more: str) -> list[str]:
    paths = ["--mask", str(patient.labels), "--informed", str(patient.scan), "--model", str(model), "--out", str(out)]
    return ["generate", *paths, "--seed", "1", *more]


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr."""
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("napari-gem3d: "), lines
    return lines[0]


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS), ["--version"]])
def test_help_exits_with_0(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 0
    shown = capsys.readouterr().out
    assert "napari-gem3d" in shown
    if arguments == ["--version"]:
        assert shown.strip() == f"napari-gem3d {__version__}"


def test_help_needs_neither_torch_nor_napari():
    code = (
        "import sys\nfrom napari_gem3d.cli.main import main\ntry:\n    main(['generate', '--help'])\n"
        "except SystemExit:\n    pass\nassert not {'torch', 'napari', 'diffusers', 'rich'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate"], "required: --mask, --informed, --out (see napari-gem3d generate --help)"),
        (["enhance", "data", "--out", "new", "--workers", "many"], "invalid int value: 'many'"),
        (["replay"], "required: RECIPE.json"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["demo", "--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_a_wrong_command_line_is_one_sentence_and_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert message in complaint(capsys)


def test_slice_and_position_exclude_each_other(tiny_patient, tiny_model, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(generate_arguments(tiny_patient, tiny_model, tmp_path / "o.nii", "--slice", "3", "--position", "0.5"))
    assert exit_.value.code == 2
    assert "not allowed with" in complaint(capsys)


def test_generate_then_replay(tiny_patient, tiny_model, tmp_path, capsys):
    out = tmp_path / "new" / "out.nii.gz"
    assert main(generate_arguments(tiny_patient, tiny_model, out, "--position", "0.4", "--device", "cpu")) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"Wrote {out} (recipe: out.json, seed 1) in ")
    assert "32 slices" in printed.err and "100%" in printed.err
    recipe = json.loads(out.with_name("out.json").read_bytes())
    assert recipe["informed_slice"] == round(0.4 * 31) and recipe["seed"] == 1
    again = tmp_path / "again.nii.gz"
    assert main(["replay", str(out.with_name("out.json")), "--out", str(again)]) == 0
    assert again.read_bytes() == out.read_bytes()
    assert "differ" not in capsys.readouterr().err


def test_replay_tells_what_may_differ(tiny_patient, tiny_model, tmp_path, capsys):
    out = tmp_path / "out.nii.gz"
    main(generate_arguments(tiny_patient, tiny_model, out))
    path = tmp_path / "out.json"
    recipe = json.loads(path.read_bytes())
    recipe["versions"]["torch"] = "1.0"
    path.write_text(json.dumps(recipe))
    capsys.readouterr()
    assert main(["replay", str(path), "--device", "cpu"]) == 0
    assert "voxels may differ slightly (torch 1.0 then" in capsys.readouterr().err


def test_bad_input_is_one_sentence_and_2(tiny_patient, tiny_model, tmp_path, capsys):
    out = tmp_path / "out.nii.gz"
    for more, message in (
        (["--mask", "nowhere.nii.gz"], "nowhere.nii.gz does not exist; check the path."),
        (["--mask", str(tiny_patient.lesions)], "--body"),
        (["--slice", "99"], "no slice 99"),
        (["--model", "brain-of-a-mouse"], "There is no model 'brain-of-a-mouse'"),
        (["--informed", "generated"], "has no position model"),
        (["--out", str(tmp_path / "out.png")], "does not end in .nii or .nii.gz"),
    ):
        assert main(generate_arguments(tiny_patient, tiny_model, out, *more)) == 2
        assert message in complaint(capsys)
    assert main(["replay", str(tiny_patient.scan)]) == 2
    assert "is no recipe" in complaint(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def interrupted(monkeypatch) -> Iterator[None]:
    """Ctrl-C as soon as the first slices of the start window are finished."""
    # A test run in the background of a shell inherits an interrupt that is ignored.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    run = Job.run

    def interrupting(self, cancel=None, **options):
        for part in run(self, cancel, **options):
            yield part
            if self.recipe.start in part.indices:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)

    monkeypatch.setattr(Job, "run", interrupting)
    yield
    signal.signal(signal.SIGINT, inherited)


def test_ctrl_c_stops_in_order_and_writes_nothing(tiny_patient, tiny_model, tmp_path, capsys, interrupted):
    assert main(generate_arguments(tiny_patient, tiny_model, tmp_path / "out.nii.gz")) == 130
    assert "interrupted, nothing was written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_with_keep_partial_writes_what_is_finished(tiny_patient, tiny_model, tmp_path, capsys, interrupted):
    out = tmp_path / "out.nii.gz"
    assert main(generate_arguments(tiny_patient, tiny_model, out, "--keep-partial")) == 130
    assert "Wrote the slices finished so far to" in capsys.readouterr().out
    assert not out.exists() and read_volume(tmp_path / "out.partial.nii.gz").voxels.any()


def test_resume_goes_on_with_what_was_kept(tiny_patient, tiny_model, tmp_path, capsys, interrupted, monkeypatch):
    out = tmp_path / "out.nii.gz"
    assert main(generate_arguments(tiny_patient, tiny_model, out, "--resume")) == 2
    assert "There is no out.partial" in complaint(capsys)
    assert main(generate_arguments(tiny_patient, tiny_model, out, "--keep-partial")) == 130
    assert "the same command with --resume goes on from there" in capsys.readouterr().err
    monkeypatch.undo()
    assert main(generate_arguments(tiny_patient, tiny_model, out, "--resume")) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json", "out.nii.gz"]


def test_ctrl_c_while_loading_is_130(monkeypatch, tiny_patient, tiny_model, tmp_path, capsys):
    def loading(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("napari_gem3d.sampling.generation.open_volume", loading)
    assert main(generate_arguments(tiny_patient, tiny_model, tmp_path / "out.nii.gz")) == 130
    assert complaint(capsys).endswith("interrupted, nothing was written.")


def test_the_first_ctrl_c_asks_and_the_second_one_insists():
    from napari_gem3d.cli.progress import cancelling

    with cancelling() as cancel:
        os.kill(os.getpid(), signal.SIGINT)
        assert cancel.wait(1)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_doctor_tells_versions_and_nothing_personal(capsys):
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    for word in (f"napari-gem3d {__version__}", "torch", "memory", "chosen: ", "Models", "diffusers", "napari"):
        assert word in shown
    assert str(Path.home()) not in shown and str(Path.cwd()) not in shown


class Launched:
    """Stands in for the viewer."""

    def __init__(self, monkeypatch) -> None:
        self.calls: list[tuple[list[Path], bool]] = []
        for module in (view, demo):
            monkeypatch.setattr(module, "open_viewer", lambda files, demo=False: self.calls.append((files, demo)))


def test_files_alone_mean_view(monkeypatch, tiny_patient):
    launched = Launched(monkeypatch)
    assert main([]) == main(["view"]) == main([str(tiny_patient.scan), str(tiny_patient.labels)]) == 0
    assert main(["demo"]) == 0
    assert launched.calls == [([], False), ([], False), ([tiny_patient.scan, tiny_patient.labels], False), ([], True)]


def test_a_mistyped_command_is_told_from_a_file(monkeypatch, capsys):
    launched = Launched(monkeypatch)
    assert main(["genrate"]) == 2
    assert "'genrate' is neither a command nor an existing file" in complaint(capsys)
    assert launched.calls == []


def test_without_a_display_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match=r"no display .* generate, or demo --headless"):
        view.open_viewer([])


def test_without_napari_the_extra_is_named(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":99")
    monkeypatch.setitem(sys.modules, "napari", None)
    for name in [name for name in sys.modules if name.startswith("napari_gem3d.viewer.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(InputError, match=r"needs napari and a Qt binding .*pip install 'napari-gem3d\[viewer\]'"):
        view.open_viewer([])


def test_demo_headless_leaves_volume_recipe_and_picture(monkeypatch, tiny_model, tmp_path, capsys):
    # The sample patients are real-sized; the model here is tiny, so only its name is replaced.
    from napari_gem3d.bundle import bundled_models

    if "brain-flair" not in bundled_models():
        pytest.skip("no bundled model in this checkout")
    out = tmp_path / "demo"
    assert main(["demo", "--headless", "--out", str(out)]) == 0
    names = {path.name for path in out.iterdir()}
    inputs = {"patient-a.nii.gz", "patient-a_labels.nii.gz", "patient-b.nii.gz"}
    assert names == {"generated.nii.gz", "generated.json", "generated.png"} | inputs
    said = capsys.readouterr().out
    assert "tumour of Synthetic patient A" in said and "contrast of Synthetic patient B" in said
    assert "nobody's" in said
    recipe = read_recipe(out / "generated.json")
    assert Path(recipe.mask.path).name == "patient-a_labels.nii.gz"
    assert Path(recipe.informed.path).name == "patient-b.nii.gz"
    drawn, labels = read_volume(out / "generated.nii.gz"), read_label_map(recipe.mask.path)
    assert np.median(drawn.voxels[labels.voxels == 1]) > np.median(drawn.voxels[labels.voxels == 4])
