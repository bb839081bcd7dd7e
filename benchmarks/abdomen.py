"""The abdominal path whole, on one CT: prepare, training, the map turned as the paper turns abdomens, generation, HU.

    python -m benchmarks.abdomen CT ORGANS --organ liver=5 --organ kidney=2,3 --organ spleen=1 --out DIR

CT is a scan in HU, ORGANS its label map of organs, without a body; of its values only those named become labels. DIR
gets a dataset of this one patient, a run of the preset ``tiny`` (with ``--steps`` more than its own four, so that what
is drawn has the grey values of a CT, if not its anatomy), the turned map, the volume drawn from it, and results.json.
The commands are those that people use. One patient is trained on and drawn from: this shows that the path works, in
HU and on the map's grid, and says nothing of how well abdomens can be drawn.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import machine
from napari_gem3d import InputError, LabelMap, Volume, read_label_map, read_volume, write_volume
from napari_gem3d.bundle.store import read_plan
from napari_gem3d.cli.main import main as program
from napari_gem3d.cli.train import main as training
from napari_gem3d.labels import LabelTable
from napari_gem3d.masks.scene import with_body
from napari_gem3d.volume import resample

PERCENTILES = (5, 50, 95)
# Networks of the preset, the VAE a little wider: with 8 channels air and lung remain one grey.
_NETWORKS = ("vae.channels=[16, 32, 32]", "position.steps=4", "data.validation_cases=0", "name=abdomen")


def write_dataset(ct: Path, organs: Path, named: Mapping[str, Sequence[int]], folder: Path) -> Path:
    """Write a dataset of one patient in nnU-Net's raw layout; the values of each organ become one label."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    labels = read_label_map(organs)
    voxels = np.zeros(labels.shape, np.uint8)
    for value, chosen in enumerate(named.values(), start=1):
        voxels[np.isin(labels.voxels, chosen)] = value
    write_volume(LabelMap(voxels, labels.affine), folder / "labelsTr" / "abdomen.nii.gz")
    scan = folder / "imagesTr" / "abdomen_0000.nii.gz"
    if ct.name.endswith(".nii.gz"):
        shutil.copyfile(ct, scan)
    else:
        write_volume(read_volume(ct), scan)
    facts = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **{name: value for value, name in enumerate(named, start=1)}},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return folder


def hounsfield(scan: Volume, labels: LabelMap, table: LabelTable) -> dict[str, list[float] | None]:
    """HU (5th, 50th, 95th percentile) in every label, and where there is none; None for what is not there."""
    on_scan = labels.voxels if labels.grid == scan.grid else resample(labels, scan.grid, order=0).voxels
    found: dict[str, list[float] | None] = {}
    for name, value in (("outside", 0), *((label.name, label.value) for label in table)):
        values = scan.voxels[on_scan == value]
        found[name] = [round(float(p), 1) for p in np.percentile(values, PERCENTILES)] if values.size else None
    return found


