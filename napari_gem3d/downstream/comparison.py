"""Train a segmenter on several training sets, test each on real patients, and compare (paper, Table 3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from napari_gem3d.downstream.datasets import (
    TestSet,
    TrainingSet,
    check_apart,
    read_json,
    read_test_set,
    read_training_sets,
    write_json,
)
from napari_gem3d.downstream.scores import choose_regions, score
from napari_gem3d.downstream.table import describe, summarise
from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.segmentation import Regions
from napari_gem3d.io import replacing

Say = Callable[[str], None]


class Segmenter(Protocol):
    """What is trained: nnU-Net or the stand-in."""

    key: str

    @property
    def description(self) -> str:
        """What made the figures, for the caption of a table."""

    def predict(self, training: TrainingSet, test: TestSet, seed: int, folder: Path, say: Say) -> dict[str, Path]:
        """Train where that is not done, and give the label map of every test case, on its scan's own grid."""

    def summary(self, folder: Path) -> dict[str, dict[str, float | None]]:
        """What the segmenter says itself of a training's predictions: Dice by case and label; empty if nothing."""


def compare(
    folders: Mapping[str, Path],
    test: Path,
    out: Path,
    segmenter: Segmenter,
    *,
    seeds: Sequence[int] = (1,),
    regions: Regions | None = None,
    channel: int = 0,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Compare training sets by what a segmenter learns from them.

    Whatever is done is kept under `out`, so the same call goes on after an interrupt, and with more seeds or sets it
    adds to what is there.

    Parameters
    ----------
    folders
        Datasets in nnU-Net's raw layout by name; the first is the reference, the real scans.
    test
        Dataset whose ``imagesTs`` and ``labelsTs`` are tested on.
    out
        Gets ``table.md``, ``results.json`` and a folder a segmenter, with one a training.
    segmenter
        `NnUNet` or `StandIn`.
    seeds
        One run each.
    regions
        Name and label values of what is scored; by default `choose_regions`.
    channel
        Which channel of the images is used.
    say
        Gets a line now and then.

    Returns
    -------
    dict
        As ``results.json`` holds it.

    Raises
    ------
    InputError
        If a dataset cannot be used, a test patient is in a training set, or a training fails.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError("Every run needs a seed of its own; give one or more, each once.")
    sets, tested = read_training_sets(folders, channel), read_test_set(test, channel)
    check_apart(sets, tested)
    regions = regions or choose_regions(sets[0].dataset.labels)
    runs: dict[str, dict[str, Any]] = {training.name: {} for training in sets}
    own: dict[str, dict[str, Any]] = {training.name: {} for training in sets}
    results: dict[str, Any] = {}
    # Run by run, so that what is there after an interrupt has all sets.
    for seed in seeds:
        for training in sets:
            folder = out / segmenter.key / training.name / f"run-{seed}"
            predictions = segmenter.predict(training, tested, seed, folder, say)
            runs[training.name][str(seed)] = score(tested, predictions, regions, folder / "scores.json")
            own[training.name][str(seed)] = segmenter.summary(folder)
        results = {
            "segmenter": segmenter.description,
            "seeds": [int(run) for run in runs[sets[0].name]],
            "test_cases": [case.name for case in tested.cases],
            "regions": {name: list(values) for name, values in regions.items()},
            "labels": dict(sets[0].dataset.labels),
            "sets": {
                one.name: {"scans": len(one.cases), "runs": runs[one.name], "own_summary": own[one.name]}
                for one in sets
            },
        }
        results["summary"] = summarise(results)
        _write(results, out)
        say(f"seed {seed} is done: {out / 'table.md'}")
    return results


def _write(results: Mapping[str, Any], out: Path) -> None:
    write_json(results, out / "results.json")
    with replacing(out / "table.md") as temporary:
        temporary.write_text(describe(results) + "\n", encoding="utf-8")


def read_results(out: Path) -> dict[str, Any]:
    """The results in a folder of `compare`; InputError if there are none."""
    found = read_json(out / "results.json")
    if not isinstance(found, dict):
        raise InputError(f"{out} has no results.json; run the comparison first.")
    return found
