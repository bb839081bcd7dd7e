"""Compare training sets by what a segmenter learns from them (Table 3 of the paper)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from napari_gem3d.cli.options import check_exist, read_regions
from napari_gem3d.errors import InputError

if TYPE_CHECKING:
    from napari_gem3d.downstream.nnunet import NnUNet
    from napari_gem3d.downstream.standin import StandIn

REFERENCE = "real"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``downstream``."""
    parser.add_argument("real", type=Path, metavar="REAL", help="dataset of real scans, nnU-Net raw: the reference")
    parser.add_argument(
        "others",
        nargs="*",
        metavar="NAME=DATASET",
        help="what is compared with it, such as re-sampled=DIR of enhance: datasets with the same labels",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets table.md, results.json, trainings")
    parser.add_argument(
        "--test", type=Path, metavar="DATASET", help="whose imagesTs and labelsTs are tested on: REAL's"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="one run each (default: 1)")
    parser.add_argument("--channel", type=int, default=0, help="which channel of the images (default: 0)")
    parser.add_argument(
        "--region",
        action="append",
        default=[],
        metavar="NAME=1,2",
        help="labels that are scored together (default: WT, TC and ET of BraTS, or every label)",
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps or auto (default)")
    parser.add_argument(
        "--segmenter",
        choices=("nnunet", "stand-in"),
        default="nnunet",
        help="nnU-Net v2, or a small U-Net for machines without a GPU (default: nnunet)",
    )
    nnunet = parser.add_argument_group("nnU-Net")
    nnunet.add_argument("--configuration", default="3d_fullres", help="of its plans (default: 3d_fullres)")
    nnunet.add_argument("--trainer", default="nnUNetTrainer", help="its class (default: nnUNetTrainer, 1000 epochs)")
    nnunet.add_argument("--planner", default="ExperimentPlanner", help="its class (default: ExperimentPlanner)")
    nnunet.add_argument("--prepare", action="store_true", help="make, verify and preprocess its datasets, no more")
    standin = parser.add_argument_group("stand-in")
    standin.add_argument("--steps", type=int, help="training steps (default: 800)")
    standin.add_argument("--spacing", type=float, help="voxels that it sees, mm (default: 2)")


def run(options: argparse.Namespace) -> int:
    """Run ``downstream``; returns the exit code."""
    folders = {REFERENCE: options.real, **_named(options.others)}
    test = options.test or options.real
    check_exist(*folders.values(), test)
    regions = read_regions(options.region)
    from napari_gem3d.downstream.comparison import compare

    segmenter = _segmenter(options)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.prepare:
        return _prepare(options, folders, test)
    compare(
        folders,
        test,
        options.out,
        segmenter,
        seeds=options.seeds,
        regions=regions or None,
        channel=options.channel,
        say=_say,
    )
    print((options.out / "table.md").read_text(encoding="utf-8"), end="")
    return 0


def _prepare(options: argparse.Namespace, folders: dict[str, Path], test: Path) -> int:
    from napari_gem3d.downstream.datasets import check_apart, read_test_set, read_training_sets
    from napari_gem3d.downstream.nnunet import NnUNet

    network = _segmenter(options)
    if not isinstance(network, NnUNet):
        raise InputError("Only nnU-Net has datasets to prepare; leave --prepare or --segmenter stand-in out.")
    sets, tested = read_training_sets(folders, options.channel), read_test_set(test, options.channel)
    check_apart(sets, tested)
    for training in sets:
        number = network.prepare(training, tested, _say)
        print(f"{training.name}: dataset {number} in {network.work}")
    return 0


def _segmenter(options: argparse.Namespace) -> NnUNet | StandIn:
    if options.segmenter == "nnunet":
        from napari_gem3d.downstream.nnunet import NnUNet, NnUNetSettings

        how = NnUNetSettings(options.configuration, options.trainer, options.planner)
        return NnUNet(options.out / NnUNet.key, how, options.device)
    from napari_gem3d.downstream.standin import StandIn, StandInSettings

    given = {name: getattr(options, name) for name in ("steps", "spacing")}
    settings = StandInSettings(**{name: value for name, value in given.items() if value is not None})
    return StandIn(settings, options.device)


def _named(others: list[str]) -> dict[str, Path]:
    """Datasets by name; InputError for what is not NAME=DATASET."""
    found: dict[str, Path] = {}
    for word in others:
        name, equals, path = word.partition("=")
        if not (equals and name and path):
            raise InputError(f"'{word}' is no training set; write NAME=DATASET, such as re-sampled=enhanced/.")
        if name == REFERENCE or name in found:
            raise InputError(f"Two training sets are called {name}; give each a name of its own.")
        found[name] = Path(path)
    return found


def _say(line: str) -> None:
    print(line, flush=True)
