"""Draw a whole dataset anew, in variants: nnU-Net's raw layout in and out."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from napari_gem3d.cli.options import add_drawing_options, add_reading_options, add_settings, check_exist, given
from napari_gem3d.cli.progress import INTERRUPTED

if TYPE_CHECKING:
    from napari_gem3d.cohorts.enhance import Cohort


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``enhance``."""
    parser.add_argument(
        "dataset", type=Path, metavar="DATASET", help="nnU-Net raw layout, or a CSV of image and labels"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the new dataset; an earlier run goes on"
    )
    what = parser.add_argument_group("what to make")
    what.add_argument("--variants", type=int, default=1, metavar="K", help="volumes a case (default: 1)")
    what.add_argument(
        "--informed",
        default="others",
        metavar="WHAT",
        help="where informed slices are from: others (default), another patient of the dataset each; generated, drawn "
        "by the model; or a folder of scans",
    )
    add_settings(what, "position", position=0.5)
    what.add_argument(
        "--augment",
        default="none",
        metavar="POLICY",
        help="vary label maps: brain (the lesion is moved), abdomen (everything is turned) or none (default)",
    )
    what.add_argument(
        "--bend-anatomy",
        type=float,
        default=3.0,
        dest="bend_mm",
        metavar="MM",
        help="bend anatomy that is found in scans, and body and lesions with it, by a random smooth displacement of "
        "this root mean square, for models that know anatomy labels; 0 for none (default: 3)",
    )
    what.add_argument(
        "--edit",
        type=int,
        nargs="?",
        const=1,
        default=0,
        metavar="K",
        help="edits of each real scan as well, its lesion moved (K of each, 1 if not said)",
    )
    what.add_argument("--include-real", action="store_true", help="take the real scans over too")
    what.add_argument("--split", choices=("Tr", "Ts"), default="Tr", help="imagesTr (default) or imagesTs")
    what.add_argument("--channel", type=int, help="which channel of the images, or volume of 4D files (default: 0)")
    add_volume_options(parser)
    add_worker_options(parser)


def add_volume_options(parser: argparse.ArgumentParser) -> None:
    """Add how every volume of a dataset is drawn."""
    how = add_drawing_options(parser, seed=0)
    add_reading_options(how, "assume_orientation")
    how.add_argument("--threads", type=int, default=1, help="of the processor for a volume (default: 1)")


def add_worker_options(parser: argparse.ArgumentParser) -> None:
    """Who does the work."""
    workers = parser.add_argument_group("who does it")
    which = workers.add_mutually_exclusive_group()
    which.add_argument("--workers", type=int, default=0, metavar="N", help="processes (default: this one)")
    which.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster, or the file that its scheduler wrote")
    workers.add_argument("--retries", type=int, default=2, help="after unexpected errors and lost workers (default: 2)")


def run(options: argparse.Namespace) -> int:
    """Enhance the dataset; returns the exit code."""
    started = time.monotonic()
    check_exist(options.dataset)
    from napari_gem3d.cohorts.enhance import enhance

    names = vars(options).keys() - {"dataset", "out", "run"}
    with terminable():
        made = enhance(options.dataset, options.out, **given(options, names), say=say)
    return report(made, time.monotonic() - started)


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM, as batch systems send it before the time is over, stop the run as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def say(line: str) -> None:
    """Tell what has ended, at once even through a pipe."""
    print(line, flush=True)


def report(made: Cohort, seconds: float) -> int:
    """Print what became of the dataset; 0 if nothing failed, 1 if something did, 130 after an interrupt."""
    counts = ", ".join(f"{made.count(status)} {status}" for status in ("made", "there", "left out", "failed"))
    print(f"{made.folder}: {len(made.records)} volumes ({counts}) in {seconds:.0f} s.")
    for outcome in made.failed:
        print(f"napari-gem3d: {outcome.name}: {outcome.reason}", file=sys.stderr)
        if outcome.details:
            print(outcome.details, file=sys.stderr)
    if made.interrupted:
        print("napari-gem3d: interrupted; the same command goes on from there.", file=sys.stderr)
        return INTERRUPTED
    return 1 if made.failed else 0
