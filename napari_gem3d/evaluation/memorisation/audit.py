"""The memorisation audit: whether synthetic scans are nearer to training scans than scans of new patients are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.memorisation.pixels import Pixels
from napari_gem3d.evaluation.memorisation.space import Slices, Space
from napari_gem3d.evaluation.memorisation.verdict import COPY, Neighbours, Yardstick, worst
from napari_gem3d.foreground import foreground
from napari_gem3d.io import read_volume
from napari_gem3d.io.files import temporary_folder

Say = Callable[[str], None]


@dataclass(frozen=True)
class Comparison:
    """All scans against the training scans by one distance.

    Attributes
    ----------
    space
        The distance's name.
    how
        What it is, in a sentence.
    held_out, synthetic
        Neighbours of every scan by its name.
    """

    space: str
    how: str
    held_out: Mapping[str, Neighbours]
    synthetic: Mapping[str, Neighbours]

    @property
    def yardstick(self) -> Yardstick:
        """How near the held-out scans come."""
        return Yardstick.of(list(self.held_out.values()))

    @property
    def share_of_slices(self) -> float:
        """Share of synthetic slices nearer to a training slice than any held-out slice is."""
        distances = np.concatenate([scan.distance for scan in self.synthetic.values()])
        return float(np.mean(distances < self.yardstick.closest_slice))

    @property
    def share_of_scans(self) -> float:
        """Share of synthetic scans nearer to a training scan than any held-out scan is."""
        closest = self.yardstick.closest_scan
        return float(np.mean([scan.nearest_distance < closest for scan in self.synthetic.values()]))

    def verdicts(self) -> dict[str, str]:
        """``copy``, ``look`` or ``clear`` for every synthetic scan; see `Yardstick.verdict`."""
        yardstick = self.yardstick
        return {name: yardstick.verdict(scan) for name, scan in self.synthetic.items()}

    def doubtful(self) -> list[str]:
        """Held-out scans that, measured by the other held-out scans, are copies of training scans themselves."""
        found = []
        for name, scan in self.held_out.items():
            others = [other for key, other in self.held_out.items() if key != name]
            if others and Yardstick.of(others).verdict(scan) == COPY:
                found.append(name)
        return found


@dataclass(frozen=True)
class Audit:
    """What the audit found.

    Attributes
    ----------
    training
        Names of the training scans.
    comparisons
        One for each distance: pixels, and latents if a model was given.
    """

    training: tuple[str, ...]
    comparisons: tuple[Comparison, ...]

    def verdicts(self) -> dict[str, str]:
        """The gravest verdict of all distances for every synthetic scan: ``copy``, ``look`` or ``clear``."""
        each = [comparison.verdicts() for comparison in self.comparisons]
        return {name: worst([found[name] for found in each]) for name in each[0]}

    def doubtful(self) -> list[str]:
        """Held-out scans that are hardly held out; see `Comparison.doubtful`."""
        return sorted({name for comparison in self.comparisons for name in comparison.doubtful()})

    def to_json(self) -> dict[str, Any]:
        """For ``report.json``: distances by scan and slice, neighbours, shares and verdicts."""
        return {
            "training_scans": len(self.training),
            "verdicts": self.verdicts(),
            "doubtful_held_out_scans": self.doubtful(),
            "distances": {comparison.space: _comparison_json(comparison) for comparison in self.comparisons},
        }


def audit(
    training: Mapping[str, Path],
    held_out: Mapping[str, Path],
    synthetic: Mapping[str, Path],
    spaces: Sequence[Space] = (Pixels(),),
    say: Say = lambda _: None,
) -> Audit:
    """Find the nearest training slice of every slice of synthetic and held-out scans, and judge by the difference.

    A generated scan that is a copy lies far nearer to one training scan than a scan of a new patient does (Carlini
    et al. 2023, Dar et al. 2024). How near new patients lie by chance, which depends on organ, sequence and number of
    training scans, is what held-out scans tell. Slices are compared with slices at like heights, without the lowest
    quarter and the highest fifth of the body, where everybody is alike. Synthetic scans need not belong to a real one.

    Every scan is read once; what the training scans are compared by lies in the system's temporary folder (about 2 MB a
    brain) while the audit runs. The time grows with training scans × all others.

    Parameters
    ----------
    training, held_out, synthetic
        Scans by name: what the model learned from, real scans of patients that it did not, and what it made.
    spaces
        The distances: `Pixels`, and `Latents` of a bundle.
    say
        Receives a line a scan.

    Returns
    -------
    Audit
        Neighbours, shares and verdicts.

    Raises
    ------
    InputError
        If a scan cannot be used, or a held-out scan is one of the training scans.
    """
    with temporary_folder("audit") as folder:
        kept = {space.name: Path(folder) / space.name for space in spaces}
        for place in kept.values():
            place.mkdir()
        contents: dict[str, str] = {}
        largest = dict.fromkeys(kept, (1, 1))
        for number, (name, path) in enumerate(training.items()):
            content, described = _described(path, spaces, asked=False)
            contents[content] = name
            for kind, slices in described.items():
                slices.save(kept[kind] / f"{number}.npz")
                height, width = slices.inside.shape[1:]
                largest[kind] = max(largest[kind][0], height), max(largest[kind][1], width)
            say(f"training scan {number + 1} of {len(training)}: {name}")
        found: list[dict[str, dict[str, Neighbours]]] = [{name: {} for name in kept} for _ in range(2)]
        for which, scans in enumerate((held_out, synthetic)):
            for name, path in scans.items():
                content, described = _described(path, spaces, asked=True)
                if which == 0 and content in contents:
                    raise InputError(
                        f"{path} is the training scan {contents[content]}; give scans that were held out of training."
                    )
                for space in spaces:
                    neighbours = _neighbours(
                        path, described[space.name], space, largest[space.name], _stored(kept[space.name], training)
                    )
                    found[which][space.name][name] = neighbours
                say(f"{('held-out', 'synthetic')[which]} scan {name}: {_told(found[which], name)}")
    comparisons = [Comparison(s.name, s.how, found[0][s.name], found[1][s.name]) for s in spaces]
    return Audit(tuple(training), tuple(comparisons))


def _described(path: Path, spaces: Sequence[Space], asked: bool) -> tuple[str, dict[str, Slices]]:
    """A hash of a scan's voxels, and what it is compared by in every space."""
    scan = read_volume(path)
    body = foreground(scan)
    content = hashlib.sha256(np.ascontiguousarray(scan.voxels).tobytes()).hexdigest()
    return content, {space.name: space.describe(scan, body, asked) for space in spaces}


