"""Which sample comes when: step s of a run uses the samples s·N … s·N + N − 1, N the effective batch."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch.utils.data import DataLoader, Dataset, Sampler
from typing_extensions import override

from napari_gem3d.training.stages.stage import Source, rng_of

_GRACE_S = 30


class Samples(Dataset):
    """The endless sequence of a stage's samples; sample i is a function of seed, stage and i alone."""

    def __init__(self, source: Source, seed: int, name: str) -> None:
        self.source, self.seed, self.name = source, seed, name

    @override
    def __getitem__(self, index: int) -> object:
        return self.source.draw(rng_of(self.seed, self.name, index))


@dataclass(frozen=True)
class Share:
    """What one process does of every optimiser step.

    Attributes
    ----------
    batch
        Samples a micro step.
    accumulation
        Micro steps an optimiser step.
    process, processes
        Which of how many.
    """

    batch: int
    accumulation: int = 1
    process: int = 0
    processes: int = 1

    @property
    def effective(self) -> int:
        """Samples of an optimiser step, N."""
        return self.batch * self.accumulation * self.processes

    def indices(self, step: int, micro: int) -> range:
        """The samples of a micro step, a row of every N that does not depend on how N is divided."""
        start = step * self.effective + (self.process * self.accumulation + micro) * self.batch
        return range(start, start + self.batch)

    def smaller(self) -> Share | None:
        """The same samples in smaller micro steps: half as large, or the next that divides them; None if they are 1."""
        for parts in range(2, self.batch + 1):
            if self.batch % parts == 0:
                return replace(self, batch=self.batch // parts, accumulation=self.accumulation * parts)
        return None


class _Order(Sampler):
    """Indices of the micro steps from a step on, without end."""

    def __init__(self, share: Share, step: int) -> None:
        self.share, self.step = share, step

    @override
    def __iter__(self) -> Iterator[list[int]]:
        step = self.step
        while True:
            for micro in range(self.share.accumulation):
                yield list(self.share.indices(step, micro))
            step += 1


def load(samples: Samples, share: Share, step: int, workers: int = 0, pin: bool = False) -> DataLoader:
    """Batches of every micro step from an optimiser step on, read ahead by `workers` processes.

    It is not prepared by accelerate: that would shard or fetch batches by its own rules, skip by counting when a run is
    resumed, and draw from the global generator. Here every process computes from the step which samples are its own.
    """
    return DataLoader(
        samples,
        batch_sampler=_Order(share, step),
        collate_fn=samples.source.join,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin,
        worker_init_fn=_leave_signals_to_the_trainer,
        # Its own, as the loader draws a number at its start, which would move the global one at every resumption.
        generator=torch.Generator(),
    )


def _leave_signals_to_the_trainer(worker: int) -> None:
    """A Ctrl-C reaches all processes of a terminal, a SIGTERM those of a job: the step's batches must still come."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        # Ignoring it for good would keep the interpreter from ending a worker that was left behind.
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE_S))
