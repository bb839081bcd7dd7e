"""Models that announce their changes, and connections to signals of psygnal and napari."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from psygnal import EventedModel
from pydantic import ConfigDict

from napari_gem3d.errors import InputError

# Files of a session, which people have never seen, by what they hold; `Session` names them so.
_INNER = re.compile(
    r"""(?:[Tt]he label map )?(?<![^\s'"(])(?:[A-Za-z]:)?[\\/](?:[^\\/\n;:'"(),]*[^\\/\s;:'"(),][\\/])*"""
    r"""\d{4}-\d\d-\d\d-\d{6}-\d+[\\/](?P<kind>mask|painted|scan|run)-\d{3}[\w-]*\.nii\.gz"""
)
_KINDS = {"mask": "the mask", "painted": "the mask", "scan": "the scan", "run": "the result"}


def as_people_say(message: str) -> str:
    """A sentence in which files of the session are called what they are in the panel."""

    def word(match: re.Match[str]) -> str:
        found = _KINDS[match["kind"]]
        return f"T{found[1:]}" if match.start() == 0 else found

    return _INNER.sub(word, message)


class State(EventedModel):
    """Fields that are checked when they are set; ``events.NAME`` announces a change."""

    model_config = ConfigDict(arbitrary_types_allowed=True, validate_assignment=True)


class Saying(State):
    """Has a line for people.

    Attributes
    ----------
    message, failed
        The line, and whether it says that something went wrong.
    """

    message: str = ""
    failed: bool = False

    def say(self, message: str, *, failed: bool = False) -> None:
        """Put a sentence on the line."""
        self.failed = failed
        self.message = message

    def say_error(self, error: BaseException) -> None:
        """Put an error on the line; what the program did not expect is in the log with all its details."""
        if isinstance(error, InputError):
            self.say(as_people_say(str(error)), failed=True)
        else:
            self.say(f"Something unexpected happened ({type(error).__name__}: {error}); see the log.", failed=True)


class Connections:
    """Callbacks that are disconnected together."""

    def __init__(self) -> None:
        self._made: list[tuple[Any, Callable[..., Any]]] = []

    def add(self, callback: Callable[..., Any], *signals: Any) -> None:
        """Have a callback called by each of the signals."""
        for signal in signals:
            signal.connect(callback)
            self._made.append((signal, callback))

    def close(self) -> None:
        """Disconnect everything; more can be added afterwards."""
        made, self._made = self._made, []
        for signal, callback in made:
            signal.disconnect(callback)
