"""One pass over two folders of scans: each is read once, and what is kept does not grow with its voxels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.extractors import Extractor
from napari_gem3d.evaluation.frame import Frame
from napari_gem3d.evaluation.judging import FIGURES, compare, describe
from napari_gem3d.evaluation.memory import give_back
from napari_gem3d.evaluation.pairs import Pair, read_scan
from napari_gem3d.evaluation.perceptual import PerceptualDistance
from napari_gem3d.evaluation.profiles import Profile
from napari_gem3d.evaluation.statistics import SliceSets
from napari_gem3d.foreground import is_ct
from napari_gem3d.volume import Volume

Say = Callable[[str], None]


class Gathering:
    """Figures of pairs, figures of scans, features of slices and average curves, gathered scan by scan.

    A real scan is held while the synthetic scans of its case are read one after the other; nothing else is.

    Parameters
    ----------
    extractor
        Makes the features of slices.
    perceptual
        Distance of pairs of slices.
    say
        Receives a line a scan.

    Attributes
    ----------
    pairs
        What `compare` says of every synthetic scan with a real one, by its name, with its ``case``.
    scans
        What `describe` says of the real and of the synthetic scans, by name.
    slices
        Features of all slices of both sets.
    profiles
        Of the real and the synthetic scans of pairs, in the range of each pair's real scan; or, if there are no pairs,
        of all scans, each in its own range.
    units
        "HU" if a real scan is a CT, else "".
    """

    def __init__(self, extractor: Extractor, perceptual: PerceptualDistance, say: Say = lambda _: None) -> None:
        self.perceptual, self.say = perceptual, say
        self.pairs: dict[str, dict[str, Any]] = {}
        self.scans: tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]] = {}, {}
        self.slices = SliceSets(extractor)
        self.profiles = Profile(), Profile()
        self.units = ""

    def go(self, real: Mapping[str, Path], made: Mapping[str, Path], pairs: Sequence[Pair]) -> None:
        """Read everything.

        Parameters
        ----------
        real, made
            Scans by name.
        pairs
            Which of them belong together.

        Raises
        ------
        InputError
            If a scan cannot be read, or shows too little to be compared; it names the scan.
        """
        paired = {pair.name for pair in pairs}
        for case, path in real.items():
            own = [pair for pair in pairs if pair.case == case]
            with _naming(path):
                scan = read_scan(path)
                frame = Frame.of(scan)
                self.units = "HU" if is_ct(scan) else self.units
                self._describe(case, scan, frame, synthetic=False, profile=not paired or bool(own))
            for pair in own:
                with _naming(pair.made):
                    self._compare(pair, scan, frame)
            if not own:
                self.say(f"{case}: no synthetic scan of its name")
        for name, path in made.items():
            if name not in paired:
                with _naming(path):
                    scan = read_scan(path)
                    if self.units and not scan.modality:
                        scan = replace(scan, modality="CT")
                    self._describe(name, scan, Frame.of(scan), synthetic=True, profile=not paired)
                self.say(f"{name}: of no real scan")

    def _describe(self, name: str, scan: Volume, frame: Frame, *, synthetic: bool, profile: bool) -> None:
        """Take a scan by itself into account."""
        shown = frame.apply(scan.voxels)
        self.slices.add(shown, synthetic)
        self.scans[synthetic][name] = describe(shown, frame.cropped)
        if profile:
            self.profiles[synthetic].add(shown, frame.cropped)

    def _compare(self, pair: Pair, real: Volume, frame: Frame) -> None:
        """Take a synthetic scan beside its real one into account."""
        _, made, labels = pair.read(real)
        found = compare(real.voxels, made.voxels, frame, None if labels is None else labels.voxels, self.perceptual)
        give_back()
        self.pairs[pair.name] = {"case": pair.case, **found}
        self.profiles[1].add(frame.apply(made.voxels), frame.cropped)
        self._describe(pair.name, made, Frame.of(made), synthetic=True, profile=False)
        shown = (f"{key} {found[key]:.3f}" for key in (*FIGURES, self.perceptual.figure) if found.get(key) is not None)
        self.say(f"{pair.name}: {', '.join(shown)}")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Say which scan an InputError is about, if it does not."""
    try:
        yield
    except InputError as error:
        if str(path) in str(error):
            raise
        raise InputError(f"{path}: {error}") from error
