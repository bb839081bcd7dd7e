"""How far a stage has come, and the learning rate there: functions of the step and of the seconds spent."""

from __future__ import annotations

import math

from napari_gem3d.training.config.settings import StageSettings


def progress(settings: StageSettings, step: int, seconds: float) -> float:
    """Share of the budget that is spent, 0 to 1, after so many steps and seconds of computing."""
    by_time = seconds / 60 / settings.minutes if settings.minutes else 0.0
    return min(1.0, max(step / settings.steps if settings.steps else 1.0, by_time))


def learning_rate(settings: StageSettings, step: int, seconds: float) -> float:
    """Learning rate of a step: a linear warm-up, then a cosine over the budget, or constant."""
    warmed = settings.learning_rate * min(1.0, (step + 1) / (settings.warmup_steps + 1))
    if settings.schedule == "constant":
        return warmed
    low = settings.final_learning_rate
    return warmed * (low + (1 - low) * (1 + math.cos(math.pi * progress(settings, step, seconds))) / 2)


def last_step(settings: StageSettings, step: int, seconds: float, pace: float) -> int:
    """Step at which the budget will be spent, at `pace` seconds a step from here."""
    if not settings.minutes or pace <= 0:
        return settings.steps
    return max(step, min(settings.steps, step + math.ceil((settings.minutes * 60 - seconds) / pace)))
