"""``napari-gem3d``: the viewer, and everything that it does without a window."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from napari_gem3d import __version__
from napari_gem3d.cli import (
    body,
    convert,
    demo,
    doctor,
    downstream,
    edit,
    enhance,
    evaluate,
    export,
    generate,
    harmonize,
    mask,
    models,
    replay,
    view,
)
from napari_gem3d.cli.progress import INTERRUPTED
from napari_gem3d.errors import InputError, of_system

PROGRAM = "napari-gem3d"
COMMANDS = {
    "view": view,
    "demo": demo,
    "generate": generate,
    "edit": edit,
    "mask": mask,
    "body": body,
    "replay": replay,
    "export": export,
    "enhance": enhance,
    "harmonize": harmonize,
    "evaluate": evaluate,
    "downstream": downstream,
    "convert": convert,
    "models": models,
    "doctor": doctor,
}


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence; the usage is what ``--help`` is for."""

    def error(self, message: str) -> NoReturn:
        """Print the sentence and exit with code 2."""
        self.exit(2, f"{PROGRAM}: {message} (see {self.prog} --help)\n")


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each has put its function into ``run``."""
    parser = Parser(prog=PROGRAM, description="Synthetic 3D scans from a label map and one slice of a real scan.")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", title="commands (view if none is given)")
    for name, module in COMMANDS.items():
        summary = (module.__doc__ or "").splitlines()[0]
        command = commands.add_parser(name, help=summary.rstrip("."), description=summary)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments
        Without the program's name; those of the process by default.

    Returns
    -------
    int
        0 done, 2 for input that cannot be used (one sentence on stderr), 130 for an interrupt.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or (given[0] not in COMMANDS and not given[0].startswith("-")):
        given.insert(0, "view")
    options = make_parser().parse_args(given)
    try:
        return int(options.run(options))
    except InputError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{PROGRAM}: {of_system(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted, nothing was written.", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
