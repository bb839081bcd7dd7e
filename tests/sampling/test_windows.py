"""The window plan: every slice once, every known slot true, for every volume."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_gem3d.errors import InputError
from napari_gem3d.sampling.windows import Window, plan_windows


def check_plan(num_slices: int, start: int, window: int, overlap: int) -> None:
    """Follow the plan and keep the books independently of how it was made."""
    plan = plan_windows(num_slices, start, window, overlap)
    generated_by: list[int | None] = [None] * num_slices
    for number, item in enumerate(plan):
        assert item.slices.step == 1 and len(item.slices) == min(window, num_slices)
        assert item.slices.start >= 0 and item.slices.stop <= num_slices
        known = tuple(i for i in item.slices if generated_by[i] is not None)
        assert item.known == known, "every slot that is generated is known, and no other"
        new = [i for i in item.slices if i not in known]
        assert list(item.new) == new and new, "a window without new slices is wasted"
        for i in new:
            generated_by[i] = number
        check_direction(plan, item, generated_by, overlap)
    assert None not in generated_by
    assert start in plan[0].slices


def check_direction(plan: tuple[Window, ...], item: Window, generated_by: list[int | None], overlap: int) -> None:
    """Later windows continue the first one in their own direction and touch nothing of the other direction."""
    if item is plan[0]:
        assert item.direction == "first" and item.known == () and item.informed is None
        return
    assert len(item.known) >= overlap
    assert item.informed is not None and generated_by[item.informed] is not None
    if item.direction == "up":
        assert item.informed == item.new[0] - 1
        assert item.known == tuple(range(item.slices.start, item.new[0]))
    else:
        assert item.direction == "down"
        assert item.informed == item.new[-1] + 1
        assert item.known == tuple(range(item.new[-1] + 1, item.slices.stop))
    for i in item.known:
        number = generated_by[i]
        assert number is not None and plan[number].direction in ("first", item.direction)


@pytest.mark.parametrize(("window", "overlap"), [(16, 1), (16, 3), (8, 2), (32, 0)])
def test_volumes_up_to_200_slices_and_every_start(window: int, overlap: int) -> None:
    for num_slices in (*range(1, 36), *range(40, 201, 23)):
        for start in range(num_slices):
            check_plan(num_slices, start, window, overlap)


@given(st.data())
def test_any_window_and_overlap(data: st.DataObject) -> None:
    num_slices = data.draw(st.integers(1, 400))
    start = data.draw(st.integers(0, num_slices - 1))
    window = data.draw(st.integers(1, 64))
    overlap = data.draw(st.integers(0, window - 1))
    check_plan(num_slices, start, window, overlap)


@given(st.integers(16, 400), st.data())
def test_start_is_in_the_middle_where_the_volume_allows(num_slices: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, num_slices - 1))
    first = plan_windows(num_slices, start)[0].slices
    assert start - first.start == 8 or first.start == 0 or first.stop == num_slices


def test_the_directions_alternate_while_both_last() -> None:
    directions = [w.direction for w in plan_windows(155, 60)]
    assert directions[:7] == ["first", "up", "down", "up", "down", "up", "down"]


def test_the_start_changes_nothing_but_the_first_window() -> None:
    # Two starts at the same end of the volume share their first window, hence the whole plan.
    assert plan_windows(100, 0) == plan_windows(100, 5)
    assert plan_windows(100, 50) != plan_windows(100, 51)


def test_the_last_window_reaches_back_instead_of_snapping() -> None:
    last_up = [w for w in plan_windows(40, 20) if w.direction == "up"][-1]
    assert last_up.slices == range(24, 40)
    assert last_up.known == (24, 25, 26, 27)


@pytest.mark.parametrize("num_slices", [1, 2, 15])
def test_a_volume_shorter_than_the_window_is_one_window(num_slices: int) -> None:
    plan = plan_windows(num_slices, num_slices - 1, window=16, overlap=2)
    assert [w.slices for w in plan] == [range(num_slices)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0, 16, 1), "at least one"),
        ((10, 10, 16, 1), "start slice 10 .* from 0 to 9"),
        ((10, -1, 16, 1), "start slice -1"),
        ((10, 3, 0, 0), "window of 0"),
        ((10, 3, 4, 4), "overlap of 4 .* choose 0 to 3"),
        ((10, 3, 4, -1), "overlap of -1"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments: tuple[int, int, int, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan_windows(*arguments)
