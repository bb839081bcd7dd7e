"""Measure how near synthetic scans are to real ones."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from napari_gem3d.cli.options import check_exist, read_regions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``evaluate``."""
    parser.add_argument("real", type=Path, metavar="REAL", help="folder of real scans, CASE.nii.gz or CASE_0000.nii.gz")
    parser.add_argument(
        "synthetic", type=Path, metavar="SYNTHETIC", help="folder of synthetic scans, CASE.nii.gz or CASE-….nii.gz"
    )
    parser.add_argument("--labels", type=Path, metavar="DIR", help="label maps, CASE.nii.gz: contrast by label")
    parser.add_argument(
        "--training",
        type=Path,
        metavar="DIR",
        help="scans that the model learned from: memorisation audit, REAL are the held-out scans",
    )
    parser.add_argument("--model", metavar="BUNDLE", help="audit in the latents of this bundle's VAE too")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets report.json and report.html")
    segmenter = parser.add_argument_group("segmenter")
    segmenter.add_argument(
        "--segmentations",
        type=Path,
        metavar="DIR",
        help="its label maps of the synthetic scans, compared with --labels",
    )
    segmenter.add_argument(
        "--region",
        action="append",
        default=[],
        metavar="NAME=1,2",
        help="labels that are scored together (default: every label by itself)",
    )
    networks = parser.add_argument_group("networks; nothing is downloaded")
    networks.add_argument(
        "--extractor",
        default="efficientnet-lite0",
        metavar="NAME",
        help="of the Fréchet and kernel distance: efficientnet-lite0 (default), or inception for FID and KID",
    )
    networks.add_argument(
        "--extractor-weights", type=Path, metavar="FILE", help="torch-fidelity's weights of Inception"
    )
    networks.add_argument(
        "--perceptual",
        default="efficientnet-lite0",
        metavar="NAME",
        help="distance of pairs of slices: efficientnet-lite0 (default) or lpips",
    )
    networks.add_argument("--perceptual-weights", type=Path, metavar="FILE", help="torchvision's weights of AlexNet")


def run(options: argparse.Namespace) -> int:
    """Run ``evaluate``; returns the exit code."""
    folders = options.real, options.synthetic, options.labels, options.training, options.segmentations
    check_exist(*folders)
    regions = read_regions(options.region)
    from napari_gem3d.evaluation.report import evaluate

    def say(line: str) -> None:
        print(line, flush=True)

    report = evaluate(
        options.real,
        options.synthetic,
        options.out,
        options.labels,
        say,
        training=options.training,
        model=options.model,
        segmentations=options.segmentations,
        regions=regions or None,
        extractor=options.extractor,
        extractor_weights=options.extractor_weights,
        perceptual=options.perceptual,
        perceptual_weights=options.perceptual_weights,
    )
    if report["pairs"]:
        shown = {key: value for key, value in report["mean"].items() if key != "contrast" and value is not None}
        contrast = report["mean"].get("contrast", {})
        figures = [f"{key} {value:.3f}" for key, value in shown.items()]
        figures += [f"contrast of label {key} {value:.3f}" for key, value in contrast.items() if value is not None]
        print(f"mean of {len(report['pairs'])} pairs: {', '.join(figures)}")
    else:
        print("no synthetic scan has the name of a real one: only the two sets are compared")
    distances = ", ".join(f"{plane} {value:.3f}" for plane, value in report["frechet"].items())
    print(f"{'FID' if report['frechet_is_fid'] else 'Fréchet distance'} ({report['frechet_extractor']}): {distances}")
    for region, found in report.get("segmentation", {}).get("regions", {}).items():
        hd95 = "" if found["hd95"] is None else f", HD95 {found['hd95']:.2f} mm"
        print(f"segmentation of {region}: Dice {found['dice']:.3f}{hd95}, n = {found['n']}")
    for name, found in report.get("memorisation", {}).get("distances", {}).items():
        print(
            f"memorisation by {name}: {found['share_of_synthetic_slices_closer']:.1%} of synthetic slices and "
            f"{found['share_of_synthetic_scans_closer']:.1%} of synthetic scans nearer to the training set than any "
            "held-out one"
        )
    if "memorisation" in report:
        print(_verdict(report["memorisation"]))
    print(f"report: {options.out / 'report.html'}")
    return 0


def _verdict(audit: dict[str, Any]) -> str:
    """What the memorisation audit says, in a line or two."""
    verdicts = audit["verdicts"]
    by_flag = {flag: [name for name, found in verdicts.items() if found == flag] for flag in ("copy", "look", "clear")}
    copies = f"{len(by_flag['copy'])} of {len(verdicts)} synthetic scans are copies of training scans"
    told = f"{copies}{': ' if by_flag['copy'] else ''}{', '.join(by_flag['copy'])}; "
    told += f"{len(by_flag['look'])} have single slices to look at, {len(by_flag['clear'])} are clear"
    if audit["doubtful_held_out_scans"]:
        told += (
            f"\nwarning: held-out scans that look like training scans: {', '.join(audit['doubtful_held_out_scans'])}"
        )
    return told
