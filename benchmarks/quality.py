"""Volumes of the test patients of a dataset against their scans, a baseline beside them.

    python -m benchmarks.quality DATASET --model models/brain-flair --baseline BUNDLE --seeds 1 2 3 --out DIR

DATASET is in nnU-Net's raw layout with imagesTs and labelsTs. Every patient is drawn from the label map, the brain
of the scan and the patient's own slice at position 0.5. DIR gets the volumes with their recipes, ``quality.md`` and
``quality.json``; what is there and was made by the same recipe is not made again, so a run that was stopped goes on.
``--anatomy scan none`` draws all of it twice, with the anatomy that the patient's scan shows and from lesion and brain
alone; each is a row of every table. ``--pictures`` draws planes of real patients into DIR/pictures: they are for
looking at, not for publishing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import pressed_to_volume
from benchmarks.quality_table import by_patient, describe, flat, intervals, over_patients, targets
from benchmarks.reconstruction import mean_of, reconstruction
from benchmarks.regimes import BASELINE, OURS, REGIMES, Method, methods
from benchmarks.report import machine, publish
from benchmarks.solvers import cases_of
from napari_gem3d.bundle import load_bundle
from napari_gem3d.bundle.store import find_bundle, read_plan
from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.extractors import EfficientNetFeatures
from napari_gem3d.evaluation.figures import Figure
from napari_gem3d.evaluation.frame import in_real_units
from napari_gem3d.evaluation.frechet import PLANES, frechet_distance, slice_features
from napari_gem3d.evaluation.judging import judge
from napari_gem3d.evaluation.pairs import Pair, canonical
from napari_gem3d.evaluation.protocol import INSIDE, PROTOCOL
from napari_gem3d.io import read_label_map, read_volume, replacing, sha256
from napari_gem3d.labels import LabelTable
from napari_gem3d.pictures import Row, planes_in_rows
from napari_gem3d.sampling.recipe import Recipe, make_recipe
from napari_gem3d.sampling.results import is_made, run_recipe

POSITION = 0.5
# Of the volume whose time is taken.
SLICES = 140


@dataclass(frozen=True)
class Study:
    """What is drawn, and where it goes.

    Attributes
    ----------
    data
        Dataset with imagesTs and labelsTs.
    out
        Folder of everything.
    cases, seeds
        Patients and seeds, every one with every other.
    how
        Solver and steps where they are not the model's own.
    """

    data: Path
    out: Path
    cases: Sequence[str]
    seeds: Sequence[int]
    how: Mapping[str, Any] = field(default_factory=dict)

    def scan(self, case: str) -> Path:
        """The scan of a patient."""
        return self.data / "imagesTs" / f"{case}_0000.nii.gz"

    def labels(self, case: str) -> Path:
        """The label map of a patient."""
        return self.data / "labelsTs" / f"{case}.nii.gz"

    def volume(self, method: Method, case: str, seed: int) -> Path:
        """Where a volume lies, in a folder that ``napari-gem3d evaluate`` takes."""
        return self.out / method.folder / f"{case}-seed{seed}.nii.gz"


def draw(study: Study, method: Method, model: str) -> Recipe:
    """Make the volumes of a model that are not there; returns the recipe of the last."""
    for case in study.cases:
        scan = study.scan(case)
        for seed in study.seeds:
            out = study.volume(method, case, seed)
            how: dict[str, Any] = {**study.how, **method.how}
            recipe = make_recipe(study.labels(case), scan, body=scan, position=POSITION, model=model, seed=seed, **how)
            if not is_made(recipe, out):
                run_recipe(recipe, out)
                print(f"made {out}", flush=True)
    return recipe


def features_by_plane(scan: Path, store: Path) -> dict[str, NDArray[np.float64]]:
    """Features of all slices of a scan in every plane, kept in a folder under the hash of the scan."""
    kept = store / f"{sha256(scan)}.npz"
    if not kept.exists():
        voxels = canonical(scan)
        shown = in_real_units(voxels, voxels)[0]
        store.mkdir(parents=True, exist_ok=True)
        with replacing(kept) as temporary, temporary.open("wb") as file:
            np.savez(file, *(slice_features([shown], plane) for plane in PLANES))
    with np.load(kept) as found:
        return {plane: found[name] for plane, name in zip(PLANES, found.files, strict=True)}


def measure(study: Study, method: Method, model: str) -> dict[str, Any]:
    """Draw what is missing and judge everything of a model."""
    recipe = draw(study, method, model)
    judged: dict[tuple[str, int], dict[str, float]] = {}
    for case in study.cases:
        for seed in study.seeds:
            made = study.volume(method, case, seed)
            judged[case, seed] = flat(judge(Pair(case, made.name, study.scan(case), made, study.labels(case))))
            print(f"{method.name}, {case}, seed {seed}: MS-SSIM {judged[case, seed]['ms_ssim']:.4f}", flush=True)
    folder = find_bundle(model)
    return {
        "model": recipe.plan.name,
        "sha256": recipe.model.sha256,
        "solver": recipe.solver,
        "steps": recipe.steps,
        "bundle_mb": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6,
        "volumes": {f"{case}-seed{seed}": found for (case, seed), found in judged.items()},
        "patients": by_patient(judged),
        "mean": over_patients(judged),
        "interval": intervals(judged),
        "frechet": _distances(study, method),
    }


def _distances(study: Study, method: Method) -> dict[str, Figure]:
    """Fréchet distance between all slices of the scans and of the volumes of a seed, over the seeds."""
    store = study.out / "features"
    real = [features_by_plane(study.scan(case), store) for case in study.cases]
    found: dict[str, list[float]] = {plane: [] for plane in PLANES}
    for seed in study.seeds:
        made = [features_by_plane(study.volume(method, case, seed), store) for case in study.cases]
        for plane in PLANES:
            sets = (np.concatenate([features[plane] for features in scans]) for scans in (real, made))
            found[plane].append(frechet_distance(*sets))
    return {plane: Figure.of(values) for plane, values in found.items()}


def coding(study: Study, model: str) -> dict[str, Any]:
    """What the VAE makes of the scans: mean over patients, and of each."""
    bundle = load_bundle(model)
    patients = {case: reconstruction(bundle, study.scan(case), study.labels(case)) for case in study.cases}
    return {**mean_of(patients), "patients": patients}


def draw_planes(study: Study, shown: Sequence[Method], table: LabelTable, cases: Sequence[str]) -> None:
    """Draw the scan and, below it, the first seed's volume of every method: the same planes, the same grey scale."""
    for case in cases:
        labels = read_label_map(study.labels(case), table)
        made = {method.name: read_volume(study.volume(method, case, study.seeds[0])) for method in shown}
        rows = [Row(read_volume(study.scan(case)), "scan", labels)]
        rows += [Row(volume, name, labels) for name, volume in made.items()]
        out = study.out / "pictures" / f"{case}.png"
        out.parent.mkdir(parents=True, exist_ok=True)
        planes_in_rows(rows, out)
        print(f"drew {out}", flush=True)


