"""Several processes do what one does with as many times the batch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from napari_gem3d.cli.train import main
from napari_gem3d.errors import InputError
from napari_gem3d.training.loop import processes
from napari_gem3d.training.loop.loop import train_stage
from napari_gem3d.training.loop.samples import Samples, Share


def launch(*command: str) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *command], env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture(scope="session")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes saw and made; the folder `two_processes` has written to."""
    out = tmp_path_factory.mktemp("together")
    script = Path(__file__).with_name("two_processes.py")
    launch("torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script), str(out))
    return out


@pytest.fixture
def facts(together: Path) -> list[dict]:
    return [json.loads((together / f"facts-{index}.json").read_text()) for index in (0, 1)]


@pytest.mark.slow
def test_two_processes_end_as_one_with_twice_the_batch(together, curve, tmp_path):
    """To rounding, with an adversary and accumulation; and both have the very same weights."""
    alone = curve(judged=True, batch=8, checkpoint_minutes=10)
    train_stage(alone, tmp_path, seed=2, say=lambda message: None)
    wanted = {**alone.weights(), **{f"judge.{k}": v for k, v in alone.adversary.state_dict().items()}}
    first, second = (torch.load(together / f"alike-{index}.pt", weights_only=True) for index in (0, 1))
    for name, value in wanted.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], value, rtol=1e-5, atol=1e-6)
    steps = [json.loads((folder / "history.json").read_text())[-1] for folder in (tmp_path, together / "alike")]
    assert steps[0]["step"] == steps[1]["step"] == 12
    for key in ("loss", "discriminator", "gradient_norm", "validation_loss"):
        assert steps[1][key] == pytest.approx(steps[0][key], rel=1e-5)


@pytest.mark.slow
def test_a_signal_to_one_process_stops_both_after_the_same_step(together, facts, curve, tmp_path):
    assert [fact["stopped"] for fact in facts] == [[False, 6, True]] * 2
    whole = curve(batch=4, checkpoint_minutes=10)
    train_stage(whole, tmp_path, seed=2, say=lambda message: None)
    for index in (0, 1):
        again = torch.load(together / f"stopped-{index}.pt", weights_only=True)
        for name, value in whole.weights().items():
            torch.testing.assert_close(again[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_both_name_the_samples_of_the_process_whose_loss_is_not_a_number(facts, curve):
    samples = Samples(curve().source, 2, "curve")
    bad = [samples[i].origins[0] for i in Share(2, 1, 1, 2).indices(3, 0)]
    for fact in facts:
        assert f"not a number at step 3 (batch: {'; '.join(bad)})" in fact["poisoned"]


@pytest.mark.slow
def test_all_agree_on_micro_steps_time_and_refusals(facts):
    for fact in facts:
        assert fact["count"] == 2 and fact["device"] == "cpu"
        assert fact["memory"] == [2, 2]
        assert fact["refused"] == ["from 0", "no such dataset"]
        assert fact["timed"][0] == fact["timed"][1] > 1


@pytest.mark.slow
def test_accelerate_launch_trains_as_one_process_with_twice_the_batch(finished, dataset, tmp_path):
    """As in the documentation, on the tiny dataset; and as one process that accumulates."""
    ends = {}
    for name, settings in {"two": ["batch=2"], "one": ["batch=4"], "parts": ["batch=2", "accumulation=2"]}.items():
        out = Path(shutil.copytree(finished, tmp_path / name))
        options = [word for text in [*settings, "steps=6"] for word in ("--set", f"slice.{text}")]
        command = ["slice", "--data", str(dataset), "--out", str(out), "--config", "tiny", "--overwrite", *options]
        command += ["--set", "precision=float32"]
        if name == "two":
            launcher = ("accelerate.commands.launch", "--num_processes", "2", "--cpu", "-m", "napari_gem3d.cli.train")
            launch(*launcher, *command)
        else:
            assert main(command) == 0
        (checkpoint,) = (out / "slice").glob("checkpoint-0000006.pt")
        entry = torch.load(checkpoint, weights_only=True)["history"][-1]
        assert entry["step"] == 6
        ends[name] = entry
    for name in ("two", "parts"):
        assert ends[name]["validation_loss"] == pytest.approx(ends["one"]["validation_loss"], abs=1e-5)
        assert ends[name]["loss"] == pytest.approx(ends["one"]["loss"], abs=1e-5)
    print({name: (entry["validation_loss"], entry["loss"]) for name, entry in ends.items()})


def test_accelerates_wish_for_the_processor_is_obeyed(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    assert processes.connect("auto").type == "cpu"
    with pytest.raises(InputError, match="cuda contradicts accelerate launch --cpu"):
        processes.connect("cuda")
