"""The published procedure against ours, and what time and memory grow with.

    python -m benchmarks.speed --out speed.json --write-docs docs/performance.md

Needs an idle machine. The variants take turns, so that what drifts does so for all; ratios are of neighbouring runs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.cases import make_job
from benchmarks.measure import command_to_first_slices, in_a_process, timed_run
from benchmarks.published import published_volume
from benchmarks.report import machine, publish
from napari_gem3d.bundle import ModelBundle, load_bundle
from napari_gem3d.evaluation.figures import table

SLICES = (16, 46, 76, 136)
SIZES = ((96, 96), (192, 160), (256, 256))
STEPS = (5, 10, 20)


def compare(bundle: ModelBundle, slices: int, steps: int, repeats: int) -> dict[str, Any]:
    """Seconds of the published procedure and of ours at equal steps, and ratios of neighbouring runs."""
    ours, float32 = (make_job(bundle, slices, steps=steps, precision=name) for name in ("auto", "float32"))
    variants: dict[str, Callable[[], object]] = {
        "published": lambda: published_volume(bundle, ours, steps),
        "ours": lambda: timed_run(ours),
        "ours, float32": lambda: timed_run(float32),
    }
    for warm in (
        make_job(bundle, min(slices, bundle.plan.window), steps=1, precision=name) for name in ("auto", "float32")
    ):
        timed_run(warm)
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(repeats):
        for name, run in variants.items():
            begun = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begun)
    names = [name for name in variants if name != "published"]
    ratios = {name: [p / o for p, o in zip(seconds["published"], seconds[name], strict=True)] for name in names}
    return {"slices": slices, "steps": steps, "precision": ours.recipe.precision, "seconds": seconds, "ratios": ratios}


def against_many_steps(bundle: ModelBundle, slices: int, published_steps: int, repeats: int) -> dict[str, Any]:
    """The published procedure at its own number of steps, once, against ours at the model's."""
    job = make_job(bundle, slices)
    before = [timed_run(job)["seconds"] for _ in range(repeats)]
    begun = time.perf_counter()
    published_volume(bundle, job, published_steps)
    published = time.perf_counter() - begun
    ours = before + [timed_run(job)["seconds"] for _ in range(repeats)]
    settings = {"slices": slices, "steps": job.recipe.steps, "solver": job.recipe.solver}
    return {
        **settings,
        "published_steps": published_steps,
        "published": published,
        "ours": ours,
        "ratio": published / median(ours),
    }


def growth(
    model: str, slices: Sequence[int], sizes: Sequence[tuple[int, int]], steps: Sequence[int]
) -> list[dict[str, Any]]:
    """One generation a process: over slices, over the plane, over steps."""
    middle = str(slices[min(1, len(slices) - 1)])
    cases = [["--slices", str(n)] for n in slices]
    cases += [["--slices", middle, "--size", str(h), str(w)] for h, w in sizes]
    cases += [["--slices", middle, "--steps", str(n)] for n in steps]
    return [{"case": case, **in_a_process("--model", model, *case)} for case in cases]


def describe(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    where = results["machine"]
    equal, many, command = results["equal"], results["many"], results["command"]
    lines = [", ".join(f"{name}: {value}" for name, value in where.items()) + ".", ""]
    rows = [
        [name, f"{median(values):.1f} s", f"{median(equal['ratios'][name]):.2f}×" if name in equal["ratios"] else ""]
        for name, values in equal["seconds"].items()
    ]
    lines += [f"At {equal['steps']} steps each, {equal['slices']} slices (ours in {equal['precision']}, medians):", ""]
    lines += [table(["procedure", "time", "faster"], rows), ""]
    lines += [
        f"The published procedure at {many['published_steps']} steps takes {many['published']:.0f} s for "
        f"{many['slices']} slices, ours at the default {many['steps']} steps of {many['solver']} "
        f"{median(many['ours']):.1f} s: **{many['ratio']:.0f}× faster**.",
        "",
        f"The first slices are there {results['first']:.1f} s after a "
        f"generation starts, {command['first']:.1f} s after the command does (of which {command['imports']:.1f} s are "
        f"imports, {command['prepared'] - command['imports']:.1f} s reading and preparing).",
        "",
    ]
    rows = [
        [
            " ".join(run["case"]).replace("--", ""),
            f"{run['seconds']:.1f} s",
            f"{run['first']:.1f} s",
            f"{run['peak_mb']:.0f} MB",
            f"{run['peak_mb'] - run['loaded_mb']:.0f} MB",
        ]
        for run in results["growth"]
    ]
    header = ["case", "time", "to the first slices", "peak memory", "above the loaded model"]
    return "\n".join([*lines, table(header, rows)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="brain-flair", help="bundled model or folder of one")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each variant")
    parser.add_argument("--compared-slices", type=int, default=46, help="slices of the volume that is compared")
    parser.add_argument("--steps", type=int, default=10, help="steps of both at equal steps")
    parser.add_argument("--published-steps", type=int, default=200, help="steps of the published procedure")
    parser.add_argument("--quick", action="store_true", help="the smallest of everything, to see that it runs")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--write-docs", type=Path, metavar="PAGE", help="Markdown page whose Results are replaced")
    options = parser.parse_args(arguments)
    bundle = load_bundle(options.model)
    slices, sizes, steps = (SLICES[:1], (), ()) if options.quick else (SLICES, SIZES, STEPS)
    results: dict[str, Any] = {"machine": machine()}
    results["equal"] = compare(bundle, options.compared_slices, options.steps, options.repeats)
    results["many"] = against_many_steps(bundle, options.compared_slices, options.published_steps, options.repeats)
    results["growth"] = growth(options.model, slices, sizes, steps)
    results["first"] = median(run["first"] for run in results["growth"][: len(slices)])
    results["command"] = command_to_first_slices(bundle, options.model, slices[-1])
    publish(results, describe(results), options.out, options.write_docs, "Results")


if __name__ == "__main__":
    main()
