"""What is called a copy."""

import numpy as np
import pytest
from scipy import stats

from napari_gem3d.evaluation.memorisation.verdict import Neighbours, Yardstick, prediction_bound, worst


def scan(distances: list[float], mean: float, second: float = 0.7) -> Neighbours:
    n = len(distances)
    numbers, distance = np.arange(n), np.array(distances, np.float32)
    return Neighbours(numbers, distance, ("a",) * n, numbers, np.zeros(n, bool), "a", mean, second)


def test_one_new_patient_in_a_hundred_is_below_the_bound() -> None:
    rng = np.random.default_rng(0)
    held_out, new = rng.normal(0.7, 0.03, (4000, 6)), rng.normal(0.7, 0.03, 4000)
    below = np.mean([one < prediction_bound(list(some)) for some, one in zip(held_out, new, strict=True)])
    assert below == pytest.approx(0.01, abs=4 * np.sqrt(0.01 / 4000))


def test_the_bound_is_that_of_student_and_takes_three() -> None:
    assert prediction_bound([]) == prediction_bound([0.8, 0.6]) == prediction_bound([0.8, 0.6, np.nan]) == -np.inf
    wanted = 0.62 - stats.t.ppf(0.99, 2) * 0.02 * np.sqrt(4 / 3)
    assert prediction_bound([0.6, 0.62, 0.64]) == pytest.approx(wanted)


def test_a_yardstick_has_what_comes_nearest() -> None:
    found = Yardstick.of([scan([0.5, 0.7], 0.6), scan([0.4, 1.0], 0.7)])
    assert (found.closest_slice, found.closest_scan, found.sure) == pytest.approx((0.4, 0.6, 0.3))
    assert found.expected == found.expected_relative == -np.inf
    three = Yardstick.of([scan([0.5], mean, 0.7) for mean in (0.60, 0.61, 0.62)])
    assert three.expected == pytest.approx(prediction_bound([0.60, 0.61, 0.62]))
    assert three.expected_relative == pytest.approx(three.expected / 0.7)


def test_a_copy_is_near_to_one_scan_and_not_to_several() -> None:
    yardstick = Yardstick(closest_slice=0.4, closest_scan=0.6, expected=0.5, expected_relative=0.9)
    assert yardstick.verdict(scan([0.6], 0.45, second=0.7)) == "copy"
    assert yardstick.verdict(scan([0.6], 0.45, second=0.46)) == "look"
    assert yardstick.verdict(scan([0.2], 0.2, second=0.2)) == "copy"
    assert yardstick.verdict(scan([0.2, 0.9], 0.55)) == "look"
    assert yardstick.verdict(scan([0.5, 0.9], 0.7)) == "clear"
    assert worst(["clear", "copy"]) == "copy" and worst(["look", "clear"]) == "look"
