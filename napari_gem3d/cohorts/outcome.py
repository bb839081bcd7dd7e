"""What became of a task, and the one attempt at it that every kind of worker makes."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeVar

from napari_gem3d.errors import InputError

Status = Literal["made", "there", "left out", "failed"]


class Named(Protocol):
    """A task: picklable, and with a name of its own among all tasks of a run."""

    @property
    def name(self) -> str:
        """What people know it by, such as the name of the volume that it makes."""


Task = TypeVar("Task", bound=Named)
# Does a task and says whether it was to be done. A function of a module, so that workers find it.
Work = Callable[[Task], Literal["made", "there"]]


class LeftOut(Exception):  # noqa: N818 — it is no error
    """Raised by work for a task that has nothing to do, such as an edit of a case without lesion; says why."""


@dataclass(frozen=True)
class Outcome:
    """What became of one task.

    Attributes
    ----------
    name
        The task's.
    status
        "made"; "there" if its files were there and whole; "left out" if there is nothing to do; "failed".
    seconds
        What the last attempt took.
    reason
        Why it failed or was left out, in a sentence.
    details
        The traceback of an error that nobody expected; empty for input that cannot be used.
    worker
        Address of the worker that made the last attempt; empty in-process.
    attempts
        How often it was tried.
    """

    name: str
    status: Status
    seconds: float
    reason: str = ""
    details: str = ""
    worker: str = ""
    attempts: int = 1

    @property
    def worth_another(self) -> bool:
        """Whether another attempt may end otherwise: not for input that cannot be used."""
        return self.status == "failed" and bool(self.details)


def attempt(work: Work[Any], task: Named) -> Outcome:
    """Do a task once; whatever goes wrong with it is an outcome, but for an interrupt."""
    started = time.monotonic()
    status: Status
    reason = details = ""
    try:
        status = work(task)
    except LeftOut as why:
        status, reason = "left out", str(why)
    except InputError as error:
        status, reason = "failed", str(error)
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        status, reason, details = "failed", f"{type(error).__name__}: {first}", traceback.format_exc()
    return Outcome(task.name, status, time.monotonic() - started, reason, details)


def attempt_there(work: Work[Any], task: Named) -> Outcome:
    """Do a task once on a worker, which is noted."""
    from distributed import get_worker

    return replace(attempt(work, task), worker=get_worker().address)
