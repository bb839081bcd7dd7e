"""DICOM files dropped one by one: each of them stands for its series, which is opened once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from napari_gem3d.io.dicom import is_dicom, series_files

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
