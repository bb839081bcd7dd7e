"""Options that the commands which generate share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_gem3d.errors import InputError
from napari_gem3d.sampling.settings import DRAWING_NAMES, READING, Settings, words_of

if TYPE_CHECKING:
    from napari_gem3d.io.checks import Reading
    from napari_gem3d.volume import Volume


def add_settings(
    group: argparse._ArgumentGroup | argparse._MutuallyExclusiveGroup, *names: str, **defaults: Any
) -> None:
    """Add options of `Settings` by name; those of `defaults` have another default than there.

    What is not given on the command line is None, or False, and is left to `Settings`.
    """
    for name in names:
        words = words_of(name)
        default = defaults.get(name)
        if Settings.model_fields[name].annotation is bool:
            group.add_argument(words["option"], action="store_true", dest=name, help=words["about"])
            continue
        usual = words["usual"] if default is None else default
        about = f"{words['about']} (default: {usual})"
        metavar = words["metavar"] or None
        group.add_argument(words["option"], type=_number, dest=name, metavar=metavar, default=default, help=about)


def _number(text: str) -> int | float | str:
    """A value on the command line: a number if it is one; `Settings` says whether it fits."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def add_reading_options(group: argparse.ArgumentParser | argparse._ArgumentGroup, *names: str) -> None:
    """Add how files are read that do not say all: the names given of `READING`, by default all."""
    for name in names or READING:
        words = words_of(name)
        kind = int if name == "channel" else str
        group.add_argument(words["option"], type=kind, metavar=words["metavar"], help=f"{words['about']}")


def reading_of(options: argparse.Namespace) -> Reading:
    """How files are read, as `read_volume` takes it; InputError for a value that is not possible."""
    return Settings(**{name: getattr(options, name, None) for name in READING}).reading


def tell_notes(*volumes: Volume | None) -> None:
    """Print what was done to the voxels of files when they were read."""
    for note in dict.fromkeys(
        volume.meta["note"] for volume in volumes if volume is not None and "note" in volume.meta
    ):
        print(f"napari-gem3d: {note}", file=sys.stderr)


def add_drawing_options(parser: argparse.ArgumentParser, **defaults: Any) -> argparse._ArgumentGroup:
    """Model, solver, seed, device and the like. Returns their group."""
    how = parser.add_argument_group("how")
    how.add_argument("--model", default="brain-flair", help="bundled model or folder of one (default: brain-flair)")
    add_settings(how, "labels", *DRAWING_NAMES, **defaults)
    return how


def given(options: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Options by name, without the settings that were not given."""
    values = {name: getattr(options, name) for name in names}
    return {name: value for name, value in values.items() if value is not None or name not in Settings.model_fields}


def settings_of(options: argparse.Namespace) -> Settings:
    """The settings that were given on the command line; those of the partial result for the seed of a resumed run.

    Raises
    ------
    InputError
        If a value is not possible.
    """
    chosen = given(options, vars(options).keys() & Settings.model_fields)
    if options.resume and "seed" not in chosen:
        from napari_gem3d.sampling.partial import recipe_to_resume

        chosen["seed"] = recipe_to_resume(options.out).seed
    return Settings(**chosen)


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Where the result goes."""
    output = parser.add_argument_group("result")
    output.add_argument("--out", type=Path, required=True, help="NIfTI file to write; its recipe goes beside it")
    add_overwrite(output)
    output.add_argument(
        "--keep-partial", action="store_true", help="on Ctrl-C, write the slices finished so far, to go on with later"
    )
    output.add_argument(
        "--resume", action="store_true", help="go on with what --keep-partial has left; the other options as then"
    )


def add_overwrite(group: argparse._ArgumentGroup | argparse.ArgumentParser) -> None:
    """Whether files that this package has not written may be replaced."""
    group.add_argument(
        "--overwrite", action="store_true", help="replace a file that napari-gem3d has not written; never an input"
    )


def check_exist(*paths: Path | None) -> None:
    """Raise InputError for a path that is not there; asked before PyTorch is loaded, to answer at once."""
    for path in paths:
        if path is not None and not path.exists():
            raise InputError(f"{path} does not exist; check the path.")


def read_regions(words: list[str]) -> dict[str, tuple[int, ...]]:
    """Regions by name; InputError for what is not NAME=1,2."""
    found: dict[str, tuple[int, ...]] = {}
    for word in words:
        name, _, values = word.partition("=")
        try:
            found[name] = tuple(int(value) for value in values.split(","))
        except ValueError:
            raise InputError(f"'{word}' is no region; write NAME=1,2 with the values of its labels.") from None
    return found
