"""The settings of a generation: one model, from which options, forms, recipes and the reference page come.

Light on purpose: ``--help`` reads it, and must not wait for PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from napari_gem3d.errors import InputError
from napari_gem3d.grid import is_orientation
from napari_gem3d.labels import AnatomySource

if TYPE_CHECKING:
    from napari_gem3d.io.checks import Reading

SolverName = Literal["dpmsolver++", "unipc", "ddim"]
KnownLevel = Literal["reached", "published"]
Precision = Literal["float32", "bfloat16", "float16"]

LARGEST_SEED = 2**32 - 1
# Midlines shift by up to about 25 mm.
LARGEST_MASS_EFFECT_MM = 30.0
# Up to here a wider margin makes the transition softer (the gradient across it is the scan's own); beyond, it only
# takes more of the scan. See docs/howto/edit.md.
MARGIN_MM, LARGEST_MARGIN_MM = 5.0, 50.0


class Strict(BaseModel):
    """Data that does not change, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Drawing(Strict):
    """How noise becomes a volume, with everything decided: what `Settings` are once a model and a device are known.

    Attributes
    ----------
    solver, steps, eta
        The solver, its denoising steps, and the share of fresh noise a step.
    seed
        Decides all noise.
    known_level
        "reached": known slices are shown to the network at the noise level that the solver has reached; "published":
        at the level of the published sampler, see `published_known_levels`.
    anatomy, mass_effect_mm
        As in `Settings`.
    compiled
        Whether the volume U-Net goes through ``torch.compile``, which rounds differently.
    device, precision
        Where the networks run, such as "cpu", and in which numbers.
    """

    solver: SolverName
    steps: int = Field(ge=1)
    eta: float = Field(0.0, ge=0, le=1)
    seed: int = Field(ge=0, le=LARGEST_SEED)
    known_level: KnownLevel = "reached"
    anatomy: AnatomySource = "scan"
    mass_effect_mm: float = Field(0.0, ge=0, le=LARGEST_MASS_EFFECT_MM)
    compiled: bool = False
    device: str
    precision: Precision


def _setting(
    default: Any, about: str, choices: str, *, option: str = "", metavar: str = "", usual: str = "", **bounds: Any
) -> Any:
    """A field: what it is, what may be chosen, its option and what its default means."""
    words: dict[str, Any] = {"choices": choices, "option": option, "metavar": metavar, "usual": usual}
    return Field(default, description=about, json_schema_extra=words, **bounds)


