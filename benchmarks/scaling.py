"""What `enhance` costs: one against several workers on real cases, a case of no work, a case on disk.

    python -m benchmarks.scaling DATASET --split Ts --cases 4 --workers 1 2 --out DIR --write-docs docs/scaling.md

DATASET is in nnU-Net's raw layout. The same volumes are made once by each number of workers, and their bytes compared.
Processor time is of all processes together; on a machine that does other things as well it says more than the clock.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.report import machine, replace_section
from napari_gem3d.bundle import load_bundle
from napari_gem3d.cohorts.enhance import enhance
from napari_gem3d.cohorts.runner import run_tasks
from napari_gem3d.errors import InputError
from napari_gem3d.training.config.settings import DataSettings
from napari_gem3d.training.data.dataset import read_dataset

SECTION = "Measured"


@dataclass(frozen=True)
class Empty:
    """A case of no work."""

    name: str


def nothing(task: Empty) -> Literal["made"]:
    """The work of a case of no work."""
    return "made"


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds by the clock, seconds of processor time of this process and its children, and what the work gave."""

    def spent() -> float:
        usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)

    begun, before = time.perf_counter(), spent()
    result = work()
    return time.perf_counter() - begun, spent() - before, result


def real_cases(options: argparse.Namespace) -> dict[str, Any]:
    """The same volumes made by each number of workers."""
    options.out.mkdir(parents=True, exist_ok=True)
    listed = options.out / "cases.csv"
    cases = read_dataset(options.data, DataSettings(), options.split).cases[: options.cases]
    with listed.open("w", encoding="utf-8", newline="") as file:
        rows = ((case.image.absolute(), case.labels.absolute(), case.name) for case in cases)
        csv.writer(file).writerows([("image", "labels", "case"), *rows])
    runs, hashes = [], []
    for workers in options.workers:
        folder = options.out / f"workers{workers}"
        if folder.exists():
            raise InputError(f"{folder} is there from an earlier run; give another --out.")

        def make(workers: int = workers, folder: Path = folder) -> Any:
            return enhance(listed, folder, model=options.model, bend_mm=0.0, workers=workers, say=_say)

        wall, processor, made = timed(make)
        if made.failed or made.interrupted:
            raise InputError(f"Not all volumes of {folder} could be made; see above.")
        runs.append({"workers": workers, "wall": wall, "processor": processor, "volumes": len(made.records)})
        hashes.append({name: record.image_sha256 for name, record in made.records.items()})
    on_disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {"runs": runs, "same": all(each == hashes[0] for each in hashes), "bytes": on_disk / len(cases)}


def empty_cases(workers: Sequence[int], many: int) -> list[dict[str, float]]:
    """What a case costs that has nothing to do, without the start of the workers."""
    told = []
    for number in dict.fromkeys((0, *workers)):
        few = timed(lambda number=number: run_tasks([Empty("0")], nothing, workers=number))  # type: ignore[misc]
        tasks = [Empty(str(i)) for i in range(many + 1)]
        all_ = timed(lambda number=number, tasks=tasks: run_tasks(tasks, nothing, workers=number))  # type: ignore[misc]
        wall, processor = ((all_[i] - few[i]) / many * 1000 for i in (0, 1))
        told.append({"workers": number, "wall_ms": wall, "processor_ms": processor, "start": few[0]})
    return told


def describe(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [f"{', '.join(f'{name}: {value}' for name, value in results['machine'].items())}.", ""]
    real = results["real"]
    lines += ["| workers | volumes | time | processor time a volume |", "| --- | --- | --- | --- |"]
    for run in real["runs"]:
        each = run["processor"] / run["volumes"]
        lines.append(f"| {run['workers'] or 'in-process'} | {run['volumes']} | {run['wall']:.0f} s | {each:.1f} s |")
    same = "are the same, byte for byte" if real["same"] else "**differ**"
    lines += [
        "",
        f"The volumes of all rows {same}. A volume with all that belongs to it takes {real['bytes'] / 1e6:.1f} MB.",
    ]
    lines += ["", "| workers | a case of no work | its processor time | start |", "| --- | --- | --- | --- |"]
    for row in results["empty"]:
        who = row["workers"] or "in-process"
        lines.append(f"| {who} | {row['wall_ms']:.2f} ms | {row['processor_ms']:.2f} ms | {row['start']:.1f} s |")
    lines += ["", f"Loading the model, once a process: {results['load']:.1f} s."]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATASET")
    parser.add_argument("--out", type=Path, required=True, help="folder of volumes and results")
    parser.add_argument("--split", choices=("Tr", "Ts"), default="Tr")
    parser.add_argument("--cases", type=int, default=4)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--empty", type=int, default=1000, help="cases of no work")
    parser.add_argument("--model", default="brain-flair")
    parser.add_argument("--write-docs", type=Path, metavar="PAGE", help=f"Markdown page whose '{SECTION}' is replaced")
    options = parser.parse_args(arguments)
    try:
        results: dict[str, Any] = {"machine": machine(), "load": timed(lambda: load_bundle(options.model))[0]}
        results["real"] = real_cases(options)
        results["empty"] = empty_cases(options.workers, options.empty)
    except InputError as error:
        sys.exit(f"benchmarks.scaling: {error}")
    (options.out / "scaling.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    text = describe(results)
    print(text)
    if options.write_docs:
        replace_section(options.write_docs, SECTION, text)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
