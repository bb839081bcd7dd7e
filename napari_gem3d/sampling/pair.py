"""A result and its recipe as one: written together, and known to belong together by a mark in the result's header."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from napari_gem3d.io import replacing, write_volume
from napari_gem3d.io.documents import MOST_BYTES, parse_json
from napari_gem3d.io.files import file_bytes
from napari_gem3d.io.nifti import SYNTHETIC, header_description
from napari_gem3d.sampling.recipe import Recipe, recipe_text, sidecar
from napari_gem3d.volume import Volume

_MARKED = re.compile(r", recipe ([0-9a-f]{16})")


def write_pair(volume: Volume, recipe: Recipe, out: Path) -> None:
    """Write a result as NIfTI, with the mark of its recipe in the header, and the recipe beside it.

    Both are whole before either appears, and at no moment does a volume lie beside the recipe of another one.

    Raises
    ------
    InputError
        If one of the two cannot be written; then neither is.
    """
    text, beside = recipe_text(recipe), sidecar(out)
    with replacing(beside) as recipe_file, replacing(out) as volume_file:
        recipe_file.write_text(text, encoding="utf-8")
        write_volume(volume, volume_file, description=f"{SYNTHETIC}, recipe {_mark(text.encode(), beside)}")
        beside.unlink(missing_ok=True)


def belongs(result: Path) -> bool:
    """Whether the recipe beside a result is its own.

    Results of earlier versions have no mark, and may have no recipe: they are believed.
    """
    marked = _MARKED.search(header_description(result)) if result.exists() else None
    beside = sidecar(result)
    return marked is None or not beside.exists() or _mark(file_bytes(beside, MOST_BYTES), beside) == marked[1]


def _mark(content: bytes, path: Path) -> str:
    """A hash of what a recipe's JSON holds, however it is laid out."""
    return hashlib.sha256(json.dumps(parse_json(content, path), sort_keys=True).encode()).hexdigest()[:16]
