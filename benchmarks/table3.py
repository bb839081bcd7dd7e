"""The paper's Table 3 at this project's scale: what a segmenter learns from real, re-sampled and baseline scans.

    python -m benchmarks.table3 DATASET --model models/brain-flair --baseline BUNDLE --seeds 1 2 3 --out DIR

DATASET is in nnU-Net's raw layout with imagesTr, labelsTr and, to test on, imagesTs, labelsTs. Two more training sets
are made of its training patients, label maps kept: re-sampled by the model, informed by a slice of another patient each
(IC of the paper), and drawn by the baseline. Then `napari_gem3d.downstream` trains the stand-in (or, with
``--segmenter nnunet``, nnU-Net v2) on each, tests it on the real test patients, and makes the table: DIR/table.md and
DIR/results.json. What is there is not made again, volume by volume and training by training, so a run that was stopped
goes on.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import machine, replace_section
from napari_gem3d.bundle.store import find_bundle, read_plan
from napari_gem3d.cohorts.enhance import enhance
from napari_gem3d.downstream.comparison import compare
from napari_gem3d.downstream.datasets import write_json
from napari_gem3d.downstream.nnunet import NnUNet, NnUNetSettings
from napari_gem3d.downstream.standin import StandIn, StandInSettings
from napari_gem3d.downstream.table import describe
from napari_gem3d.errors import InputError

REAL, RESAMPLED, BASELINE = "real", "re-sampled", "baseline"
SECTION = "Table 3: segmentation"


def training_sets(options: argparse.Namespace) -> dict[str, Path]:
    """The training sets by name, made where they are not there."""
    sets = {REAL: options.data}
    for name, model in ((RESAMPLED, options.model), (BASELINE, options.baseline)):
        if model:
            folder = options.out / "sets" / name
            how = {"position": options.position, "workers": options.workers}
            made = enhance(options.data, folder, model=model, bend_mm=0.0, say=_say, **how)
            if made.interrupted:
                raise KeyboardInterrupt
            if made.failed:
                raise InputError(f"{made.failed[0].name} of {folder} could not be made: {made.failed[0].reason}")
            sets[name] = folder
    return sets


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All results, as ``results.json`` holds them."""
    if not read_plan(find_bundle(options.model)).informed:
        raise InputError(f"{options.model} is a baseline without informed slice; give it with --baseline.")
    if options.baseline and read_plan(find_bundle(options.baseline)).informed:
        raise InputError(f"{options.baseline} sees an informed slice, so it is no baseline.")
    segmenter: NnUNet | StandIn
    if options.segmenter == "nnunet":
        segmenter = NnUNet(options.out / NnUNet.key, NnUNetSettings(trainer=options.trainer))
    else:
        segmenter = StandIn(StandInSettings() if options.steps is None else StandInSettings(steps=options.steps))
    options.out.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    sets = training_sets(options)
    made = time.perf_counter()
    results = compare(sets, options.data, options.out, segmenter, seeds=options.seeds, say=_say)
    results["machine"] = machine()
    results["dataset"] = options.data.resolve().name
    results["minutes"] = {"volumes": (made - begun) / 60, "trainings": (time.perf_counter() - made) / 60}
    write_json(results, options.out / "results.json")
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    """Make what is missing, train, test, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATASET", help="dataset with training and test patients")
    parser.add_argument("--out", type=Path, required=True, help="folder of volumes, trainings and results")
    parser.add_argument("--model", default="brain-flair", help="bundled model or folder of one")
    parser.add_argument("--baseline", metavar="BUNDLE", help="a bundle trained without informed slice")
    parser.add_argument("--position", type=float, default=0.5, help="of the informed slice in its donor")
    parser.add_argument("--workers", type=int, default=0, help="processes that make the volumes (default: this one)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="of the trainings")
    parser.add_argument("--segmenter", choices=("stand-in", "nnunet"), default="stand-in")
    parser.add_argument("--steps", type=int, help="of the stand-in; its own number by default")
    parser.add_argument("--trainer", default="nnUNetTrainer", help="of nnU-Net")
    parser.add_argument("--write-docs", type=Path, metavar="PAGE", help=f"Markdown page whose '{SECTION}' is replaced")
    options = parser.parse_args(arguments)
    try:
        results = run(options)
    except InputError as error:
        sys.exit(f"benchmarks.table3: {error}")
    text = describe(results)
    print(text)
    if options.write_docs:
        replace_section(options.write_docs, SECTION, text)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
