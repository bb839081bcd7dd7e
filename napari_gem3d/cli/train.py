"""``napari-gem3d-train``: fit the models of a bundle to a folder of scans, without a window."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from napari_gem3d.cli.progress import INTERRUPTED
from napari_gem3d.errors import InputError, of_system
from napari_gem3d.training.loop.launch import start_processes

PROGRAM = "napari-gem3d-train"
_STAGES = {
    "prepare": "plan the dataset, split it by patient, write the cache",
    "vae": "train the VAE between slices and latents, then encode the cache",
    "slice": "stage 1: train the slice U-Net on slices of many patients",
    "volume": "stage 2: train the layers along the slices, the rest frozen",
    "position": "train the position U-Net, which draws informed slices",
    "all": "all stages in order, each by its budget",
}
# Stages with a budget of their own.
_BUDGETED = ("vae", "slice", "volume", "position")
# What the extra `train` brings that every training needs.
_NEEDED = ("accelerate", "matplotlib", "tensorboard")


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence; the usage is what ``--help`` is for."""

    def error(self, message: str) -> NoReturn:
        """Print the sentence and exit with code 2."""
        self.exit(2, f"{PROGRAM}: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=PROGRAM, description=__doc__)
    stages = parser.add_subparsers(dest="stage", required=True, metavar="STAGE")
    for name, text in _STAGES.items():
        stage = stages.add_parser(name, help=text, description=text)
        _add_run(stage, name)
        _add_settings(stage)
    text = "print every setting with its value and what it means, as YAML that --config takes"
    _add_settings(stages.add_parser("settings", help=text, description=text))
    return parser


def _add_run(parser: argparse.ArgumentParser, stage: str) -> None:
    parser.add_argument(
        "--data", type=Path, required=True, help="dataset in nnU-Net's raw layout, or a CSV of image and label paths"
    )
    parser.add_argument("--out", type=Path, required=True, help="run folder; the bundle is written to OUT/bundle")
    parser.add_argument("--resume", action="store_true", help="skip what is finished, continue from the checkpoints")
    parser.add_argument(
        "--overwrite", action="store_true", help="train anew what was done before; with --resume, what no longer fits"
    )
    parser.add_argument("--skip-broken", action="store_true", help="leave out patients whose files cannot be used")
    parser.add_argument(
        "--vae",
        type=Path,
        metavar="DIR",
        help="a diffusers AutoencoderKL or a bundle whose VAE is used instead of training one (with --set "
        "vae.steps=N it is trained further)",
    )
    parser.add_argument("--init", type=Path, metavar="BUNDLE", help="start every stage from this bundle, where it fits")
    parser.add_argument("--device", help="cpu, cuda, mps or auto")
    if stage in _BUDGETED:
        parser.add_argument("--steps", type=int, help="most optimiser steps of the stage")
        parser.add_argument("--minutes", type=float, help="most minutes of the stage")


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE|PRESET",
        help="YAML file of settings, or a preset: laptop, tiny, paper (default: the run's config.yaml, else laptop)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one setting, such as slice.batch=8; may be repeated",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments
        Without the program's name; those of the process by default.

    Returns
    -------
    int
        0 done, or stopped and saved; 2 for input that cannot be used; 130 for an interrupt where nothing trains.
    """
    options = _parser().parse_args(arguments)
    try:
        if options.stage == "settings":
            return _settings(options)
        if arguments is None:
            start_processes("napari_gem3d.cli.train", sys.argv[1:])
        return _train(options)
    except InputError as error:
        _complain(str(error))
        return 2
    except OSError as error:
        _complain(of_system(error))
        return 2
    except KeyboardInterrupt:
        _complain("interrupted; what was finished is kept, and the same command with --resume goes on.")
        return INTERRUPTED


def _settings(options: argparse.Namespace) -> int:
    from napari_gem3d.training.config.describe import describe
    from napari_gem3d.training.config.loading import load_config

    print(describe(load_config(options.config, options.set)), end="")
    return 0


def _train(options: argparse.Namespace) -> int:
    if not options.data.exists():
        raise InputError(f"The dataset {options.data} does not exist; check --data.")
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(
            f"Training needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed; run "
            "pip install 'napari-gem3d[train]'."
        )
    from napari_gem3d.training.config.loading import load_config
    from napari_gem3d.training.run import TrainingRun

    own = options.out / "config.yaml"
    source = options.config or (own if own.is_file() else None)
    config = load_config(source, [*options.set, *_shorthands(options)])
    run = TrainingRun(
        options.data,
        options.out,
        config,
        options.resume,
        _say,
        overwrite=options.overwrite,
        skip_broken=options.skip_broken,
    )
    run.run(options.stage)
    return 0


def _shorthands(options: argparse.Namespace) -> list[str]:
    """The options that are single settings, as those."""
    settings = []
    for key in ("init", "device"):
        if getattr(options, key) is not None:
            settings.append(f"{key}={getattr(options, key)}")
    if options.vae is not None:
        settings.append(f"vae.init={options.vae}")
        if not any(text.partition("=")[0].strip() == "vae.steps" for text in options.set):
            settings.append("vae.steps=0")
    for key in ("steps", "minutes"):
        if getattr(options, key, None) is not None:
            settings.append(f"{options.stage}.{key}={getattr(options, key)}")
    return settings


def _complain(message: str) -> None:
    """Tell an error; of several processes, the first does."""
    if os.environ.get("RANK", "0") == "0":
        print(f"{PROGRAM}: {message}", file=sys.stderr)


def _say(message: str) -> None:
    print(message, flush=True)


if __name__ == "__main__":
    sys.exit(main())
