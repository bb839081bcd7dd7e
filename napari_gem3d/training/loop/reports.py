"""What people see of a stage under training: a bar or lines of text, TensorBoard, curves, pictures."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from napari_gem3d.training.loop.history import History, draw_history
from napari_gem3d.training.loop.state import State

_NOT_SCALARS = ("step", "steps", "minutes", "validated", "data_seconds")
_NOT_IN_LINES = (*_NOT_SCALARS, "learning_rate", "seconds_per_step", "gradient_norm")


def duration(seconds: float) -> str:
    """A time for people: 40 s, 12 min, 1 h 10 min, 3 days 4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} days {hours % 24} h"


class Reports:
    """Bar, TensorBoard and pictures of a stage; a context that closes them.

    Parameters
    ----------
    folder
        Where history, pictures and ``tensorboard/`` go.
    name
        Of the stage.
    step
        The step that the run is at.
    say
        Receives messages for people.
    active
        False in processes that report nothing.
    """

    def __init__(self, folder: Path, name: str, step: int, say: Callable[[str], None], active: bool = True) -> None:
        self.folder, self.name, self.say, self.active = folder, name, say, active
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            # Where the output is kept as a file, the lines of the validations are the progress.
            disable=not (active and console.is_terminal),
        )
        self._task = self._bar.add_task(name, completed=step, figures="")
        self._board: Any = _open_board(folder / "tensorboard", step, say) if active else None

    def __enter__(self) -> Reports:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()
        if self._board is not None:
            self._board.close()

    def step(self, step: int, total: int, pace: float, entry: dict[str, float]) -> None:
        """Move the bar: at `step` of `total`, at `pace` seconds a step."""
        if self._bar.disable:
            return
        parts = [f"{duration(pace * (total - step))} left"]
        if "loss" in entry:
            parts += [f"loss {entry['loss']:.4g}", f"data {entry.get('data_share', 0.0):.0%}"]
        self._bar.update(self._task, completed=step, total=total, figures=", ".join(parts))

    def entry(self, entry: dict[str, float]) -> None:
        """Send a finished entry of the history to TensorBoard."""
        if self._board is not None:
            for key, value in entry.items():
                if key not in _NOT_SCALARS:
                    part = "validation" if key.startswith("validation_") else "training"
                    self._board.add_scalar(f"{part}/{key.removeprefix('validation_')}", value, int(entry["step"]))

    def validation(self, state: State, with_volume: bool) -> None:
        """Write pictures of what the networks make now, curves and a line, after a validation was recorded."""
        if not self.active:
            return
        step, stage = state.step, state.stage
        stage.picture(self.folder / f"picture-{step:06d}.png")
        self._image("samples", self.folder / f"picture-{step:06d}.png", step)
        if with_volume:
            stage.planes(self.folder / f"planes-{step:06d}.png")
            self._image("volume", self.folder / f"planes-{step:06d}.png", step)
        draw_history(state.history.entries, self.folder / "history.png")
        self.say(line(self.name, state.history))

    def _image(self, tag: str, path: Path, step: int) -> None:
        if self._board is not None and path.is_file():
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
            self._board.add_image(tag, pixels, step, dataformats="HWC")


def line(name: str, history: History) -> str:
    """The newest entry of a history as a line of text."""
    entry = history.last
    figures = [f"{key} {value:.4g}" for key, value in entry.items() if key not in (*_NOT_IN_LINES, "data_share")]
    if "data_share" in entry:
        figures.append(f"data {entry['data_share']:.1%} of the time")
    now = datetime.datetime.now().strftime("%H:%M:%S")
    return f"{now} {name} step {entry['step']:.0f} ({entry['minutes']:.1f} min): {'  '.join(figures)}"


def _open_board(folder: Path, step: int, say: Callable[[str], None]) -> Any:
    """A TensorBoard writer, or None with a message if the package is not there."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        say("TensorBoard is not installed, so nothing is written for it; pip install 'napari-gem3d[train]' brings it.")
        return None
    # Steps after this one are of an earlier run, or will be done again.
    return SummaryWriter(str(folder), purge_step=step, flush_secs=30)
