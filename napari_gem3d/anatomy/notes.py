"""What is said where a scan does not tell all of the anatomy."""

from __future__ import annotations

from collections.abc import Sequence


def untold(notes: Sequence[str]) -> str:
    """The notes of a `Completed` as one sentence; empty without any.

    Examples
    --------
    >>> untold(("csf: slices are too thick.",))
    'The scan does not show all of the anatomy (csf: slices are too thick); the model draws the rest as it likes.'
    """
    if not notes:
        return ""
    reasons = "; ".join(note.removesuffix(".") for note in notes)
    return f"The scan does not show all of the anatomy ({reasons}); the model draws the rest as it likes."
