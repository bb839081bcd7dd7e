"""The processes of a run, as `accelerate launch` or `torchrun` started them: who is first, what all agree on."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from torch import distributed

from napari_gem3d.device import choose_device
from napari_gem3d.errors import InputError

# The others wait for as long as the first process prepares a dataset or validates. If it dies, the launcher ends them.
_PATIENCE = timedelta(days=7)

T = TypeVar("T")

_control: list[distributed.ProcessGroup] = []


def connect(name: str = "auto") -> torch.device:
    """Choose the device of this process, and join the others if there are any.

    Parameters
    ----------
    name
        As for `napari_gem3d.device.choose_device`; ``auto`` is the processor under ``accelerate launch --cpu``.

    Returns
    -------
    torch.device
        With several processes on graphics cards, each process's own.

    Raises
    ------
    InputError
        If the device is unknown, not there, or contradicts ``accelerate launch --cpu``.
    """
    if parse_flag_from_env("ACCELERATE_USE_CPU"):
        if name not in ("auto", "cpu"):
            raise InputError(f"The device {name} contradicts accelerate launch --cpu; leave one of the two out.")
        name = "cpu"
    device = choose_device(name)
    join(device)
    if count() > 1 and device.type == "cuda":
        return torch.device("cuda", PartialState().local_process_index)
    return device


def join(device: torch.device) -> None:
    """Make the process groups for this device, once."""
    PartialState(cpu=device.type == "cpu", timeout=_PATIENCE)
    if count() > 1 and not _control:
        # Wishes and seconds are numbers on the processor; through NCCL each exchange would halt the graphics card.
        _control.append(distributed.new_group(backend="gloo", timeout=_PATIENCE))
        atexit.register(_leave)


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def count() -> int:
    """How many processes there are."""
    return int(PartialState().num_processes)


def index() -> int:
    """Which of them this is, from 0."""
    return int(PartialState().process_index)


def is_main() -> bool:
    """Whether this process is the one that says, writes and prepares."""
    return index() == 0


def wait() -> None:
    """Wait until all processes are here."""
    total([0.0])


def total(values: Sequence[float]) -> list[float]:
    """Sums over all processes; every one must call it with as many values."""
    if count() == 1:
        return list(values)
    tensor = torch.tensor(values, dtype=torch.float64)
    distributed.all_reduce(tensor, group=_control[0])
    return tensor.tolist()


def gather(value: T) -> list[T]:
    """Return the value of every process, in their order."""
    if count() == 1:
        return [value]
    found: list[Any] = [None] * count()
    distributed.all_gather_object(found, value, group=_control[0])
    return found


def once(work: Callable[[], T]) -> T:
    """Let the main process do something that the others wait for; all get its result.

    Raises
    ------
    InputError
        In every process, if the main process raised it. Other errors end the main process, and the launcher the rest.
    """
    if count() == 1:
        return work()
    told: list[Any] = [None, None]
    if is_main():
        try:
            told[0] = work()
        except InputError as error:
            told[1] = str(error)
    distributed.broadcast_object_list(told, src=0, group=_control[0])
    if told[1] is not None:
        raise InputError(told[1])
    return told[0]


def threads_of_loaders(wanted: int | None, device: torch.device) -> int:
    """Processes that load data beside this one: as wanted, else 4 for a graphics card, as the cores allow."""
    if wanted is not None:
        return wanted
    if device.type == "cpu":
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, max(1, cores // count() - 1))
