"""The diffusion stages: slice U-Net, volumetric layers of the volume U-Net, position U-Net (paper, section 3.3)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from napari_gem3d.bundle.conditioning import first_informed
from napari_gem3d.bundle.plan import NoiseSchedule, Plan
from napari_gem3d.device import autocast
from napari_gem3d.errors import InputError
from napari_gem3d.networks import PositionUNet, SliceUNet, SliceVAE, VolumeUNet
from napari_gem3d.training.config.settings import DenoisingSettings, VolumeSettings
from napari_gem3d.training.stages.batches import InformedSource, LatentBatch, LatentSource, WindowSource
from napari_gem3d.training.stages.pictures import save_rows
from napari_gem3d.training.stages.stage import Outcome, rng_of
from napari_gem3d.training.stages.timesteps import loss_weights
from napari_gem3d.training.stages.volumes import draw_planes, sample_volume

_VALIDATION_SEED = 20
# Slices, and windows, of a validation: as many in every quarter of the timesteps.
_VALIDATED_SLICES, _VALIDATED_WINDOWS = 64, 16
_VALIDATED_TOGETHER = 16
_QUARTERS = 4
_PREVIEW_SLICES, _PREVIEW_STEPS = 12, 10


class Denoising(nn.Module):
    """Mean squared error of what a network predicts (the noise, or v) on noised latents.

    Parameters
    ----------
    network
        What learns, or some of it.
    schedule
        The forward process.
    settings
        How timesteps count.
    """

    def __init__(self, network: nn.Module, schedule: NoiseSchedule, settings: DenoisingSettings) -> None:
        super().__init__()
        self.network = network.train()
        self.schedule, self.settings = schedule, settings
        self.process = DDPMScheduler(**schedule.diffusers_config())

    @abstractmethod
    def predict(self, x: Tensor, t: Tensor, batch: LatentBatch) -> Tensor:
        """Run the network on noisy latents (N, c, h, w) at timesteps (N,), with the conditions of the batch."""

    def errors(self, batch: LatentBatch) -> Tensor:
        """Mean squared error of every slice, (N,) float32, all timesteps alike."""
        noisy = self.process.add_noise(batch.latents, batch.noise, batch.timesteps)
        target = batch.noise
        if self.schedule.prediction_type == "v_prediction":
            target = self.process.get_velocity(batch.latents, batch.noise, batch.timesteps)
        prediction = self.predict(noisy, batch.timesteps, batch)
        return functional.mse_loss(prediction.float(), target, reduction="none").mean(dim=(1, 2, 3))

    @override
    def forward(self, batch: LatentBatch, step: int) -> Outcome:
        del step
        errors = self.errors(batch)
        signal = self.process.alphas_cumprod.to(errors.device)[batch.timesteps]
        loss = (errors * loss_weights(signal, self.schedule, self.settings)).mean()
        weighted = self.settings.timestep_weighting == "min_snr"
        return Outcome(loss, {"unweighted": errors.detach().mean()} if weighted else {})


class SliceDenoising(Denoising):
    """Stage 1: single slices under their conditions; everything learns."""

    network: SliceUNet

    @override
    def predict(self, x: Tensor, t: Tensor, batch: LatentBatch) -> Tensor:
        return self.network(torch.cat([x, batch.conditions], dim=1), t)


class WindowDenoising(Denoising):
    """Stage 2: windows under their conditions; only the volumetric layers learn, the rest has no gradients.

    With ``train_spatial`` all of it learns.
    """

    network: VolumeUNet

    def __init__(self, network: VolumeUNet, schedule: NoiseSchedule, settings: VolumeSettings) -> None:
        super().__init__(network, schedule, settings)
        if settings.train_spatial:
            network.requires_grad_(True)
        else:
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
    say
        Receives messages for people.
    """

    adversary: nn.Module | None = None

    def __init__(
        self,
        name: str,
        objective: Denoising,
        settings: DenoisingSettings,
        sources: Sequence[LatentSource],
        vae: SliceVAE,
        device: torch.device,
        precision: str,
        say: Callable[[str], None] = print,
    ) -> None:
        self.name, self.settings = name, settings
        self.source, self.validation = sources
        self.device, self.precision, self.say = device, precision, say
        self.objective, self.vae = objective.to(device), vae.to(device)
        if isinstance(self.source, WindowSource) and self.source.left_out:
            few = ", ".join(self.source.left_out)
            say(f"{name}: patients with fewer than {self.source.length} slices are left out: {few}")

    @property
    def plan(self) -> Plan:
        """The plan that the latents were prepared by."""
        return self.source.plan

    def _held_out(self, count: int) -> Iterator[LatentBatch]:
        """Always the same samples of the held-out patients, their timesteps evenly spread from first to last."""
        for index in range(count):
            sample = self.validation.draw(rng_of(_VALIDATION_SEED, self.name, index))
            timestep = int((index + 0.5) / count * self.plan.schedule.num_train_timesteps)
            yield replace(sample, timesteps=torch.full_like(sample.timesteps, timestep))

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Mean squared error on the held-out patients, always with the same slices, timesteps and noise.

        Neither the weighting of timesteps nor the batch changes it, so runs on the same data and schedule compare.

        Returns
        -------
        dict
            ``loss``, the mean over all timesteps, and ``loss_q1`` to ``loss_q4``, that over each quarter of them: q1,
            the least noise, is about texture; q4, the most, about what anatomy follows from the conditions. Where the
            plan has tissue labels ``loss_plain`` is that of label maps without them.
        """
        quarters = self._losses()
        figures = {f"loss_q{number}": quarter for number, quarter in enumerate(quarters, start=1)}
        if self.plan.fine and self.plan.labels.tissues and isinstance(self.validation, InformedSource):
            self.validation.knowledge = "none"
            try:
                figures["loss_plain"] = sum(self._losses()) / _QUARTERS
            finally:
                self.validation.knowledge = "all"
        return {"loss": sum(quarters) / _QUARTERS, **figures}

    def _losses(self) -> list[float]:
        """Mean squared error on the held-out patients in each quarter of the timesteps."""
        count = _VALIDATED_WINDOWS if self.name == "volume" else _VALIDATED_SLICES
        samples, errors = list(self._held_out(count)), []
        together = max(1, _VALIDATED_TOGETHER // len(samples[0].latents))
        for start in range(0, count, together):
            batch = self.validation.join(samples[start : start + together]).to(self.device)
            with autocast(self.precision, self.device):
                errors.append(self.objective.errors(batch).unflatten(0, (batch.windows, -1)).mean(dim=1).cpu())
        quarters: list[float] = torch.cat(errors).view(_QUARTERS, -1).mean(dim=1).tolist()
        return quarters

    @torch.no_grad()
    def picture(self, path: Path) -> None:
        """Write rows of real and generated slices of held-out patients, and of informed slices where there are."""
        samples = list(self._held_out(1 if self.name == "volume" else _PREVIEW_SLICES))
        samples.sort(key=lambda sample: float(sample.positions[0]))
        batch = self.validation.join(samples).to(self.device)
        solver = DDIMScheduler(**self.plan.schedule.diffusers_config(), clip_sample=False)
        solver.set_timesteps(_PREVIEW_STEPS)
        x = batch.noise
        for t in solver.timesteps:
            with autocast(self.precision, self.device):
                prediction = self.objective.predict(x, t.expand(len(x)).to(self.device), batch)
            x = solver.step(prediction.float(), t, x).prev_sample
        shown = [batch.latents, x]
        if batch.conditions.shape[1] and self.plan.informed:
            first = first_informed(self.plan)
            shown.append(batch.conditions[:, first : first + self.plan.latents.channels])
        try:
            with autocast(self.precision, self.device):
                rows = [self.vae.decode(latents)[:, 0].float().cpu().numpy() for latents in shown]
        except InputError as error:  # a picture is not worth a run
            self.say(f"no sample slices ({error}); training goes on")
        else:
            save_rows(rows, path)

    def planes(self, path: Path) -> None:
        """Write a PNG of a held-out patient and, below, of the volume drawn for its label map and middle slice.

        The position U-Net draws no volumes: nothing is written. In the slice stage the volume is drawn slice by slice,
        by the volume U-Net that the slice U-Net would start stage 2 as. What goes wrong is said, not raised.
        """
        network, cache, patient = self.objective.network, self.validation.cache, self.validation.patients[0]
        if not isinstance(network, SliceUNet | VolumeUNet):
            return

        def sampled() -> NDArray[np.float32]:
            return sample_volume(cache, self.plan, patient, network, self.vae, self.device, self.precision)

        draw_planes(cache, self.plan, patient.name, sampled, path, self.say)
