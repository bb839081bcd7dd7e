"""The plan of a bundle: everything that was decided about the data and the diffusion, travelling with the weights."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_serializer, field_validator, model_validator

from napari_gem3d.labels import UNKNOWN, LabelTable

# Rows or columns of a slice.
_LONGEST = 4096
# Standard deviations of latents that float32 can divide and multiply by.
_DEVIATIONS = (1e-6, 1e6)


class Part(BaseModel):
    """Base of the plan's parts: immutable, and refusing fields it does not know and NaN or infinite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class IntensityScheme(Part):
    """How intensities become [-1, 1].

    ``percentile`` (MR): 0, or where a scan's intensities begin, up to a percentile of the foreground's voxels;
    ``window`` (CT): from ``low`` to ``high`` HU; ``minmax`` (imported weights): from the scan's lowest to its highest
    voxel.
    """

    kind: Literal["percentile", "window", "minmax"] = "percentile"
    percentile: float = Field(99.5, gt=0, le=100, description="Upper end, percentile of the foreground (MR).")
    low_end: Literal["zero", "scan"] = Field(
        "zero",
        description="Whether all scans of the training began at 0, or some elsewhere, as z-scores do (MR). Every scan "
        "that is drawn from begins where its own data say.",
    )
    low: float = Field(-1000.0, description="Lower end in HU (CT).")
    high: float = Field(1000.0, description="Upper end in HU (CT).")
    outside: Literal["low", "mean"] = Field(
        "low", description="What networks see outside the body: the lower end, or the mean of the body (imported)."
    )

    @model_validator(mode="after")
    def _ordered(self) -> IntensityScheme:
        if self.low >= self.high:
            raise ValueError("the intensity window needs low < high")
        return self


class NoiseSchedule(Part):
    """The forward process of diffusion, in the words of the ``diffusers`` schedulers."""

    num_train_timesteps: int = Field(1000, ge=2, le=100_000, description="Steps of the forward process.")
    beta_start: float = Field(0.00085, gt=0, lt=1, description="Variance of the noise of the first step.")
    beta_end: float = Field(0.012, gt=0, lt=1, description="Variance of the noise of the last step.")
    beta_schedule: Literal["scaled_linear", "linear"] = Field(
        "scaled_linear", description="What rises linearly in between: the variance's root, or the variance."
    )
    prediction_type: Literal["epsilon", "v_prediction"] = Field(
        "v_prediction", description="What the networks predict: the noise, or v."
    )
    rescale_betas_zero_snr: bool = Field(True, description="Zero signal at the last timestep (needs v-prediction).")
    timestep_spacing: Literal["trailing", "leading", "linspace"] = Field(
        "trailing", description="Which of the steps a solver of fewer visits; trailing ones start at the last."
    )
    set_alpha_to_one: bool = Field(True, description="DDIM ends at clean latents, not at the level of timestep 0.")
    slice_correlation: float = Field(
        0.0, ge=0, lt=1, description="Correlation ρ of the noise of neighbouring slices, in windows and volumes."
    )
    slice_decay: Literal["exponential", "gaussian"] = Field(
        "exponential", description="Correlation of the noise of slices that are d apart: ρ ^ d, or ρ ^ d²."
    )

    def diffusers_config(self) -> dict[str, Any]:
        """Keyword arguments that every ``diffusers`` scheduler of this process shares."""
        return {
            **self.model_dump(exclude={"slice_correlation", "slice_decay", "set_alpha_to_one"}),
            "steps_offset": 1 if self.timestep_spacing == "leading" else 0,
        }

    @model_validator(mode="after")
    def _zero_snr_needs_v(self) -> NoiseSchedule:
        if self.rescale_betas_zero_snr and self.prediction_type == "epsilon":
            raise ValueError("zero terminal SNR needs prediction_type 'v_prediction'")
        return self


class LatentSpace(Part):
    """What surrounds the VAE: pixel-unshuffle, and the statistics that bring latents to unit scale."""

    channels: int = Field(8, ge=1, le=1024)
    factor: int = Field(8, ge=1, le=64, description="Voxels a latent spans along rows and along columns.")
    unshuffle: int = Field(2, ge=1, le=64)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> LatentSpace:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values and len(values) != self.channels:
                raise ValueError(f"latent {name} needs one value for each of the {self.channels} channels")
        low, high = _DEVIATIONS
        if not all(low <= value <= high for value in self.std):
            raise ValueError(f"every latent's standard deviation must be from {low:g} to {high:g}")
        return self


