"""Many tasks, one after the other here, on several processes, or on the workers of a cluster (Dask.distributed)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_gem3d.cohorts.outcome import Outcome, Task, Work, attempt, attempt_there
from napari_gem3d.errors import InputError

if TYPE_CHECKING:
    from distributed import Client

RETRIES = 2
# Handed out at once: one is worked on while the next is on its way. More would only be lost with a worker.
_EACH, _LEAST = 2, 4


def run_tasks(
    tasks: Sequence[Task],
    work: Work[Task],
    *,
    workers: int = 0,
    scheduler: str | None = None,
    device: str = "auto",
    retries: int = RETRIES,
    say: Callable[[str], None] = lambda line: None,
) -> list[Outcome]:
    """Do every task, whatever becomes of the others.

    Parameters
    ----------
    tasks
        Picklable, each with a name of its own. What decides their results (seeds above all) is in them, so that
        neither their order nor the workers change anything.
    work
        A function of a module. It finds out itself whether a task is done already, from what lies in its output
        folder, and writes files whole or not at all: a worker may be lost, or do a task a second time.
    workers
        0 for this process; else so many processes on this machine.
    scheduler
        Address of a Dask scheduler, or a scheduler file, whose workers do the tasks instead.
    device
        Where the work runs: "cuda" (or "auto", where graphics cards are) makes every task take one GPU of a worker's
        resources.
    retries
        How often a task is tried again after an error nobody expected, on another worker if there is one. Input that
        cannot be used is not tried again. A task whose worker is lost is done again by another one; if that happens
        more than `retries` times (on a cluster, as often as its scheduler allows), it is done by itself at the end, and
        counts as failed if workers are lost then too.
    say
        Called with a line for every task that has ended.

    Returns
    -------
    list of Outcome
        In the order of the tasks. After an interrupt (Ctrl-C), of those that have ended: fewer than tasks.

    Raises
    ------
    InputError
        If two tasks have one name, Dask.distributed is not installed, or the scheduler is not there, or goes.
    """
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"Two tasks are called '{twice}'; give every case a name of its own.")
    if workers < 0 or (workers and scheduler is not None):
        raise InputError("Give a number of workers, 1 or more, or the address of a scheduler, not both.")
    ended: dict[str, Outcome] = {}

    def note(outcome: Outcome) -> None:
        ended[outcome.name] = outcome
        say(_line(len(ended), len(tasks), outcome))

    try:
        if not tasks:
            pass
        elif workers or scheduler is not None:
            from napari_gem3d.cohorts.cluster import cluster

            with cluster(workers, scheduler, device, retries) as (client, resources):
                _run_on(client, resources, tasks, work, retries, note)
        else:
            _run_here(tasks, work, retries, note)
    except KeyboardInterrupt:
        pass
    return [ended[name] for name in names if name in ended]


def _run_here(tasks: Sequence[Task], work: Work[Task], retries: int, note: Callable[[Outcome], None]) -> None:
    for task in tasks:
        for tried in range(1, retries + 2):
            outcome = replace(attempt(work, task), attempts=tried)
            if not outcome.worth_another:
                break
        note(outcome)


def _run_on(
    client: Client,
    resources: dict[str, float],
    tasks: Sequence[Task],
    work: Work[Task],
    retries: int,
    note: Callable[[Outcome], None],
) -> None:
    from distributed import Future, as_completed

    waiting: deque[tuple[Task, int, str]] = deque((task, 1, "") for task in tasks)
    suspects: deque[tuple[Task, int, str]] = deque()
    alone: set[str] = set()
    running: dict[Future, tuple[Task, int]] = {}
    done: Any = as_completed()

    def submit(task: Task, tried: int, failed_on: str, there: Sequence[str]) -> None:
        # A machine that is broken fails fast, and would take all the second attempts too.
        others = [address for address in there if address != failed_on] if failed_on else []
        where = {"resources": resources or None, "workers": others or None}
        future = client.submit(attempt_there, work, task, pure=False, **where)
        running[future] = task, tried
        done.add(future)

    def hand_out() -> None:
        there = list(client.scheduler_info(n_workers=-1)["workers"])
        while waiting and len(running) < max(_EACH * len(there), _LEAST):
            submit(*waiting.popleft(), there)
        if suspects and not running:
            alone.add(suspects[0][0].name)
            submit(*suspects.popleft(), there)

    hand_out()
    for future in done:
        task, tried = running.pop(future)
        outcome = replace(_result(future, task), attempts=tried)
        if outcome.worth_another and tried <= retries:
            waiting.append((task, tried + 1, outcome.worker))
        elif _took_workers(future) and task.name not in alone:
            # All that waited on the lost workers is suspected by the scheduler. By itself each shows whether it was it.
            suspects.append((task, tried + 1, ""))
        else:
            note(outcome)
        future.release()
        hand_out()


def _took_workers(future: Any) -> bool:
    """Whether a task was given up because workers that had it were lost, more often than the scheduler allows."""
    from distributed import KilledWorker

    return future.status == "error" and isinstance(future.exception(), KilledWorker)


def _result(future: Any, task: Task) -> Outcome:
    """The outcome that a worker has sent; a failure if no worker could."""
    from distributed import KilledWorker

    try:
        outcome: Outcome = future.result()
        return outcome
    except KilledWorker as error:
        count = error.allowed_failures + 1
        reason = f"{count} workers were lost while doing it, most likely because memory ran out; give each more memory."
        return Outcome(task.name, "failed", 0.0, reason)
    except Exception as error:  # the task did not get to the worker, or its result not back
        if future.status in ("cancelled", "lost"):
            raise InputError("The scheduler is gone; run the same command again to go on.") from error
        return Outcome(task.name, "failed", 0.0, f"{type(error).__name__}: {error}", details=repr(error))


def _line(count: int, total: int, outcome: Outcome) -> str:
    told = f"[{count}/{total}] {outcome.name}: {outcome.status}"
    if outcome.status in ("made", "there"):
        return f"{told} ({outcome.seconds:.1f} s)"
    return f"{told}: {outcome.reason}"
