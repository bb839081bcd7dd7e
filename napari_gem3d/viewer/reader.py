"""napari readers for NIfTI, NRRD and DICOM: scans become image layers, label maps labels layers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from napari.settings import get_settings
from napari.types import LayerDataTuple
from numpy.typing import NDArray

from napari_gem3d.errors import InputError
from napari_gem3d.io import read_label_map, read_volume
from napari_gem3d.io.checks import NoPositionError, SegmentationError, SeveralVolumesError
from napari_gem3d.io.dicom_files import holds_dicom, is_dicom, series_files
from napari_gem3d.labels import LabelMap
from napari_gem3d.viewer.layers import METADATA, image_layer, labels_layer
from napari_gem3d.volume import Volume

PathOrPaths = str | Sequence[str]
SUFFIXES = (".nii", ".nii.gz", ".mgz", ".mgh", ".nrrd", ".nhdr", ".dcm")

# A label map has few values; an 8-bit picture has most of 256. TotalSegmentator, the largest table in use, has 117.
_MOST_LABELS = 128
# Share of neighbouring voxels that have one label: in the label maps of 44 patients at least 0.84, in a scan of 123
# grey values 0.14.
_SAME = 0.5
# Files of more volumes are series in time.
_MOST_VOLUMES = 8
_WORDS = ("label", "seg", "mask")
# napari hands the files of one drop to the reader one after the other, without saying that they belong together.
# Reading and showing one takes at most so many seconds; whoever opens a series again later means it.
_SAME_DROP = 5.0


class OpenedSeries:
    """Remembers the series that was opened last, for as long as a drop takes."""

    def __init__(self) -> None:
        self._files: frozenset[Path] = frozenset()
        self._until = 0.0

    def without_repeats(self, paths: Sequence[Path]) -> list[Path]:
        """The paths, without files of a series of which another file is among them or was opened just now."""
        kept = []
        for path in paths:
            file = path.absolute()
            if file in self._files and time.monotonic() < self._until:
                self._until = time.monotonic() + _SAME_DROP
                continue
            kept.append(path)
            if file.is_file() and is_dicom(file):
                self.remember(file)
        return kept

    def remember(self, file: Path) -> None:
        """All files of this file's series have been opened with it."""
        self._files = frozenset(series_files(file))
        self.read()

    def read(self) -> None:
        """The drop goes on from now: reading the series took its time."""
        self._until = time.monotonic() + _SAME_DROP

    def forget(self) -> None:
        """Reading has failed: the next file says so again."""
        self._files = frozenset()


opened = OpenedSeries()


def get_reader(path: PathOrPaths) -> Callable[[PathOrPaths], list[LayerDataTuple]] | None:
    """The reader for `path`, or None to leave it to others (folders without DICOM files, other suffixes)."""
    return read_dropped if all(_is_ours(Path(one)) for one in _as_list(path)) else None


def read_dropped(path: PathOrPaths) -> list[LayerDataTuple]:
    """As `read_layers`, for napari, which hands over the files of a drop one by one: a DICOM series opens once."""
    paths = opened.without_repeats([Path(one) for one in _as_list(path)])
    try:
        layers = [layer for one in paths for layer in _layers_of(one)]
    except InputError:
        opened.forget()
        raise
    opened.read()
    # What napari's readers return for a file that has nothing to show.
    return layers or [(None,)]


def read_layers(path: PathOrPaths) -> list[LayerDataTuple]:
    """Read every path as one layer, all files of one DICOM series together; InputError if one cannot be read."""
    paths = OpenedSeries().without_repeats([Path(one) for one in _as_list(path)])
    return [layer for one in paths for layer in _layers_of(one)]


def _layers_of(path: Path) -> list[LayerDataTuple]:
    """The layers of a file: one, or each of a few volumes that it holds.

    A volume that is no file by itself, or of which nothing says how it lies, comes without origin, as layers of others
    do: the panel writes it to a file of the session, and asks for its directions where they are not known.
    """
    try:
        return [read_layer(path)]
    except NoPositionError:
        data, attributes, kind = _foreign(read_volume(path, assume_orientation="RAS"), layer_name(path))
        del attributes["axis_labels"]
        return [(data, attributes, kind)]
    except SeveralVolumesError as several:
        if several.number > _MOST_VOLUMES:
            raise
        return [
            _foreign(read_volume(path, channel=channel), f"{layer_name(path)} ({channel})")
            for channel in range(several.number)
        ]


def _foreign(volume: Volume, name: str) -> LayerDataTuple:
    data, attributes, kind = image_layer(volume, name)
    del attributes["metadata"][METADATA]
    return data, attributes, kind


def read_layer(path: Path) -> LayerDataTuple:
    """Read a scan or a label map, whichever the file holds, as a layer in canonical axes.

    Raises
    ------
    InputError
        As `read_volume`.
    """
    path = path.absolute()  # recipes made of the layer must be true wherever they are replayed
    if _named_like_labels(path):
        try:
            labels = read_label_map(path)
            if len(labels.values()) <= _MOST_LABELS and _is_in_patches(labels.voxels):
                return labels_layer(labels, layer_name(path))
        except InputError:
            pass  # a scan after all; what is wrong with it otherwise, `read_volume` says
    try:
        volume = read_volume(path)
    except SegmentationError:
        return labels_layer(read_label_map(path), layer_name(path))
    if looks_like_labels(volume):
        labels = LabelMap(volume.voxels, volume.affine, volume.modality, volume.source, volume.meta)
        return labels_layer(labels, layer_name(path))
    return image_layer(volume, layer_name(path))


def looks_like_labels(volume: Volume) -> bool:
    """Whether the voxels (Z, Y, X) are few different whole numbers from 0 to 255 in patches, many of them 0."""
    voxels = volume.voxels
    if "synthetic" in volume.meta:
        return False  # its header says that it is a scan, however few grey values it has
    if voxels.dtype.kind not in "iu" or voxels.min() != 0 or voxels.max() > 255:
        return False
    counts = np.bincount(voxels.ravel())
    few = int(np.count_nonzero(counts)) <= _MOST_LABELS and bool(counts[0] >= 0.3 * voxels.size)
    return few and _is_in_patches(voxels)


def _is_in_patches(voxels: NDArray[Any]) -> bool:
    """Whether neighbours along x have mostly the same value, as in label maps; scans of 8 bits do not look so."""
    one, other = voxels[..., :-1], voxels[..., 1:]
    shown = (one != 0) & (other != 0)
    return not shown.any() or bool(np.mean(one[shown] == other[shown]) > _SAME)


def prefer_reader() -> None:
    """Let napari open medical images with this plugin unless the user has chosen another one for a suffix.

    The same as ticking "remember this choice" once for each suffix: napari's own reader claims them too, so that
    every drop on the window would ask which of the two to take. Folders are still asked about.
    """
    plugins = get_settings().plugins
    wanted = {f"*{suffix}": "napari-gem3d" for suffix in SUFFIXES}
    if not wanted.keys() <= plugins.extension2reader.keys():
        plugins.extension2reader = {**wanted, **plugins.extension2reader}


def layer_name(path: Path) -> str:
    """File name without the suffixes of medical images."""
    name = path.name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def _named_like_labels(path: Path) -> bool:
    places = (path.name.lower(), path.parent.name.lower())
    return any(word in place for place in places for word in _WORDS)


def _is_ours(path: Path) -> bool:
    if path.is_dir():
        return holds_dicom(path)
    return path.name.lower().endswith(SUFFIXES)


def _as_list(path: PathOrPaths) -> list[str]:
    return [str(path)] if isinstance(path, str | Path) else [str(one) for one in path]
