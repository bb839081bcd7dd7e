"""Harmonise a dataset: every case drawn anew, all informed by one slice, with a report of what differs less."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_gem3d.cli.enhance import add_volume_options, add_worker_options, report, say, terminable
from napari_gem3d.cli.options import check_exist, given
from napari_gem3d.cli.progress import INTERRUPTED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``harmonize``."""
    parser.add_argument(
        "dataset", type=Path, metavar="DATASET", help="nnU-Net raw layout, or a CSV of image and labels"
    )
    parser.add_argument(
        "--informed",
        required=True,
        metavar="SCAN[:SLICE]",
        help="scan, or 2D image, whose slice informs all cases; SLICE is counted from the lowest (0)",
    )
    parser.add_argument(
        "--position",
        type=float,
        metavar="P",
        help="the informed slice, 0 lowest to 1 highest, where no SLICE is given (default: 0.5)",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the new dataset and its report; an earlier run goes on"
    )
    parser.add_argument("--split", choices=("Tr", "Ts"), default="Tr", help="imagesTr (default) or imagesTs")
    parser.add_argument("--channel", type=int, help="which channel of the images, or volume of 4D files (default: 0)")
    origins = parser.add_argument_group("where cases are from, for the report").add_mutually_exclusive_group()
    origins.add_argument("--sources", type=Path, metavar="FILE", help="CSV with the columns case and source")
    origins.add_argument(
        "--source-pattern",
        metavar="REGEX",
        help="finds the source in a case's name, in its one group, such as '_(2013|CBICA|TCIA)'",
    )
    add_volume_options(parser)
    add_worker_options(parser)


def scan_and_slice(text: str) -> tuple[Path, int | None]:
    """``SCAN`` or ``SCAN:SLICE``; a file that is called so, colon and all, goes first."""
    scan, colon, index = text.rpartition(":")
    if colon and index.isdecimal() and not Path(text).exists():
        return Path(scan), int(index)
    return Path(text), None


def run(options: argparse.Namespace) -> int:
    """Harmonise the dataset; returns the exit code."""
    started = time.monotonic()
    informed, index = scan_and_slice(options.informed)
    check_exist(options.dataset, informed, options.sources)
    from napari_gem3d.cohorts.harmonise import harmonise

    names = vars(options).keys() - {"dataset", "informed", "out", "run"}
    chosen = given(options, names)
    with terminable():
        made = harmonise(options.dataset, informed, options.out, slice=index, **chosen, say=say)
    code = report(made.cohort, time.monotonic() - started)
    for case, reason in made.unmeasured:
        print(f"napari-gem3d: {case} is not in the report: {reason}", file=sys.stderr)
    if made.report is not None:
        print("\n".join([*_told(made.report), f"Report: {made.cohort.folder / 'report.html'}"]))
    elif made.interrupted and not made.cohort.interrupted:
        print("napari-gem3d: interrupted while it measured; the same command goes on from there.", file=sys.stderr)
        return INTERRUPTED
    return code or int(bool(made.unmeasured))


def _told(found: Mapping[str, Any]) -> list[str]:
    """The figures that most people want."""
    from napari_gem3d.cohorts.harmonise_page import NAMES, UNITS, change

    lines = []
    for unit, groups in found["summary"].items():
        lines.append(f"Differences of the intensity classes{f', {UNITS[unit]}' if len(found['summary']) > 1 else ''}:")
        for measure, name in NAMES.items():
            was, now = (groups["classes"][side][measure] for side in ("before", "after"))
            if was is not None:
                lines.append(f"  {name}: {change(was, now, found)}")
    return lines
