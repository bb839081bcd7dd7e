"""The diffusion stages: slice U-Net, volumetric layers of the volume U-Net, position U-Net (paper, section 3.3)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from napari_gem3d.bundle.plan import Plan
from napari_gem3d.device import autocast
from napari_gem3d.networks import SliceVAE, VolumeUNet
from napari_gem3d.sampling.noise import correlated_noise
from napari_gem3d.training.config.settings import StageSettings, VolumeSettings
from napari_gem3d.training.stages.latents import Batch, LatentBatches
from napari_gem3d.training.stages.pictures import save_rows

_VALIDATION_SEED = 20
_VALIDATION_BATCHES = 4
_PREVIEW_STEPS = 10


class DiffusionStage(ABC):
    """What both stages share: the forward process, the loss, validation on fixed noise.

    Parameters
    ----------
    network
        What learns, or some of it.
    plan
        Noise schedule, window, label table.
    settings
        Of the stage.
    train, validation
        Where batches come from.
    vae
        Decodes the pictures.
    device, precision
        Where and how the networks run.
    """

    name = ""

    def __init__(
        self,
        network: nn.Module,
        plan: Plan,
        settings: StageSettings,
        train: LatentBatches,
        validation: LatentBatches,
        vae: SliceVAE,
        device: torch.device,
        precision: str,
    ) -> None:
        self.plan, self.settings = plan, settings
        self.train, self.validation = train, validation
        self.vae, self.device, self.precision = vae.to(device), device, precision
        self.network = network.to(device).train()
        config = plan.schedule.diffusers_config()
        self.process = DDPMScheduler(**config)
        self.preview = DDIMScheduler(**config, clip_sample=False)

    def parameters(self) -> list[nn.Parameter]:
        """The parameters that learn, by default all."""
        return list(self.network.parameters())

    @abstractmethod
    def draw(self, source: LatentBatches, rng: np.random.Generator, count: int) -> Batch:
        """Draw a batch."""

    @abstractmethod
    def predict(self, x: Tensor, t: Tensor, batch: Batch) -> Tensor:
        """Run the network on noisy latents (N, c, h, w) at timesteps (N,), with the conditions of the batch."""

    def noise(self, batch: Batch, generator: torch.Generator | None) -> Tensor:
        """Noise (N, c, h, w) for a batch, independent for every slice."""
        return torch.randn(*batch.latents.shape, generator=generator)

    def timesteps(self, batch: Batch, generator: torch.Generator | None) -> Tensor:
        """Timesteps (N,) for a batch, each slice its own."""
        return torch.randint(self.plan.schedule.num_train_timesteps, (len(batch.latents),), generator=generator)

    def loss(
        self, rng: np.random.Generator, step: int, batch: Batch | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, float]]:
        """Mean squared error of the prediction (the noise, or v); draws a training batch if none is given."""
        batch = batch or self.draw(self.train, rng, self.settings.batch)
        noise = self.noise(batch, generator).to(self.device)
        t = self.timesteps(batch, generator).to(self.device)
        latents = batch.latents.to(self.device)
        noisy = self.process.add_noise(latents, noise, t)
        is_v = self.plan.schedule.prediction_type == "v_prediction"
        target = self.process.get_velocity(latents, noise, t) if is_v else noise
        with autocast(self.precision, self.device):
            prediction = self.predict(noisy, t, batch)
        return functional.mse_loss(prediction.float(), target), {}

    def validate(self) -> dict[str, float]:
        """Loss on the held-out patients, always with the same slices, timesteps and noise."""
        rng, generator = np.random.default_rng(_VALIDATION_SEED), torch.Generator().manual_seed(_VALIDATION_SEED)
        batches = [self.draw(self.validation, rng, self.settings.batch) for _ in range(_VALIDATION_BATCHES)]
        return {"loss": float(np.mean([float(self.loss(rng, 0, batch, generator)[0]) for batch in batches]))}

    def picture(self, path: Path) -> None:
        """Write rows of real, generated and informed slices of held-out patients."""
        rng, generator = np.random.default_rng(_VALIDATION_SEED), torch.Generator().manual_seed(_VALIDATION_SEED)
        batch = self.draw(self.validation, rng, self.preview_count)
        x = self.noise(batch, generator).to(self.device)
        self.preview.set_timesteps(_PREVIEW_STEPS)
        for t in self.preview.timesteps:
            with autocast(self.precision, self.device):
                prediction = self.predict(x, t.expand(len(x)).to(self.device), batch)
            x = self.preview.step(prediction.float(), t, x).prev_sample
        shown = (batch.latents.to(self.device), x, *self.informed(batch))
        save_rows([self.vae.decode(latents)[:, 0].float().cpu().numpy() for latents in shown], path)

    preview_count = 12

    def informed(self, batch: Batch) -> tuple[Tensor, ...]:
        """The latents of the informed slices (N, c, h, w), a third row of the picture."""
        labels = len(self.plan.labels)
        return (batch.conditions[:, labels : labels + self.plan.latents.channels].to(self.device),)

    def with_conditions(self, x: Tensor, batch: Batch) -> Tensor:
        """Noisy latents followed by the condition channels."""
        return torch.cat([x, batch.conditions.to(self.device)], dim=1)

    def extra_state(self) -> dict[str, Any]:
        """Nothing but the network has a state."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Nothing but the network has a state."""
        del state


