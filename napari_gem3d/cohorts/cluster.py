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
_HERE = "127.0.0.1"
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
        If Dask.distributed or cryptography is not installed, the scheduler cannot be reached, or its workers lack this
        package.
    """
    try:
        import dask
        from distributed import Client, Security

        security = Security.temporary() if scheduler is None else None
    except ImportError:
        raise InputError(
            "Workers need Dask.distributed and cryptography: pip install 'napari-gem3d[cluster]', or leave out "
            "--workers and --scheduler."
        ) from None
    if scheduler is not None:
        with _connected(Client, scheduler) as client:
            yield client, _resources(client, device)
        return
    settings = {
        "distributed.scheduler.allowed-failures": retries,
        "distributed.admin.log-format": "%(message)s",
        # Every server of Dask listens for HTTP too, without a password: on the loopback, with nothing to tell.
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
    }
    with (
        dask.config.set(settings),
        _local(workers, device, security) as started,
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


def _local(workers: int, device: str, security: Any) -> Any:
    """Processes of this machine, one task each at a time.

    Whoever may speak to a scheduler runs code as its user, and on the loopback that is everyone on the machine. So all
    speak TLS, with a key that is made for this run and never written to disk.
    """
    from distributed import Nanny, Scheduler, SpecCluster

    log_level = logging.ERROR
    here = {"host": _HERE, "dashboard": False, "dashboard_address": f"{_HERE}:0", "security": security}
    shared = {**here, "nthreads": 1, "protocol": "tls://", "silence_logs": log_level}
    specification = {
        number: {"cls": Nanny, "options": {**shared, "memory_limit": _memory(workers), **options}}
        for number, options in enumerate(shares(workers, device))
    }
    scheduler = {"cls": Scheduler, "options": {**here, "port": 0, "protocol": "tls://"}}
    return SpecCluster(
        workers=specification, scheduler=scheduler, security=security, silence_logs=log_level, name="napari-gem3d"
    )


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
