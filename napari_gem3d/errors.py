"""The one exception for input that cannot be used, and the words for what a typed description rejects."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class InputError(ValueError):
    """Input that cannot be used.

    The message is one sentence that says what is wrong and what to do about it. The command line prints it and
    exits with code 2; the panel shows it in its message line.
    """


def first_problem(error: ValidationError) -> str:
    """Name the field and the fault that a typed description (plan, recipe, settings) was first refused for."""
    first = error.errors()[0]
    where = ".".join(str(key) for key in first["loc"])
    return f"{where}: {first['msg']}" if where else str(first["msg"])
