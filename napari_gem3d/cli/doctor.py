"""Tell device, versions, memory and models, for a bug report; nothing about patients or people."""

from __future__ import annotations

import argparse

from napari_gem3d.doctor import report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``doctor`` has no arguments."""


def run(options: argparse.Namespace) -> int:
    """Print the report."""
    print(report())
    return 0
