"""JSON, YAML and text that others have written: regular files of a sensible size and depth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from napari_gem3d.errors import InputError
from napari_gem3d.io.files import file_bytes

# The largest that the package writes, provenance of 100,000 volumes, has a few times ten megabytes.
MOST_BYTES = 128 * 2**20
# Nothing that the package reads is nested deeper than ten levels.
MOST_LEVELS = 64
# Settings are written by hand.
_MOST_YAML = 2**20


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Raises
    ------
    InputError
        If it is missing, no regular file, cannot be read, is larger than `most` bytes, not UTF-8, or has NUL in it.
    """
    try:
        text = file_bytes(path, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} cannot be read as text ({error}); save it as UTF-8.") from error
    if "\0" in text:
        raise InputError(f"{path} cannot be read as text (it holds NUL characters); save it as UTF-8.")
    return text


def read_json(path: Path, most: int = MOST_BYTES) -> Any:
    """The content of a JSON file; InputError as `read_text` and `parse_json`."""
    return parse_json(file_bytes(path, most), path)


def parse_json(content: bytes, path: Path) -> Any:
    """Parse JSON; `path` is for the message.

    Raises
    ------
    InputError
        If it is not JSON, or nested deeper than `MOST_LEVELS`.
    """
    try:
        parsed = json.loads(content)
    except RecursionError:
        raise _too_deep(path) from None
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}); get the file again.") from error
    _check_levels(parsed, path)
    return parsed


def read_yaml(path: Path) -> Any:
    """The content of a YAML file; InputError as `read_text`, yaml.YAMLError as `parse_yaml`."""
    return parse_yaml(read_text(path, _MOST_YAML), path)


def parse_yaml(text: str, path: Path | str) -> Any:
    """Parse YAML without aliases, which let a few lines stand for gigabytes; `path` is for the message.

    Raises
    ------
    InputError
        If there are aliases, or it is nested deeper than `MOST_LEVELS`.
    yaml.YAMLError
        If it is not YAML.
    """
    try:
        return yaml.load(text, _PlainLoader)
    except RecursionError:
        raise _too_deep(path) from None
    except _AliasError:
        raise InputError(f"{path} has aliases (*name), which are not read; write the values out.") from None


class _AliasError(Exception):
    """An alias in a YAML text."""


class _PlainLoader(yaml.SafeLoader):
    """Loads plain data, without aliases, and stops at the first value that lies too deep."""

    levels = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse an alias, or what lies too deep; anything else as ever."""
        if self.check_event(yaml.AliasEvent):
            raise _AliasError
        self.levels += 1
        if self.levels > MOST_LEVELS:
            raise RecursionError
        node = super().compose_node(parent, index)
        self.levels -= 1
        return node


def _check_levels(content: Any, path: Path | str) -> None:
    """Raise InputError if something is nested too deeply; without recursion, which is what it guards against."""
    level = [content]
    for _ in range(MOST_LEVELS):
        held: list[Any] = []
        for value in level:
            if isinstance(value, Mapping):
                held += value.values()
            elif isinstance(value, list):
                held += value
        level = [value for value in held if isinstance(value, Mapping | list)]
        if not level:
            return
    raise _too_deep(path)


def _too_deep(path: Path | str) -> InputError:
    return InputError(f"{path} is nested deeper than {MOST_LEVELS} levels; give a file of plain settings or facts.")