class GreyLabels(Part):
    """The label map as a grey picture, 2 · code / ``highest`` − 1: the scheme of imported weights."""

    codes: tuple[int, ...] = Field(description="Code of each label of the table, in its order.")
    outside: int = Field(0, description="Code of voxels without a label.")
    highest: int = Field(ge=1, description="The code that becomes 1; 0 becomes -1.")


class Plan(Part):
    """The contents of ``model.json``.

    Lengths are in mm, ``size`` is (rows, columns) = (Y, X) of a canonical (RAS) axial slice in voxels of ``spacing``
    = (Z, Y, X). ``conditioning`` names the scheme by which label maps and informed slices become channels, see
    `napari_gem3d.bundle.conditioning`; ``fine`` and ``labels``, without informed slice, are the Make-A-Volume baseline.

    ``framing`` says what of a scan becomes a slice: ``crop``, a box of ``size`` voxels of ``spacing`` about the body;
    ``stretch``, the box that just holds the body, or ``field``, the whole field of view, either squashed to ``size``,
    with the slices that the scan has and whatever its spacing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)

    format: Literal["napari-gem3d bundle"] = "napari-gem3d bundle"
    format_version: Literal[1] = 1
    name: str
    modality: Literal["MR", "CT"] = "MR"
    channel: str = Field("", description="The sequence or phase, such as FLAIR.")
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    size: tuple[int, int] = (192, 160)
    framing: Literal["crop", "stretch", "field"] = "crop"
    intensity: IntensityScheme = IntensityScheme()
    labels: LabelTable
    background_outside_body: bool = Field(True, description="Voxels outside the body label are background.")
    window: int = Field(16, ge=1, le=1024, description="Slices of a window, n.")
    overlap: int = Field(1, ge=1, description="Slices that a window shares with what is known, h.")
    conditioning: Literal["fine+slice+offset", "fine", "labels+slice+offset", "labels", "grey"] = "labels+slice+offset"
    grey: GreyLabels | None = Field(None, description="For the conditioning ``grey``.")
    schedule: NoiseSchedule = NoiseSchedule()
    latents: LatentSpace = LatentSpace()
    residual_mm: float = Field(
        0.0,
        ge=0,
        description="Distance in mm over which what the networks miss at known slices correlates; neighbours are "
        "corrected by it. 0 for no correction.",
    )
    persistence_mm: float = Field(
        0.0,
        ge=0,
        description="Distance in mm over which the neighbours of the start slice keep to it in the first half of the "
        "steps, where the label map is the same. 0 for none.",
    )
    streak_filter: bool = Field(
        False, description="Streaks are taken out of whole volumes, as they are of local edits."
    )
    default_solver: Literal["dpmsolver++", "unipc", "ddim"] = "dpmsolver++"
    default_steps: int = Field(10, ge=1, le=1000)

    @property
    def informed(self) -> bool:
        """Whether an informed slice conditions the networks; not in the Make-A-Volume baseline."""
        return self.conditioning not in ("fine", "labels")

    @property
    def fine(self) -> bool:
        """Whether the networks are told the label map within each latent's cell, and which tissue is not known."""
        return self.conditioning.startswith("fine")

    @property
    def scans(self) -> str:
        """What scans it knows, such as "MR FLAIR" or "CT"."""
        return " ".join(dict.fromkeys(word for word in (self.modality, self.channel) if word))

    @field_validator("labels", mode="before")
    @classmethod
    def _read_labels(cls, value: Any) -> Any:
        if not isinstance(value, LabelTable | list):
            raise ValueError("the label table must be a list")
        return value if isinstance(value, LabelTable) else LabelTable.from_json(value)

    @field_serializer("labels")
    def _write_labels(self, value: LabelTable) -> Any:
        return value.to_json()

    @model_validator(mode="after")
    def _consistent(self) -> Plan:
        if self.overlap >= self.window:
            raise ValueError("the overlap must be smaller than the window")
        if max(self.labels.values, default=0) >= UNKNOWN:
            raise ValueError(f"the label values must be less than {UNKNOWN}")
        if not all(0 < length <= _LONGEST for length in self.size):
            raise ValueError(f"the size {self.size} must be from 1 to {_LONGEST} voxels")
        if any(length % self.latents.factor for length in self.size):
            raise ValueError(f"the size {self.size} must be a multiple of {self.latents.factor}")
        if min(self.spacing) <= 0:
            raise ValueError("the spacing must be positive")
        if self.conditioning == "grey" and (self.grey is None or len(self.grey.codes) != len(self.labels)):
            raise ValueError("the conditioning 'grey' needs one grey code for each label")
        return self
