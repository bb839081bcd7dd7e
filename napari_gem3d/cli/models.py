"""List the models on this computer, show the card of one, add one."""

from __future__ import annotations

import argparse
from pathlib import Path

from napari_gem3d.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``models``."""
    parser.add_argument("model", nargs="?", metavar="NAME", help="show what this one is, and its card")
    parser.add_argument(
        "--add", type=Path, metavar="DIR", help="copy this bundle to the user's models, where every command finds it"
    )
    parser.add_argument("--name", help="what an added model is to be called (default: what its model.json says)")


def run(options: argparse.Namespace) -> int:
    """Add a model, show one, or list all."""
    from napari_gem3d.bundle.library import add_model, describe_model, list_models
    from napari_gem3d.bundle.places import added_models, models_folder
    from napari_gem3d.bundle.store import find_bundle

    if options.name and not options.add:
        raise InputError("--name is for a model that is added; give --add as well.")
    if options.model and options.add:
        raise InputError("Give the name of a model to see, or --add to add one, not both.")
    if options.add:
        print(add_model(options.add, options.name or ""))
        return 0
    if options.model:
        folder = find_bundle(options.model)
        info = describe_model(folder, added=folder in added_models().values())
        print("\n".join([*info.describe(), str(info.folder), "", info.card]).rstrip())
        return 0
    for info in list_models():
        print("\n  ".join(info.describe()))
    print(f"added models: {models_folder()}")
    return 0
