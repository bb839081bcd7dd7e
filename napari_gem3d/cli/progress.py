"""What the commands that generate share: a bar with the time left, Ctrl-C, and the last line."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING

from napari_gem3d.cli.options import tell_notes

if TYPE_CHECKING:
    from napari_gem3d.sampling.job import Job, Part
    from napari_gem3d.sampling.recipe import Recipe

INTERRUPTED = 130


@contextmanager
def cancelling() -> Iterator[Event]:
    """Let the first Ctrl-C set an event, which stops the generation in order; a second one interrupts at once."""
    cancel = Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if cancel.is_set():
            raise KeyboardInterrupt
        cancel.set()

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield cancel
    finally:
        signal.signal(signal.SIGINT, before)


def run_with_progress(job: Job, options: argparse.Namespace, started: float) -> int:
    """Run a job as the options of a command say, with a progress bar on stderr; returns the exit code."""
    tell_notes(job.prepared.informed, job.prepared.mask)
    written, interrupted = generate_with_progress(
        job, options.out, keep_partial=options.keep_partial, resume=options.resume, overwrite=options.overwrite
    )
    return report(written, interrupted, job.recipe, time.monotonic() - started)


def generate_with_progress(
    job: Job, out: Path, *, keep_partial: bool = False, resume: bool = False, overwrite: bool = False
) -> tuple[Path | None, bool]:
    """Run a job with a progress bar on stderr; see `run_job`. A run that went on can be gone on with again.

    Returns
    -------
    tuple
        What was written, or None; and whether Ctrl-C stopped it.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from napari_gem3d.sampling.results import run_job

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    left = (TimeRemainingColumn(), TextColumn("left"))
    # A window's worth of steps is needed for a fair estimate of the time left.
    bar = Progress(*columns, *left, console=Console(stderr=True), speed_estimate_period=60)
    task, slices = bar.add_task("0 slices", total=1.0), 0
    with cancelling() as cancel:

        def show(part: Part) -> None:
            nonlocal slices
            bar.start()  # not before everything is loaded and checked: errors stand alone
            if part.message:
                bar.console.print(part.message)
            slices += len(part.indices)
            bar.update(task, completed=part.progress, description=f"{slices} slices")

        try:
            written = run_job(
                job,
                out,
                cancel=cancel,
                progress=show,
                keep_partial=keep_partial or resume,
                resume=resume,
                overwrite=overwrite,
            )
        finally:
            bar.stop()
    return written, cancel.is_set() and (written is None or written != out)


def report(written: Path | None, interrupted: bool, recipe: Recipe, seconds: float) -> int:
    """Print what was written and return the exit code."""
    from napari_gem3d.sampling.recipe import sidecar

    if written is None:
        print("napari-gem3d: interrupted, nothing was written.", file=sys.stderr)
        return INTERRUPTED
    what = "Wrote the slices finished so far to" if interrupted else "Wrote"
    print(f"{what} {written} (recipe: {sidecar(written).name}, seed {recipe.seed}) in {seconds:.0f} s.")
    if interrupted:
        print("napari-gem3d: the same command with --resume goes on from there.", file=sys.stderr)
    return INTERRUPTED if interrupted else 0
