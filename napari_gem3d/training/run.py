"""A whole run: prepare, VAE, slice U-Net, volume U-Net, position U-Net, bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from napari_gem3d.bundle import ModelBundle, load_bundle, save_bundle
from napari_gem3d.bundle.conditioning import condition_channels
from napari_gem3d.device import choose_device, choose_precision
from napari_gem3d.errors import InputError
from napari_gem3d.networks import PositionUNet, SliceUNet, SliceVAE, VolumeUNet
from napari_gem3d.training.card import write_card
from napari_gem3d.training.config.loading import save_config
from napari_gem3d.training.config.settings import StageSettings, TrainingConfig
from napari_gem3d.training.data.cache import Cache, prepare
from napari_gem3d.training.loop.loop import train_stage
from napari_gem3d.training.stages.batches import LatentSource, PositionSource, SliceSource, WindowSource
from napari_gem3d.training.stages.diffusion import (
    Denoising,
    DiffusionStage,
    PositionDenoising,
    SliceDenoising,
    WindowDenoising,
)
from napari_gem3d.training.stages.latents import encode_cache, latent_statistics
from napari_gem3d.training.stages.stage import Stage
from napari_gem3d.training.stages.vae import VAEStage, build_vae

SPLITS = ("train", "validation")
STAGES = ("prepare", "vae", "slice", "volume", "position")


class TrainingRun:
    """The run folder, and what each stage does in it.

    ``bundle/`` inside the run always holds the newest result of every stage that has ended.

    Parameters
    ----------
    dataset
        Folder in nnU-Net's raw layout.
    folder
        The run: configuration, plan, split, cache, a folder a stage, and the bundle.
    config
        All settings.
    resume
        Continue stages from their checkpoints.
    say
        Receives messages for people.
    """

    def __init__(
        self,
        dataset: Path,
        folder: Path,
        config: TrainingConfig,
        resume: bool = False,
        say: Callable[[str], None] = print,
    ) -> None:
        self.dataset, self.folder, self.config, self.resume, self.say = dataset, folder, config, resume, say
        self.cache = Cache(folder)
        self.device = choose_device(config.device)
        self.precision = choose_precision(config.precision, self.device)

    @property
    def bundle_folder(self) -> Path:
        """Where the run's bundle is."""
        return self.folder / "bundle"

    def run(self, stage: str) -> bool:
        """Run a stage, or ``all`` in order; returns whether it came to its end.

        Raises
        ------
        InputError
            If the dataset, a setting, or what an earlier stage should have left is not usable.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        save_config(self.config, self.folder / "config.yaml")
        for name in STAGES if stage == "all" else (stage,):
            torch.manual_seed(self.config.seed)
            if not getattr(self, f"_{name}")():
                self.say(f"{name}: stopped and saved; continue with --resume")
                return False
        return True

    def _prepare(self) -> bool:
        prepare(self.dataset, self.folder, self.config, self.say)
        return True

    def _vae(self) -> bool:
        vae = build_vae(self.config.vae)
        plan = self.cache.plan
        if not self._train(VAEStage(vae, self.config.vae, self.cache, self.device, self.precision)):
            return False
        vae.eval().requires_grad_(False)
        if self.config.vae.train_encoder or not plan.latents.mean:
            mean, std = latent_statistics(self.cache, vae)
            latents = plan.latents.model_copy(
                update={
                    "channels": vae.latent_channels,
                    "factor": vae.factor,
                    "unshuffle": vae.unshuffle,
                    "mean": tuple(round(value, 5) for value in mean),
                    "std": tuple(round(value, 5) for value in std),
                }
            )
            plan = plan.model_copy(update={"latents": latents})
            (self.folder / "plan.json").write_text(plan.model_dump_json(indent=2) + "\n", encoding="utf-8")
        vae.set_latent_statistics(plan.latents.mean, plan.latents.std)
        same_latents = not self.config.vae.train_encoder and (self.bundle_folder / "model.json").is_file()
        # Networks that were trained on these latents stay; those that were trained on others go.
        bundle = load_bundle(self.bundle_folder) if same_latents else ModelBundle(plan)
        bundle.plan, bundle.vae = plan, vae
        self._save(bundle)
        encode_cache(self.cache, plan, vae, self.precision, self.say, redo=self.config.vae.train_encoder)
        return True

    def _slice(self) -> bool:
        bundle = self._load("vae")
        plan, settings = bundle.plan, self.config.slice
        if settings.init is not None:
            network = self._start(settings.init, "slice_unet").requires_grad_(True)
        else:
            inputs = plan.latents.channels + condition_channels(plan)
            network = SliceUNet.build(
                inputs,
                plan.latents.channels,
                settings.channels,
                settings.attention,
                settings.layers_per_block,
                settings.head_channels,
                settings.norm_groups,
            )
        sources = [SliceSource(self.cache, plan, split, settings) for split in SPLITS]
        ended = self._diffuse("slice", SliceDenoising(network, plan.schedule), bundle.vae, settings, sources)
        # The volume U-Net that inflates another slice U-Net goes.
        self._save(ModelBundle(plan, vae=bundle.vae, slice_unet=network, position_unet=bundle.position_unet))
        return ended

    def _volume(self) -> bool:
        bundle = self._load("vae", "slice_unet")
        assert bundle.slice_unet is not None
        schedule = bundle.plan.schedule.model_copy(update={"slice_correlation": self.config.schedule.slice_correlation})
        plan = bundle.plan.model_copy(update={"schedule": schedule, "window": self.config.window})
        settings = self.config.volume
        network = VolumeUNet.inflate(bundle.slice_unet)
        if settings.init is not None:
            own = dict(network.volumetric_parameters())
            with torch.no_grad():
                for name, parameter in self._start(settings.init, "volume_unet").volumetric_parameters():
                    own[name].copy_(parameter)
        sources = [WindowSource(self.cache, plan, split, settings) for split in SPLITS]
        ended = self._diffuse("volume", WindowDenoising(network, plan.schedule), bundle.vae, settings, sources)
        bundle.plan, bundle.volume_unet = plan, network
        self._save(bundle)
        return ended

    def _position(self) -> bool:
        bundle = self._load("vae")
        plan, settings = bundle.plan, self.config.position
        if settings.init is not None:
            network = self._start(settings.init, "position_unet").requires_grad_(True)
        else:
            network = PositionUNet.build(
                plan.latents.channels,
                settings.channels,
                settings.attention,
                settings.layers_per_block,
                settings.head_channels,
                settings.norm_groups,
            )
        sources = [PositionSource(self.cache, plan, split) for split in SPLITS]
        ended = self._diffuse("position", PositionDenoising(network, plan.schedule), bundle.vae, settings, sources)
        bundle.position_unet = network
        self._save(bundle)
        return ended

    def _start(self, folder: Path, part: str) -> Any:
        """A network of another bundle to start from; InputError if it has none."""
        network = getattr(load_bundle(folder), part)
        if network is None:
            name = part.replace("_unet", " U-Net")
            raise InputError(f"The bundle {folder} has no {name} to start from; choose another.")
        return network

    def _diffuse(
        self,
        name: str,
        objective: Denoising,
        vae: SliceVAE | None,
        settings: StageSettings,
        sources: Sequence[LatentSource],
    ) -> bool:
        """Train a network on the latents of the cache; returns whether it came to its end."""
        assert vae is not None
        stage = DiffusionStage(name, objective, settings, sources, vae, self.device, self.precision)
        return self._train(stage)

    def _train(self, stage: Stage) -> bool:
        if stage.settings.steps == 0:
            self.say(f"{stage.name}: no steps wanted, used as it starts")
            return True
        folder = self.folder / stage.name
        return train_stage(stage, folder, seed=self.config.seed, resume=self.resume, say=self.say)

    def _load(self, *needed: str) -> ModelBundle:
        if not (self.bundle_folder / "model.json").is_file():
            raise InputError(f"{self.folder} has no VAE yet; run the stages prepare and vae first (or all).")
        bundle = load_bundle(self.bundle_folder)
        for part in needed:
            if getattr(bundle, part) is None:
                raise InputError(
                    f"{self.bundle_folder} has no {part} yet; run the stages in the order {', '.join(STAGES)}."
                )
        return bundle

    def _save(self, bundle: ModelBundle) -> None:
        bundle.card = write_card(bundle.plan, self.folder, self.config)
        save_bundle(bundle, self.bundle_folder)
        self.say(f"bundle: {self.bundle_folder}")
