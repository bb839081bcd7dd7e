"""What a stage will cost, said before its first step: parameters, memory, time."""

from __future__ import annotations

import psutil
import torch

from napari_gem3d.training.loop import schedule
from napari_gem3d.training.loop.memory import Trial, bytes_of
from napari_gem3d.training.loop.reports import duration
from napari_gem3d.training.loop.state import State, modules_of
from napari_gem3d.training.stages.stage import learning


def forecast(state: State, trial: Trial) -> list[str]:
    """Lines for people: parameters, memory and time of the rest of a stage.

    Parameters
    ----------
    state
        Where the stage is.
    trial
        What a micro step costs.
    """
    return [f"{state.stage.name}: {line}" for line in (_parameters(state), _memory(state, trial), _time(state, trial))]


def _parameters(state: State) -> str:
    modules, share = modules_of(state.stage), state.share
    every = sum(p.numel() for module in modules for p in module.parameters())
    learn = sum(p.numel() for module in modules for p in learning(module))
    parts = ["1 sample" if share.batch == 1 else f"{share.batch} samples"]
    parts += [f"{share.accumulation} micro steps"] if share.accumulation > 1 else []
    parts += [f"{share.processes} processes"] if share.processes > 1 else []
    total = f" = {share.effective}" if len(parts) > 1 else ""
    return f"{_count(every)} parameters, {_count(learn)} of them learn; a step takes {' × '.join(parts)}{total}"


def _memory(state: State, trial: Trial) -> str:
    modules = modules_of(state.stage)
    learn = sum(bytes_of(learning(module)) for module in modules)
    parts = {
        "weights": sum(bytes_of(list(module.parameters())) for module in modules),
        "gradients": learn,
        "optimiser": 2 * learn,
        "moving average": bytes_of(state.parameters),
        "activations": trial.activations,
    }
    listed = ", ".join(f"{name} {_size(value)}" for name, value in parts.items())
    whole = "memory" if state.share.processes == 1 else "memory of each process"
    return f"{whole} about {_size(sum(parts.values()))} ({listed}); {_size(_available(state.stage.device))} are free"


def _time(state: State, trial: Trial) -> str:
    settings, pace = state.stage.settings, trial.seconds * state.share.accumulation
    left = settings.steps - state.step
    whole = f"about {duration(left * pace)} for {left:,} steps"
    end = schedule.last_step(settings, state.step, state.seconds, pace)
    if settings.minutes and end < settings.steps:
        return f"{whole}, or the budget of {settings.minutes:g} minutes, about {end - state.step:,} steps"
    return whole


def _available(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return int(psutil.virtual_memory().available)


def _count(number: int) -> str:
    return f"{number / 1e6:.1f} M" if number >= 1e5 else f"{number:,}"


def _size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"
