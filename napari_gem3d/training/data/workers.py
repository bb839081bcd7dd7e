"""Processes that read and prepare patients side by side."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, TypeVar

import nibabel as nib
import numpy as np
import psutil

from napari_gem3d.errors import InputError
from napari_gem3d.io.checks import quiet

Job = TypeVar("Job")
Result = TypeVar("Result")

# Libraries read these when they are first imported: a process a core, each with a thread a core, would choke a cluster.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
# Share of the free memory that preparing may take.
_SHARE = 0.7
# A compressed scan opens to about this many times its size on disk.
_COMPRESSION = 3


def available_cores() -> int:
    """Cores this process may use, which is fewer than the machine's under Slurm or taskset."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_workers(wanted: int | None, jobs: int, bytes_each: float) -> int:
    """How many processes to use.

    Parameters
    ----------
    wanted
        The setting ``data.workers``; None for one a core, as many as have memory.
    jobs
        Number of patients.
    bytes_each
        Memory that the largest patient takes.
    """
    if wanted is None:
        fitting = int(psutil.virtual_memory().available * _SHARE / max(bytes_each, 1.0))
        wanted = min(available_cores(), fitting)
    return max(1, min(wanted, jobs))


def most_voxels(paths: Iterable[Path]) -> float:
    """About how many voxels the largest of some scans on disk has; 0 if none is there.

    The largest file is taken for the largest scan, and of what is not NIfTI, two bytes for a voxel.
    """
    sizes = {path: size_on_disk(path) for path in paths}
    largest = max(sizes, key=lambda path: sizes[path])
    opened: Any = nib.load  # nibabel is only partly typed
    try:
        with quiet:
            return float(np.prod([float(n) for n in opened(largest).shape]))
    except Exception:  # no NIfTI, or a damaged one, of which the inspection says more
        return sizes[largest] / 2 * _COMPRESSION


def size_on_disk(path: Path) -> float:
    """Bytes of a file or of the files in a folder; 0 if it is missing."""
    files = [path] if path.is_file() else list(path.glob("*")) if path.is_dir() else []
    return float(sum(file.stat().st_size for file in files))


@contextmanager
def pool(workers: int) -> Iterator[ProcessPoolExecutor | None]:
    """Open a pool of fresh processes, one thread each; None for a single worker, which is this process.

    Processes are spawned everywhere, as macOS and Windows do: forking a process that has threads (PyTorch's) may hang.
    If the block is left by an exception, jobs that have not started are dropped.
    """
    if workers == 1:
        yield None
        return
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    executor = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start)
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def run_all(
    executor: ProcessPoolExecutor | None, function: Callable[[Job], Result], jobs: Sequence[Job]
) -> Iterator[tuple[Job, Result]]:
    """Run a function on every job; yields jobs with their results as they end.

    Parameters
    ----------
    executor
        From `pool`.
    function
        Of a module, so that processes find it; what it raises is raised here.
    jobs
        Picklable arguments.

    Raises
    ------
    InputError
        If a process was killed, as the system does when memory runs out.
    """
    if executor is None:
        for job in jobs:
            yield job, function(job)
        return
    futures: dict[Future[Result], Job] = {executor.submit(function, job): job for job in jobs}
    try:
        for future in as_completed(futures):
            yield futures.pop(future), future.result()
    except BrokenProcessPool as error:
        raise InputError(
            "A process that prepared patients was killed, most likely because memory ran out; run the same command "
            "again with --set data.workers=1 (what is finished is kept)."
        ) from error


def _start() -> None:
    """What a fresh process does first: leave Ctrl-C to the one that started it, and end when that one is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
