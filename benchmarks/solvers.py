"""Quality against solver and steps, on the test patients of a dataset.

    python -m benchmarks.solvers --data DATASET --volumes DIR --generate dpmsolver++-10-0 ddim-200-1
    python -m benchmarks.solvers --data DATASET --volumes DIR --write-docs PAGE.md --plot PAGE.png

DATASET is in nnU-Net's raw layout with imagesTs and labelsTs. DIR has a folder SOLVER-STEPS-ETA for each setting, with
a CASE.nii.gz for each patient that the patient's own slice at position 0.5 informed; what is there is not made again.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.plot import Panel, draw_panels
from benchmarks.report import replace_section
from napari_gem3d.evaluation.figures import table
from napari_gem3d.evaluation.frame import in_real_units
from napari_gem3d.evaluation.frechet import PLANES, frechet_distance, slice_features
from napari_gem3d.evaluation.pairs import upright
from napari_gem3d.evaluation.protocol import PROTOCOL
from napari_gem3d.evaluation.similarity import ms_ssim
from napari_gem3d.io import read_volume
from napari_gem3d.sampling.recipe import make_recipe
from napari_gem3d.sampling.results import run_recipe

_SETTING = re.compile(r"(?P<solver>[a-z+]+)-(?P<steps>\d+)-(?P<eta>[\d.]+)$")


@dataclass(frozen=True)
class Setting:
    """A solver, its steps and its eta."""

    solver: str
    steps: int
    eta: float

    @classmethod
    def of(cls, name: str) -> Setting:
        """Read SOLVER-STEPS-ETA; ValueError if it is none."""
        found = _SETTING.match(name)
        if found is None:
            raise ValueError(f"{name} is not SOLVER-STEPS-ETA, such as dpmsolver++-10-0.")
        return cls(found["solver"], int(found["steps"]), float(found["eta"]))

    @property
    def folder(self) -> str:
        """SOLVER-STEPS-ETA."""
        return f"{self.solver}-{self.steps}-{self.eta:g}"

    @property
    def line(self) -> str:
        """The settings that are one line over steps."""
        return f"{self.solver}, eta {self.eta:g}" if self.solver == "ddim" else self.solver


def cases_of(data: Path) -> list[str]:
    """Names of the test patients."""
    return sorted(path.name.removesuffix("_0000.nii.gz") for path in (data / "imagesTs").glob("*_0000.nii.gz"))


def generate(data: Path, volumes: Path, setting: Setting, model: str) -> None:
    """Make the volumes of a setting that are not there."""
    for case in cases_of(data):
        out = volumes / setting.folder / f"{case}.nii.gz"
        if not out.exists():
            scan = data / "imagesTs" / f"{case}_0000.nii.gz"
            how: dict[str, Any] = {"solver": setting.solver, "steps": setting.steps, "eta": setting.eta}
            labels = data / "labelsTs" / f"{case}.nii.gz"
            run_recipe(make_recipe(labels, scan, body=scan, position=0.5, model=model, seed=1, **how), out)
            print(f"made {out}", flush=True)


def _voxels(path: Path) -> NDArray[Any]:
    return upright(read_volume(path))


def judge(data: Path, volumes: Path, setting: Setting) -> dict[str, Any]:
    """Mean MS-SSIM, and the Fréchet distance in every plane, of a setting's volumes."""
    made, similar = [], []
    for case in cases_of(data):
        real, drawn = _real(data, case), _voxels(volumes / setting.folder / f"{case}.nii.gz")
        similar.append(ms_ssim(real, drawn))
        made.append(in_real_units(real, drawn)[1])
    distances = {plane: frechet_distance(_real_features(data, plane), slice_features(made, plane)) for plane in PLANES}
    return {
        "ms_ssim": float(np.mean(similar)),
        "protocol": PROTOCOL,
        "patients": len(similar),
        "frechet": distances,
    }


@cache
def _real(data: Path, case: str) -> NDArray[Any]:
    return _voxels(data / "imagesTs" / f"{case}_0000.nii.gz")