def run(study: Study, rows: Sequence[Method], model: str, baseline: str | None, timed: bool) -> dict[str, Any]:
    """All results of the methods, as ``quality.json`` holds them."""
    models = {OURS: model, **({BASELINE: baseline} if baseline else {})}
    results: dict[str, Any] = {
        "machine": machine(),
        "dataset": study.data.resolve().name,
        "patients": list(study.cases),
        "seeds": list(study.seeds),
        "position": POSITION,
        "frechet_extractor": EfficientNetFeatures.title,
        "protocol": f"{PROTOCOL} {INSIDE}",
        "methods": {row.name: measure(study, row, models[row.base]) for row in rows},
        "vae": coding(study, model),
    }
    if timed:
        results["time"] = pressed_to_volume(load_bundle(model), model, SLICES, **study.how)
    results["targets"] = [asdict(target) for target in targets(results)]
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw what is missing, judge, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATASET", help="dataset with imagesTs and labelsTs")
    parser.add_argument("--out", type=Path, required=True, help="folder of volumes and results")
    parser.add_argument("--model", default="brain-flair", help="bundled model or folder of one")
    parser.add_argument("--baseline", metavar="BUNDLE", help="a bundle trained without informed slice")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--cases", nargs="+", help="these test patients only")
    parser.add_argument("--solver", help="the model's own by default")
    parser.add_argument("--steps", type=int, help="denoising steps; the model's own by default")
    parser.add_argument(
        "--anatomy", nargs="+", choices=REGIMES, default=[], help="where anatomy labels come from, a row for each"
    )
    parser.add_argument("--time", action="store_true", help="time and memory, too: needs an idle machine")
    parser.add_argument("--pictures", nargs="+", default=[], metavar="CASE", help="patients to draw planes of")
    parser.add_argument("--write-docs", type=Path, metavar="PAGE", help="Markdown page whose Quality is replaced")
    options = parser.parse_args(arguments)
    try:
        study = _study(options)
        rows = methods([OURS, *([BASELINE] if options.baseline else [])], options.anatomy)
        results = run(study, rows, options.model, options.baseline, options.time)
        draw_planes(study, rows, read_plan(find_bundle(options.model)).labels, options.pictures)
    except InputError as error:
        sys.exit(f"benchmarks.quality: {error}")
    text = describe(results)
    publish(results, text, options.out / "quality.json", options.write_docs, "Quality")
    (options.out / "quality.md").write_text(text + "\n", encoding="utf-8")


def _study(options: argparse.Namespace) -> Study:
    """What the options ask for; InputError if the dataset has no such patients or the baseline is none."""
    there = cases_of(options.data)
    cases = options.cases or there
    missing = [case for case in [*cases, *options.pictures] if case not in there]
    if not there or missing:
        what = f"no patient {', '.join(missing)}" if missing else "no test patients"
        raise InputError(f"{options.data} has {what}; it has {', '.join(there) or 'no CASE_0000.nii.gz'} in imagesTs.")
    if read_plan(find_bundle(options.model)).informed is False:
        raise InputError(f"{options.model} is a baseline without informed slice; give it with --baseline.")
    if options.baseline and read_plan(find_bundle(options.baseline)).informed:
        raise InputError(
            f"{options.baseline} sees an informed slice, so it is no baseline; train with informed: false."
        )
    how = {name: value for name in ("solver", "steps") if (value := getattr(options, name)) is not None}
    options.out.mkdir(parents=True, exist_ok=True)
    return Study(options.data, options.out, cases, options.seeds, how)


if __name__ == "__main__":
    main()
