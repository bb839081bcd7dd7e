"""Parts of arrays on disk, read one by one: no open files, no memory maps, and little to send to other processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.training.data.cache import Cache


@dataclass(frozen=True)
class Stored:
    """A patient's array (V, Z, ...) in a cache: variants, then slices.

    A memory map would keep its file open, thousands for thousands of patients, and take its data along when it is sent
    to a process that loads data.

    Attributes
    ----------
    path
        The file.
    offset
        Where in it the voxels begin, bytes.
    dtype, shape
        Of the array.
    """

    path: str
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, cache: Cache, case: str, kind: str) -> Stored:
        """An array of a cache; InputError if the stage that writes it has not been run."""
        mapped = cache.array(case, kind)
        assert isinstance(mapped, np.memmap)
        assert mapped.flags.c_contiguous
        return cls(str(mapped.filename), int(mapped.offset), mapped.dtype, mapped.shape)

    def read(self, variant: int, slices: range) -> NDArray[Any]:
        """Read neighbouring slices (n, ...) of a variant.

        Raises
        ------
        OSError
            If the file is gone or was cut short.
        """
        each = int(np.prod(self.shape[2:]))
        skipped = (variant * self.shape[1] + slices.start) * each
        wanted = len(slices) * each
        values: NDArray[Any] = np.fromfile(
            self.path, self.dtype, wanted, offset=self.offset + skipped * self.dtype.itemsize
        )
        if values.size != wanted:
            raise OSError(f"{self.path} is cut short; remove it and run napari-gem3d-train prepare (and vae) again")
        return values.reshape(len(slices), *self.shape[2:])
