"""One pass over the scans: what is read how often, and what is held."""

import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from napari_gem3d.errors import InputError
from napari_gem3d.evaluation import inside, judging, pairs
from napari_gem3d.evaluation.gather import Gathering
from napari_gem3d.evaluation.memory import give_back
from napari_gem3d.evaluation.pairs import find_pairs, scans
from napari_gem3d.io import write_volume
from napari_gem3d.volume import Volume


class Moments:
    """Features that cost nothing."""

    name, title, length, is_fid = "moments", "mean and deviation of a slice", 2, False

    def __call__(self, slices: np.ndarray) -> np.ndarray:
        return np.stack([slices.mean((1, 2)), slices.std((1, 2))], axis=1).astype(np.float32)


class NoDistance:
    """A distance that is always 0."""

    name, figure, title = "none", "none", "none"

    def __call__(self, real, made):
        return real.new_zeros(len(real))


@pytest.fixture
def gathering(monkeypatch: pytest.MonkeyPatch) -> Gathering:
    monkeypatch.setattr(judging, "likeness", lambda *_: {"ms_ssim": 1.0, "ssim": 1.0, "psnr": 120.0})
    monkeypatch.setattr(judging, "mean_ms_ssim", lambda *_: 1.0)
    monkeypatch.setattr(inside, "ssim_inside", lambda *_: 1.0)
    return Gathering(Moments(), NoDistance())


def test_every_scan_is_read_once(folders, gathering: Gathering, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Counter()
    original = pairs.read_volume
    monkeypatch.setattr(pairs, "read_volume", lambda path: (read.update([Path(path).name]), original(path))[1])
    found = find_pairs(folders.real, folders.made, folders.labels)
    gathering.go(scans(folders.real), scans(folders.made), found)
    assert set(read.values()) == {1} and len(read) == 6
    assert set(gathering.pairs) == {"ann-seed1", "ann-seed2", "annie"}


def test_memory_does_not_grow_with_the_number_of_scans(
    brain, gathering: Gathering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(12):
        write_volume(Volume(brain(index), np.eye(4), "MR"), tmp_path / f"c{index:02}.nii.gz")
    every = scans(tmp_path)
    both = find_pairs(tmp_path, tmp_path)

    def peak(names: list[str]) -> int:
        part = {name: every[name] for name in names}
        tracemalloc.start()
        gathering.go(part, part, [pair for pair in both if pair.case in part])
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    names = list(every)
    peak(names[:1])  # what is imported and cached once
    two, nine = peak(names[1:3]), peak(names[3:])
    scan = brain(0).size * 4
    # Fourteen more scans have been read; what is kept of them, features of slices and figures, is less than three.
    assert nine < two + 3 * scan and two > scan


def test_what_is_wrong_with_a_scan_names_it(folders, gathering: Gathering) -> None:
    path = folders.made / "annie.nii.gz"
    dark = np.zeros((24, 60, 50), np.int16)
    dark[0, 0, 0] = 1
    write_volume(Volume(dark, np.diag([-1.0, -1.0, 1.0, 1.0]), "MR"), path)
    with pytest.raises(InputError, match=f"^{path}: "):
        gathering.go(scans(folders.real), scans(folders.made), find_pairs(folders.real, folders.made))


def test_giving_memory_back_does_no_harm() -> None:
    give_back()
