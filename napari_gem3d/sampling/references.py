"""What a recipe refers to: input files and the model, by name and by content."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from napari_gem3d.errors import InputError
from napari_gem3d.io import sha256
from napari_gem3d.io.checks import Reading
from napari_gem3d.sampling.settings import Strict
from napari_gem3d.volume import Volume

_NO_NUL = r"^[^\x00]*$"  # no system has files of such names
_BYTE = re.compile(rb"\\x([0-9a-f]{2})")


def _as_text(path: Path | str) -> str:
    r"""A path as JSON can hold it: bytes of a name that are no UTF-8, as older systems have them, become "\xfc"."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _from_text(text: str) -> Path:
    """The path that a recipe names."""
    path = Path(text)
    if "\\x" not in text or path.exists():
        return path
    return Path(os.fsdecode(_BYTE.sub(lambda match: bytes.fromhex(match[1].decode()), text.encode())))


class InputFile(Strict):
    """A file or DICOM folder as the user named it, and the SHA-256 of its content.

    For an array that came from no file the path is empty and the hash is that of voxels and affine.

    Attributes
    ----------
    assume_orientation, channel
        How it was read, as in `Settings`; left out of JSON where nothing was said.
    """

    path: str = Field(pattern=_NO_NUL)
    sha256: str
    assume_orientation: str | None = None
    channel: int | None = Field(None, ge=0)

    @property
    def reading(self) -> Reading:
        """How it is read, as `read_volume` takes it."""
        return {"assume_orientation": self.assume_orientation, "channel": self.channel}

    @model_serializer(mode="wrap")
    def _as_said(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}

    @classmethod
    def of(cls, path: Path | str, **how: Unpack[Reading]) -> InputFile:
        """Hash a file; InputError if it cannot be read."""
        return cls(path=_as_text(path), sha256=sha256(path), **how)

    @classmethod
    def of_array(cls, volume: Volume) -> InputFile:
        """Hash an array that came from no file."""
        digest = hashlib.sha256(f"{volume.voxels.dtype} {volume.shape}".encode())
        digest.update(np.ascontiguousarray(volume.voxels).view(np.uint8).data)
        digest.update(np.ascontiguousarray(volume.affine).tobytes())
        return cls(path="", sha256=digest.hexdigest())

    def found(self, beside: Path | None = None) -> Path:
        """The path of the file, checked to be the one that was hashed.

        A relative path starts at the working folder. If nothing is there, the file is looked for from the folder of
        the recipe on, then in it: its hash tells whether it is the right one.

        Raises
        ------
        InputError
            If it is missing or its content has changed.
        """
        if not self.path:
            raise InputError("The recipe's inputs were arrays in memory, not files; generate again from the arrays.")
        path = _from_text(self.path)
        if beside is not None and not path.exists():
            moved = (beside / path, beside / path.name)
            path = next((candidate for candidate in moved if candidate.exists()), path)
        if sha256(path) != self.sha256:
            raise InputError(f"{path} has changed since the recipe was made; restore it or generate anew.")
        return path


class ModelReference(Strict):
    """The model's folder or name as the user gave it, and what `hash_bundle` says of it."""

    folder: str = Field(pattern=_NO_NUL)
    sha256: str
