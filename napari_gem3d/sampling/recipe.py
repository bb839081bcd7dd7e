"""Recipe: the complete description of one generation, stored as JSON beside every result."""

from __future__ import annotations

import platform
import secrets
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from pydantic import Field, ValidationError, model_validator

from napari_gem3d import __version__
from napari_gem3d.anatomy import AnatomySource
from napari_gem3d.bundle.plan import Plan
from napari_gem3d.bundle.store import find_bundle, hash_bundle, read_plan
from napari_gem3d.device import choose_device, choose_precision
from napari_gem3d.errors import InputError, first_problem
from napari_gem3d.io import replacing
from napari_gem3d.io.documents import MOST_BYTES, parse_json
from napari_gem3d.io.files import file_bytes
from napari_gem3d.io.slices import is_slice
from napari_gem3d.sampling.donors import choose_donor, is_pool
from napari_gem3d.sampling.inputs import Inputs, choose_slice, matching_start, read_inputs, start_at
from napari_gem3d.sampling.references import InputFile, ModelReference, Strict
from napari_gem3d.sampling.solver import KnownLevel, SolverName, check_known_level, check_solver

FORMAT = "napari-gem3d recipe"
FORMAT_VERSION = 1
LARGEST_SEED = 2**32 - 1
# Midlines shift by up to about 25 mm.
LARGEST_MASS_EFFECT_MM = 30.0
# In the place of a scan: the model draws the informed slice.
GENERATED = "generated"
# Versions of these can change the voxels.
_LIBRARIES = ("torch", "diffusers", "numpy", "scipy")


class Edit(Strict):
    """What a local edit starts from, beside the label map of the scan as it is.

    Attributes
    ----------
    image
        The scan to edit.
    edited
        Its label map as it shall be.
    margin_mm
        How far from changed labels voxels may change.
    own_neighbours
        Whether the scan's own slices next to the edit inform it, rather than the recipe's informed slice alone.
    """

    image: InputFile
    edited: InputFile
    margin_mm: float = Field(gt=0)
    own_neighbours: bool = True


