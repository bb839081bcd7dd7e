"""What is called a copy."""

import numpy as np
import pytest
from scipy import stats

from napari_gem3d.evaluation.memorisation.verdict import Neighbours, copy_bound, verdict, worst


def scan(distances: list[float], mean: float) -> Neighbours:
    n = len(distances)
    numbers, distance = np.arange(n), np.array(distances, np.float32)
    return Neighbours(numbers, distance, ("a",) * n, numbers, np.zeros(n, bool), "a", mean, 0.9)


def test_one_new_patient_in_a_hundred_is_below_the_bound() -> None:
    rng = np.random.default_rng(0)
    held_out, new = rng.normal(0.7, 0.03, (4000, 6)), rng.normal(0.7, 0.03, 4000)
    below = np.mean([one < copy_bound(list(some)) for some, one in zip(held_out, new, strict=True)])
    assert below == pytest.approx(0.01, abs=4 * np.sqrt(0.01 / 4000))


def test_the_bound_of_few_or_scattered_scans_is_half_the_nearest() -> None:
    assert copy_bound([]) == 0
    assert copy_bound([0.6]) == copy_bound([0.8, 0.6]) == pytest.approx(0.3)
    assert copy_bound([0.2, 0.7, 0.9]) == pytest.approx(0.1)
    some = [0.6, 0.62, 0.64]
    wanted = 0.62 - stats.t.ppf(0.99, 2) * 0.02 * np.sqrt(4 / 3)
    assert copy_bound(some) == pytest.approx(wanted) and wanted > 0.3


def test_a_copy_is_near_as_a_whole_and_single_slices_are_to_look_at() -> None:
    assert verdict(scan([0.2, 0.3], 0.25), bound=0.5, closest_slice=0.4) == "copy"
    assert verdict(scan([0.2, 0.9], 0.55), bound=0.5, closest_slice=0.4) == "look"
    assert verdict(scan([0.5, 0.9], 0.7), bound=0.5, closest_slice=0.4) == "clear"
    assert worst(["clear", "copy"]) == "copy" and worst(["look", "clear"]) == "look"
