"""Settings from presets, YAML files and ``key=value``, with sentences for what cannot be used."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from napari_gem3d.errors import InputError, shown
from napari_gem3d.io import replacing
from napari_gem3d.io.documents import parse_yaml, read_yaml
from napari_gem3d.training.config.presets import DEFAULT_PRESET, PRESETS
from napari_gem3d.training.config.settings import TrainingConfig

# The name in a file under which it says which preset it starts from.
_PRESET = "preset"


def load_config(source: str | Path | None = None, overrides: Sequence[str] = ()) -> TrainingConfig:
    """Read settings: a preset or a YAML file, then single ones over it.

    Parameters
    ----------
    source
        Name of a preset, or a YAML file, which may start from one (``preset: laptop``) and differ from it; without
        that, what a file does not name has its default. None is the preset ``laptop``.
    overrides
        Such as ``slice.batch=8``: the setting's name, dots between its parts, and its value in YAML.

    Raises
    ------
    InputError
        If there is no such file or preset, it is not YAML, or a setting is unknown or out of range.
    """
    where = str(source or DEFAULT_PRESET)
    raw = PRESETS[where] if where in PRESETS else _read(where)
    for text in overrides:
        raw = merged(raw, _parsed(text))
    try:
        return TrainingConfig.model_validate(raw)
    except ValidationError as error:
        raise InputError(_sentence(error.errors()[0])) from error


def save_config(config: TrainingConfig, path: Path) -> None:
    """Write all settings, defaults included, as YAML that `load_config` reads; whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), encoding="utf-8")


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dictionaries with the values of the second over those of the first."""
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


def flattened(config: TrainingConfig) -> dict[str, Any]:
    """Every single setting by its dotted name, in their order."""
    return dict(_leaves(config.model_dump(mode="json"), TrainingConfig))


def differences(config: TrainingConfig, other: TrainingConfig) -> dict[str, Any]:
    """Those settings of the first, by dotted name, that differ from the second."""
    others = flattened(other)
    return {name: value for name, value in flattened(config).items() if value != others[name]}


def _read(name: str) -> dict[str, Any]:
    try:
        if not Path(name).exists():
            raise InputError(f"There is no configuration '{name}'; give a YAML file or a preset: {', '.join(PRESETS)}.")
        raw = read_yaml(Path(name))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = "" if mark is None else f" (line {mark.line + 1})"
        raise InputError(f"The configuration {name} is not YAML{place}; correct it.") from error
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise InputError(f"The configuration {name} holds no settings; write lines such as 'name: liver'.")
    preset = raw.pop(_PRESET, None)
    if preset is None:
        return raw
    if preset not in PRESETS:
        raise InputError(f"The configuration {name} starts from '{preset}'; choose a preset: {', '.join(PRESETS)}.")
    return merged(PRESETS[preset], raw)


def _parsed(text: str) -> dict[str, Any]:
    """One ``key=value`` as nested dictionaries."""
    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        raise InputError(f"The setting '{text}' has no value; write --set KEY=VALUE, such as --set slice.batch=8.")
    try:
        parsed = parse_yaml(value, f"The value of '{name}'")
    except yaml.YAMLError as error:
        raise InputError(f"The value of '{text}' is not YAML; write for instance --set slice.batch=8.") from error
    for part in reversed(name.strip().split(".")):
        parsed = {part: parsed}
    return dict(parsed)


def _leaves(values: Mapping[str, Any], model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, field in model.model_fields.items():
        group = group_of(field)
        if group is None:
            yield f"{prefix}{key}", values[key]
        else:
            yield from _leaves(values[key], group, f"{prefix}{key}.")


def group_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that is a group of settings; None for a single setting."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _sentence(error: ErrorDetails) -> str:
    """What is wrong with a setting, and what to do."""
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"There is no setting '{name}'; {_advice(name)}"
    if error["type"] in ("model_type", "model_attributes_type", "dict_type"):
        what = f"'{name}' is a group of settings and cannot be {shown(error['input'])}"
        return f"{what}; set its members, as --set {name}.…=…."
    problem = error["msg"].removeprefix("Value error, ").replace("valid tuple", "list")
    if error["type"] == "value_error":
        return f"The settings of '{name}' do not fit each other ({problem}); change one of them."
    return f"The setting '{name}' cannot be {shown(error['input'])}: {problem[:1].lower()}{problem[1:]}."


def _advice(name: str) -> str:
    """The nearest names there are, groups included, or how to see all."""
    names = list(_all_names(TrainingConfig))
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.75)
    if not near:  # the right word without its group, or in another one
        last = name.rsplit(".", 1)[-1]
        words = sorted({known.rsplit(".", 1)[-1] for known in names})
        word = difflib.get_close_matches(last, words, n=1, cutoff=0.75)
        near = [known for known in names if word and known.rsplit(".", 1)[-1] == word[0]]
    if not near:
        return "napari-gem3d-train settings lists them all."
    return f"did you mean {' or '.join(repr(known) for known in near)}?"


def _all_names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for key, field in model.model_fields.items():
        yield f"{prefix}{key}"
        group = group_of(field)
        if group is not None:
            yield from _all_names(group, f"{prefix}{key}.")
