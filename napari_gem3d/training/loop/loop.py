"""The loop that every stage of training shares: steps, EMA, checkpoints, resuming, stopping."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from napari_gem3d.device import autocast
from napari_gem3d.errors import InputError
from napari_gem3d.training.config.settings import StageSettings
from napari_gem3d.training.loop.history import draw_history
from napari_gem3d.training.loop.samples import Samples, Share, load
from napari_gem3d.training.stages.stage import Stage, learning

# A step that took longer than this was interrupted (a suspended laptop, a paused process): it does not count as time.
_LONGEST_STEP_S = 20.0
_WARMUP_EMA = {"use_ema_warmup": True, "inv_gamma": 1.0, "power": 0.75}


@dataclass
class Run:
    """The state of a stage under training."""

    stage: Stage
    folder: Path
    optimiser: torch.optim.Optimizer
    ema: EMAModel
    adversary_optimiser: torch.optim.Optimizer | None = None
    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def checkpoint(self) -> Path:
        """The file that a later call resumes from."""
        return self.folder / "checkpoint.pt"

    @property
    def progress(self) -> float:
        """Share of the stage's budget that is spent, 0 to 1."""
        settings = self.stage.settings
        by_time = self.seconds / 60 / settings.minutes if settings.minutes else 0.0
        return min(1.0, max(self.step / settings.steps, by_time))

    def learning_rate(self) -> float:
        """Linear warm-up, then a cosine over the budget."""
        settings = self.stage.settings
        low = settings.final_learning_rate
        cosine = low + (1 - low) * (1 + math.cos(math.pi * self.progress)) / 2
        return settings.learning_rate * cosine * min(1.0, (self.step + 1) / (settings.warmup_steps + 1))

    def save(self) -> None:
        """Write the checkpoint under a temporary name, then rename."""
        state = {
            "parameters": [p.detach() for p in learning(self.stage.objective)],
            "optimiser": self.optimiser.state_dict(),
            "ema": self.ema.state_dict(),
            "torch_rng": torch.get_rng_state(),
            "step": self.step,
            "seconds": self.seconds,
        }
        if self.stage.adversary is not None and self.adversary_optimiser is not None:
            state["adversary"] = self.stage.adversary.state_dict()
            state["adversary_optimiser"] = self.adversary_optimiser.state_dict()
        temporary = self.checkpoint.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.rename(self.checkpoint)
        _write_json(self.folder / "history.json", self.history)
        draw_history(self.history, self.folder / "history.png")

    def resume(self) -> None:
        """Continue from the checkpoint.

        Raises
        ------
        InputError
            If it does not belong to these settings.
        """
        state = torch.load(self.checkpoint, weights_only=True, map_location="cpu")
        parameters = learning(self.stage.objective)
        if [p.shape for p in parameters] != [p.shape for p in state["parameters"]]:
            raise InputError(f"{self.checkpoint} was made with other settings; use another --out or remove it.")
        with torch.no_grad():
            for parameter, stored in zip(parameters, state["parameters"], strict=True):
                parameter.copy_(stored)
        self.optimiser.load_state_dict(state["optimiser"])
        self.ema.load_state_dict(state["ema"])
        torch.set_rng_state(state["torch_rng"])
        self.step, self.seconds = state["step"], state["seconds"]
        if self.stage.adversary is not None and self.adversary_optimiser is not None and "adversary" in state:
            self.stage.adversary.load_state_dict(state["adversary"])
            self.adversary_optimiser.load_state_dict(state["adversary_optimiser"])
        history = self.folder / "history.json"
        self.history = json.loads(history.read_text(encoding="utf-8")) if history.is_file() else []


def _write_json(path: Path, value: object) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value), encoding="utf-8")
    temporary.rename(path)


