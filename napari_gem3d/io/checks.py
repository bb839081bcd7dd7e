"""What every reader has to check and convert, whatever the format."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.errors import InputError
from napari_gem3d.grid import Grid, is_orientation

# Beyond this sums overflow the numbers that networks take.
_LARGEST = 1e30
# Libraries that print what they think of a file.
_CHATTY = ("nibabel.global", "pydicom", "PIL")
# What scans of patients, of mice too, have in mm: sizes of voxels, and the longest side of the field of view, which is
# short in a map that is cropped to a small lesion.
_SPACINGS, _EXTENTS = (0.01, 100.0), (1.0, 4000.0)


class _Quiet:
    """Holds back the warnings and log lines of libraries while any thread reads; the first to enter switches them off.

    Filters and levels belong to the process, so threads that each saved and restored them would restore each other's.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._restore = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside > 1:
                return
            self._restore.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            for name in _CHATTY:
                logger = logging.getLogger(name)
                self._restore.callback(logger.setLevel, logger.level)
                logger.setLevel(logging.CRITICAL + 1)

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._restore.close()


quiet = _Quiet()


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Read what others have written: nothing is printed, and whatever a library stumbles over is the file's fault."""
    try:
        with quiet:
            yield
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{path} does not fit in the memory; crop it, or use a machine with more.") from None
    except Exception as error:
        kind = type(error).__name__
        raise InputError(f"{path} is damaged ({kind} in its header or voxels); copy or convert it again.") from error


class Reading(TypedDict, total=False):
    """What is known of files that do not say it themselves; a file that says it is taken at its word.

    Attributes
    ----------
    assume_orientation
        Of files without position: letters of the directions in which x, y and z increase, such as "RAS". Their voxels
        keep the header's size, and the middle of the volume is at 0 mm.
    channel
        Which volume of a file that holds several (4D), counted from 0.
    """

    assume_orientation: str | None
    channel: int | None


class NoPositionError(InputError):
    """A file that does not say how it lies in the patient."""


class SegmentationError(InputError):
    """A file of segments where a scan was asked for."""


class SeveralVolumesError(InputError):
    """A file that holds several volumes, of which none was named; `number` says how many."""

    def __init__(self, message: str, number: int = 0) -> None:
        super().__init__(message)
        self.number = number


def check_reading(how: Reading) -> None:
    """Raise InputError for an orientation or a channel that cannot be."""
    letters, channel = how.get("assume_orientation"), how.get("channel")
    if letters is not None and not is_orientation(letters):
        raise InputError(
            f"The orientation '{letters}' is not possible; name the directions in which x, y and z increase, such as "
            "RAS, LAS or LPS."
        )
    if channel is not None and (not isinstance(channel, int) or isinstance(channel, bool) or channel < 0):
        raise InputError(f"The channel {channel} is not possible; choose a whole number from 0 on.")


def without_position(why: str, path: Path) -> NoPositionError:
    """The refusal of a file that does not say how it lies in the patient."""
    return NoPositionError(
        f"{path} does not say how it lies in the patient ({why}), so left and right are not known; convert it again "
        "from the original scan, or say which way its axes run, where the command takes --assume-orientation RAS."
    )


def assumed_affine(letters: str, spacing_xyz: Sequence[float], shape_xyz: Sequence[int]) -> NDArray[np.float64]:
    """The affine of voxels whose axes run as the letters say, the middle of the volume at 0 mm."""
    directions = np.zeros((3, 3))
    for axis, (letter, size) in enumerate(zip(letters.upper(), spacing_xyz, strict=True)):
        directions["RASLPI".index(letter) % 3, axis] = size if letter in "RAS" else -size
    return centred(directions, shape_xyz)


def centred(directions: NDArray[np.float64], shape_xyz: Sequence[int]) -> NDArray[np.float64]:
    """The affine of voxels with such edges (columns, mm), the middle of the volume at 0 mm."""
    affine = np.eye(4)
    affine[:3, :3] = directions
    affine[:3, 3] = -directions @ ((np.array(shape_xyz) - 1) / 2)
    return affine


def check_scale(grid: Grid, path: Path, unit: str = "") -> None:
    """Raise InputError for voxels or a field of view that no patient's scan has: the unit or the size is wrong."""
    extent = [n * size for n, size in zip(grid.shape, grid.spacing, strict=True)]
    smallest, largest = min(grid.spacing), max(grid.spacing)
    if _SPACINGS[0] <= smallest and largest <= _SPACINGS[1] and _EXTENTS[0] <= max(extent) <= _EXTENTS[1]:
        return
    said = f" (its header says {unit})" if unit else ""
    raise InputError(
        f"{path} has voxels of {_times(_short(grid.spacing[::-1]))} mm and a field of view of "
        f"{_times(_short(extent[::-1]))} mm{said}, which no patient has; correct the unit or the voxel size of its "
        "header."
    )