class Recipe(Strict):
    """Everything that decides the voxels of one result.

    Attributes
    ----------
    synthetic
        Always true: the mark of what lies beside it.
    task
        "whole": a whole volume from a label map; "edit": a scan of which only what a changed label map reaches is
        generated anew.
    mask, informed, body
        The label map, the scan (or 2D image) of the informed slice, and the scan whose foreground is the body, if one
        was given. Without `informed` the position U-Net draws the informed slice.
    informed_slice
        Axial index in the informed scan's canonical order, 0 the lowest; 0 where there is no scan.
    informed_seed
        Decides the informed slice that the position U-Net draws, where that is not `seed`.
    pixel_mm
        Size of a pixel if `informed` is a 2D image.
    start
        The slice it stands for, an axial index on the canonical grid of the label map (of the scan, for an edit) at
        the plan's spacing.
    edit
        For an edit: the scan, the label map as it shall be, and the margin; `mask` is the label map of the scan as it
        is.
    model
        The bundle.
    solver, steps, eta, seed
        How noise becomes a volume.
    known_level
        "reached", or "published" for imported weights: the noise level of known slices, see `denoise`.
    anatomy
        Where labels of anatomy come from: "scan", those that the label map lacks are found in the scan that shows the
        body; "map", from the label map alone; "none", from nowhere. Models that know no such labels do not look at it.
    mass_effect_mm
        How far lesions push the anatomy around them; in an edit those that are new or larger, and the scan with it.
    compiled
        Whether the volume U-Net goes through ``torch.compile``, which rounds differently.
    device, precision
        Where the networks run, and in which numbers.
    plan
        The bundle's plan with its label table, for the record.
    versions
        Of this package, Python and the libraries; the processor's architecture.
    """

    format: Literal["napari-gem3d recipe"] = "napari-gem3d recipe"
    format_version: Literal[1] = 1
    synthetic: Literal[True] = True
    task: Literal["whole", "edit"] = "whole"
    mask: InputFile
    informed: InputFile | None
    body: InputFile | None = None
    informed_slice: int = Field(ge=0)
    informed_seed: int | None = Field(None, ge=0, le=LARGEST_SEED)
    pixel_mm: float | None = Field(None, gt=0)
    start: int = Field(ge=0)
    edit: Edit | None = None
    model: ModelReference
    solver: SolverName
    steps: int = Field(ge=1)
    eta: float = Field(0.0, ge=0, le=1)
    seed: int = Field(ge=0, le=LARGEST_SEED)
    known_level: KnownLevel = "reached"
    anatomy: AnatomySource = "scan"
    mass_effect_mm: float = Field(0.0, ge=0, le=LARGEST_MASS_EFFECT_MM)
    compiled: bool = False
    device: str
    precision: Literal["float32", "bfloat16", "float16"]
    plan: Plan
    versions: dict[str, str]

    @model_validator(mode="after")
    def _edit_is_described(self) -> Recipe:
        if (self.edit is not None) != (self.task == "edit"):
            raise ValueError("an edit, and nothing else, needs the field edit")
        return self

    @property
    def files(self) -> list[InputFile]:
        """All input files that it names."""
        named = [
            getattr(part, name) for part in (self, self.edit) if part is not None for name in type(part).model_fields
        ]
        return [file for file in named if isinstance(file, InputFile)]

    @property
    def same_patient(self) -> bool:
        """Whether the informed slice is taken from the scan that shows the body."""
        shown = self.body if self.edit is None else self.edit.image
        return shown is not None and self.informed is not None and shown.sha256 == self.informed.sha256

    def on_device(self, device: str) -> Recipe:
        """The same recipe on another device ("auto" chooses); InputError if it is not there."""
        return self.model_copy(update={"device": str(choose_device(device))})

    def changed_versions(self) -> list[str]:
        """What differs between the versions that made the recipe and those running now, one phrase each."""
        now = current_versions()
        return [
            f"{name} {was} then, {now.get(name)} now" for name, was in self.versions.items() if was != now.get(name)
        ]


