"""How a cancel stops a network in the middle of its work: a step of a large window takes seconds on a processor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, get_ident
from typing import Any

from torch import nn


class Stopped(Exception):  # noqa: N818 — it is no error
    """A network was stopped by a cancel; what it was computing is lost."""


@contextmanager
def stoppable(network: nn.Module, cancel: Event | None) -> Iterator[None]:
    """Let a cancel stop a network between two of its layers, by raising `Stopped` there.

    Parameters
    ----------
    network
        Any network that is not compiled (whose layers are no modules any more).
    cancel
        Once it is set, whichever layer comes next raises.
    """
    thread = get_ident()

    def check(module: nn.Module, inputs: Any) -> None:
        # Another generation may go through the same network in a thread of its own.
        if cancel is not None and cancel.is_set() and get_ident() == thread:
            raise Stopped

    handles = [] if cancel is None else [module.register_forward_pre_hook(check) for module in network.modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
