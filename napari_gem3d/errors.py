"""The one exception for input that cannot be used, and the words for what a typed description rejects."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


# Characters of what a library says of a value, which may have the value in it.
_MOST_WORDS = 200


class InputError(ValueError):
    """Input that cannot be used.

    The message is one sentence that says what is wrong and what to do about it. The command line prints it and
    exits with code 2; the panel shows it in its message line.
    """


class OutputError(InputError):
    """A file or folder that cannot be written, whatever it is made of: no fault of a case."""


def of_system(error: OSError) -> str:
    """What the system refuses (no room, no right, no such name) in a sentence, wherever nobody expected it."""
    what = f"{error.filename} cannot be read or written" if error.filename else "A file cannot be read or written"
    return f"{what} ({error.strerror or error}); check the path, its rights and the room on its disk."


def shown(value: object, most: int = 80) -> str:
    """A value that somebody else has written, short enough for a sentence."""
    text = " ".join(repr(value).split())
    return text if len(text) <= most else f"{text[:most]}…"


def first_problem(error: ValidationError) -> str:
    """Name the field and the fault that a typed description (plan, recipe, settings) was first refused for."""
    first = error.errors()[0]
    where = ".".join(str(key) for key in first["loc"])
    problem = str(first["msg"])
    problem = problem if len(problem) <= _MOST_WORDS else f"{problem[:_MOST_WORDS]}…"
    return f"{where[:_MOST_WORDS]}: {problem}" if where else problem