def measure(scan: Path, labels: Path, turned: Path, made: Path, model: Path) -> dict[str, Any]:
    """What came out, beside the scan that went in."""
    plan = read_plan(model)
    real, synthetic = read_volume(scan), read_volume(made)
    before, after = with_body(read_label_map(labels, plan.labels), real), read_label_map(turned, plan.labels)
    record = json.loads(turned.with_name(turned.name.replace(".nii.gz", ".json")).read_bytes())
    (rotation,) = record["operations"]
    return {
        "window_hu": [plan.intensity.low, plan.intensity.high],
        "rotation_degrees": [round(angle, 2) for angle in rotation["degrees"]],
        "volumes_ml": {"before": record["before_ml"], "after": record["after_ml"]},
        "grid_of_the_map": bool(synthetic.grid.same_as(after.grid) and synthetic.shape == after.shape),
        "dtype": {"scan": str(real.voxels.dtype), "synthetic": str(synthetic.voxels.dtype)},
        "range_hu": {
            name: [float(volume.voxels.min()), float(volume.voxels.max())]
            for name, volume in (("scan", real), ("synthetic", synthetic))
        },
        "hu": {"scan": hounsfield(real, before, plan.labels), "synthetic": hounsfield(synthetic, after, plan.labels)},
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Go the whole path; results as ``results.json`` holds them."""
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    data = write_dataset(options.ct, options.organs, options.organ, out / "dataset")
    scan, labels = data / "imagesTr" / "abdomen_0000.nii.gz", data / "labelsTr" / "abdomen.nii.gz"
    bundle, turned, made = out / "run" / "bundle", out / "turned.nii.gz", out / "synthetic.nii.gz"
    steps = [f"vae.steps={options.steps}", f"slice.steps={options.steps}", f"volume.steps={max(options.steps // 5, 1)}"]
    settings = [text for setting in (*_NETWORKS, *steps) for text in ("--set", setting)]
    trained, of = out / "run", ("--model", bundle, "--seed", options.seed)
    commands: dict[str, tuple[Any, ...]] = {
        "prepare": (training, "prepare", "--data", data, "--out", trained, "--config", "tiny", *settings),
        "train": (training, "all", "--data", data, "--out", trained, "--resume"),
        "turn": (program, "mask", "--mask", labels, "--body", scan, "--augment", "abdomen", *of, "--out", turned),
        "generate": (program, "generate", "--mask", turned, "--informed", scan, *of, "--out", made),
    }
    minutes = {}
    for name, (command, *arguments) in commands.items():
        begun = time.perf_counter()
        if command([str(argument) for argument in arguments]) != 0:
            raise InputError(f"The step '{name}' failed; what it said stands above.")
        minutes[name] = round((time.perf_counter() - begun) / 60, 2)
    results = measure(scan, labels, turned, made, bundle)
    results |= {"steps": options.steps, "seed": options.seed, "minutes": minutes, "machine": machine()}
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return results


def describe(results: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    real, synthetic = results["hu"]["scan"], results["hu"]["synthetic"]
    low, high = results["range_hu"]["synthetic"]
    window = " to ".join(f"{edge:g}" for edge in results["window_hu"])
    rows = [f"| {name} | {_range(real[name])} | {_range(synthetic[name])} |" for name in real]
    return "\n".join(
        [
            "| HU: median (5 % to 95 %) | the scan itself | drawn from the turned map |",
            "|---|---|---|",
            *rows,
            "",
            f"Turned by {', '.join(f'{angle:g}°' for angle in results['rotation_degrees'])} about R, A, S. The volume "
            f"is {'on' if results['grid_of_the_map'] else 'NOT on'} the map's grid, {results['dtype']['synthetic']} as "
            f"the scan ({results['dtype']['scan']}), from {low:g} to {high:g} HU; the model's window is {window} HU. "
            f"Trained for {results['steps']} steps of the VAE and of stage 1 on this patient alone.",
        ]
    )


def _range(percentiles: Sequence[float] | None) -> str:
    if percentiles is None:
        return "–"
    low, middle, high = percentiles
    return f"{middle:.0f} ({low:.0f} to {high:.0f})"


class _Organs(argparse.Action):
    """Collects ``NAME=VALUE,VALUE``."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, given: Any, option_string: Any = None) -> None:
        name, _, values = str(given).partition("=")
        if not name or not all(value.isdecimal() for value in values.split(",")):
            parser.error(f"--organ {given} is not understood; write NAME=VALUE, such as kidney=2,3")
        organs = getattr(namespace, self.dest) or {}
        setattr(namespace, self.dest, {**organs, name: tuple(int(value) for value in values.split(","))})


def main(arguments: Sequence[str] | None = None) -> None:
    """Go the whole path and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct", type=Path, metavar="CT", help="scan in HU")
    parser.add_argument("organs", type=Path, metavar="ORGANS", help="its label map")
    parser.add_argument(
        "--organ", action=_Organs, required=True, metavar="NAME=VALUES", help="a label, and its values in the map"
    )
    parser.add_argument("--steps", type=int, default=1500, help="of the VAE and of stage 1; stage 2 a fifth (1500)")
    parser.add_argument("--seed", type=int, default=1, help="of the map's rotation and of the volume")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of everything; a training there is gone on with"
    )
    try:
        print(describe(run(parser.parse_args(arguments))))
    except InputError as error:
        sys.exit(f"benchmarks.abdomen: {error}")


if __name__ == "__main__":
    main()