def make_recipe(
    mask: Path | str,
    informed: Path | str,
    *,
    body: Path | str | None = None,
    slice: int | None = None,
    position: float | Literal["random"] | None = None,
    allow_own: bool = False,
    informed_seed: int | None = None,
    pixel_mm: float | None = None,
    model: Path | str = "brain-flair",
    steps: int | None = None,
    solver: str | None = None,
    eta: float = 0.0,
    seed: int | None = None,
    known_level: str = "reached",
    anatomy: str = "scan",
    mass_effect_mm: float = 0.0,
    compiled: bool = False,
    device: str = "auto",
    precision: str = "auto",
) -> Recipe:
    """Check everything that a generation needs and write down what it will do.

    Parameters
    ----------
    mask
        Label map; the result gets its grid.
    informed
        Scan of any patient, one axial slice of which shows how the result should look; a folder of scans, of which
        the seed chooses another patient's (IC in the paper); a 2D image; or "generated": the model's position U-Net
        draws the slice (IG). A Make-A-Volume baseline (``plan.informed`` false) does not look at the slice: there it
        gives the intensity range of the result and where generation starts, nothing else.
    body
        Scan of the mask's patient whose foreground is the body. Needed if the mask has no body label.
    slice, position
        The informed slice by index (0 the lowest), or by position from 0 (lowest) to 1 (highest; default 0.5), or
        "random": the seed chooses a slice that shows body. Generation starts at the matching slice of the label map.
    allow_own
        Whether the target itself may be chosen from a folder of scans.
    informed_seed
        Another seed for the slice that the model draws alone: the same slice for volumes of several seeds.
    pixel_mm
        Size of a pixel of a 2D image; by default what the file says, or else fitted to the body.
    model
        Folder of a bundle, or the name of a bundled model.
    steps, solver, eta
        Denoising steps and solver, the model's own by default; share of fresh noise a step, DDIM only.
    seed
        0 … 2³² − 1; one is drawn, and recorded, if none is given.
    known_level
        "reached", or "published" for imported weights: the noise level of known slices, as their own code had it.
    anatomy
        Where labels of anatomy (ventricles, …) come from: "scan", those that the label map lacks are found in `body`;
        "map", from the label map alone; "none", from nowhere, so that the model draws them as it likes.
    mass_effect_mm
        How far the rims of the label map's lesions push the anatomy labels around them, for lesions that the scan of
        the body does not show; 0 for none.
    compiled
        Compile the volume U-Net with ``torch.compile``: slow to begin with, then faster.
    device, precision
        "cpu", "cuda", "mps" or "auto"; "float32", "bfloat16", or "auto" for what is faster on the device.

    Raises
    ------
    InputError
        If an input cannot be used or a value is out of range; the message says which.
    """
    folder = find_bundle(model)
    plan = read_plan(folder)
    settings = drawing_settings(plan, solver, steps, eta, seed, device, precision, known_level, anatomy, mass_effect_mm)
    rng = np.random.default_rng(settings["seed"])
    source = _source(informed, mask, body, rng, allow_own)
    files = {"mask": InputFile.of(mask), "informed": None if source is None else InputFile.of(source)}
    shown = None if body is None else InputFile.of(body)
    same_patient = shown is not None and files["informed"] is not None and shown.sha256 == files["informed"].sha256
    if source is None or is_slice(source):
        inputs, placed = _placed(plan, mask, source, body, slice, position, pixel_mm, rng)
    elif pixel_mm is not None:
        raise InputError(f"{source} is a volume, which says how large its voxels are; leave the size of a pixel out.")
    else:
        # Only where the body is decides anything here.
        shown_body = None if body is None else Path(body)
        inputs = read_inputs(plan, Path(mask), source, shown_body, same_patient, anatomy="none")
        index = _random_slice(inputs, slice, rng) if position == "random" else choose_slice(inputs, slice, position)
        placed = {"informed_slice": index, "start": matching_start(inputs, index)}
    if informed_seed is not None:
        choose_seed(informed_seed)
        if not inputs.drawn:
            raise InputError("The informed slice is not drawn, so it has no seed of its own; leave the seed out.")
    if inputs.drawn and not (folder / "position_unet").is_dir():
        raise InputError(f"The model {plan.name} has no position model to make a slice; give a scan with --informed.")
    return Recipe(
        **files,
        body=shown,
        **placed,
        informed_seed=informed_seed,
        model=ModelReference(folder=str(model), sha256=hash_bundle(folder)),
        plan=plan,
        versions=current_versions(),
        compiled=compiled,
        **settings,
    )


def _source(
    informed: Path | str, mask: Path | str, body: Path | str | None, rng: np.random.Generator, allow_own: bool
) -> Path | None:
    """The scan or picture of the informed slice; None if the model draws it."""
    if str(informed) == GENERATED and not Path(informed).exists():
        return None
    return choose_donor(informed, mask, body, rng, allow_own=allow_own) if is_pool(informed) else Path(informed)


def _placed(
    plan: Plan,
    mask: Path | str,
    source: Path | None,
    body: Path | str | None,
    index: int | None,
    position: float | str | None,
    pixel_mm: float | None,
    rng: np.random.Generator,
) -> tuple[Inputs, dict[str, Any]]:
    """Inputs, and the fields of the recipe, of an informed slice that comes from no volume."""
    if index is not None:
        raise InputError("The informed slice comes from no volume, so it has no number; give its position instead.")
    share = 0.5 if position is None else float(rng.random()) if position == "random" else float(position)
    shown = None if body is None else Path(body)
    inputs = read_inputs(plan, Path(mask), source, shown, False, pixel_mm, share, anatomy="none")
    placed = {"informed_slice": 0, "start": start_at(inputs, share)}
    return inputs, placed if source is None else {**placed, "pixel_mm": inputs.informed.spacing[1]}


