"""The files of a bundle's network, which may come from strangers: its settings and its weights, checked before use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from napari_gem3d.errors import InputError
from napari_gem3d.io.documents import read_json
from napari_gem3d.io.files import open_regular

WEIGHTS = "diffusion_pytorch_model.safetensors"
# Of a plan, a card, or a network's settings.
MOST_BYTES = 2**20
# Beyond what any network that can be run has: entries of a list, layers of a block, and channels or the like.
_MOST_ENTRIES, _MOST_LAYERS, _LARGEST = 64, 64, 2**16

Network = TypeVar("Network")


def read_config(folder: Path) -> dict[str, Any]:
    """The settings of a network.

    Raises
    ------
    InputError
        If they cannot be read, or have numbers or lists far beyond those of networks that can be run.
    """
    path = folder / "config.json"
    config = read_json(path, MOST_BYTES)
    if not isinstance(config, dict):
        raise InputError(f"{path} holds no settings of a network; get the bundle again.")
    _check_sizes(config, path)
    return config


def _check_sizes(config: Mapping[str, Any], path: Path) -> None:
    for name, value in config.items():
        if isinstance(value, Mapping):
            _check_sizes(value, path)
            continue
        values = value if isinstance(value, list) else [value]
        largest = _MOST_LAYERS if "layers" in name else _LARGEST
        if len(values) > _MOST_ENTRIES:
            raise InputError(f"{path} gives {len(values)} values of {name}, over {_MOST_ENTRIES}; get it again.")
        if any(isinstance(number, int | float) and not abs(number) <= largest for number in values):
            raise InputError(f"{path} has a {name} beyond {largest}; get the bundle again.")


def make_network(make: Callable[[Any], Network], config: Any, folder: Path) -> Network:
    """Make a network of its settings; InputError if they make none, as with blocks that this version does not know."""
    try:
        return make(config)
    except Exception as error:  # diffusers has no exception of its own for settings that do not go together
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise InputError(
            f"{folder / 'config.json'} describes no network that this version can make ({reason}); update it, "
            "or get the bundle again."
        ) from error


def read_tensors(expected: Mapping[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """Stored tensors in float32, refusing any that are missing, extra, of another shape, NaN or infinite."""
    path = folder / WEIGHTS
    try:
        with open_regular(path), safe_open(path, framework="pt") as file:
            _check_tensors({name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}, expected, path)  # noqa: SIM118 — it is no mapping
            stored = {name: file.get_tensor(name).to(torch.float32) for name in expected}
    except (OSError, SafetensorError) as error:
        raise InputError(f"The weights {path} are missing or damaged; get the bundle again.") from error
    for name, tensor in stored.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"The tensor {name} of {path} holds NaN or infinite values; get the bundle again.")
    return stored


def _check_tensors(stored: Mapping[str, tuple[int, ...]], expected: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights whose names or shapes are not those of their network, before any is read."""
    missing = sorted(expected.keys() - stored.keys())
    extra = sorted(stored.keys() - expected.keys())
    if missing or extra:
        what = f"lack {missing[0]}" if missing else f"have the unknown tensor {extra[0]}"
        raise InputError(
            f"The weights {path} {what} ({len(missing)} missing, {len(extra)} extra); get the bundle again."
        )
    for name, tensor in expected.items():
        if tuple(tensor.shape) != stored[name]:
            shapes = f"{stored[name]} instead of {tuple(tensor.shape)}"
            raise InputError(f"The tensor {name} of {path} is {shapes}; get the bundle again.")
