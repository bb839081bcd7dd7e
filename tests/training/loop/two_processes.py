"""What two processes do together, for `test_processes`: run by torchrun, writes what it saw to a folder."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
from pathlib import Path

import torch

from napari_gem3d.errors import InputError
from napari_gem3d.training.loop import processes, reports
from napari_gem3d.training.loop.loop import train_stage

_SPEC = importlib.util.spec_from_file_location("curves", Path(__file__).with_name("conftest.py"))
assert _SPEC is not None and _SPEC.loader is not None
curves = importlib.util.module_from_spec(_SPEC)
sys.modules["curves"] = curves  # where dataclasses look their module up
_SPEC.loader.exec_module(curves)


def stage_of(**changes):
    return curves.make_stage(**({"batch": 2, "checkpoint_minutes": 10} | changes))


def alike(out: Path) -> None:
    """Twice the batch; the adversary and accumulation too."""
    said: list[str] = []
    stage = stage_of(judged=True, batch=2, accumulation=2)
    assert train_stage(stage, out / "alike", seed=2, say=said.append)
    assert bool(said) == processes.is_main()
    weights = {**stage.weights(), **{f"judge.{k}": v for k, v in stage.adversary.state_dict().items()}}
    torch.save(weights, out / f"alike-{processes.index()}.pt")


def stopped(out: Path) -> list[object]:
    """One process gets a signal: both stop after the same step, and go on exactly."""
    stage = stage_of()
    seen: list[int] = []

    def strike(batch, step):
        seen.append(step)
        if step == 6 and not processes.is_main():
            os.kill(os.getpid(), signal.SIGTERM)

    stage.objective.before = strike
    ended = train_stage(stage, out / "stopped", seed=2, say=lambda message: None)
    again = stage_of()
    finished = train_stage(again, out / "stopped", seed=2, resume=True, say=lambda message: None)
    torch.save(again.weights(), out / f"stopped-{processes.index()}.pt")
    return [ended, seen[-1], finished]


def poisoned(out: Path) -> str:
    """The loss of one process is not a number: both say which of its samples."""
    stage = stage_of()

    def spoil(batch, step):
        if step == 3 and not processes.is_main():
            batch.y[0] = float("nan")

    stage.objective.before = spoil
    try:
        train_stage(stage, out / "poisoned", seed=2, say=lambda message: None)
    except InputError as error:
        return str(error)
    return ""


def short_of_memory(out: Path) -> list[int]:
    """One process has too little memory: both take smaller micro steps."""
    stage, sizes = stage_of(batch=4), []

    def check(batch, step):
        if len(batch.x) > 2 and not processes.is_main():
            raise torch.OutOfMemoryError
        sizes.append(len(batch.x))

    stage.objective.before = check
    train_stage(stage, out / "memory", seed=2, say=lambda message: None)
    return sizes[-2:]


def refused() -> list[str]:
    """What the main process refuses, all do; its results are everyone's."""

    def refuse():
        raise InputError("no such dataset")

    answers = [str(processes.once(lambda: f"from {processes.index()}"))]
    try:
        processes.once(refuse)
    except InputError as error:
        answers.append(str(error))
    return answers


def timed(out: Path) -> list[float]:
    """A budget in minutes ends for all at the same step."""
    stage = stage_of(steps=10**6, minutes=0.01, validate_every=10**6)
    train_stage(stage, out / "timed", seed=2, say=lambda message: None)
    return processes.gather(float(stage.objective.calls))


def main() -> None:
    out = Path(sys.argv[1])
    reports.draw_history = lambda entries, path: None
    device = processes.connect("auto")
    facts = {"device": str(device), "count": processes.count(), "refused": refused()}
    alike(out)
    facts |= {"stopped": stopped(out), "poisoned": poisoned(out), "memory": short_of_memory(out), "timed": timed(out)}
    (out / f"facts-{processes.index()}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