def _random_slice(inputs: Inputs, index: int | None, rng: np.random.Generator) -> int:
    if index is not None:
        raise InputError("The informed slice is given both by slice and by position; give one of the two.")
    return int(rng.choice(inputs.own.slices))


def drawing_settings(
    plan: Plan,
    solver: str | None,
    steps: int | None,
    eta: float,
    seed: int | None,
    device: str,
    precision: str,
    known_level: str = "reached",
    anatomy: str = "scan",
    mass_effect_mm: float = 0.0,
) -> dict[str, Any]:
    """The fields of a recipe that decide how it is drawn, defaults filled in and everything in range."""
    steps = plan.default_steps if steps is None else steps
    solver = solver or plan.default_solver
    check_solver(plan.schedule, solver, steps, eta)
    check_known_level(known_level)
    if anatomy not in get_args(AnatomySource):
        raise InputError(f"Anatomy comes from 'scan', 'map' or 'none', not '{anatomy}'; choose one of these.")
    if not 0 <= mass_effect_mm <= LARGEST_MASS_EFFECT_MM:
        raise InputError(
            f"A mass effect of {mass_effect_mm:g} mm is not possible; choose 0 (none) to {LARGEST_MASS_EFFECT_MM:g}."
        )
    seed, place = choose_seed(seed), choose_device(device)
    drawn = {"solver": solver, "steps": steps, "eta": eta, "seed": seed, "known_level": known_level}
    drawn |= {"anatomy": anatomy, "mass_effect_mm": mass_effect_mm}
    return {**drawn, "device": str(place), "precision": choose_precision(precision, place)}


def choose_seed(seed: int | None) -> int:
    """The seed given, or a drawn one; InputError if it is out of range."""
    if seed is None:
        return secrets.randbelow(2**31)
    if not 0 <= seed <= LARGEST_SEED:
        raise InputError(f"The seed {seed} is not possible; choose a whole number from 0 to {LARGEST_SEED}.")
    return seed


def current_versions() -> dict[str, str]:
    """Versions of this package, Python and the libraries that can change voxels, and the architecture."""
    libraries = {name: metadata.version(name) for name in _LIBRARIES}
    return {
        "napari-gem3d": __version__,
        "python": platform.python_version(),
        **libraries,
        "platform": f"{platform.system()} {platform.machine()}",
    }


def sidecar(result: Path | str) -> Path:
    """Where the recipe of a result lies: OUT.json beside OUT.nii.gz."""
    result = Path(result)
    return result.with_name(result.name.removesuffix(".gz").removesuffix(".nii") + ".json")


def result_of(recipe: Path | str) -> Path:
    """Where the result of a recipe's file lies: OUT.nii.gz beside OUT.json, or OUT.nii where that exists instead."""
    recipe = Path(recipe)
    plain, compressed = recipe.with_suffix(".nii"), recipe.with_suffix(".nii.gz")
    return plain if plain.exists() and not compressed.exists() else compressed


def write_recipe(recipe: Recipe, path: Path | str) -> None:
    """Write a recipe as JSON, whole or not at all; InputError if that is not possible."""
    with replacing(path) as temporary:
        temporary.write_text(recipe.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_recipe(path: Path | str) -> Recipe:
    """Read a recipe.

    Raises
    ------
    InputError
        If the file is missing, no recipe, of another format version, or has fields or values this version does not
        know.
    """
    path = Path(path)
    content = file_bytes(path, MOST_BYTES)
    try:
        raw: Any = parse_json(content, path)
    except InputError:
        raw = None
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise InputError(f"{path} is no recipe of napari-gem3d; give the .json that lies beside a generated volume.")
    if raw.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"The recipe {path} has format version {raw.get('format_version')}, not {FORMAT_VERSION}; "
            "update napari-gem3d to use it."
        )
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"The recipe {path} is not understood ({first_problem(error)}); generate anew.") from None
