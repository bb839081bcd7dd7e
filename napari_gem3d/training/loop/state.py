"""The state of a stage under training: all that the next step depends on, and that a checkpoint therefore holds."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from napari_gem3d.errors import InputError
from napari_gem3d.training.loop.history import History
from napari_gem3d.training.loop.samples import Share
from napari_gem3d.training.stages.stage import Stage, learning

_WARMUP_EMA = {"use_ema_warmup": True, "inv_gamma": 1.0, "power": 0.75}


class State:
    """Weights, optimisers, moving average, scaler, generators, place in the budget, and history of a stage.

    Parameters
    ----------
    stage
        What is trained; its networks hold the weights.
    share
        What this process does of every step.

    Attributes
    ----------
    parameters
        Those of the objective that learn.
    optimisers
        Of the objective, and of the adversary if there is one.
    ema
        Moving average of `parameters`.
    scaler
        Of the loss, for float16; else it changes nothing.
    step, seconds
        What is spent of the budget; of the main process's seconds all processes know.
    history
        What happened.
    """

    def __init__(self, stage: Stage, share: Share) -> None:
        settings = stage.settings
        self.stage, self.share = stage, share
        self.parameters = learning(stage.objective)
        # Fused is 3.5 times as fast as foreach on two cores.
        shared: dict[str, Any] = {"lr": settings.learning_rate, "fused": True}
        self.optimisers = [
            torch.optim.AdamW(self.parameters, betas=(0.9, 0.99), weight_decay=settings.weight_decay, **shared)
        ]
        if stage.adversary is not None:
            judging = learning(stage.adversary)
            self.optimisers.append(torch.optim.AdamW(judging, betas=(0.5, 0.9), weight_decay=1e-4, **shared))
        self.ema = EMAModel(self.parameters, settings.ema_decay, foreach=True, **_WARMUP_EMA)
        # Not accelerate's: that is moved by every optimiser's step, so the second would divide by another scale.
        self.scaler = torch.amp.GradScaler(stage.device.type, enabled=stage.precision == "float16")
        self.step, self.seconds = 0, 0.0
        self.history = History()

    def as_dict(self) -> dict[str, Any]:
        """All of it, as tensors, numbers and words; tensors share memory with the state."""
        modules = modules_of(self.stage)
        return {
            "stage": self.stage.name,
            "parameters": [_learned(module) for module in modules],
            "buffers": [dict(module.named_buffers()) for module in modules],
            "frozen": self._frozen,
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "ema": self.ema.state_dict(),
            "scaler": self.scaler.state_dict(),
            "generators": generators(self.stage.device),
            "step": self.step,
            "seconds": self.seconds,
            "samples": {"step": self.share.effective, "batch": self.stage.settings.batch, "micro": self.share.batch},
            "history": self.history.entries,
        }

    def load(self, stored: dict[str, Any], name: str) -> None:
        """Continue from what `as_dict` gave.

        Parameters
        ----------
        stored
            On any device.
        name
            Where it comes from, for people.

        Raises
        ------
        InputError
            If it belongs to another stage, other settings, or another network that it builds on.
        """
        modules = modules_of(self.stage)
        wanted = [_shapes(_learned(module)) for module in modules]
        fits = stored.get("stage") == self.stage.name and wanted == [_shapes(kept) for kept in stored["parameters"]]
        if not fits:
            raise InputError(f"{name} was made with other settings; use another --out or remove it.")
        if stored["frozen"] != self._frozen:
            raise InputError(
                f"{name} builds on other frozen weights than there are now, as an earlier stage was trained again; "
                "start this stage anew, without --resume."
            )
        with torch.no_grad():
            for module, parameters, buffers in zip(modules, stored["parameters"], stored["buffers"], strict=True):
                for own, kept in ((_learned(module), parameters), (dict(module.named_buffers()), buffers)):
                    for key, value in kept.items():
                        own[key].copy_(value)
        for optimiser, kept in zip(self.optimisers, stored["optimisers"], strict=True):
            optimiser.load_state_dict(kept)
        self.ema.load_state_dict(stored["ema"])
        self.ema.to(self.stage.device)
        if self.scaler.is_enabled() and stored["scaler"]:
            self.scaler.load_state_dict(stored["scaler"])
        set_generators(stored["generators"])
        self.step, self.seconds = stored["step"], stored["seconds"]
        self.history = History(stored["history"])
        self._take_share(stored["samples"])

    @cached_property
    def _frozen(self) -> str:
        """Hash of the weights that do not learn, on which those that do depend."""
        digest = hashlib.sha256()
        for name, parameter in self.stage.objective.named_parameters():
            if not parameter.requires_grad:
                digest.update(name.encode())
                digest.update(parameter.detach().cpu().numpy().tobytes())
        return digest.hexdigest()

    def _take_share(self, stored: dict[str, int]) -> None:
        """Divide a step as a memory fallback did, where the settings are the same."""
        while stored["batch"] == self.stage.settings.batch and self.share.batch > stored["micro"]:
            smaller = self.share.smaller()
            assert smaller is not None
            self.share = smaller


def generators(device: torch.device) -> dict[str, Tensor]:
    """States of the global generators that networks may draw from on a device."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_generators(states: dict[str, Tensor]) -> None:
    """Set the global generators back to states of `generators`, as far as their devices are there."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
    if "mps" in states and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])


def modules_of(stage: Stage) -> list[nn.Module]:
    """The modules of a stage that have parameters that learn."""
    return [module for module in (stage.objective, stage.adversary) if module is not None]


def _learned(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}


def _shapes(tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
