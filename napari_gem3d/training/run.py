"""A whole run: prepare, VAE, slice U-Net, volume U-Net, position U-Net, bundle."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from filelock import BaseFileLock, FileLock, Timeout
from torch import Tensor

from napari_gem3d.bundle import ModelBundle, Plan, load_bundle
from napari_gem3d.bundle.store import find_bundle
from napari_gem3d.device import choose_precision
from napari_gem3d.errors import InputError, OutputError
from napari_gem3d.networks import SliceVAE
from napari_gem3d.training.card import stage_facts, write_card
from napari_gem3d.training.check import put_bundle
from napari_gem3d.training.config.geometry import latent_geometry, size_step, vae_folder
from napari_gem3d.training.config.loading import save_config
from napari_gem3d.training.config.settings import DenoisingSettings, TrainingConfig
from napari_gem3d.training.data.cache import Cache
from napari_gem3d.training.data.planning import beside_data
from napari_gem3d.training.data.prepare import prepare
from napari_gem3d.training.loop.loop import train_stage
from napari_gem3d.training.loop.processes import connect, is_main, once, wait
from napari_gem3d.training.record import (
    NETWORKS,
    PART_OF,
    STAGES,
    UPSTREAM,
    Action,
    Records,
    StageRecord,
    changes,
    decide,
    described,
    stage_settings,
)
from napari_gem3d.training.stages.batches import LatentSource, PositionSource, SliceSource, WindowSource
from napari_gem3d.training.stages.diffusion import (
    Denoising,
    DiffusionStage,
    PositionDenoising,
    SliceDenoising,
    WindowDenoising,
)
from napari_gem3d.training.stages.latents import encode_cache, latent_key, latent_statistics
from napari_gem3d.training.stages.stage import Stage
from napari_gem3d.training.stages.vae import VAEStage
from napari_gem3d.training.warmstart import start_position_unet, start_slice_unet, start_vae, start_volume_unet

SPLITS = ("train", "monitor")


class TrainingRun:
    """The run folder, and what each stage does in it.

    ``bundle/`` inside the run always holds the newest result of every stage that has ended, checked by generating with
    it. ``run.json`` records what each stage was done with, so that a finished one is recognised, and one that no
    longer fits is told rather than trained over.

    Parameters
    ----------
    dataset
        Folder in nnU-Net's raw layout, or a CSV of image and label paths.
    folder
        The run: configuration, plan, split, cache, a folder a stage, and the bundle.
    config
        All settings.
    resume
        Skip stages that are finished, continue others from their checkpoints.
    say
        Receives messages for people.
    overwrite
        Train stages anew that were done before; with `resume` only those that no longer fit.
    skip_broken
        Leave patients out whose files cannot be used.

    Raises
    ------
    InputError
        If the device, the precision or a model to start from is not there.
    """

    def __init__(
        self,
        dataset: Path,
        folder: Path,
        config: TrainingConfig,
        resume: bool = False,
        say: Callable[[str], None] = print,
        overwrite: bool = False,
        skip_broken: bool = False,
    ) -> None:
        self.dataset, self.folder, self.config = dataset, folder, config
        self.resume, self.overwrite, self.skip_broken = resume, overwrite, skip_broken
        self.cache = Cache(folder)
        self.device = connect(config.device)
        self.say = say if is_main() else _nothing
        self.precision = choose_precision(config.precision, self.device)
        if self.precision == "float16" and self.device.type != "cuda":
            raise InputError(f"float16 trains on cuda alone, not on {self.device.type}; set precision to auto.")
        if config.init is not None:
            find_bundle(config.init)
        latent_geometry(config)

    @property
    def bundle_folder(self) -> Path:
        """Where the run's bundle is."""
        return self.folder / "bundle"

    def run(self, stage: str) -> bool:
        """Run a stage, or ``all`` in order; returns whether it came to its end.

        Nothing is written before it is decided what to do about every stage.

        Raises
        ------
        InputError
            If the dataset, a setting, or what an earlier stage should have left is not usable; if a stage was done
            before and neither `resume` nor `overwrite` says what to do about it.
        """
        wanted = STAGES if stage == "all" else (stage,)
        self._check_folder()
        self.records = Records(self.folder)
        actions = decide(self.records, self.config, wanted, self.resume, self.overwrite)
        if stage == "prepare" and self.overwrite:
            actions[stage] = "anew"
        for name in wanted:
            self._check_upstream(name, wanted)
        wait()  # what others still read must not change
        lock = FileLock(self.folder / "run.lock", timeout=0)
        once(lambda: self._take(lock))
        try:
            once(self._write_config)
            for name in wanted:
                torch.manual_seed(self.config.seed)
                if not self._run(name, actions[name]):
                    self.say(f"{name}: stopped and saved; the same command with --resume goes on")
                    return False
            return True
        finally:
            lock.release()

    def _run(self, name: str, action: Action) -> bool:
        if name == "prepare":
            once(lambda: self._prepare(action))
            return True
        if action == "skip":
            self.say(f"{name}: finished before, skipped")
            return True
        if name != "vae":
            self.cache.check()
        ended: bool = getattr(self, f"_{name}")(action)
        return ended

    def _check_folder(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder} is a file; give a folder with --out.")

    def _check_upstream(self, name: str, wanted: Sequence[str]) -> None:
        """InputError unless what a stage builds on is finished or done before it."""
        above = UPSTREAM.get(name, "")
        if not above or above in wanted:
            return
        record = self.records.get(above)
        if record is not None and not record.finished:
            raise InputError(f"The stage {above}, which {name} builds on, is not finished; run it with --resume first.")
        self._load("vae", *(("slice_unet",) if above == "slice" else ()))

    def _take(self, lock: BaseFileLock) -> None:
        """Make the folder, for this training alone; the lock is the system's and ends with the process."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise InputError(
                f"Another training runs in {self.folder}; wait for its end, or give another folder with --out."
            ) from None
        except OSError as error:
            raise OutputError(f"The folder {self.folder} cannot be made ({error.strerror}); choose another.") from error

    def _write_config(self) -> None:
        save_config(self.config, self.folder / "config.yaml")

    def _prepare(self, action: Action) -> None:
        if action == "anew":
            (self.folder / "plan.json").unlink(missing_ok=True)
        prepare(self.dataset, self.folder, self.config, self.say, skip_broken=self.skip_broken)

    def _begin(self, name: str, action: Action) -> None:
        """Record what a stage begins with, and clear what it does not go on from."""
        record = self.records.get(name)
        if action == "continue" and record is not None:
            changed = changes(record, self.config, name)
            if changed:
                self.say(f"{name}: goes on with other settings than it began with ({described(changed)})")
            if record.finished and not changed:
                return  # only its result is missing
        else:
            shutil.rmtree(self.folder / name, ignore_errors=True)
        upstream = "" if name == "vae" else self._upstream(name)
        self.records.write(name, StageRecord(settings=stage_settings(self.config, name), upstream=upstream))

    def _upstream(self, name: str) -> str:
        bundle = self._load("vae")
        if UPSTREAM[name] == "vae":
            assert bundle.vae is not None
            return latent_key(bundle.vae)
        return "" if bundle.slice_unet is None else _weights_key(bundle.slice_unet.unet.state_dict())

    def _plan(self) -> Plan:
        """The plan of the data with what the settings say of the networks and of sampling."""
        return self.cache.plan.model_copy(update=beside_data(self.config))

    def _vae(self, action: Action) -> bool:
        plan = self._plan()
        self._check_size(plan)
        bundle = self._bundle()
        # To polish the decoder is to go on with the VAE that is there.
        polishing = not self.config.vae.train_encoder and self.config.vae.init is None
        own = bundle.vae if polishing and bundle is not None else None
        if polishing and own is None and vae_folder(self.config) is None:
            raise InputError(
                "The setting vae.train_encoder=false polishes the decoder of a VAE, but there is none; train one "
                "first, or give one with --vae."
            )
        vae = own or start_vae(self.config, self.say)
        stage = VAEStage(vae.requires_grad_(True), self.config.vae, self.cache, self.device, self.precision, self.say)
        if not self._train(stage, action):
            return False
        once(lambda: self._keep_vae(vae, plan))
        return True

    def _check_size(self, plan: Plan) -> None:
        """InputError if the cache was made for another VAE, or for U-Nets of fewer levels."""
        step, factor = size_step(self.config), latent_geometry(self.config).factor
        if plan.latents.factor != factor or any(length % step for length in plan.size):
            raise InputError(
                f"plan.json has slices of {plan.size[0]}×{plan.size[1]} for latents of {plan.latents.factor} voxels, "
                f"but the networks need multiples of {step} and latents of {factor}; run prepare with the same "
                "settings and --overwrite."
            )

    def _keep_vae(self, vae: SliceVAE, plan: Plan) -> None:
        """Put the VAE into the plan, the bundle and, by its latents, the cache."""
        # The bundle has half precision; the latents that others learn from are those of its VAE.
        vae.half().float().eval().requires_grad_(False)
        before = self._bundle()
        latents = plan.latents if before is None else before.plan.latents
        fresh = self.config.vae.train_encoder or len(latents.mean) != vae.latent_channels
        if fresh:
            statistics = latent_statistics(self.cache, vae, self.precision)
            mean, std = (tuple(round(value, 5) for value in values) for values in statistics)
            latents = plan.latents.model_copy(update={**latent_geometry_of(vae), "mean": mean, "std": std})
        plan = plan.model_copy(update={"latents": latents})
        vae.set_latent_statistics(latents.mean, latents.std)
        same = before is not None and before.vae is not None and latent_key(before.vae) == latent_key(vae)
        # Networks that were trained on these latents stay; those that were trained on others go.
        bundle = before if same and before is not None else ModelBundle(plan)
        if before is not None and not same:
            self._say_dropped(before, ("slice_unet", "volume_unet", "position_unet"))
        bundle.plan, bundle.vae = plan, vae
        encode_cache(self.cache, vae, self.precision, self.say)
        self._finish("vae", bundle, latent_key(vae))

    def _slice(self, action: Action) -> bool:
        bundle, settings = self._load("vae"), self.config.slice
        plan = self._plan().model_copy(update={"latents": bundle.plan.latents})
        network = start_slice_unet(self.config, plan, self.say)
        key = self._latents(bundle)
        sources = [SliceSource(self.cache, plan, split, settings, key) for split in SPLITS]
        if not self._diffuse("slice", SliceDenoising(network, plan.schedule, settings), bundle, sources, action):
            return False
        # The volume U-Net that inflates another slice U-Net goes.
        self._say_dropped(bundle, ("volume_unet",))
        result = ModelBundle(plan, vae=bundle.vae, slice_unet=network, position_unet=bundle.position_unet)
        once(lambda: self._finish("slice", result, _weights_key(network.unet.state_dict())))
        return True

    def _volume(self, action: Action) -> bool:
        bundle, settings = self._load("vae", "slice_unet"), self.config.volume
        assert bundle.slice_unet is not None
        plan = self._plan().model_copy(update={"latents": bundle.plan.latents})
        network = start_volume_unet(self.config, bundle.slice_unet, self.say)
        key = self._latents(bundle)
        sources = [WindowSource(self.cache, plan, split, settings, key) for split in SPLITS]
        if not self._diffuse("volume", WindowDenoising(network, plan.schedule, settings), bundle, sources, action):
            return False
        bundle.plan, bundle.volume_unet = plan, network
        learned = dict(network.volumetric_parameters())
        if settings.train_spatial:
            bundle.slice_unet.load_state_dict(network.spatial_state())
            learned = dict(network.named_parameters())
        once(lambda: self._finish("volume", bundle, _weights_key(learned)))
        return True

    def _position(self, action: Action) -> bool:
        bundle, settings = self._load("vae"), self.config.position
        plan = bundle.plan
        network = start_position_unet(self.config, plan, self.say)
        key = self._latents(bundle)
        sources = [PositionSource(self.cache, plan, split, settings, key) for split in SPLITS]
        if not self._diffuse("position", PositionDenoising(network, plan.schedule, settings), bundle, sources, action):
            return False
        bundle.position_unet = network
        once(lambda: self._finish("position", bundle, _weights_key(network.unet.state_dict())))
        return True

    def _latents(self, bundle: ModelBundle) -> str:
        """Make sure of the latents that the bundle's VAE makes; returns their key."""
        vae = bundle.vae
        assert vae is not None
        vae.to(self.device)
        once(lambda: encode_cache(self.cache, vae, self.precision, self.say))
        return latent_key(vae)

    def _diffuse(
        self, name: str, objective: Denoising, bundle: ModelBundle, sources: Sequence[LatentSource], action: Action
    ) -> bool:
        """Train a network on the latents of the cache; returns whether it came to its end."""
        assert bundle.vae is not None
        settings: DenoisingSettings = getattr(self.config, name)
        stage = DiffusionStage(name, objective, settings, sources, bundle.vae, self.device, self.precision, self.say)
        return self._train(stage, action)

    def _train(self, stage: Stage, action: Action) -> bool:
        # Not before all that the stage needs is found to fit.
        once(lambda: self._begin(stage.name, action))
        if stage.settings.steps == 0:
            self.say(f"{stage.name}: no steps wanted, used as it starts")
            return True
        resume = action == "continue"
        return train_stage(stage, self.folder / stage.name, seed=self.config.seed, resume=resume, say=self.say)

    def _bundle(self) -> ModelBundle | None:
        return load_bundle(self.bundle_folder) if (self.bundle_folder / "model.json").is_file() else None

    def _load(self, *needed: str) -> ModelBundle:
        bundle = self._bundle()
        if bundle is None:
            raise InputError(f"{self.folder} has no VAE yet; run the stages prepare and vae first (or all).")
        for part in needed:
            if getattr(bundle, part) is None:
                raise InputError(
                    f"{self.bundle_folder} has no {part} yet; run the stages in the order {', '.join(STAGES)}."
                )
        return bundle

    def _say_dropped(self, bundle: ModelBundle, parts: Sequence[str]) -> None:
        gone = [stage for stage in NETWORKS if PART_OF[stage] in parts and getattr(bundle, PART_OF[stage]) is not None]
        if gone:
            self.say(f"bundle: drops {', '.join(gone)}, trained on what has just been replaced; train anew")

    def _finish(self, name: str, bundle: ModelBundle, result: str) -> None:
        """Check the bundle with a stage's new result, put it in place, and record that the stage is finished."""
        record = self.records.get(name)
        assert record is not None, "stages are recorded when they begin"
        network = getattr(bundle, PART_OF[name])
        facts = stage_facts(self.folder / name, network, getattr(self.config, name), self.device, self.precision)
        done = record.model_copy(update={"result": result, "finished": True, "facts": facts})
        records = {stage: self.records.get(stage) for stage in NETWORKS} | {name: done}
        card = lambda checked: write_card(bundle, self.cache, self.config, records, checked)  # noqa: E731
        put_bundle(bundle, self.bundle_folder, self.cache, self.device, self.precision, card)
        self.records.write(name, done)
        self.say(f"bundle: {self.bundle_folder}")


def latent_geometry_of(vae: SliceVAE) -> dict[str, int]:
    """Shape of a VAE's latents, in the words of the plan."""
    return {"channels": vae.latent_channels, "factor": vae.factor, "unshuffle": vae.unshuffle}


def _weights_key(tensors: Mapping[str, Tensor]) -> str:
    """A short hash of weights as a bundle stores them."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode() + tensor.detach().cpu().half().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _nothing(message: str) -> None:
    """Say nothing: another process speaks."""