@cache
def _real_features(data: Path, plane: str) -> NDArray[np.float64]:
    scans = (_real(data, case) for case in cases_of(data))
    return slice_features((in_real_units(scan, scan)[0] for scan in scans), plane)


def complete(data: Path, volumes: Path) -> list[Setting]:
    """The settings whose volumes are all there."""
    cases = cases_of(data)
    found = [Setting.of(path.name) for path in sorted(volumes.iterdir()) if path.is_dir() and _SETTING.match(path.name)]
    return [s for s in found if all((volumes / s.folder / f"{case}.nii.gz").exists() for case in cases)]


def describe(results: dict[str, dict[str, Any]]) -> str:
    """The results as Markdown, best MS-SSIM first within each solver."""
    rows = []
    for name, found in sorted(results.items(), key=lambda item: (Setting.of(item[0]).line, Setting.of(item[0]).steps)):
        setting, planes = Setting.of(name), found["frechet"]
        distances = [f"{planes[plane]:.2f}" for plane in PLANES]
        rows.append([setting.line, str(setting.steps), f"{found['ms_ssim']:.4f}", *distances])
    patients = next(iter(results.values()))["patients"]
    return "\n".join(
        [
            f"Means over {patients} test patients, which are few: the Fréchet distance (features of "
            "EfficientNet-Lite0, not FID) has meaning only within this table, where smaller is nearer to the "
            f"patients' own slices. {PROTOCOL}",
            "",
            table(["solver", "steps", "MS-SSIM", *(f"Fréchet, {plane}" for plane in PLANES)], rows),
            "",
            "![Quality against steps](images/solvers.png)",
        ]
    )


def plot(results: dict[str, dict[str, Any]], path: Path) -> None:
    """Both figures against steps, a line a solver."""
    similarity: dict[str, list[tuple[float, float]]] = {}
    distance: dict[str, list[tuple[float, float]]] = {}
    for name, found in results.items():
        setting = Setting.of(name)
        similarity.setdefault(setting.line, []).append((setting.steps, found["ms_ssim"]))
        distance.setdefault(setting.line, []).append((setting.steps, float(np.mean(list(found["frechet"].values())))))
    panels = [
        Panel("MS-SSIM with the real scan (higher is nearer)", "denoising steps", similarity),
        Panel("Frechet distance, mean of planes (lower is nearer)", "denoising steps", distance),
    ]
    draw_panels(panels, path)


def _kept(out: Path | None) -> dict[str, dict[str, Any]]:
    """The results that a file holds; those measured in another way are left out, as they do not compare."""
    if out is None or not out.exists():
        return {}
    found: dict[str, dict[str, Any]] = json.loads(out.read_text(encoding="utf-8"))
    return {name: entry for name, entry in found.items() if entry.get("protocol") == PROTOCOL}


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the volumes that are asked for, judge all that are there, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="dataset with imagesTs and labelsTs")
    parser.add_argument("--volumes", type=Path, required=True, help="folder of the generated volumes")
    parser.add_argument("--generate", nargs="*", default=[], metavar="SOLVER-STEPS-ETA", help="settings to make first")
    parser.add_argument("--model", default="brain-flair", help="bundled model or folder of one, to generate with")
    parser.add_argument(
        "--out",
        type=Path,
        help="JSON file of the results; settings that it holds are not judged again, unless by another protocol",
    )
    parser.add_argument("--plot", type=Path, help="PNG to draw")
    parser.add_argument("--write-docs", type=Path, metavar="PAGE", help="Markdown page to put the results into")
    options = parser.parse_args(arguments)
    for name in options.generate:
        generate(options.data, options.volumes, Setting.of(name), options.model)
    results = _kept(options.out)
    for setting in complete(options.data, options.volumes):
        if setting.folder not in results:
            results[setting.folder] = judge(options.data, options.volumes, setting)
            print(setting.folder, json.dumps(results[setting.folder]), flush=True)
        if options.out:
            options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    text = describe(results)
    print(text)
    if options.plot:
        plot(results, options.plot)
    if options.write_docs:
        replace_section(options.write_docs, "Solvers and steps", text)


if __name__ == "__main__":
    main()
