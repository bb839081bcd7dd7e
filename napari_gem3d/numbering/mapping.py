"""From the values of a label map to those of a model's table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.errors import InputError
from napari_gem3d.io.label_names import read_names
from napari_gem3d.labels import LabelMap, LabelTable
from napari_gem3d.numbering.conventions import ABOUT, CONVENTIONS, concept, is_name, match, named
from napari_gem3d.numbering.facts import no_body, surfaces

# The values are those of the model's table, whatever speaks against it.
MODEL = "model"


@dataclass(frozen=True)
class Numbering:
    """What the values of a label map stand for.

    Attributes
    ----------
    values
        Value in the model's table by value in the map, for every value that occurs.
    note
        What people should know of it, a sentence; mostly empty.
    """

    values: Mapping[int, int]
    note: str = ""

    @property
    def changes(self) -> bool:
        """Whether any value becomes another one."""
        return any(old != new for old, new in self.values.items())


def find_numbering(
    labels: LabelMap, table: LabelTable, choice: str | None = None, inside: NDArray[np.bool_] | None = None
) -> Numbering:
    """Find what the values of a label map stand for: as people say, else by names, else by number if facts allow it.

    Parameters
    ----------
    labels
        The map. Names are those of its table, or of its file (``meta["segments"]``).
    table
        Of the model.
    choice
        A convention (see `CONVENTIONS`), "model" (the values are those of the table), a file that names the values, or
        names with values, "edema=2,enhancing tumor=4".
    inside
        (Z, Y, X), the foreground of the patient's scan on the grid of `labels`, if it is known.

    Raises
    ------
    InputError
        If a value has no counterpart, or nothing tells for certain what the values stand for; the message says how to
        tell it.
    """
    if choice == MODEL:
        labels.check_values(table)
        return _same(labels)
    if choice is not None:
        return Numbering(_checked(read_choice(choice, table), labels, f"'{choice}'"))
    own = {label.value: label.name for label in labels.table or ()} or labels.meta.get("segments") or {}
    names = {value: name for value, name in own.items() if is_name(name)}
    if any(value in names for value in labels.values()):
        values = _checked(map_names(names, table), labels, f"The names in {_name(labels)}")
        found = Numbering(values)
        return replace(found, note=_note(labels, names, table, values)) if found.changes else found
    _check_facts(labels, table, inside)
    return _same(labels)


def read_choice(choice: str, table: LabelTable) -> dict[int, int]:
    """Value in the table by value in a map, as people say it; see `find_numbering`.

    Raises
    ------
    InputError
        If it is none of the conventions, no file that names labels, and no list of names and values.
    """
    if choice == MODEL:
        return {value: value for value in table.values}
    if "=" in choice:
        return _pairs(choice, table)
    names = named(choice) or (read_names(Path(choice)) if Path(choice).is_file() else None)
    if names is None:
        raise InputError(
            f"'{choice}' says nothing of labels; choose {', '.join(CONVENTIONS)}, {MODEL}, a file that names them, or "
            "names with values such as 'edema=2,enhancing tumor=4'."
        )
    return map_names(names, table)


def map_names(names: Mapping[int, str], table: LabelTable) -> dict[int, int]:
    """Value in the table by value in the map, for every name that has a counterpart in the table."""
    parts = {concept(name) for name in names.values()}
    # Of regions that contain each other, the largest without the others is edema.
    nested = "whole" in parts and parts & {"core", "enhancing"}
    meant = {value: "edema" if nested and concept(name) == "whole" else name for value, name in names.items()}
    found = {value: match(name, table) for value, name in meant.items()}
    return {value: label.value for value, label in found.items() if label is not None}


def renumbered(labels: LabelMap, table: LabelTable, values: Mapping[int, int]) -> LabelMap:
    """A label map with other values: those of a table, by those of the map; what is not named stays.

    Raises
    ------
    InputError
        If a value is not in the table then.
    """
    voxels = labels.voxels
    if any(old != new for old, new in values.items()):
        voxels = np.zeros(labels.shape, np.min_scalar_type(max([*table.values, *labels.values()])))
        for value in labels.values():
            voxels[labels.voxels == value] = values.get(value, value)
    meta = {key: value for key, value in labels.meta.items() if key != "segments"}
    changed = replace(labels, voxels=voxels, meta=meta, table=None)
    changed.check_values(table)
    return replace(changed, table=table)


def check_dataset(names: Mapping[int, str], table: LabelTable, where: object) -> None:
    """Raise InputError if the names that a dataset gives its labels are not those of a model's table.

    Parameters
    ----------
    names
        By value.
    table
        Of the model.
    where
        The dataset, for the message.
    """
    told = {value: name for value, name in names.items() if is_name(name)}
    values = map_names(told, table)
    other = [
        value for value in told if values.get(value, value) != value or (value not in values and value in table.values)
    ]
    if not other:
        return
    listed = ", ".join(f"{value} {told[value]}" for value in sorted(told))
    option = option_for(told, table)
    how = f"say --labels {option!r}" if option else "say what they stand for with --labels NAME=VALUE,…"
    raise InputError(
        f"{where} names its labels {listed}, but the model's are {table}; {how}, or --labels {MODEL} to take the "
        "numbers as the model's."
    )


def proposals(labels: LabelMap, table: LabelTable, certain: bool = False) -> list[str]:
    """The conventions that could have numbered a map; none for a model of other labels.

    With `certain`, only those by which edema, which occurs, is what surrounds the rest.
    """
    occurring = set(labels.values())
    fitting = []
    for convention, names in CONVENTIONS.items():
        if occurring <= set(map_names(names, table)):
            edema = any(concept(names[value]) == "edema" for value in occurring)
            if (edema or not certain) and _plausible(labels, names):
                fitting.append(convention)
    return fitting


def option_for(names: Mapping[int, str], table: LabelTable) -> str:
    """What to choose for a map of these names: a convention, or names with values; empty if some have no meaning."""
    values = map_names(names, table)
    for convention, known in CONVENTIONS.items():
        if {value: map_names(known, table).get(value) for value in values} == values and set(values) <= set(known):
            return convention
    if set(values) != set(names):
        return ""
    return ",".join(f"{table.by_value(new).name}={old}" for old, new in values.items())


def _plausible(labels: LabelMap, names: Mapping[int, str]) -> bool:
    """Whether edema is what surrounds the rest, as far as there is some of it."""
    lesions = [value for value, name in names.items() if concept(name) is not None and value in labels.values()]
    edema = [value for value in lesions if concept(names[value]) == "edema"]
    if not edema or len(lesions) == 1:
        return True
    faces = surfaces(labels.voxels, lesions)
    return faces[edema[0]] == max(faces.values())


def _check_facts(labels: LabelMap, table: LabelTable, inside: NDArray[np.bool_] | None) -> None:
    """Raise InputError if values of the table cannot be what a map without names means."""
    occurring = labels.values()
    known = {label.value: label.name for label in table if label.value in occurring}
    unknown = [value for value in occurring if value not in known]
    body, lesions = table.body, [label.value for label in table.lesions if label.value in occurring]
    reason = ""
    if unknown:
        shown = ", ".join(str(value) for value in unknown[:8]) + (" …" if len(unknown) > 8 else "")
        reason = f"holds the value {shown}, but only these labels are known: {table}"
    elif body is not None and body.value in occurring:
        against = no_body(labels.voxels, body.value, lesions, inside)
        reason = f"has the value {body.value}, which would be the {body.name}, but {against}" if against else ""
    likely = proposals(labels, table, certain=not reason)
    tumour = {value: name for value, name in known.items() if concept(name) not in (None, "whole")}
    if not reason and likely and not _plausible(labels, tumour):
        listed = ", ".join(f"{value} {name}" for value, name in tumour.items())
        reason = f"does not say how it is numbered: by the model ({listed}) the {_edema_of(tumour)} would lie inside"
    if not reason:
        return
    looks = "".join(f", {name} ({ABOUT[name]})" for name in likely)
    advice = f"it may be{looks[1:]}: say which with --labels" if likely else "say what the values are with --labels"
    raise InputError(f"{_name(labels)} {reason}; {advice} (or NAME=VALUE,…, or '{MODEL}' for the model's own numbers).")


def _edema_of(names: Mapping[int, str]) -> str:
    """Name of the edema among names."""
    return next(name for name in names.values() if concept(name) == "edema")


def _pairs(text: str, table: LabelTable) -> dict[int, int]:
    """Values by ``NAME=VALUE,NAME=VALUE``."""
    values: dict[int, int] = {}
    for pair in text.split(","):
        name, _, number = pair.rpartition("=")
        label = match(name.strip(), table)
        if label is None:
            raise InputError(f"The model has no label '{name.strip()}' (in '{pair.strip()}'); it has {table}.")
        if not number.strip().isdecimal() or int(number) == 0:
            raise InputError(f"'{pair.strip()}' gives no value of a label; write NAME=VALUE with 1 or more.")
        values[int(number)] = label.value
    return values


def _checked(values: Mapping[int, int], labels: LabelMap, said: str) -> dict[int, int]:
    """The part of a mapping that occurs in a map; InputError if it lacks some of the map's values."""
    names = labels.meta.get("segments") or {}
    missing = [f"{value} {names.get(value, '')}".strip() for value in labels.values() if value not in values]
    if missing:
        raise InputError(
            f"{said}: what the value {', '.join(missing)} of {_name(labels, inner=True)} stands for in the model is "
            "not said; say it with --labels NAME=VALUE,…"
        )
    return {value: values[value] for value in labels.values()}


def _same(labels: LabelMap) -> Numbering:
    return Numbering({value: value for value in labels.values()})


def _note(labels: LabelMap, names: Mapping[int, str], table: LabelTable, values: Mapping[int, int]) -> str:
    parts = (f"{old} {names[old]} is drawn as {table.by_value(new).name}" for old, new in values.items())
    return f"{_name(labels)} names its labels: {', '.join(parts)}."


def _name(labels: LabelMap, inner: bool = False) -> str:
    name = f"The label map {labels.source}" if labels.source else "The label map"
    return name[0].lower() + name[1:] if inner else name
