"""Disputed voxels: which label gets each one, such that every label gets as many as it should."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

# Rarely do more labels than this meet in one voxel; those with the smallest shares are left out.
_RIVALS = 4
# Scores lie between 0 and 1: no larger constant of a label can make a difference.
_LARGEST_BONUS = 1.0
# Numbers are right within this share, or nearly so, after so many rounds at most.
_EXACT, _TOLERATED = 1e-3, 1e-2
_ROUNDS = 40
_FIRST_OVERBID = 1e-5
# The centroid is right within this part of a voxel; how often that is tried, and with how much of a bonus at first.
_CENTRED = 0.2
_TILTS = 10
_FIRST_TILT = 0.02


@dataclass
class Claims:
    """Who claims which voxel, and how strongly.

    Attributes
    ----------
    labels, at, scores
        For every call of `add`: the claimant's number, the flat voxel indices, and the score of each.
    targets
        How many of the voxels a claimant should get, for those with a target.
    """

    labels: list[int] = field(default_factory=list)
    at: list[NDArray[np.intp]] = field(default_factory=list)
    scores: list[NDArray[Any]] = field(default_factory=list)
    targets: dict[int, int] = field(default_factory=dict)

    def add(self, label: int, at: NDArray[np.intp], scores: NDArray[Any], target: int | None) -> None:
        """Add the claims of a label (0: the background) on voxels, and the number it should get."""
        self.labels.append(label)
        self.at.append(at)
        self.scores.append(scores.astype(np.float32))
        if target is not None:
            self.targets[label] = target

    def voxels(self) -> NDArray[np.intp]:
        """All voxels claimed, each once, in rising order."""
        return np.unique(np.concatenate([np.zeros(0, np.intp), *self.at]))


@dataclass(frozen=True, eq=False)
class Middle:
    """Where the centroid of all labels should be.

    Attributes
    ----------
    offsets
        (3, voxels) of the disputed voxels from there, in voxels.
    count, total
        Number of the voxels that are already given, and the sum (3,) of their offsets.
    """

    offsets: NDArray[np.float32]
    count: int
    total: NDArray[np.float64]

    @classmethod
    def of(cls, given: NDArray[Any], disputed: NDArray[np.intp], middle: NDArray[np.float64]) -> Self:
        """From the voxels given so far (Z, Y, X), flat indices of the disputed ones, and an index (3,)."""
        offsets = np.stack(np.unravel_index(disputed, given.shape)) - middle[:, None]
        number = int(np.count_nonzero(given))
        total = np.array(
            [
                np.count_nonzero(given, axis=tuple(b for b in range(3) if b != axis))
                @ (np.arange(given.shape[axis]) - middle[axis])
                for axis in range(3)
            ]
        )
        return cls(offsets.astype(np.float32), number, total)

    def error(self, winner: NDArray[np.intp]) -> NDArray[np.float64]:
        """How far (3,) the centroid is off, in voxels, if the disputed voxels go to these labels."""
        won = winner > 0
        number = self.count + np.count_nonzero(won)
        error: NDArray[np.float64] = (self.total + self.offsets[:, won].sum(axis=1, dtype=np.float64)) / max(number, 1)
        return error


def settle(claims: Claims, voxels: NDArray[np.intp], middle: Middle | None = None) -> NDArray[np.intp]:
    """Give each voxel to the claim with the largest score plus a constant of its label.

    The constants make the numbers come out: an assignment problem, whose dual is solved label by label (each time the
    constant is exactly the one with which this label gets its number) until all are right. If the centroid is off
    then, all labels also get a bonus that rises linearly along each axis, found by bisection.

    Parameters
    ----------
    claims
        Labels with a target get as many voxels as it says, as nearly as possible; others have the constant 0.
    voxels
        `claims.voxels()`.
    middle
        Where the centroid should be, if that is known.

    Returns
    -------
    ndarray of int
        (len(voxels),), numbers of the labels.
    """
    if not len(voxels):
        return np.zeros(0, np.intp)
    owner, score = _table(claims, voxels)
    bonus = np.zeros(max(claims.labels) + 1, np.float32)
    places = {label: np.nonzero(owner == label) for label in claims.targets}
    winner, wrong = _balanced(claims, owner, score, bonus, places)
    if middle is None:
        return winner
    error = middle.error(winner)
    best, least, most_wrong = winner, np.abs(error).max(), max(wrong, _TOLERATED)
    reach = np.maximum(np.abs(middle.offsets).max(axis=1), 1)
    low, high, tilt = np.full(3, -np.inf), np.full(3, np.inf), np.zeros(3)
    for attempt in range(_TILTS):
        if least <= _CENTRED:
            break
        # What lies too far along an axis needs less of a bonus there.
        high, low = np.where(error > 0, np.minimum(high, tilt), high), np.where(error > 0, low, np.maximum(low, tilt))
        further = tilt - error * _FIRST_TILT * 3**attempt / reach
        bracketed = np.isfinite(low) & np.isfinite(high)
        tilt = np.where(np.abs(error) <= _CENTRED, tilt, np.where(bracketed, (low + high) / 2, further))
        slope = (tilt.astype(np.float32)[:, None] * middle.offsets).sum(axis=0)
        winner, wrong = _balanced(claims, owner, np.where(owner > 0, score + slope, score), bonus, places)
        error = middle.error(winner)
        if np.abs(error).max() < least and wrong <= most_wrong:
            best, least, most_wrong = winner, np.abs(error).max(), max(wrong, _TOLERATED)
    return best


def _balanced(
    claims: Claims,
    owner: NDArray[np.intp],
    score: NDArray[np.float32],
    bonus: NDArray[np.float32],
    places: dict[int, tuple[NDArray[np.intp], ...]],
) -> tuple[NDArray[np.intp], float]:
    """The winners with constants by which the numbers come out, and the largest share by which one does not.

    Starts with the constants of `bonus`, and leaves the last ones there.
    """
    winner = best = _winners(owner, score, bonus)
    least, before, over = np.inf, -1, 0.0
    for _ in range(_ROUNDS):
        off = {label: int((winner == label).sum()) - target for label, target in claims.targets.items()}
        wrong = max((abs(number) / max(claims.targets[label], 1) for label, number in off.items()), default=0.0)
        if wrong < least:
            best, least = winner, wrong
        if least <= _EXACT:
            break
        # Usually exact bids settle it. Two labels that need voxels of each other's would outbid each other by tiny
        # amounts for long: they bid more and more above that (the epsilon of auction algorithms) until it helps.
        missing = sum(abs(number) for number in off.values())
        over = max(2 * over, _FIRST_OVERBID) if missing == before else 0.0
        before = missing
        for label in sorted((key for key in off if off[key]), key=lambda key: -abs(off[key])):
            change = _bonus(owner, score, bonus, places[label], claims.targets[label]) - bonus[label]
            bonus[label] += change + np.sign(change) * over
        winner = _winners(owner, score, bonus)
    if least <= _EXACT:
        return best, float(least)
    return _repaired(claims, owner, score + bonus[owner], best), float(least)


def _repaired(
    claims: Claims, owner: NDArray[np.intp], value: NDArray[np.float32], winner: NDArray[np.intp]
) -> NDArray[np.intp]:
    """The last few voxels by exchange with the background, those first that are least wrong there."""
    winner = winner.copy()
    background = np.where(owner == 0, value, -np.inf).max(axis=0)
    for label, target in claims.targets.items():
        off = int((winner == label).sum()) - target
        # A voxel without a claim of both has an infinite lead.
        lead = np.where(owner == label, value, -np.inf).max(axis=0) - np.where(background > -np.inf, background, np.inf)
        loser, gainer = (label, 0) if off > 0 else (0, label)
        at = np.flatnonzero((winner == loser) & np.isfinite(lead))
        winner[at[np.argsort(lead[at] * np.sign(off))[: abs(off)]]] = gainer
    return winner


def _table(claims: Claims, voxels: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """For each voxel its strongest claims: labels and scores, both (rivals, voxels), empty places with -inf."""
    at = np.searchsorted(voxels, np.concatenate(claims.at))
    label = np.repeat(claims.labels, [len(part) for part in claims.at])
    score = np.concatenate(claims.scores)
    order = np.lexsort((-score, at))
    at, label, score = at[order], label[order], score[order]
    first = np.concatenate([[True], at[1:] != at[:-1]])
    rank = np.arange(len(at)) - np.maximum.accumulate(np.where(first, np.arange(len(at)), 0))
    kept = rank < _RIVALS
    owner = np.full((_RIVALS, len(voxels)), -1, np.intp)
    scores = np.full((_RIVALS, len(voxels)), -np.inf, np.float32)
    owner[rank[kept], at[kept]] = label[kept]
    scores[rank[kept], at[kept]] = score[kept]
    return owner, scores


def _winners(owner: NDArray[np.intp], score: NDArray[np.float32], bonus: NDArray[np.float32]) -> NDArray[np.intp]:
    # An empty place has the owner -1, whose bonus cannot lift its score.
    best = (score + bonus[owner]).argmax(axis=0)
    return owner[best, np.arange(owner.shape[1])]


def _bonus(
    owner: NDArray[np.intp],
    score: NDArray[np.float32],
    bonus: NDArray[np.float32],
    place: tuple[NDArray[np.intp], ...],
    target: int,
) -> float:
    """The constant with which a label, at `place` in the table, wins exactly `target` voxels."""
    row, column = place
    if not len(row):
        return 0.0
    rivals = score[:, column] + bonus[owner[:, column]]
    rivals[row, np.arange(len(row))] = -np.inf
    lead = score[row, column] - rivals.max(axis=0)
    if target <= 0:
        wanted = -lead.max() - 1e-3
    elif target >= len(lead):
        wanted = -lead.min() + 1e-3
    else:
        last = len(lead) - target
        lead.partition((last - 1, last))
        wanted = -(lead[last - 1] + lead[last]) / 2
    return float(np.clip(wanted, -_LARGEST_BONUS, _LARGEST_BONUS))
