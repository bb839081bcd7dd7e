"""Which slices are generated together, and in which order (Algorithm 1 of the paper), as a pure function.

The published code decides this while it samples and goes wrong at the ends of the volume: slices are overwritten,
or never generated, or a window is told that a slot is known which is not. Here the whole plan exists before the
first number is drawn, and the sampler only follows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

from napari_gem3d.errors import InputError

Direction = Literal["first", "up", "down"]


@dataclass(frozen=True)
class Window:
    """Neighbouring axial slices that are denoised together.

    Attributes
    ----------
    slices : range
        Indices of the slices of the window, ascending (axis 0 of the volume, inferior to superior).
    known : tuple of int
        Those of them that earlier windows have generated. They are at one end of the window: the lower end when
        the window goes up, the upper end when it goes down.
    direction : {"first", "up", "down"}
        The first window holds the start slice; all others continue it upwards or downwards.
    """

    slices: range
    known: tuple[int, ...]
    direction: Direction

    @property
    def new(self) -> range:
        """Indices of the slices that this window generates, ascending."""
        if self.direction == "down":
            return range(self.slices.start, self.slices.stop - len(self.known))
        return range(self.slices.start + len(self.known), self.slices.stop)

    @property
    def informed(self) -> int | None:
        """Index of the generated slice nearest the new ones, which informs them; None in the first window.

        With an overlap of 0 it is the slice just outside the window.
        """
        if self.direction == "first":
            return None
        return self.new.start - 1 if self.direction == "up" else self.new.stop


def plan_windows(num_slices: int, start: int, window: int = 16, overlap: int = 1) -> tuple[Window, ...]:
    """Plan the generation of a whole volume from one slice.

    The first window holds `start`, in its middle where the volume allows. From it windows go up and down; the two
    directions never need each other's slices, so one of each can be denoised as a batch of two. They alternate in
    the result: first, up, down, up, down, … A window that would leave the volume reaches back over more known
    slices instead, so that all windows have the same length. Every slice is in `new` of exactly one window.

    Parameters
    ----------
    num_slices : int
        Number of axial slices of the volume.
    start : int
        Slice of the volume that the informed slice stands for, 0 … num_slices − 1.
    window : int
        Number of slices denoised together (n in the paper). A shorter volume is one window.
    overlap : int
        Known slices that every later window holds at least (h in the paper), 0 … window − 1.

    Returns
    -------
    tuple of Window
        In generation order; all of length min(window, num_slices).

    Raises
    ------
    InputError
        If a number is out of its range.

    Examples
    --------
    >>> for w in plan_windows(40, start=20, window=16, overlap=1):
    ...     print(w.direction, w.slices, w.known)
    first range(12, 28) ()
    up range(24, 40) (24, 25, 26, 27)
    down range(0, 16) (12, 13, 14, 15)
    """
    _check(num_slices, start, window, overlap)
    length = min(window, num_slices)
    lowest = min(max(start - length // 2, 0), num_slices - length)
    first = Window(range(lowest, lowest + length), (), "first")
    step = window - overlap  # new slices of a full window
    up = []
    for frontier in range(first.slices.stop, num_slices, step):
        begin = min(frontier - overlap, num_slices - length)
        up.append(Window(range(begin, begin + length), tuple(range(begin, frontier)), "up"))
    down = []
    for frontier in range(first.slices.start, 0, -step):
        end = max(frontier + overlap, length)
        down.append(Window(range(end - length, end), tuple(range(frontier, end)), "down"))
    later = (w for pair in zip_longest(up, down) for w in pair if w is not None)
    return (first, *later)


def _check(num_slices: int, start: int, window: int, overlap: int) -> None:
    if num_slices < 1:
        raise InputError(f"A volume of {num_slices} slices cannot be generated; it needs at least one.")
    if not 0 <= start < num_slices:
        raise InputError(f"The start slice {start} is outside the volume; choose one from 0 to {num_slices - 1}.")
    if window < 1:
        raise InputError(f"A window of {window} slices cannot be generated; it needs at least one.")
    if not 0 <= overlap < window:
        raise InputError(f"An overlap of {overlap} does not fit a window of {window}; choose 0 to {window - 1}.")
