"""The paper's Table 2 at this project's scale: likeness of volumes to the patients whose own slice informs them.

    python -m benchmarks.table2 DATASET --model models/brain-flair --baseline BUNDLE --seeds 1 2 3 --out DIR

DATASET is in nnU-Net's raw layout with imagesTs and labelsTs. Volumes are drawn as `benchmarks.quality` draws them
(label map and brain of the test patient, the patient's own slice in the middle), by the model and by the baseline
without informed slice (Make-A-Volume); what lies in a DIR of that benchmark is not drawn again. MS-SSIM and a
perceptual distance are those of pairs of axial slices, as in the paper. DIR gets the volumes, ``table2.json`` and
``table2.md``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.quality import POSITION, Study, draw
from benchmarks.quality_table import BASELINE, OURS, flat, over_patients
from benchmarks.report import machine, publish
from benchmarks.solvers import cases_of
from napari_gem3d.bundle.store import find_bundle, read_plan
from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.extractors import EFFICIENTNET
from napari_gem3d.evaluation.figures import Figure, table
from napari_gem3d.evaluation.judging import judge
from napari_gem3d.evaluation.pairs import Pair
from napari_gem3d.evaluation.perceptual import DISTANCES, PerceptualDistance, make_distance
from napari_gem3d.io import replacing

SECTION = "Table 2: likeness to the patient"


def measure(study: Study, method: str, model: str, distance: PerceptualDistance) -> dict[str, Figure]:
    """Mean over patients of every figure of a method, and its deviation over seeds; draws what is missing."""
    draw(study, method, model)
    judged: dict[tuple[str, int], dict[str, float]] = {}
    for case in study.cases:
        for seed in study.seeds:
            made = study.volume(method, case, seed)
            judged[case, seed] = flat(judge(Pair(case, made.name, study.scan(case), made), distance))
            print(f"{method}, {case}, seed {seed}: MS-SSIM {judged[case, seed]['ms_ssim']:.4f}", flush=True)
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
    return {
        "machine": machine(),
        "dataset": options.data.resolve().name,
        "patients": list(study.cases),
        "seeds": list(study.seeds),
        "position": POSITION,
        "perceptual": {"figure": distance.figure, "title": distance.title},
        "rows": {method: measure(study, method, model, distance) for method, model in models.items()},
    }


def describe(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    distance = results["perceptual"]
    titles = {"ms_ssim": "MS-SSIM ↑", distance["figure"]: "perceptual ↓", "ssim": "SSIM ↑", "psnr": "PSNR ↑"}
    columns = {name: (title, 1 if name == "psnr" else 3) for name, title in titles.items()}
    rows = [
        [method, *(figures[name].text(digits) for name, (_, digits) in columns.items())]
        for method, figures in results["rows"].items()
    ]
    if len(results["rows"]) > 1:
        ours, other = (results["rows"][method] for method in (OURS, BASELINE))
        rows.append(["difference", *(f"{ours[n].mean - other[n].mean:+.{d}f}" for n, (_, d) in columns.items())])
    seeds = ", ".join(map(str, results["seeds"]))
    return (
        f"{len(results['patients'])} test patients, the patient's own slice at position {results['position']:g}, seeds "
        f"{seeds}: mean over patients ± standard deviation over seeds. MS-SSIM, SSIM and the perceptual distance are "
        f"means over axial slices; perceptual: {distance['title']}.\n\n"
        + table(["method", *(title for title, _ in columns.values())], rows)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw what is missing, judge, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATASET", help="dataset with imagesTs and labelsTs")
    parser.add_argument("--out", type=Path, required=True, help="folder of volumes and results")
    parser.add_argument("--model", default="brain-flair", help="bundled model or folder of one")
    parser.add_argument("--baseline", metavar="BUNDLE", help="a bundle trained without informed slice")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
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