class StopRequest:
    """Turns Ctrl-C and SIGTERM into a wish to stop after the present step."""

    def __init__(self) -> None:
        self.wanted = False

    def __enter__(self) -> StopRequest:
        self._previous = {s: signal.signal(s, self._note) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.wanted = True


def train_stage(
    stage: Stage, folder: Path, *, seed: int, resume: bool = False, say: Callable[[str], None] = print
) -> bool:
    """Train a stage within its budget, leaving the EMA weights in its networks.

    Parameters
    ----------
    stage
        The networks, their loss and their settings.
    folder
        Where the checkpoint, history and pictures go.
    seed
        Of the batches and of the noise.
    resume
        Continue from the folder's checkpoint where there is one.
    say
        Receives messages for people.

    Returns
    -------
    bool
        Whether the budget is spent; False after Ctrl-C or SIGTERM, with everything saved.

    Raises
    ------
    InputError
        If a checkpoint does not fit, or the loss is not a number (the last checkpoint is kept).
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    settings = stage.settings
    parameters = learning(stage.objective)
    run = Run(stage, folder, _optimiser(parameters, settings), EMAModel(parameters, settings.ema_decay, **_WARMUP_EMA))
    if stage.adversary is not None:
        run.adversary_optimiser = torch.optim.AdamW(
            stage.adversary.parameters(), settings.learning_rate, betas=(0.5, 0.9), weight_decay=1e-4
        )
    if resume and run.checkpoint.is_file():
        run.resume()
        say(f"{stage.name}: resumed at step {run.step}")
    count = sum(p.numel() for p in parameters)
    say(f"{stage.name}: {count / 1e6:.1f} M parameters learn, {settings.steps} steps of {settings.batch} at most")
    batches = iter(load(Samples(stage.source, seed, stage.name), Share(settings.batch), run.step))
    with StopRequest() as stop, _progress_bar() as bar:
        task = bar.add_task(stage.name, total=settings.steps, completed=run.step, loss="")
        last_saved = run.seconds
        while run.progress < 1 and not stop.wanted:
            _one_step(run, batches)
            bar.update(task, completed=run.step, total=_forecast_steps(run), loss=f"loss {run.history[-1]['loss']:.4f}")
            if run.step % settings.validate_every == 0 or run.progress >= 1:
                _validate(run)
                say(_line(stage.name, run.step, run.history[-1]))
            if run.seconds - last_saved > 60 * settings.checkpoint_minutes:
                run.save()
                last_saved = run.seconds
    run.save()
    run.ema.copy_to(parameters)
    return not stop.wanted


def _optimiser(parameters: list[nn.Parameter], settings: StageSettings) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, settings.learning_rate, betas=(0.9, 0.99), weight_decay=settings.weight_decay)


def _one_step(run: Run, batches: Iterator[Any]) -> None:
    started = time.monotonic()
    stage = run.stage
    batch = next(batches).to(stage.device)
    for group in run.optimiser.param_groups:
        group["lr"] = run.learning_rate()
    with autocast(stage.precision, stage.device):
        outcome = stage.objective(batch, run.step)
    if not torch.isfinite(outcome.loss):
        raise InputError(
            f"The loss of stage {stage.name} is not a number at step {run.step} (batch: {'; '.join(batch.origins)}); "
            f"look at these, or lower learning_rate, and continue with --resume from {run.checkpoint}."
        )
    run.optimiser.zero_grad()
    outcome.loss.backward()
    parameters = learning(stage.objective)
    torch.nn.utils.clip_grad_norm_(parameters, stage.settings.clip)
    run.optimiser.step()
    run.ema.step(parameters)
    if stage.adversary is not None and run.adversary_optimiser is not None:
        with autocast(stage.precision, stage.device):
            judged = stage.adversary(batch, outcome.made.detach())
        run.adversary_optimiser.zero_grad()
        judged.backward()
        run.adversary_optimiser.step()
    run.step += 1
    run.seconds += min(time.monotonic() - started, _LONGEST_STEP_S)
    figures = {name: float(value) for name, value in outcome.figures.items()}
    _record(run, {"loss": float(outcome.loss.detach()), **figures})


def _record(run: Run, figures: dict[str, float], every: int = 50) -> None:
    """Keep running means over `every` steps in the history."""
    if not run.history or run.history[-1]["steps"] >= every or "validated" in run.history[-1]:
        run.history.append({"step": 0.0, "minutes": 0.0, "steps": 0.0})
    entry = run.history[-1]
    seen = entry["steps"]
    for key, value in figures.items():
        entry[key] = (entry.get(key, 0.0) * seen + value) / (seen + 1)
    entry.update(step=run.step, minutes=run.seconds / 60, steps=seen + 1, learning_rate=run.learning_rate())


def _validate(run: Run) -> None:
    parameters = learning(run.stage.objective)
    run.ema.store(parameters)
    run.ema.copy_to(parameters)
    with torch.no_grad():
        figures = run.stage.validate()
        run.stage.picture(run.folder / f"picture-{run.step:06d}.png")
    run.ema.restore(parameters)
    run.history[-1].update({f"validation_{key}": value for key, value in figures.items()}, validated=1.0)


def _forecast_steps(run: Run) -> int:
    return max(run.step, round(run.step / max(run.progress, 1e-9)))


def _line(name: str, step: int, entry: dict[str, float]) -> str:
    shown = {k: v for k, v in entry.items() if k not in ("step", "steps", "minutes", "learning_rate", "validated")}
    figures = "  ".join(f"{key} {value:.4f}" for key, value in shown.items())
    return f"{name} step {step} ({entry['minutes']:.1f} min): {figures}"


def _progress_bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
