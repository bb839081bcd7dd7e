"""Which synthetic scan belongs to which real one: folders, read and brought to one grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from napari_gem3d.errors import InputError
from napari_gem3d.foreground import is_ct
from napari_gem3d.io import read_label_map, read_volume
from napari_gem3d.labels import LabelMap
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

    def read(self, real: Volume | None = None) -> tuple[Volume, Volume, LabelMap | None]:
        """The real scan, the synthetic scan and the label map, all on the real scan's canonical grid.

        Parameters
        ----------
        real
            The real scan as `read_scan` gives it, if it was read before.

        Raises
        ------
        InputError
            If a file cannot be read, or the grids of the scans differ.
        """
        scan = read_scan(self.real) if real is None else real
        made = read_scan(self.made)
        differences = made.grid.differences(scan.grid)
        if differences:
            raise InputError(
                f"{self.made} is not on the grid of {self.real} ({'; '.join(differences)}); bring it to the same grid."
            )
        labels = None if self.labels is None else read_label_map(self.labels).aligned_to(scan.grid)
        return scan, replace(made, affine=scan.affine, modality=made.modality or ("CT" if is_ct(scan) else "")), labels


def read_scan(path: Path) -> Volume:
    """A scan in RAS axes, not interpolated.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    volume = read_volume(path)
    return resample(volume, volume.grid.canonical(), order=0)


def canonical(path: Path) -> NDArray[Any]:
    """Voxels (Z, Y, X) of a scan in RAS axes, not interpolated; raises as `read_scan`."""
    return read_scan(path).voxels


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
        case = max((c for c in cases if belongs(name, c)), key=len, default=None)
        if case is not None:
            pairs.append(Pair(case, name, cases[case], path, maps.get(case)))
    return pairs


def belongs(name: str, case: str) -> bool:
    """Whether a synthetic scan of this name is one of the case."""
    return name == case or (name.startswith(case) and name[len(case)] in _SEPARATORS)
