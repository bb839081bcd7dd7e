"""The paper's Table 2 at this project's scale: likeness of volumes to the patients whose own slice informs them.

    python -m benchmarks.table2 DATASET --model models/brain-flair --baseline BUNDLE --seeds 1 2 3 --out DIR

DATASET is in nnU-Net's raw layout with imagesTs and labelsTs. Volumes are drawn as `benchmarks.quality` draws them
(label map and brain of the test patient, the patient's own slice in the middle), by the model and by the baseline
without informed slice (Make-A-Volume); what lies in a DIR of that benchmark is not drawn again. ``--anatomy`` is as
there. MS-SSIM and a perceptual distance are those of pairs of axial slices, as in the paper. DIR gets the volumes,
``table2.json`` and ``table2.md``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.quality import POSITION, Study, draw
from benchmarks.quality_table import flat, over_patients
from benchmarks.regimes import BASELINE, OURS, REGIMES, REGIMES_TOLD, Method, comparisons, methods
from benchmarks.report import machine, publish
from benchmarks.solvers import cases_of
from napari_gem3d.bundle.store import find_bundle, read_plan
from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.extractors import EFFICIENTNET
from napari_gem3d.evaluation.figures import Figure, table
from napari_gem3d.evaluation.judging import judge
from napari_gem3d.evaluation.pairs import Pair
from napari_gem3d.evaluation.perceptual import DISTANCES, PerceptualDistance, make_distance
from napari_gem3d.evaluation.protocol import INSIDE, PROTOCOL
from napari_gem3d.io import replacing

SECTION = "Table 2: likeness to the patient"


def measure(study: Study, method: Method, model: str, distance: PerceptualDistance) -> dict[str, Figure]:
    """Mean over patients of every figure of a method, and its deviation over seeds; draws what is missing."""
    draw(study, method, model)
    judged: dict[tuple[str, int], dict[str, float]] = {}
    for case in study.cases:
        for seed in study.seeds:
            made = study.volume(method, case, seed)
            pair = Pair(case, made.name, study.scan(case), made, study.labels(case))
            judged[case, seed] = flat(judge(pair, distance))
            print(f"{method.name}, {case}, seed {seed}: MS-SSIM {judged[case, seed]['ms_ssim']:.4f}", flush=True)
    return over_patients(judged)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All results, as ``table2.json`` holds them."""
    if not read_plan(find_bundle(options.model)).informed:
        raise InputError(f"{options.model} is a baseline without informed slice; give it with --baseline.")
    if options.baseline and read_plan(find_bundle(options.baseline)).informed:
        raise InputError(f"{options.baseline} sees an informed slice, so it is no baseline.")
    study = Study(options.data, options.out, cases_of(options.data), options.seeds)
    if not study.cases:
        raise InputError(f"{options.data} has no test patients; give a dataset with imagesTs and labelsTs.")
    distance = make_distance(options.perceptual, options.perceptual_weights)
    models = {**({BASELINE: options.baseline} if options.baseline else {}), OURS: options.model}
    rows = methods(list(models), options.anatomy)
    return {
        "machine": machine(),
        "dataset": options.data.resolve().name,
        "patients": list(study.cases),
        "seeds": list(study.seeds),
        "position": POSITION,
        "perceptual": {"figure": distance.figure, "title": distance.title},
        "protocol": f"{PROTOCOL} {INSIDE}",
        "rows": {row.name: measure(study, row, models[row.base], distance) for row in rows},
    }


def describe(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    distance, found = results["perceptual"], results["rows"]
    titles = {
        "ms_ssim": "MS-SSIM ↑",
        "ms_ssim_max": "MS-SSIM, by maximum ↑",
        "ssim_brain": "SSIM inside ↑",
        distance["figure"]: "perceptual ↓",
        "ssim": "SSIM ↑",
        "psnr": "PSNR ↑",
        "csf_dice": "Dice of fluid ↑",
        "lesion_corr": "lesion, correlation ↑",
    }
    shown = {name: title for name, title in titles.items() if all(name in figures for figures in found.values())}
    columns = {name: 1 if name == "psnr" else 3 for name in shown}
    rows = [[method, *(figures[n].text(digits) for n, digits in columns.items())] for method, figures in found.items()]
    for last, (ours, other) in comparisons(found).items():
        if other:
            gained = [f"{found[ours][n].mean - found[other][n].mean:+.{digits}f}" for n, digits in columns.items()]
            rows.append([f"difference{last}", *gained])
    seeds = ", ".join(map(str, results["seeds"]))
    told = f" {REGIMES_TOLD}" if any(last for last in comparisons(found)) else ""
    return (
        f"{len(results['patients'])} test patients, the patient's own slice at position {results['position']:g}, seeds "
        f"{seeds}: mean over patients ± standard deviation over seeds. {results['protocol']} SSIM and the perceptual "
        f"distance are means over axial slices; perceptual: {distance['title']}.{told}\n\n"
        + table(["method", *shown.values()], rows)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw what is missing, judge, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATASET", help="dataset with imagesTs and labelsTs")
    parser.add_argument("--out", type=Path, required=True, help="folder of volumes and results")
    parser.add_argument("--model", default="brain-flair", help="bundled model or folder of one")
    parser.add_argument("--baseline", metavar="BUNDLE", help="a bundle trained without informed slice")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument(
        "--anatomy", nargs="+", choices=REGIMES, default=[], help="where anatomy labels come from, a row for each"
    )
    parser.add_argument("--perceptual", choices=DISTANCES, default=EFFICIENTNET)
    parser.add_argument("--perceptual-weights", type=Path, metavar="FILE", help="of AlexNet, for lpips")
    parser.add_argument("--write-docs", type=Path, metavar="PAGE", help=f"Markdown page whose '{SECTION}' is replaced")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        results = run(options)
    except InputError as error:
        sys.exit(f"benchmarks.table2: {error}")
    text = describe(results)
    publish(results, text, options.out / "table2.json", options.write_docs, SECTION)
    with replacing(options.out / "table2.md") as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
