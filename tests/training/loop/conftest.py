"""A stage that is small enough to count its steps by hand: a network of two layers learns a curve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_gem3d.training.config.settings import StageSettings
from napari_gem3d.training.loop import reports
from napari_gem3d.training.stages.stage import Outcome


@dataclass(frozen=True)
class Points:
    x: Tensor
    y: Tensor
    origins: tuple[str, ...]

    def to(self, device: torch.device) -> Points:
        return Points(self.x.to(device), self.y.to(device), self.origins)


class Curve:
    """Draws points of a noisy sine; each sample's origin is its number of draw."""

    def draw(self, rng: np.random.Generator) -> Points:
        x = rng.uniform(-1, 1, (1, 1)).astype(np.float32)
        y = np.sin(3 * x) + rng.normal(0, 0.1, (1, 1)).astype(np.float32)
        return Points(torch.from_numpy(x), torch.from_numpy(y), (f"point {x.item():.6f}",))

    def join(self, samples: Sequence[Points]) -> Points:
        return Points(
            torch.cat([sample.x for sample in samples]),
            torch.cat([sample.y for sample in samples]),
            tuple(origin for sample in samples for origin in sample.origins),
        )


class Fit(nn.Module):
    """Mean squared error. Dropout draws from the global generator, as no real stage does, to test that it is kept."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, 1))
        self.frozen = nn.Linear(1, 1).requires_grad_(False)
        self.register_buffer("calls", torch.zeros(()))
        self.calls: Tensor
        self.before: Callable[[Points, int], None] = lambda batch, step: None

    def forward(self, batch: Points, step: int) -> Outcome:
        self.before(batch, step)
        self.calls += 1
        made = self.network(batch.x) + self.frozen(batch.x)
        error = (made - batch.y).square().mean()
        return Outcome(error, {"squared": error.detach()}, made)


class Judge(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Linear(1, 1)

    def forward(self, batch: Points, made: Tensor) -> Tensor:
        return (self.network(made) - self.network(batch.y) + 1).square().mean()


@dataclass
class CurveStage:
    """The stage; `validations` has the steps at which it was validated."""

    settings: StageSettings
    objective: Fit
    adversary: Judge | None = None
    precision: str = "float32"
    name: str = "curve"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    source: Curve = field(default_factory=Curve)
    pictures: list[Path] = field(default_factory=list)

    def validate(self) -> dict[str, float]:
        x = torch.linspace(-1, 1, 50)[:, None]
        self.objective.eval()
        made = self.objective.network(x) + self.objective.frozen(x)
        self.objective.train()
        torch.rand(3)  # a validation may draw from the global generator
        return {"loss": (made - torch.sin(3 * x)).square().mean().item()}

    def picture(self, path: Path) -> None:
        self.pictures.append(path)

    def planes(self, path: Path) -> None:
        self.pictures.append(path)

    def weights(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self.objective.network.named_parameters()}


_TINY = {"steps": 12, "batch": 4, "warmup_steps": 3, "validate_every": 5, "checkpoint_minutes": 1e-9, "ema_decay": 0.9}


def make_stage(dropout: float = 0.0, judged: bool = False, precision: str = "float32", **changes: Any) -> CurveStage:
    """The stage with other settings than the usual; the same weights every time."""
    torch.manual_seed(3)
    settings = StageSettings.model_validate(_TINY | changes)
    return CurveStage(settings, Fit(dropout), Judge() if judged else None, precision)


@pytest.fixture
def curve() -> Callable[..., CurveStage]:
    return make_stage


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Curves take a second to draw, so the loop does not in these tests: where it would."""
    paths: list[Path] = []
    monkeypatch.setattr(reports, "draw_history", lambda entries, path: paths.append(path))
    return paths
