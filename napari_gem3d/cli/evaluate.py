"""Measure how near synthetic scans are to real ones."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``evaluate``."""
    parser.add_argument("real", type=Path, metavar="REAL", help="folder of real scans, CASE.nii.gz or CASE_0000.nii.gz")
    parser.add_argument(
        "synthetic", type=Path, metavar="SYNTHETIC", help="folder of synthetic scans, CASE.nii.gz or CASE-….nii.gz"
    )
    parser.add_argument("--labels", type=Path, metavar="DIR", help="label maps, CASE.nii.gz: contrast by label")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets report.json and report.html")


def run(options: argparse.Namespace) -> int:
    """Run ``evaluate``; returns the exit code."""
    from napari_gem3d.evaluation.report import evaluate

    def say(line: str) -> None:
        print(line, flush=True)

    report = evaluate(options.real, options.synthetic, options.out, options.labels, say)
    if report["mean"]:
        shown = {key: value for key, value in report["mean"].items() if key != "contrast"}
        contrast = report["mean"].get("contrast", {})
        figures = [f"{key} {value:.3f}" for key, value in shown.items()]
        figures += [f"contrast of label {key} {value:.3f}" for key, value in contrast.items()]
        print(f"mean of {len(report['pairs'])} pairs: {', '.join(figures)}")
    else:
        print("no synthetic scan has the name of a real one: only the Fréchet distances say something")
    distances = ", ".join(f"{plane} {value:.3f}" for plane, value in report["frechet"].items())
    print(f"Fréchet distance ({report['frechet_extractor']}): {distances}")
    print(f"report: {options.out / 'report.html'}")
    return 0
