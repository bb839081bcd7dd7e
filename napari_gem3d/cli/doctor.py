"""Tell device, versions, memory and models, for a bug report; nothing about patients or people."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Iterator
from importlib import metadata

from napari_gem3d import __version__
from napari_gem3d.errors import InputError

LIBRARIES = ("torch", "diffusers", "safetensors", "numpy", "scipy", "scikit-image", "nibabel", "pydicom", "pynrrd")
WINDOW_LIBRARIES = ("napari", "qtpy", "PySide6-Essentials", "PySide6", "PyQt6", "PyQt5", "vispy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``doctor`` has no arguments."""


def run(options: argparse.Namespace) -> int:
    """Print the report."""
    print(f"napari-gem3d {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    for title, lines in (
        ("Computer", _computer()),
        ("Devices", _devices()),
        ("Libraries", _versions(LIBRARIES)),
        ("Viewer", _versions(WINDOW_LIBRARIES)),
        ("Models", _models()),
    ):
        print(f"\n{title}")
        for line in lines:
            print(f"  {line}")
    return 0


def _computer() -> Iterator[str]:
    import psutil

    memory = psutil.virtual_memory()
    yield f"processors: {psutil.cpu_count(logical=False)} cores, {os.cpu_count()} threads"
    yield f"memory: {memory.total / 2**30:.1f} GiB, {memory.available / 2**30:.1f} GiB free"
    displays = [name for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM") if os.environ.get(name)]
    yield f"display: {', '.join(displays) or 'no variable set'}"


def _devices() -> Iterator[str]:
    import torch

    from napari_gem3d.device import choose_device, choose_precision

    chosen = choose_device("auto")
    yield f"chosen: {chosen}, {choose_precision('auto', chosen)}"
    yield f"processor: {torch.get_num_threads()} threads"
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        yield f"cuda:{index}: {properties.name}, {properties.total_memory / 2**30:.1f} GiB, CUDA {torch.version.cuda}"
    yield f"mps: {'there' if torch.backends.mps.is_available() else 'not there'}"


def _versions(names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        try:
            yield f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            yield f"{name} not installed"


def _models() -> Iterator[str]:
    from napari_gem3d.bundle import bundled_models, load_bundle

    models = bundled_models()
    if not models:
        yield "none bundled"
    for name, folder in models.items():
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
        try:
            bundle = load_bundle(folder)
        except InputError as error:
            yield f"{name}: {size:.0f} MB, damaged: {error}"
            continue
        yield f"{name}: {size:.0f} MB, {bundle.plan.modality} {bundle.plan.channel}, sha256 {bundle.sha256[:12]}, loads"
