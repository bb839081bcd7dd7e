"""Figures over several seeds and patients, and tables of them in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

_RESAMPLES = 9999


class Figure(NamedTuple):
    """A mean over seeds and its standard deviation over them; None from one seed."""

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        """From a value a seed."""
        return cls(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None)

    def text(self, digits: int = 2) -> str:
        """Such as "0.796 ± 0.003"."""
        spread = "" if self.deviation is None else f" ± {self.deviation:.{digits}f}"
        return f"{self.mean:.{digits}f}{spread}"


class Interval(NamedTuple):
    """Where a mean over patients lies with 95 % confidence."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval | None:
        """From a value a patient, by the percentile bootstrap; None of fewer than two. The same each time."""
        if len(values) < 2:
            return None
        rng = np.random.default_rng(0)
        found = stats.bootstrap((values,), np.mean, n_resamples=_RESAMPLES, method="percentile", random_state=rng)
        return cls(float(found.confidence_interval.low), float(found.confidence_interval.high))

    def text(self, digits: int = 2, sign: bool = False) -> str:
        """Such as "[0.78, 0.81]"; with `sign`, "[+0.01, +0.03]"."""
        how = f"{'+' if sign else ''}.{digits}f"
        return f"[{self.low:{how}}, {self.high:{how}}]"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
