"""The window plan of a local edit: the gap once, known slices at both ends, as few windows as possible."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_gem3d.errors import InputError
from napari_gem3d.sampling.propagation import batches
from napari_gem3d.sampling.windows import Window, plan_edit_windows, plan_windows


def follow(plan: tuple[Window, ...], num_slices: int, first: int, last: int, window: int) -> None:
    """Keep the books of what is known, independently of how the plan was made."""
    known = [not first <= i <= last for i in range(num_slices)]
    for item in plan:
        assert item.slices.step == 1 and len(item.slices) <= window
        assert item.slices.start >= 0 and item.slices.stop <= num_slices
        assert item.known == tuple(i for i in item.slices if known[i]), "every known slot is true, and no other"
        assert list(item.new) == [i for i in item.slices if not known[i]] and item.new
        assert item.informed in (item.new.start - 1, item.new.stop) and known[item.informed]
        for i in item.new:
            known[i] = True
    assert all(known)


def check_plan(num_slices: int, first: int, last: int, window: int, overlap: int) -> None:
    plan = plan_edit_windows(num_slices, first, last, window, overlap)
    follow(plan, num_slices, first, last, window)
    length, gap = min(window, num_slices), last - first + 1
    below, above = first, num_slices - 1 - last
    for item in plan:
        below_new, above_new = item.new.start - item.slices.start, item.slices.stop - item.new.stop
        if item.direction == "up":
            assert below_new >= min(overlap, 1)
        else:
            assert above_new >= min(overlap, 1)
    closing = plan[-1]
    if overlap and length >= 3 and below and above:
        assert closing.known[0] < closing.new.start and closing.known[-1] >= closing.new.stop, "known at both ends"
    # No plan does with fewer: at its ends the gap costs overlap, every further window one overlap more.
    ends = min(overlap, below) + min(overlap, above)
    most_new = len(plan) * length - ends - overlap * (len(plan) - 1)
    fewer = most_new - length + overlap
    assert len(plan) == 1 or gap > fewer


@pytest.mark.parametrize(("window", "overlap"), [(6, 1), (5, 2), (3, 1)])
def test_every_gap_in_every_volume_up_to_30_slices(window: int, overlap: int) -> None:
    for num_slices in range(2, 31):
        for first in range(num_slices):
            for last in range(first, num_slices if first else num_slices - 1):
                check_plan(num_slices, first, last, window, overlap)


@given(st.data())
def test_any_gap_window_and_overlap(data: st.DataObject) -> None:
    num_slices = data.draw(st.integers(2, 300))
    first = data.draw(st.integers(0, num_slices - 1))
    last = data.draw(st.integers(first, num_slices - 1 if first else num_slices - 2))
    window = data.draw(st.integers(3, 40))
    overlap = data.draw(st.integers(1, (window - 1) // 2))
    check_plan(num_slices, first, last, window, overlap)


@given(st.data())
def test_even_an_overlap_that_does_not_fit_twice_leaves_no_slice_out(data: st.DataObject) -> None:
    num_slices = data.draw(st.integers(2, 60))
    first = data.draw(st.integers(0, num_slices - 1))
    last = data.draw(st.integers(first, num_slices - 1 if first else num_slices - 2))
    window = data.draw(st.integers(1, 12))
    overlap = data.draw(st.integers(0, window - 1))
    follow(plan_edit_windows(num_slices, first, last, window, overlap), num_slices, first, last, window)


@pytest.mark.parametrize(("gap", "windows"), [(1, 1), (14, 1), (15, 2), (29, 2), (30, 3), (40, 3), (44, 3), (45, 4)])
def test_a_lesion_of_30_slices_with_its_margin_takes_three_windows(gap: int, windows: int) -> None:
    assert len(plan_edit_windows(140, 50, 50 + gap - 1, window=16, overlap=1)) == windows


def test_windows_from_both_sides_are_one_batch_and_the_closing_one_comes_after_them() -> None:
    plan = plan_edit_windows(140, 50, 89)
    assert [w.direction for w in plan] == ["up", "down", "up"]
    assert [len(batch) for batch in batches(plan)] == [2, 1]
    assert {len(w.slices) for w in plan} == {16}
    assert max(len(w.new) for w in plan) - min(len(w.new) for w in plan) <= 1, "shared evenly"
    two = plan_edit_windows(140, 50, 70)
    assert [len(batch) for batch in batches(two)] == [1, 1], "the closing window needs what the first one generates"


def test_a_gap_at_an_end_of_the_volume_is_filled_from_the_other_side() -> None:
    assert {w.direction for w in plan_edit_windows(60, 0, 39)} == {"down"}
    assert {w.direction for w in plan_edit_windows(60, 20, 59)} == {"up"}


def test_nothing_known_is_the_plan_of_a_whole_volume() -> None:
    assert plan_edit_windows(40, 0, 39) == plan_windows(40, 20)


@pytest.mark.parametrize(("first", "last"), [(-1, 3), (4, 3), (0, 10), (10, 10)])
def test_a_gap_that_is_not_in_the_volume_is_refused(first: int, last: int) -> None:
    with pytest.raises(InputError, match="slice"):
        plan_edit_windows(10, first, last)
