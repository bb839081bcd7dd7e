"""How much a generation has to do."""

from __future__ import annotations

from dataclasses import dataclass

from napari_gem3d.bundle.plan import Plan
from napari_gem3d.sampling.windows import plan_edit_windows, plan_windows

# What decoding a slice costs, measured in denoising steps of a window.
_DECODING_COST = 0.3


@dataclass(frozen=True)
class Work:
    """What a generation has to do.

    Attributes
    ----------
    steps
        Denoising steps of a window.
    windows, slices
        How many windows are denoised, and how many slices decoded.
    """

    steps: int
    windows: int
    slices: int

    @property
    def units(self) -> float:
        """In denoising steps of one window."""
        return self.units_of(self.steps * self.windows, self.slices)

    @staticmethod
    def units_of(stepped: int, decoded: int) -> float:
        """Units of so many denoising steps and decoded slices."""
        return stepped + _DECODING_COST * decoded


def work_of_volume(plan: Plan, steps: int, slices: int) -> Work:
    """The work of a whole volume with so many axial slices of body at the plan's spacing."""
    return Work(steps, len(plan_windows(slices, slices // 2, plan.window, plan.overlap)), slices)


def work_of_edit(plan: Plan, steps: int, slices: int, reached: range) -> Work:
    """The work of a local edit that reaches some of the slices of body."""
    windows = plan_edit_windows(slices, reached.start, reached.stop - 1, plan.window, plan.overlap)
    return Work(steps, len(windows), len(reached))
