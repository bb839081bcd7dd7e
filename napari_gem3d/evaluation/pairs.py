"""Which synthetic scan belongs to which real one: folders, read and brought to one grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from napari_gem3d.errors import InputError
from napari_gem3d.io import read_label_map, read_volume
from napari_gem3d.volume import Volume, resample

_SUFFIXES = (".nii.gz", ".nii", ".nrrd")
_CHANNEL = "_0000"
# What may follow a case's name in that of a synthetic scan, before a seed or a variant.
_SEPARATORS = "-_."


@dataclass(frozen=True)
class Pair:
    """A real scan, a synthetic scan of the same patient, and the label map it was drawn from, if there is one."""

    case: str
    name: str
    real: Path
    made: Path
    labels: Path | None = None

    def read(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
        """Real and synthetic voxels and labels on the real scan's canonical grid, (Z, Y, X).

        Raises
        ------
        InputError
            If a file cannot be read, the grids differ, or the background of the real scan is not 0.
        """
        scan = _read(self.real)
        real, made = upright(scan), canonical(self.made)
        if made.shape != real.shape:
            raise InputError(
                f"{self.made} has {made.shape} voxels and {self.real} {real.shape}; give scans on the same grid."
            )
        if self.labels is None:
            return real, made, None
        aligned = read_label_map(self.labels).aligned_to(scan.grid)
        return real, made, resample(aligned, scan.grid.canonical(), order=0).voxels


def canonical(path: Path) -> NDArray[Any]:
    """Voxels (Z, Y, X) of a scan in RAS axes, not interpolated.

    Raises
    ------
    InputError
        If it cannot be read or has negative voxels, so that its background is not 0.
    """
    return upright(_read(path))


def _read(path: Path) -> Volume:
    volume = read_volume(path)
    if volume.voxels.min() < 0:
        raise InputError(f"{path} has negative voxels; evaluate compares MR scans whose background is 0.")
    return volume


def upright(volume: Volume) -> NDArray[Any]:
    """Voxels (Z, Y, X) of a volume in RAS axes, not interpolated."""
    return resample(volume, volume.grid.canonical(), order=0).voxels


def scans(folder: Path) -> dict[str, Path]:
    """Scans of a folder by the name of their case; of nnU-Net's channels, only the first.

    Raises
    ------
    InputError
        If there is no such folder or no scan in it.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}; give one with scans (NIfTI or NRRD).")
    found = {}
    for path in sorted(folder.iterdir()):
        suffix = next((s for s in _SUFFIXES if path.name.endswith(s)), None)
        if suffix is not None and not path.name.startswith("."):
            found[path.name.removesuffix(suffix).removesuffix(_CHANNEL)] = path
    if not found:
        raise InputError(f"The folder {folder} has no scan; give one with NIfTI or NRRD files.")
    return found


def find_pairs(real: Path, made: Path, labels: Path | None = None) -> list[Pair]:
    """Pair scans by name: CASE.nii.gz (or CASE_0000.nii.gz) with CASE.nii.gz, CASE-seed1.nii.gz, ….

    Parameters
    ----------
    real, made
        Folders of scans.
    labels
        Folder of label maps, CASE.nii.gz.

    Returns
    -------
    list of Pair
        By the name of the synthetic scan; synthetic scans that belong to no real one are left out.

    Raises
    ------
    InputError
        As `scans`.
    """
    cases, maps = scans(real), scans(labels) if labels is not None else {}
    pairs = []
    for name, path in scans(made).items():
        case = max((c for c in cases if _belongs(name, c)), key=len, default=None)
        if case is not None:
            pairs.append(Pair(case, name, cases[case], path, maps.get(case)))
    return pairs


def _belongs(name: str, case: str) -> bool:
    return name == case or (name.startswith(case) and name[len(case)] in _SEPARATORS)


def read_all(paths: dict[str, Path]) -> Iterator[NDArray[Any]]:
    """Scans one after the other, each (Z, Y, X) canonical."""
    return (canonical(path) for path in paths.values())
