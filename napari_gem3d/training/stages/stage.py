"""What the loop needs to know of a stage: where samples come from, what is minimised, and how well it goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
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


class Source(Protocol):
    """Draws samples. It is sent to the processes that load data, so it holds arrays and settings, no networks."""

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
        """Write a PNG of what the networks make now."""


def learning(module: nn.Module) -> list[nn.Parameter]:
    """The parameters of a module that learn."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def rng_of(seed: int, name: str, index: int) -> np.random.Generator:
    """The generator of sample `index` of a stage: a function of nothing else, so that data order has no state."""
    return np.random.default_rng([seed, *name.encode(), index])