class SliceStage(DiffusionStage):
    """Stage 1: single slices of many patients, each with its own timestep; everything learns."""

    name = "slice"

    @override
    def draw(self, source: LatentBatches, rng: np.random.Generator, count: int) -> Batch:
        return source.slices(rng, count)

    @override
    def predict(self, x: Tensor, t: Tensor, batch: Batch) -> Tensor:
        prediction: Tensor = self.network(self.with_conditions(x, batch), t)
        return prediction


class VolumeStage(DiffusionStage):
    """Stage 2: windows with one timestep each; only the volumetric layers learn, the rest has no gradients."""

    name = "volume"
    preview_count = 1
    network: VolumeUNet

    def __init__(self, network: VolumeUNet, plan: Plan, settings: VolumeSettings, *args: Any) -> None:
        super().__init__(network, plan, settings, *args)
        self.edge_share = settings.edge_share
        network.freeze_spatial()

    @override
    def parameters(self) -> list[nn.Parameter]:
        return [parameter for _, parameter in self.network.volumetric_parameters()]

    @override
    def draw(self, source: LatentBatches, rng: np.random.Generator, count: int) -> Batch:
        return source.windows(rng, count, min(self.plan.window, source.shortest), self.edge_share)

    @override
    def predict(self, x: Tensor, t: Tensor, batch: Batch) -> Tensor:
        prediction: Tensor = self.network(self.with_conditions(x, batch), t, num_slices=len(x) // batch.windows)
        return prediction

    @override
    def noise(self, batch: Batch, generator: torch.Generator | None) -> Tensor:
        return correlated_noise(batch.latents.shape, self.plan.schedule.slice_correlation, batch.windows, generator)

    @override
    def timesteps(self, batch: Batch, generator: torch.Generator | None) -> Tensor:
        t = torch.randint(self.plan.schedule.num_train_timesteps, (batch.windows,), generator=generator)
        return t.repeat_interleave(len(batch.latents) // batch.windows)


class PositionStage(DiffusionStage):
    """The position U-Net: single slices of many patients, each with its own timestep and nothing but its position."""

    name = "position"

    @override
    def draw(self, source: LatentBatches, rng: np.random.Generator, count: int) -> Batch:
        return source.positions(rng, count)

    @override
    def predict(self, x: Tensor, t: Tensor, batch: Batch) -> Tensor:
        prediction: Tensor = self.network(x, t, (batch.positions.to(self.device) + 1) / 2)
        return prediction

    @override
    def informed(self, batch: Batch) -> tuple[Tensor, ...]:
        return ()
