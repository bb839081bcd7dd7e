"""What files beside a label map, or given for it, say its values are called."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from napari_gem3d.errors import InputError
from napari_gem3d.io.documents import read_json
from napari_gem3d.io.segments import snap_file, snap_names, tidy_name

_MOST_BYTES = 2**20


def names_beside(path: Path) -> dict[int, str]:
    """Names by value that lie beside a label map: ``dataset.json`` of its dataset, or ITK-SNAP's descriptions."""
    dataset = path.parent.parent / "dataset.json"
    if path.parent.name.startswith("labels") and dataset.is_file():
        with suppress(InputError):  # it may be anything else
            return read_names(dataset)
    return snap_names(path)


def read_names(path: Path) -> dict[int, str]:
    """Names by value of a file: ``dataset.json``, a JSON object of names and values, or ITK-SNAP's label descriptions.

    Regions of nnU-Net, which hold several values, name each value by the smallest region that it is in.

    Raises
    ------
    InputError
        If the file cannot be read, or names no labels.
    """
    names = _of_json(read_json(path, _MOST_BYTES)) if path.suffix.lower() == ".json" else snap_file(path)
    names.pop(0, None)
    if not names:
        raise InputError(
            f"{path} names no labels; give a dataset.json, a JSON object of names and values, or label descriptions of "
            "ITK-SNAP."
        )
    return names


def _of_json(content: Any) -> dict[int, str]:
    """Names by value from ``{"edema": 1}``, ``{"1": "edema"}`` and ``{"whole tumor": [1, 2, 3]}``."""
    labels = content.get("labels", content) if isinstance(content, Mapping) else None
    if not isinstance(labels, Mapping):
        return {}
    names: dict[int, str] = {}
    sizes: dict[int, int] = {}
    for key, value in labels.items():
        if isinstance(value, str) and str(key).isdecimal():
            values, name = [int(key)], value
        else:
            values, name = value if isinstance(value, list) else [value], str(key)
        for one in values:
            if isinstance(one, int) and not isinstance(one, bool) and len(values) < sizes.get(one, 10**6):
                names[one], sizes[one] = tidy_name(name), len(values)
    return names
