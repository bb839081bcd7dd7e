"""All settings as commented YAML, for people who look for one."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel

from napari_gem3d.training.config.loading import group_of
from napari_gem3d.training.config.settings import TrainingConfig

_WIDTH = 100


def describe(config: TrainingConfig) -> str:
    """Every setting with its value and, as a comment above it, what it means; `load_config` reads it back."""
    return "\n".join(_lines(TrainingConfig, config.model_dump(mode="json"), "")) + "\n"


def _lines(model: type[BaseModel], values: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, field in model.model_fields.items():
        group = group_of(field)
        if group is not None and not indent:
            yield ""
        for line in textwrap.wrap(field.description or "", _WIDTH - len(indent)):
            yield f"{indent}# {line}"
        if group is not None:
            yield f"{indent}{key}:"
            yield from _lines(group, values[key], indent + "  ")
        else:
            yield f"{indent}{key}: {on_one_line(values[key])}"


def on_one_line(value: Any) -> str:
    """A value in YAML, a list with its brackets."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000).strip()
    return text.removesuffix("...").strip()
