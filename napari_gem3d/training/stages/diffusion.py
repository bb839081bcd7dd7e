"""The diffusion stages: slice U-Net, volumetric layers of the volume U-Net, position U-Net (paper, section 3.3)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from napari_gem3d.bundle.plan import NoiseSchedule, Plan
from napari_gem3d.device import autocast
from napari_gem3d.networks import PositionUNet, SliceUNet, SliceVAE, VolumeUNet
from napari_gem3d.training.config.settings import StageSettings
from napari_gem3d.training.stages.batches import LatentBatch, LatentSource
from napari_gem3d.training.stages.pictures import save_rows
from napari_gem3d.training.stages.stage import Outcome, rng_of

_VALIDATION_SEED = 20
_VALIDATION_BATCHES = 4
_PREVIEW_STEPS = 10


class Denoising(nn.Module):
    """Mean squared error of what a network predicts (the noise, or v) on noised latents.

    Parameters
    ----------
    network
        What learns, or some of it.
    schedule
        The forward process.
    """

    def __init__(self, network: nn.Module, schedule: NoiseSchedule) -> None:
        super().__init__()
        self.network = network.train()
        self.predicts_v = schedule.prediction_type == "v_prediction"
        self.process = DDPMScheduler(**schedule.diffusers_config())

    @abstractmethod
    def predict(self, x: Tensor, t: Tensor, batch: LatentBatch) -> Tensor:
        """Run the network on noisy latents (N, c, h, w) at timesteps (N,), with the conditions of the batch."""

    @override
    def forward(self, batch: LatentBatch, step: int) -> Outcome:
        del step
        noisy = self.process.add_noise(batch.latents, batch.noise, batch.timesteps)
        target = batch.noise
        if self.predicts_v:
            target = self.process.get_velocity(batch.latents, batch.noise, batch.timesteps)
        prediction = self.predict(noisy, batch.timesteps, batch)
        return Outcome(functional.mse_loss(prediction.float(), target))


class SliceDenoising(Denoising):
    """Stage 1: single slices under their conditions; everything learns."""

    network: SliceUNet

    @override
    def predict(self, x: Tensor, t: Tensor, batch: LatentBatch) -> Tensor:
        return self.network(torch.cat([x, batch.conditions], dim=1), t)


class WindowDenoising(Denoising):
    """Stage 2: windows under their conditions; only the volumetric layers learn, the rest has no gradients."""

    network: VolumeUNet

    def __init__(self, network: VolumeUNet, schedule: NoiseSchedule) -> None:
        super().__init__(network, schedule)
        network.freeze_spatial()

    @override
    def predict(self, x: Tensor, t: Tensor, batch: LatentBatch) -> Tensor:
        return self.network(torch.cat([x, batch.conditions], dim=1), t, num_slices=len(x) // batch.windows)


class PositionDenoising(Denoising):
    """The position U-Net: single slices with nothing but their position."""

    network: PositionUNet

    @override
    def predict(self, x: Tensor, t: Tensor, batch: LatentBatch) -> Tensor:
        return self.network(x, t, (batch.positions + 1) / 2)


class DiffusionStage:
    """A stage that learns to denoise latents.

    Parameters
    ----------
    name
        "slice", "volume" or "position".
    objective
        The network and its loss.
    settings
        Of the stage.
    sources
        Where the samples to learn from and those of the held-out patients come from.
    vae
        Decodes the pictures.
    device, precision
        Where and how the networks run.
    """

    adversary: nn.Module | None = None

    def __init__(
        self,
        name: str,
        objective: Denoising,
        settings: StageSettings,
        sources: Sequence[LatentSource],
        vae: SliceVAE,
        device: torch.device,
        precision: str,
    ) -> None:
        self.name, self.settings = name, settings
        self.source, self.validation = sources
        self.device, self.precision = device, precision
        self.objective, self.vae = objective.to(device), vae.to(device)

    @property
    def plan(self) -> Plan:
        """The plan that the latents were prepared by."""
        return self.source.plan

    def _held_out(self, count: int, index: int = 0) -> LatentBatch:
        """Always the same samples of the held-out patients."""
        rng = rng_of(_VALIDATION_SEED, self.name, index)
        return self.validation.join([self.validation.draw(rng) for _ in range(count)]).to(self.device)

    def validate(self) -> dict[str, float]:
        """Loss on the held-out patients, always with the same slices, timesteps and noise."""
        losses = []
        with torch.no_grad():
            for index in range(_VALIDATION_BATCHES):
                batch = self._held_out(self.settings.batch, index)
                with autocast(self.precision, self.device):
                    losses.append(float(self.objective(batch, 0).loss))
        return {"loss": float(np.mean(losses))}

    @torch.no_grad()
    def picture(self, path: Path) -> None:
        """Write rows of real, generated and informed slices of held-out patients."""
        batch = self._held_out(1 if self.name == "volume" else 12)
        solver = DDIMScheduler(**self.plan.schedule.diffusers_config(), clip_sample=False)
        solver.set_timesteps(_PREVIEW_STEPS)
        x = batch.noise
        for t in solver.timesteps:
            with autocast(self.precision, self.device):
                prediction = self.objective.predict(x, t.expand(len(x)).to(self.device), batch)
            x = solver.step(prediction.float(), t, x).prev_sample
        shown = [batch.latents, x]
        if batch.conditions.shape[1] and self.plan.informed:
            labels = len(self.plan.labels)
            shown.append(batch.conditions[:, labels : labels + self.plan.latents.channels])
        save_rows([self.vae.decode(latents)[:, 0].float().cpu().numpy() for latents in shown], path)
