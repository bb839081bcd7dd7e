"""Workers for a run: processes of this machine, or those of a Dask scheduler that exists."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_gem3d import __version__
from napari_gem3d.errors import InputError

if TYPE_CHECKING:
    from distributed import Client

GPU = "GPU"
# Seconds to reach a scheduler. Workers may take as long as the queue of the cluster makes them.
_TIMEOUT = 30


@contextmanager
def cluster(
    workers: int, scheduler: str | None, device: str, retries: int
) -> Iterator[tuple[Client, dict[str, float]]]:
    """Open a client of some workers; gives it with the resources that a task takes of them.

    Parameters
    ----------
    workers
        How many processes to start on this machine, where `scheduler` is None. Each has an equal share of the cores
        and one of the machine's graphics cards.
    scheduler
        Address of a scheduler, or the file that it has written.
    device
        "cuda", "cpu", "mps" or "auto".
    retries
        How many lost workers a task may survive, of those that are started here.

    Raises
    ------
    InputError
        If Dask.distributed is not installed, the scheduler cannot be reached, or its workers lack this package.
    """
    try:
        import dask
        from distributed import Client
    except ImportError:
        raise InputError(
            "Workers need Dask.distributed: pip install 'napari-gem3d[cluster]', or leave out --workers and "
            "--scheduler."
        ) from None
    if scheduler is not None:
        with _connected(Client, scheduler) as client:
            yield client, _resources(client, device)
        return
    with (
        dask.config.set(
            {"distributed.scheduler.allowed-failures": retries, "distributed.admin.log-format": "%(message)s"}
        ),
        _local(workers, device) as started,
        Client(started) as client,
    ):
        yield client, _resources(client, device)


@contextmanager
def _connected(client: Any, scheduler: str) -> Iterator[Client]:
    where = {"scheduler_file": scheduler} if Path(scheduler).is_file() else {"address": scheduler}
    try:
        opened = client(**where, timeout=_TIMEOUT)
    except (OSError, ValueError, TimeoutError) as error:
        raise InputError(
            f"The Dask scheduler {scheduler} does not answer; check the address and that it is running."
        ) from error
    with opened:
        opened.wait_for_workers(1)
        _check_version(opened)
        yield opened


def _check_version(client: Client) -> None:
    try:
        there = client.submit(_version, pure=False).result()
    except Exception as error:
        raise InputError(
            f"A worker cannot use napari-gem3d ({type(error).__name__}: {error}); install {__version__} for the "
            "workers too."
        ) from error
    if there != __version__:
        raise InputError(f"The workers have napari-gem3d {there}, not {__version__}; install the same for all.")


def _version() -> str:
    return __version__


def _resources(client: Client, device: str) -> dict[str, float]:
    """What a task takes: a GPU if that is asked for, or if it is not said and there are workers that offer one."""
    offered = any(
        GPU in worker.get("resources", {}) for worker in client.scheduler_info(n_workers=-1)["workers"].values()
    )
    wanted = device.startswith("cuda") or (device == "auto" and offered)
    return {GPU: 1.0} if wanted else {}


def _local(workers: int, device: str) -> Any:
    """Processes of this machine, one task each at a time."""
    from distributed import Nanny, Scheduler, SpecCluster

    log_level = logging.ERROR
    shared = {"nthreads": 1, "host": "127.0.0.1", "dashboard": False, "silence_logs": log_level}
    specification = {
        number: {"cls": Nanny, "options": {**shared, "memory_limit": _memory(workers), **options}}
        for number, options in enumerate(shares(workers, device))
    }
    scheduler = {
        "cls": Scheduler,
        "options": {"host": "127.0.0.1", "port": 0, "dashboard": False, "dashboard_address": ":0"},
    }
    return SpecCluster(workers=specification, scheduler=scheduler, silence_logs=log_level, name="napari-gem3d")


def shares(workers: int, device: str) -> list[dict[str, Any]]:
    """Environment and resources of each worker: its share of the cores, and one of the graphics cards.

    With a numbered device, such as "cuda:1", all workers take that card, and see it by that number.
    """
    from napari_gem3d.training.data.workers import available_cores

    cards, threads = _cards(device), max(available_cores() // workers, 1)
    counted = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    assigned = cards > 0 and ":" not in device
    return [
        {
            "env": counted | ({"CUDA_VISIBLE_DEVICES": str(number % cards)} if assigned else {}),
            "resources": {GPU: 1} if cards else {},
        }
        for number in range(workers)
    ]


def _memory(workers: int) -> int:
    """Bytes that a worker may take before it is started anew: its share of the machine's (or the job's) memory."""
    from distributed.system import MEMORY_LIMIT

    return int(MEMORY_LIMIT / workers)


def _cards(device: str) -> int:
    """How many graphics cards the work may use."""
    if device != "auto" and not device.startswith("cuda"):
        return 0
    import torch

    return int(torch.cuda.device_count())
