"""Where the cases of a dataset come from: scanners, sites or projects, by a table or by their names."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from pathlib import Path

from napari_gem3d.errors import InputError

COLUMNS = ("case", "source")


def find_sources(cases: Iterable[str], table: Path | None = None, pattern: str | None = None) -> dict[str, str]:
    """The source of every case.

    Parameters
    ----------
    cases
        Names of the cases.
    table
        CSV with the columns ``case`` and ``source``.
    pattern
        Instead, a regular expression with one group, which finds the source in a case's name: ``_(2013|CBICA|TCIA)``.

    Returns
    -------
    dict
        Sources by case; the case itself where nothing is given.

    Raises
    ------
    InputError
        If both are given, the table cannot be read, lacks a case or names it twice, or the pattern is none or does not
        match a name.
    """
    names = list(cases)
    if table is not None and pattern is not None:
        raise InputError("Sources are given by a table and by a pattern; give one of the two.")
    if table is not None:
        known = _read(table)
        missing = [name for name in names if name not in known]
        if missing:
            raise InputError(f"{table} does not say where {missing[0]} is from; add the line '{missing[0]},SOURCE'.")
        return {name: known[name] for name in names}
    return {name: name for name in names} if pattern is None else _matched(names, pattern)


def _read(table: Path) -> dict[str, str]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table} cannot be read ({error}); give a CSV with the columns case and source.") from error
    known: dict[str, str] = {}
    for row in rows:
        name, source = ((row.get(column) or "").strip() for column in COLUMNS)
        if not name or not source:
            raise InputError(f"{table} has a line without case or source; it needs these two columns.")
        if name in known:
            raise InputError(f"{table} names the case {name} twice; leave one line of it.")
        known[name] = source
    return known


def _matched(names: Iterable[str], pattern: str) -> dict[str, str]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(f"'{pattern}' is no regular expression ({error}); correct it.") from None
    if expression.groups != 1:
        raise InputError(f"'{pattern}' has {expression.groups} groups; put the source, and nothing else, in ( ).")
    found = {}
    for name in names:
        match = expression.search(name)
        if match is None or not match[1]:
            raise InputError(f"'{pattern}' finds no source in the name {name}; give one that does, or a table.")
        found[name] = match[1]
    return found