class Settings(Strict):
    """What people may choose of a generation; everything has a default.

    Raises
    ------
    InputError
        If a name is unknown or a value is not possible; the message says what is.
    """

    steps: int | None = _setting(None, "denoising steps", "1 or more", usual="the model's", ge=1)
    solver: SolverName | None = _setting(None, "solver", "dpmsolver++, unipc or ddim", usual="the model's")
    eta: float = _setting(0.0, "fresh noise a step, ddim only", "0 to 1", ge=0, le=1)
    seed: int | None = _setting(
        None,
        "decides everything that is random",
        f"a whole number from 0 to {LARGEST_SEED}",
        usual="drawn, and kept in the recipe",
        ge=0,
        le=LARGEST_SEED,
    )
    labels: str | None = _setting(
        None,
        "what the values of label maps stand for: brats2018, brats2023, brats2024, brats-ped or decathlon; a file that "
        "names them (dataset.json, ITK-SNAP); names with values, 'edema=2,enhancing tumor=4'; model, the model's own",
        "a convention, a file, NAME=VALUE,… or model",
        metavar="NUMBERING",
        usual="the names that the map's file gives, else the model's if facts allow it",
    )
    anatomy: AnatomySource = _setting(
        "scan",
        "where labels of anatomy (ventricles, …) come from: scan, those that the label map lacks are found in the scan "
        "of its patient; map, the label map alone; none",
        "scan, map or none",
    )
    mass_effect_mm: float = _setting(
        0.0,
        "how far the rim of a new or larger lesion pushes what surrounds it, mm; where a lesion goes, the tissue comes "
        "back as far",
        f"0 (none) to {LARGEST_MASS_EFFECT_MM:g}",
        option="mass-effect",
        metavar="MM",
        ge=0,
        le=LARGEST_MASS_EFFECT_MM,
    )
    device: str = _setting("auto", "where the networks run", "cpu, cuda, mps or auto")
    precision: Precision | Literal["auto"] = _setting(
        "auto", "numbers in which the networks run", "float32, bfloat16, float16 or auto"
    )
    known_level: KnownLevel = _setting(
        "reached",
        "noise level of known slices; published for imported weights",
        "reached or published",
        metavar="LEVEL",
    )
    compiled: bool = _setting(
        False, "compile the network first: pays for many volumes", "true or false", option="compile"
    )
    slice: int | None = _setting(
        None, "the informed slice, counted from the lowest (0)", "a whole number from 0 on", metavar="K"
    )
    position: float | Literal["random"] | None = _setting(
        None,
        "the informed slice, 0 lowest to 1 highest, or 'random'",
        "0 (lowest slice) to 1 (highest), or 'random'",
        metavar="P",
        usual="0.5; for an edit, beside it",
    )
    informed_seed: int | None = _setting(
        None,
        "of a slice that the model draws",
        f"a whole number from 0 to {LARGEST_SEED}",
        metavar="N",
        usual="the seed",
        ge=0,
        le=LARGEST_SEED,
    )
    pixel_mm: float | None = _setting(
        None,
        "size of a pixel of a 2D image, mm",
        "more than 0",
        metavar="MM",
        usual="what it says, or fitted to the body",
        gt=0,
    )
    assume_orientation: str | None = _setting(
        None,
        "which way x, y and z run in files that do not say it; those that do are taken at their word",
        "three letters such as RAS, LAS or LPS",
        metavar="AXES",
        usual="such files are refused",
    )
    channel: int | None = _setting(
        None,
        "which volume of files that hold several (4D), counted from 0",
        "a whole number from 0 on",
        metavar="N",
        usual="such files are refused",
        ge=0,
    )
    margin_mm: float = _setting(
        MARGIN_MM,
        "of an edit: how far from changed labels voxels may change, mm",
        f"more than 0, up to {LARGEST_MARGIN_MM:g}",
        option="margin",
        metavar="MM",
        gt=0,
        le=LARGEST_MARGIN_MM,
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise InputError(_sentence(str(error.errors()[0]["loc"][0]), values)) from None

    @field_validator("assume_orientation")
    @classmethod
    def _is_orientation(cls, letters: str | None) -> str | None:
        if letters is not None and not is_orientation(letters):
            raise ValueError("no orientation")
        return None if letters is None else letters.upper()

    @property
    def reading(self) -> Reading:
        """How files are read that do not say all, as `read_volume` takes it."""
        return {"assume_orientation": self.assume_orientation, "channel": self.channel}

    def changed(self, **values: Any) -> Settings:
        """The same settings with other values for some, checked."""
        return Settings(**{**self.model_dump(), **values})


READING = ("assume_orientation", "channel")
DRAWING_NAMES = ("steps", "solver", "eta", "seed", "anatomy", "device", "precision")


def words_of(name: str) -> dict[str, str]:
    """What a setting is called on the command line, and in words.

    Returns
    -------
    dict
        ``option`` (with dashes), ``about``, ``choices``, ``metavar`` and ``usual`` (what the default means).
    """
    field = Settings.model_fields[name]
    extra = cast(dict[str, str], field.json_schema_extra)
    default = field.default
    usual = extra["usual"] or ("none" if default is None else str(default))
    option = extra["option"] or name.replace("_", "-")
    return {**extra, "option": f"--{option}", "about": field.description or "", "usual": usual}


def settings_table() -> str:
    """The settings as a Markdown table, for the reference page."""
    rows: Iterable[dict[str, str]] = [{"name": name, **words_of(name)} for name in Settings.model_fields]
    lines = [f"| `{row['name']}` | {row['about']} | {row['choices']} | {row['usual']} |" for row in rows]
    return "\n".join(("| name | what it is | choices | default |", "|---|---|---|---|", *lines)) + "\n"


def _sentence(name: str, values: dict[str, Any]) -> str:
    """What is wrong with a value, and what is possible."""
    if name not in Settings.model_fields:
        return f"There is no setting '{name}'; choose from {', '.join(Settings.model_fields)}."
    names = {"steps": "number of steps", "pixel_mm": "pixel size", "assume_orientation": "orientation"}
    what = names.get(name, name.removesuffix("_mm").replace("_", " "))
    unit = " mm" if name.endswith("_mm") else ""
    return f"The {what} {values[name]}{unit} is not possible; choose {words_of(name)['choices']}."
