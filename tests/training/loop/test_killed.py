"""Killed with SIGKILL at a random step and resumed, a run ends with the same weights, bit for bit."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from napari_gem3d.bundle import load_bundle
from napari_gem3d.cli.train import main
from napari_gem3d.training.loop.history import CLOCKED

_STEPS = 24
# The plain VAE and the slice U-Net go through the same loop as these.
_STAGES = {
    "vae with adversary": ("vae", ["vae.adversarial_weight=0.5", "vae.adversarial_start=2"]),
    "volume": ("volume", ["volume.accumulation=2"]),
    "position": ("position", ["position.workers=1"]),
}


def newest(folder: Path) -> int:
    return max((int(path.stem.split("-")[1]) for path in folder.glob("checkpoint-*.pt")), default=-1)


def train_and_kill(arguments: list[str], folder: Path, step: int, pause: float) -> None:
    """Start a training, and kill it with SIGKILL some time after its checkpoint of a step."""
    # As many threads as this process: sums over threads depend on their number.
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", "napari_gem3d.cli.train", *arguments]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            deadline = time.monotonic() + 120
            while newest(folder) < step:
                assert process.poll() is None, "it ended by itself"
                assert time.monotonic() < deadline
                time.sleep(0.005)
            time.sleep(pause)
            assert process.poll() is None, "it ended by itself"
        finally:
            os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize("case", _STAGES)
def test_a_killed_and_resumed_run_ends_bit_for_bit_the_same(
    case: str, finished: Path, dataset: Path, tmp_path: Path
) -> None:
    stage, settings = _STAGES[case]
    settings = [f"{stage}.steps={_STEPS}", f"{stage}.validate_every=7", "precision=float32", *settings]

    def command(out: Path, *more: str) -> list[str]:
        options = [word for setting in settings for word in ("--set", setting)]
        return [stage, "--data", str(dataset), "--out", str(out), "--config", "tiny", *options, *more]

    whole = Path(shutil.copytree(finished, tmp_path / "whole"))
    assert main(command(whole, "--overwrite")) == 0
    killed = Path(shutil.copytree(finished, tmp_path / "killed"))
    shutil.rmtree(killed / stage)
    settings.append(f"{stage}.checkpoint_minutes={random.choice([1e-6, 0.002])}")
    step, pause = random.randint(1, 14), random.random() / 10
    train_and_kill(command(killed, "--overwrite"), killed / stage, step, pause)
    stopped_at = newest(killed / stage)
    assert step <= stopped_at < _STEPS, (step, pause)
    assert main(command(killed, "--resume")) == 0

    ends = [torch.load(run / stage / f"checkpoint-{_STEPS:07d}.pt", weights_only=True) for run in (whole, killed)]
    for part in ("parameters", "buffers", "optimisers", "ema", "generators"):
        torch.testing.assert_close(ends[1][part], ends[0][part], rtol=0, atol=0, msg=f"{part} {step} {stopped_at}")
    histories = [[{k: v for k, v in entry.items() if k not in CLOCKED} for entry in end["history"]] for end in ends]
    assert histories[0] == histories[1]
    assert [entry["step"] for entry in histories[0]] == [7, 14, 21, 24]
    name = "vae" if stage == "vae" else f"{stage}_unet"
    bundles = [getattr(load_bundle(run / "bundle"), name).state_dict() for run in (whole, killed)]
    assert all(torch.equal(bundles[0][key], bundles[1][key]) for key in bundles[0])
