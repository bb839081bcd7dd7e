"""Starting the processes that ``accelerate launch --cpu`` was asked for and does not start."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from napari_gem3d.errors import InputError

# What launchers (torchrun, mpirun, srun with PMI) tell the processes they start.
_RANKS = ("RANK", "LOCAL_RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")


def start_processes(module: str, arguments: Sequence[str]) -> None:
    """Run a module as several processes instead of this one, where ``accelerate launch --cpu`` was told to.

    Without mpirun accelerate starts a single process on processors, whatever ``--num_processes`` says; a run would
    quietly have a smaller batch than wanted. So this process becomes ``torchrun`` with that number. It returns if there
    is nothing to do.

    Parameters
    ----------
    module
        What is run, as in ``python -m``.
    arguments
        Of the module.

    Raises
    ------
    InputError
        If the number of processes cannot be found out, or several machines were asked for.
    """
    environment = os.environ
    # accelerate sets an address only for more than one process, and a rank for none of them.
    several = environment.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true") and "MASTER_ADDR" in environment
    if not several or any(name in environment for name in _RANKS):
        return
    processes, machines = _asked_of_accelerate()
    if processes is None or machines > 1:
        raise InputError(
            "accelerate launch --cpu cannot start these processes; use torchrun --nproc_per_node=N "
            f"--nnodes=M --rdzv_backend=c10d --rdzv_endpoint=HOST:PORT -m {module} … on every machine."
        )
    program = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    os.execv(sys.executable, [*program, "-m", module, *arguments])


def _asked_of_accelerate() -> tuple[int | None, int]:
    """Numbers of processes and machines on the command line of the accelerate that started this process."""
    import psutil
    from accelerate.commands.launch import launch_command_parser

    for parent in psutil.Process().parents():
        words = parent.cmdline()
        for place, word in enumerate(words[:5], start=1):
            by_command = word == "launch" and "accelerate" in words[place - 2]
            if by_command or word == "accelerate.commands.launch" or Path(word).stem == "accelerate-launch":
                options, _ = launch_command_parser().parse_known_args(words[place:])
                return options.num_processes, options.num_machines or 1
    return None, 1
