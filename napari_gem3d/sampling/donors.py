"""Cross-selection of the informed slice: which of many patients gives it (paper, section 3.4, "IC")."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from napari_gem3d.errors import InputError
from napari_gem3d.io import sha256
from napari_gem3d.io.dicom_files import is_dicom

_SCANS = (".nii", ".nii.gz", ".mgz", ".mgh", ".nrrd", ".nhdr")
# nnU-Net's raw layout: the channel stands behind the patient's name.
_CHANNEL = re.compile(r"_(\d{4})$")


def is_pool(path: Path | str) -> bool:
    """Whether a path is a folder of scans rather than one scan (a folder of DICOM slices)."""
    path = Path(path)
    return path.is_dir() and bool(scans_of(path)) and not any(is_dicom(file) for file in path.iterdir())


def choose_donor(
    pool: Path | str,
    mask: Path | str,
    body: Path | str | None,
    rng: np.random.Generator,
    *,
    allow_own: bool = False,
) -> Path:
    """Draw the patient whose slice informs a generation.

    Parameters
    ----------
    pool
        Folder of scans (NIfTI, NRRD); of a dataset in nnU-Net's raw layout, its ``imagesTr``: the lowest channel
        of every patient takes part.
    mask, body
        Label map and scan of the target. The target itself is recognised by its name or its content.
    rng
        Draws.
    allow_own
        Whether the target may inform itself.

    Raises
    ------
    InputError
        If the folder has no scan of another patient.
    """
    pool = Path(pool)
    scans = scans_of(pool)
    if not allow_own:
        own = {patient(Path(file)) for file in (mask, body) if file is not None}
        scans = [scan for scan in scans if patient(scan) not in own]
    shown = None if body is None or allow_own else sha256(body)
    for index in rng.permutation(len(scans)):
        if shown is None or sha256(scans[index]) != shown:
            return scans[index]
    raise InputError(f"The folder {pool} holds no scan of another patient; add one, or allow the patient's own.")


def patient(path: Path) -> str:
    """The patient's name in a file name: without suffix and nnU-Net's channel."""
    name = path.name
    for suffix in sorted(_SCANS, key=len, reverse=True):
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
            break
    return _CHANNEL.sub("", name)


def scans_of(folder: Path) -> list[Path]:
    """Scans of a folder (NIfTI, NRRD) by name, the lowest channel of every patient."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.name.lower().endswith(_SCANS))
    first: dict[str, Path] = {}
    for file in files:
        first.setdefault(patient(file), file)
    return list(first.values())
