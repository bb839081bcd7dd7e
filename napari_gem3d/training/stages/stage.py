"""What the loop needs to know of a stage: where samples come from, what is minimised, and how well it goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from napari_gem3d.training.config.settings import StageSettings


class Batch(Protocol):
    """Samples that a network sees together."""

    origins: tuple[str, ...]
    """Where each sample comes from, for people: the patient and the slices."""

    def to(self, device: torch.device) -> Self:
        """The same batch on a device."""


@dataclass(frozen=True, kw_only=True)
class TensorBatch:
    """Base of batches that are a few tensors, each with its samples along the first axis.

    Attributes
    ----------
    origins
        Where each sample comes from, for people: the patient and the slices.
    """

    origins: tuple[str, ...]

    def to(self, device: torch.device) -> Self:
        """The same batch on a device."""
        return self._with(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        """The same batch in memory from which a graphics card copies at once; a ``DataLoader`` calls this."""
        return self._with(Tensor.pin_memory)

    @classmethod
    def join(cls, samples: Sequence[Self]) -> Self:
        """Make a batch of samples, in their order."""
        tensors = {name: torch.cat([getattr(sample, name) for sample in samples]) for name in cls._tensors()}
        return cls(**tensors, origins=tuple(origin for sample in samples for origin in sample.origins))

    @classmethod
    def _tensors(cls) -> list[str]:
        return [entry.name for entry in fields(cls) if entry.name != "origins"]

    def _with(self, change: Callable[[Tensor], Tensor]) -> Self:
        return type(self)(**{name: change(getattr(self, name)) for name in self._tensors()}, origins=self.origins)


class Source(Protocol):
    """Draws samples. It is sent to the processes that load data: it holds paths and settings, no arrays or networks."""

    def draw(self, rng: np.random.Generator) -> Any:
        """Draw one sample with everything random about it: which slices, noise, timestep."""

    def join(self, samples: Sequence[Any]) -> Any:
        """Make a batch of samples."""


@dataclass(frozen=True)
class Outcome:
    """What an objective makes of a batch.

    Attributes
    ----------
    loss
        A scalar, the mean over the samples of the batch.
    figures
        Parts of the loss and the like, worth recording.
    made
        For an adversary: what was made of the batch; None without one.
    """

    loss: Tensor
    figures: dict[str, Tensor] = field(default_factory=dict)
    made: Tensor | None = None


class Stage(Protocol):
    """A stage of training."""

    @property
    def name(self) -> str:
        """Name of the stage and of its folder."""

    @property
    def settings(self) -> StageSettings:
        """Budget, batch, learning rate."""

    @property
    def device(self) -> torch.device:
        """Where the networks run."""

    @property
    def precision(self) -> str:
        """In which precision they run."""

    @property
    def source(self) -> Source:
        """Draws the samples that are learned from."""

    @property
    def objective(self) -> nn.Module:
        """Called with a batch and the step, returns an `Outcome`; what of it requires gradients learns."""

    @property
    def adversary(self) -> nn.Module | None:
        """Called with a batch and `Outcome.made`, returns its own loss and learns in turn; None for most stages."""

    def validate(self) -> dict[str, float]:
        """Figures on the held-out patients, always with the same samples; ``loss`` is one of them."""

    def picture(self, path: Path) -> None:
        """Write a PNG of slices that the networks make now."""

    def planes(self, path: Path) -> None:
        """Write a PNG of a whole held-out volume and what the networks make of it, in three planes.

        Where a stage has none, or it fails, there is no file; a failure is said, never raised.
        """


def learning(module: nn.Module) -> list[nn.Parameter]:
    """The parameters of a module that learn."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def rng_of(seed: int, name: str, index: int) -> np.random.Generator:
    """The generator of sample `index` of a stage: a function of nothing else, so that data order has no state."""
    return np.random.default_rng([seed, *name.encode(), index])
