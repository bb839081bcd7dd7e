"""What a bug report needs: device, versions, memory, models; nothing about patients or people."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib import metadata

from napari_gem3d import __version__
from napari_gem3d.errors import InputError

LIBRARIES = ("torch", "diffusers", "safetensors", "numpy", "scipy", "scikit-image", "nibabel", "pydicom", "pynrrd")
WINDOW_LIBRARIES = ("napari", "qtpy", "PySide6-Essentials", "PySide6", "PyQt6", "PyQt5", "vispy")


def report() -> str:
    """Device, versions, memory and models, in lines; every model is loaded to see that it is whole."""
    lines = [
        f"napari-gem3d {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    ]
    for title, part in (
        ("Computer", _computer()),
        ("Devices", _devices()),
        ("Libraries", _versions(LIBRARIES)),
        ("Viewer", _versions(WINDOW_LIBRARIES)),
        ("Models", _models()),
    ):
        lines += ["", title, *(f"  {line}" for line in part)]
    return "\n".join(lines)


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
    from napari_gem3d.bundle import bundled_models, known_models, load_bundle

    bundled = bundled_models()
    if not bundled:
        yield "none bundled"
    for number, (name, folder) in enumerate(known_models().items()):
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
        origin = "bundled" if name in bundled else "added"
        if name not in bundled:  # people name models by hospitals, studies and patients
            name = f"added model {number + 1 - len(bundled)}"
        try:
            bundle = load_bundle(folder)
        except InputError as error:
            reason = str(error).replace(str(folder), name)  # the path may tell who the user is
            yield f"{name}: {size:.0f} MB, {origin}, damaged: {reason}"
            continue
        kind = bundle.plan.scans if origin == "bundled" else bundle.plan.modality
        yield f"{name}: {size:.0f} MB, {origin}, {kind}, sha256 {bundle.sha256[:12]}, loads"
