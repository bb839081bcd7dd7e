"""Turn published GEM-3D checkpoints into a model bundle."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

KINDS = ("slice", "volume", "position")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``convert``."""
    parser.add_argument(
        "checkpoints",
        type=Path,
        nargs="+",
        metavar="CKPT",
        help="checkpoints of the slice, volume and position model, any of them",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the bundle to write")
    parser.add_argument(
        "--labels",
        default="brain",
        metavar="LABELS",
        help="what the weights know: brain (default), abdomen, or a JSON file of labels",
    )
    parser.add_argument("--name", help="name of the bundle (default: that of its folder)")
    parser.add_argument("--ema", action="store_true", help="take the moving averages of all U-Nets")
    parser.add_argument(
        "--ema-of", action="append", choices=KINDS, default=[], metavar="KIND", help="take that of one; may be repeated"
    )
    parser.add_argument(
        "--head-channels", type=int, default=32, metavar="N", help="width of an attention head (default: 32)"
    )
    parser.add_argument("--half", action="store_true", help="store half precision instead of float32")


def run(options: argparse.Namespace) -> int:
    """Convert, write the bundle, and say what it holds."""
    import torch

    from napari_gem3d.bundle.published.bundles import convert
    from napari_gem3d.bundle.store import PARTS, check_folder, save_bundle

    check_folder(options.out)
    converted = convert(
        options.checkpoints,
        labels=options.labels,
        name=options.name or options.out.resolve().name,
        averaged="all" if options.ema else options.ema_of,
        head_channels=options.head_channels,
    )
    for warning in converted.warnings:
        print(f"napari-gem3d: {warning}", file=sys.stderr)
    save_bundle(converted.bundle, options.out, torch.float16 if options.half else torch.float32)
    for name in PARTS:
        network = getattr(converted.bundle, name)
        if network is not None:
            count = sum(parameter.numel() for parameter in network.parameters())
            print(f"{name:14}{count / 1e6:8.1f} M parameters")
    print(f"{options.out}: labels {converted.bundle.plan.labels}")
    return 0
