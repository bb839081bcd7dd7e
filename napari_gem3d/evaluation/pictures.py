"""Three planes of some synthetic scans beside the real ones, for the page of a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_gem3d.evaluation.pairs import Pair, read_scan
from napari_gem3d.io import read_label_map
from napari_gem3d.io.files import temporary_folder
from napari_gem3d.pictures import Row, planes_in_rows

# How many scans are shown that have no real one beside them.
_ALONE = 3


@dataclass(frozen=True)
class Example:
    """Planes of one scan, or of a real one and below it the synthetic one.

    Attributes
    ----------
    caption
        Which, and why.
    png
        The picture.
    """

    caption: str
    png: bytes


def examples(report: Mapping[str, Any], pairs: Sequence[Pair], made: Mapping[str, Path]) -> Iterator[Example]:
    """The pairs with the least, the middle and the greatest MS-SSIM; without pairs, the first synthetic scans.

    Parameters
    ----------
    report
        As ``report.json`` holds it.
    pairs
        The pairs it is about.
    made
        Synthetic scans by name.

    Raises
    ------
    InputError
        If a scan cannot be read any more.
    """
    if not pairs:
        for name in list(made)[:_ALONE]:
            yield Example(name, _planes([Row(read_scan(made[name]), name)]))
        return
    ranked = sorted(pairs, key=lambda pair: float(report["pairs"][pair.name]["ms_ssim"]))
    wanted = {len(ranked) - 1: "Most alike", len(ranked) // 2: "In the middle", 0: "Least alike"}
    for place in sorted(wanted, reverse=True):
        pair = ranked[place]
        caption = f"{wanted[place]}: {pair.name}, MS-SSIM {report['pairs'][pair.name]['ms_ssim']:.3f}"
        yield Example(caption if len(ranked) > 1 else caption.partition(": ")[2], _beside(pair))


def _beside(pair: Pair) -> bytes:
    labels = None if pair.labels is None else read_label_map(pair.labels)
    return _planes([Row(read_scan(pair.real), "real", labels), Row(read_scan(pair.made), "synthetic", labels)])


def _planes(rows: Sequence[Row]) -> bytes:
    with temporary_folder("report") as folder:
        path = Path(folder) / "planes.png"
        planes_in_rows(rows, path)
        return path.read_bytes()
