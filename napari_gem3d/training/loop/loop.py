"""The loop that every stage of training shares: steps, EMA, checkpoints, resuming, stopping."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import numpy as np
import torch
from diffusers.training_utils import EMAModel
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from napari_gem3d.errors import InputError
from napari_gem3d.training.config.settings import StageSettings
from napari_gem3d.training.loop.history import draw_history

# A step that took longer than this was interrupted (a suspended laptop, a paused process): it does not count as time.
_LONGEST_STEP_S = 20.0
_WARMUP_EMA = {"use_ema_warmup": True, "inv_gamma": 1.0, "power": 0.75}


class Stage(Protocol):
    """What the loop needs to know of a stage."""

    @property
    def name(self) -> str:
        """Name of the stage and of its folder."""

    @property
    def settings(self) -> StageSettings:
        """Budget, batch, learning rate."""

    def parameters(self) -> Sequence[nn.Parameter]:
        """The parameters that learn."""

    def loss(self, rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        """Draw a batch and compute its loss, and figures worth recording."""

    def validate(self) -> dict[str, float]:
        """Figures on the held-out patients, always with the same noise."""

    def picture(self, path: Path) -> None:
        """Write a PNG of what the networks make now."""

    def extra_state(self) -> dict[str, Any]:
        """What else a checkpoint must hold."""

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """The inverse of `extra_state`."""


@dataclass
class Run:
    """The state of a stage under training."""

    stage: Stage
    folder: Path
    optimiser: torch.optim.Optimizer
    ema: EMAModel
    rng: np.random.Generator
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
            "parameters": [p.detach() for p in self.stage.parameters()],
            "optimiser": self.optimiser.state_dict(),
            "ema": self.ema.state_dict(),
            "rng": json.dumps(self.rng.bit_generator.state),
            "torch_rng": torch.get_rng_state(),
            "step": self.step,
            "seconds": self.seconds,
            "extra": self.stage.extra_state(),
        }
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
        parameters = self.stage.parameters()
        if [p.shape for p in parameters] != [p.shape for p in state["parameters"]]:
            raise InputError(f"{self.checkpoint} was made with other settings; use another --out or remove it.")
        with torch.no_grad():
            for parameter, stored in zip(parameters, state["parameters"], strict=True):
                parameter.copy_(stored)
        self.optimiser.load_state_dict(state["optimiser"])
        self.ema.load_state_dict(state["ema"])
        self.rng.bit_generator.state = json.loads(state["rng"])
        torch.set_rng_state(state["torch_rng"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.stage.load_extra_state(state["extra"])
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
    parameters = stage.parameters()
    optimiser = torch.optim.AdamW(
        parameters, settings.learning_rate, betas=(0.9, 0.99), weight_decay=settings.weight_decay
    )
    run = Run(
        stage,
        folder,
        optimiser,
        EMAModel(parameters, decay=settings.ema_decay, **_WARMUP_EMA),
        np.random.default_rng(seed),
    )
    if resume and run.checkpoint.is_file():
        run.resume()
        say(f"{stage.name}: resumed at step {run.step}")
    count = sum(p.numel() for p in parameters)
    say(f"{stage.name}: {count / 1e6:.1f} M parameters learn, {settings.steps} steps of {settings.batch} at most")
    with StopRequest() as stop, _progress_bar() as bar:
        task = bar.add_task(stage.name, total=settings.steps, completed=run.step, loss="")
        last_saved = run.seconds
        while run.progress < 1 and not stop.wanted:
            _one_step(run)
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


def _one_step(run: Run) -> None:
    started = time.monotonic()
    for group in run.optimiser.param_groups:
        group["lr"] = run.learning_rate()
    loss, figures = run.stage.loss(run.rng, run.step)
    if not torch.isfinite(loss):
        raise InputError(
            f"The loss of stage {run.stage.name} is not a number at step {run.step}; lower its learning_rate and "
            f"continue with --resume from {run.checkpoint}."
        )
    run.optimiser.zero_grad()
    loss.backward()
    parameters = run.stage.parameters()
    torch.nn.utils.clip_grad_norm_(parameters, run.stage.settings.clip)
    run.optimiser.step()
    run.ema.step(parameters)
    run.step += 1
    run.seconds += min(time.monotonic() - started, _LONGEST_STEP_S)
    _record(run, {"loss": float(loss.detach()), **figures})


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
    parameters = run.stage.parameters()
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
