"""Where models lie: those that came with the package, and those that the user has added."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_data_path


def bundled_models() -> dict[str, Path]:
    """The models that came with the package, by name."""
    package = Path(__file__).resolve().parents[1]
    roots = [package / "models"]
    if (package.parent / "pyproject.toml").is_file():  # a checkout, not somebody else's site-packages/models
        roots.append(package.parent / "models")
    return _models_in(*roots)


def models_folder() -> Path:
    """The folder of the models that the user has added; it may not exist yet."""
    folder: Path = user_data_path("napari-gem3d", appauthor=False) / "models"
    return folder


def added_models() -> dict[str, Path]:
    """The models that the user has added, by name."""
    return _models_in(models_folder())


def known_models() -> dict[str, Path]:
    """Every model that is known by its name; what came with the package comes first, and keeps its names."""
    return {**bundled_models(), **{name: path for name, path in added_models().items() if name not in bundled_models()}}


def _models_in(*roots: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for root in roots:
        for description in sorted(root.glob("*/model.json")):
            if not description.parent.name.startswith("."):  # one that is being written
                found.setdefault(description.parent.name, description.parent)
    return found