def _stored(folder: Path, training: Mapping[str, Path]) -> Iterator[tuple[str, Slices]]:
    for number, name in enumerate(training):
        yield name, Slices.load(folder / f"{number}.npz")


def _neighbours(
    path: Path, slices: Slices, space: Space, largest: tuple[int, int], training: Iterator[tuple[str, Slices]]
) -> Neighbours:
    """Go through the training scans and keep, for each slice, the nearest."""
    try:
        asked = slices.asked()
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    search = space.search(asked, largest)
    count = len(asked.numbers)
    distance, owner = np.full(count, np.inf, np.float32), np.zeros(count, np.intp)
    number, mirrored = np.zeros(count, np.intp), np.zeros(count, bool)
    names: list[str] = []
    means: list[float] = []
    for name, scan in training:
        near = search(scan)
        better = near.distance < distance
        distance, owner = np.where(better, near.distance, distance), np.where(better, len(names), owner)
        number, mirrored = np.where(better, near.number, number), np.where(better, near.mirrored, mirrored)
        names.append(name)
        means.append(float(near.distance.mean()))
    order = np.argsort(means)
    second = means[order[1]] if len(order) > 1 else float("nan")
    scans = tuple(names[index] for index in owner)
    return Neighbours(asked.numbers, distance, scans, number, mirrored, names[order[0]], means[order[0]], second)


def _told(found: Mapping[str, Mapping[str, Neighbours]], name: str) -> str:
    return "; ".join(
        f"{space} {scans[name].nearest_distance:.2f} from {scans[name].nearest}" for space, scans in found.items()
    )


def _comparison_json(comparison: Comparison) -> dict[str, Any]:
    verdicts, yardstick = comparison.verdicts(), comparison.yardstick
    return {
        "how": comparison.how,
        "copy_below": yardstick.sure,
        "expected_above": _finite(yardstick.expected),
        "expected_relative_above": _finite(yardstick.expected_relative),
        "closest_held_out_slice": yardstick.closest_slice,
        "closest_held_out_scan": yardstick.closest_scan,
        "share_of_synthetic_slices_closer": comparison.share_of_slices,
        "share_of_synthetic_scans_closer": comparison.share_of_scans,
        "expected_share_of_scans_closer": 1 / (len(comparison.held_out) + 1),
        "held_out": {name: _scan_json(scan) for name, scan in comparison.held_out.items()},
        "synthetic": {
            name: {"verdict": verdicts[name], **_scan_json(scan)} for name, scan in comparison.synthetic.items()
        },
    }


def _scan_json(scan: Neighbours) -> dict[str, Any]:
    nearest = zip(scan.slices, scan.distance, scan.scan, scan.number, scan.mirrored, strict=True)
    return {
        "nearest_scan": scan.nearest,
        "distance": scan.nearest_distance,
        "second_distance": _finite(scan.second_distance),
        "slices": [
            {"slice": int(z), "distance": float(d), "scan": name, "nearest_slice": int(k), "mirrored": bool(turned)}
            for z, d, name, k, turned in nearest
        ],
    }


def _finite(value: float) -> float | None:
    """JSON has neither nan nor infinity."""
    return value if np.isfinite(value) else None