def _short(lengths: Iterable[float]) -> list[str]:
    return [f"{length:.4g}" for length in lengths]


def pick_volume(sizes: Sequence[int], path: Path, how: Reading) -> tuple[tuple[int, int, int], int | None]:
    """The sizes of a volume, and which one it is of a file that holds several (None if it holds one).

    Raises
    ------
    InputError
        As `check_dimensions`, and if there are several and none is named, or not that one.
    """
    shape = [int(size) for size in sizes]
    while len(shape) > 4 and shape[-1] == 1:
        shape.pop()
    if len(shape) > 4 and shape[3] == 1:  # NIfTI's fifth axis is for components, the fourth for times
        shape = shape[:3] + [size for size in shape[3:] if size != 1]
    if len(shape) != 4 or shape[3] <= 1 or 1 in shape[:3]:
        return check_dimensions(sizes, path), None
    channel = how.get("channel")
    if channel is None:
        raise SeveralVolumesError(
            f"{path} holds {shape[3]} volumes (4D); name the one you want, --channel 0 to {shape[3] - 1} (0 is the "
            "first), or extract it.",
            shape[3],
        )
    if channel >= shape[3]:
        raise InputError(f"{path} holds {shape[3]} volumes and no channel {channel}; choose 0 to {shape[3] - 1}.")
    return check_dimensions(shape[:3], path), channel


def check_dimensions(shape: Sequence[int], path: Path) -> tuple[int, int, int]:
    """The three sizes of a volume, in the order given; trailing axes of one element (a single time point) are dropped.

    Raises
    ------
    InputError
        If there is nothing in it, or it is a single slice, or has more than three axes.
    """
    sizes = [int(size) for size in shape]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if len(sizes) > 3:
        raise InputError(f"{path} has {len(sizes)} dimensions ({_times(sizes)}); extract one 3D volume from it.")
    if 0 in sizes or not sizes:
        raise InputError(f"{path} is empty ({_times(sizes)} voxels); give a volume with voxels in it.")
    if len(sizes) < 3 or 1 in sizes:
        raise InputError(f"{path} is a 2D image ({_times(sizes)}), not a volume; give a file with all slices.")
    return sizes[0], sizes[1], sizes[2]


def check_dtype(dtype: np.dtype[Any], path: Path) -> None:
    """Raise InputError if voxels of this type are not one real number each (colour, complex)."""
    if dtype.kind not in "biuf":
        raise InputError(f"{path} holds {dtype} voxels (colour or complex), not intensities; give a greyscale volume.")


def check_intensities(voxels: NDArray[Any], path: Path) -> None:
    """Raise InputError if a voxel is NaN or infinite, or all voxels are the same."""
    check_finite(voxels, path)
    low = voxels.min()
    high = voxels.max()
    if voxels.dtype.kind == "f" and max(abs(low), abs(high)) > _LARGEST:
        raise InputError(f"{path} holds values from {low:g} to {high:g}, which no scan has; convert it again.")
    if low == high:
        raise InputError(f"{path} is constant (every voxel is {low:g}); give a scan with something in it.")


def check_finite(voxels: NDArray[Any], path: Path) -> None:
    """Raise InputError if a voxel is NaN or infinite."""
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        number = int(np.count_nonzero(~np.isfinite(voxels)))
        raise InputError(f"{path} has {number} NaN or infinite voxels; replace them before opening it.")


def scaled(voxels: NDArray[Any], slope: float, intercept: float) -> NDArray[Any]:
    """Apply a header's scaling.

    Parameters
    ----------
    voxels
        Stored values.
    slope, intercept
        Whole numbers keep integers integers (CT in HU stays int16); anything else gives float32.
    """
    if slope == 1 and intercept == 0:
        return voxels
    if voxels.dtype.kind in "iu" and float(slope).is_integer() and float(intercept).is_integer():
        ends = [int(voxels.min()) * int(slope) + int(intercept), int(voxels.max()) * int(slope) + int(intercept)]
        for dtype in (np.int16, np.int32, np.int64):
            if np.iinfo(dtype).min <= min(ends) and max(ends) <= np.iinfo(dtype).max:
                return (voxels.astype(np.int64) * int(slope) + int(intercept)).astype(dtype)
    return (voxels.astype(np.float64) * slope + intercept).astype(np.float32)


def _times(sizes: Sequence[int] | Sequence[str]) -> str:
    return " × ".join(str(size) for size in sizes)
