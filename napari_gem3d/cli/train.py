"""``napari-gem3d-train``: fit the models of a bundle to a folder of scans, without a window."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from napari_gem3d.errors import InputError

_STAGES = {
    "prepare": "plan the dataset, split it by patient, write the cache",
    "vae": "train the VAE between slices and latents, then encode the cache",
    "slice": "stage 1: train the slice U-Net on slices of many patients",
    "volume": "stage 2: train the layers along the slices, the rest frozen",
    "position": "train the position U-Net, which draws informed slices",
    "all": "all stages in order",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="napari-gem3d-train", description=__doc__)
    stages = parser.add_subparsers(dest="stage", required=True, metavar="STAGE")
    for name, text in _STAGES.items():
        stage = stages.add_parser(name, help=text, description=text)
        stage.add_argument("--data", type=Path, required=True, help="dataset in nnU-Net's raw layout")
        stage.add_argument("--out", type=Path, required=True, help="run folder; the bundle is written to OUT/bundle")
        stage.add_argument("--config", default=None, help="YAML file of settings, or a preset: laptop (default), tiny")
        stage.add_argument("--resume", action="store_true", help="continue from the run's checkpoints")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done or stopped and saved, 2 for input that cannot be used."""
    options = _parser().parse_args(arguments)
    from napari_gem3d.training.config.loading import load_config
    from napari_gem3d.training.run import TrainingRun

    try:
        config = load_config(options.config)
        TrainingRun(options.data, options.out, config, options.resume, _say).run(options.stage)
    except InputError as error:
        print(f"napari-gem3d-train: {error}", file=sys.stderr)
        return 2
    return 0


def _say(message: str) -> None:
    print(message, flush=True)


if __name__ == "__main__":
    sys.exit(main())
