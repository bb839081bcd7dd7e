"""The paper's Table 1 at this project's scale: how near sets of synthetic slices come to sets of real ones, by plane.

    python -m benchmarks.table1 DATASET --model models/brain-flair --baseline BUNDLE --seeds 1 2 --out DIR

DATASET is in nnU-Net's raw layout with imagesTr, imagesTs and labelsTs. The test patients' label maps are drawn by the
baseline (Make-A-Volume) and by the model, informed by slices that it draws itself (IG) or by slices of training
patients (IC, cross-selected), with the label maps as they are or with the lesion moved (MA):
`napari_gem3d.cohorts.enhance` makes the volumes, `napari_gem3d.evaluation.report` compares them with the test patients'
scans. How far the training patients' scans are from the test patients' stands beside it. DIR gets the volumes,
``results.json`` and ``table.md``; what is there is not made again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import machine, publish
from napari_gem3d.bundle.store import find_bundle, read_plan
from napari_gem3d.cohorts.enhance import enhance
from napari_gem3d.cohorts.variants import GENERATED, Augment
from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.extractors import EFFICIENTNET, EXTRACTORS
from napari_gem3d.evaluation.figures import Figure, table
from napari_gem3d.evaluation.frechet import PLANES
from napari_gem3d.evaluation.report import evaluate
from napari_gem3d.io import replacing

BASELINE, REAL = "Make-A-Volume", "real: training patients"
SECTION = "Table 1: distances between sets of slices"


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Attributes
    ----------
    name
        As the paper calls it.
    informed
        Where informed slices come from, as `enhance` takes it; a baseline looks at none.
    augment
        How label maps vary.
    baseline
        Whether the baseline draws.
    """

    name: str
    informed: Path | str
    augment: Augment = "none"
    baseline: bool = False

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return self.name.lower().replace(" + ", "-")


def methods(data: Path, baseline: bool) -> list[Method]:
    """The rows, in the order of the paper."""
    training = data / "imagesTr"
    rows = [Method(BASELINE, training, baseline=True)] if baseline else []
    for name, informed in (("IG", GENERATED), ("IC", training)):
        rows += [Method(f"GEM-3D + {name}", informed), Method(f"GEM-3D + {name} + MA", informed, "brain")]
    return rows


def measure(options: argparse.Namespace, method: Method) -> dict[str, Any]:
    """Distances of a method's volumes from the test patients' scans, over seeds."""
    found: dict[str, dict[str, list[float]]] = {kind: {plane: [] for plane in PLANES} for kind in ("frechet", "kernel")}
    for seed in options.seeds:
        out = options.out / "sets" / f"{method.folder}-{seed}"
        cohort = enhance(
            options.data,
            out,
            seed=seed,
            informed=method.informed,
            augment=method.augment,
            bend_mm=0.0,  # the distances are from the scans of these very patients
            split="Ts",
            model=options.baseline if method.baseline else options.model,
            threads=options.threads,
            say=_say,
        )
        if cohort.failed or cohort.interrupted:
            raise InputError(f"Not all volumes of {method.name} were made; look into {out}, and run the same again.")
        report = _compare(options, out / "imagesTr", options.out / "reports" / out.name)
        for plane in PLANES:
            found["frechet"][plane].append(report["frechet"][plane])
            found["kernel"][plane].append(report["kernel"][plane]["mean"])
    return {kind: {plane: Figure.of(values) for plane, values in planes.items()} for kind, planes in found.items()}


def _compare(options: argparse.Namespace, made: Path, out: Path) -> dict[str, Any]:
    """The report of a folder of scans against the test patients', made if it is not there or older than the scans."""
    kept = out / "report.json"
    newest = max(path.stat().st_mtime for path in made.glob("*.nii.gz"))
    if not kept.is_file() or kept.stat().st_mtime < newest:
        return evaluate(options.data / "imagesTs", made, out, say=_say, extractor=options.extractor)
    report: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return report


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All results, as ``results.json`` holds them."""
    if options.baseline and read_plan(find_bundle(options.baseline)).informed:
        raise InputError(f"{options.baseline} sees an informed slice, so it is no baseline.")
    begun = time.perf_counter()
    rows = {method.name: measure(options, method) for method in methods(options.data, bool(options.baseline))}
    real = _compare(options, options.data / "imagesTr", options.out / "reports" / "real")
    rows[REAL] = {
        "frechet": {plane: Figure.of([real["frechet"][plane]]) for plane in PLANES},
        "kernel": {plane: Figure.of([real["kernel"][plane]["mean"]]) for plane in PLANES},
    }
    return {
        "machine": machine(),
        "dataset": options.data.resolve().name,
        "seeds": options.seeds,
        "model": read_plan(find_bundle(options.model)).name,
        "extractor": real["frechet_extractor"],
        "scans": real["real_scans"],
        "training_scans": real["synthetic_scans"],
        "minutes": (time.perf_counter() - begun) / 60,
        "rows": rows,
    }


def describe(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    head = ["method", *PLANES, *(f"{plane}, kernel" for plane in PLANES)]
    rows = [
        [
            name,
            *(found["frechet"][plane].text(0) for plane in PLANES),
            *(found["kernel"][plane].text(3) for plane in PLANES),
        ]
        for name, found in results["rows"].items()
    ]
    seeds, count = ", ".join(map(str, results["seeds"])), results["scans"]
    return (
        f"Fréchet and kernel distance of all slices of {count} synthetic volumes a seed (label maps of the test "
        f"patients; seeds {seeds}: mean ± standard deviation over seeds) from those of the {count} test patients' "
        f"scans; the last row has the scans of the {results['training_scans']} training patients in their place. "
        f"Features: {results['extractor']}.\n\n{table(head, rows)}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Make what is missing, compare, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATASET", help="dataset with training and test patients")
    parser.add_argument("--out", type=Path, required=True, help="folder of volumes, reports and results")
    parser.add_argument("--model", default="brain-flair", help="bundled model or folder of one")
    parser.add_argument("--baseline", metavar="BUNDLE", help="a bundle trained without informed slice")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--extractor", choices=EXTRACTORS, default=EFFICIENTNET)
    parser.add_argument("--threads", type=int, default=1, help="of the processor, for a volume")
    parser.add_argument("--write-docs", type=Path, metavar="PAGE", help=f"Markdown page whose '{SECTION}' is replaced")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        results = run(options)
    except InputError as error:
        sys.exit(f"benchmarks.table1: {error}")
    text = describe(results)
    publish(results, text, options.out / "results.json", options.write_docs, SECTION)
    with replacing(options.out / "table.md") as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
