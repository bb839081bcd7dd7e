"""Recipe: the complete description of one generation, stored as JSON beside every result."""

from __future__ import annotations

import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationError, model_validator

from napari_gem3d import __version__
from napari_gem3d.bundle.plan import Plan
from napari_gem3d.bundle.store import find_bundle, hash_bundle, read_plan
from napari_gem3d.device import choose_device
from napari_gem3d.errors import InputError, first_problem, shown
from napari_gem3d.io import replacing
from napari_gem3d.io.documents import MOST_BYTES, parse_json
from napari_gem3d.io.files import file_bytes
from napari_gem3d.labels import LabelMap
from napari_gem3d.sampling.donors import choose_donor, is_pool
from napari_gem3d.sampling.inputs import read_edit_inputs, read_inputs
from napari_gem3d.sampling.prepare import Prepared, decide_seed, prepare
from napari_gem3d.sampling.prepare_edit import PreparedEdit, prepare_edit
from napari_gem3d.sampling.references import InputFile, ModelReference
from napari_gem3d.sampling.settings import LARGEST_SEED, Drawing, Settings, Strict

FORMAT = "napari-gem3d recipe"
FORMAT_VERSION = 1
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
        Its label map after the edit.
    margin_mm
        How far from changed labels voxels may change.
    own_neighbours
        Whether the scan's own slices next to the edit inform it, rather than the recipe's informed slice alone.
    """

    image: InputFile
    edited: InputFile
    margin_mm: float = Field(gt=0)
    own_neighbours: bool = True


class Recipe(Drawing):
    """Everything that decides the voxels of one result: how it is drawn (see `Drawing`), and of what.

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
    relabel
        Values of the plan's table by those of the label maps, where they differ; None of recipes that took the values
        as they were.
    start
        The slice it stands for, an axial index on the canonical grid of the label map (of the scan, for an edit) at
        the plan's spacing.
    edit
        For an edit: the scan, the label map after the edit, and the margin; `mask` is the label map of the scan as it
        is.
    model
        The bundle.
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
    relabel: dict[int, int] | None = None
    start: int = Field(ge=0)
    edit: Edit | None = None
    model: ModelReference
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
    allow_own: bool = False,
    model: Path | str = "brain-flair",
    **settings: Any,
) -> Recipe:
    """Check everything that a whole volume needs and write down what will be done.

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
    allow_own
        Whether the target itself may be chosen from a folder of scans.
    model
        Folder of a bundle, or the name of a bundled model.
    **settings
        See `Settings`.

    Raises
    ------
    InputError
        If an input cannot be used or a value is out of range; the message says which.
    """
    folder = find_bundle(model)
    draws = (folder / "position_unet").is_dir()
    return recipe_of(
        read_volume_files(mask, informed, body, read_plan(folder), draws, Settings(**settings), allow_own), model
    )


def make_edit_recipe(
    image: Path | str,
    mask: Path | str,
    edited: Path | str,
    *,
    informed: Path | str | None = None,
    model: Path | str = "brain-flair",
    **settings: Any,
) -> Recipe:
    """Check everything that a local edit needs and write down what will be done.

    Parameters
    ----------
    image
        The scan to edit.
    mask, edited
        Its label map as it is, and after the edit. Lesions may be added, changed, moved or removed; background
        inside the body means body.
    informed
        A scan whose slice shows how the changed part should look. By default the scan's own slices next to the edit
        do.
    model
        Folder of a bundle, or the name of a bundled model.
    **settings
        See `Settings`. A slice or position is of `informed`, or else of the scan itself. With a mass effect the scan's
        own voxels and the anatomy labels are moved before anything is drawn, so more than the margin changes.

    Raises
    ------
    InputError
        If an input cannot be used, the label maps do not differ inside the body, or a value is out of range.
    """
    plan = read_plan(find_bundle(model))
    chosen = Settings(**settings)
    return recipe_of(
        prepare_edit(plan, read_edit_inputs(image, mask, edited, informed, **chosen.reading), chosen), model
    )


def read_volume_files(
    mask: Path | str | LabelMap,
    informed: Path | str,
    body: Path | str | None,
    plan: Plan,
    draws: bool,
    settings: Settings,
    allow_own: bool = False,
) -> Prepared:
    """Read the files of a whole volume and prepare them for a model; see `make_recipe`.

    `draws` says whether the model can draw an informed slice.
    """
    if settings.seed is None:
        settings = settings.changed(seed=decide_seed())
    rng = np.random.default_rng(settings.seed)
    source: Path | None = Path(informed)
    if str(informed) == GENERATED and not Path(informed).exists():
        source = None
    elif is_pool(informed):
        target = (mask.source or "") if isinstance(mask, LabelMap) else mask
        source = choose_donor(informed, target, body, rng, allow_own=allow_own)
    prepared = prepare(plan, read_inputs(mask, source, body, **settings.reading), settings, rng)
    if prepared.drawn and not draws:
        raise InputError(f"The model {plan.name} has no position model to make a slice; give a scan with --informed.")
    return prepared


def recipe_of(prepared: Prepared, model: Path | str, digest: str = "") -> Recipe:
    """The recipe of what was prepared, for the model of a folder or name.

    Parameters
    ----------
    prepared
        By `prepare` or `prepare_edit`. Inputs that came from no file are named by the hash of their arrays.
    model
        Folder or name of the bundle.
    digest
        The bundle's hash, if it is known.
    """
    files, edit = dict(prepared.files), None
    if isinstance(prepared, PreparedEdit):
        edit = Edit(
            image=files["image"],
            edited=files["edited"],
            margin_mm=prepared.margin_mm,
            own_neighbours=prepared.own_neighbours,
        )
        files.setdefault("informed", files["image"])
    return Recipe(
        task="whole" if edit is None else "edit",
        mask=files["mask"],
        informed=None if prepared.drawn else files["informed"],
        body=files.get("body") if edit is None else None,
        informed_slice=prepared.informed_slice,
        informed_seed=prepared.informed_seed,
        pixel_mm=prepared.pixel_mm,
        relabel=dict(prepared.relabel),
        start=prepared.start,
        edit=edit,
        model=ModelReference(folder=str(model), sha256=digest or hash_bundle(find_bundle(model))),
        plan=prepared.plan,
        versions=current_versions(),
        **prepared.drawing.model_dump(),
    )


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
    return result.with_name(re.sub(r"(\.nii)?(\.gz)?$", "", result.name, count=1, flags=re.IGNORECASE) + ".json")


def result_of(recipe: Path | str) -> Path:
    """Where the result of a recipe's file lies: OUT.nii.gz beside OUT.json, or OUT.nii where that exists instead."""
    recipe = Path(recipe)
    plain, compressed = recipe.with_suffix(".nii"), recipe.with_suffix(".nii.gz")
    return plain if plain.exists() and not compressed.exists() else compressed


def write_recipe(recipe: Recipe, path: Path | str) -> None:
    """Write a recipe as JSON, whole or not at all; InputError if that is not possible."""
    with replacing(path) as temporary:
        temporary.write_text(recipe_text(recipe), encoding="utf-8")


def recipe_text(recipe: Recipe) -> str:
    """A recipe as its file has it."""
    return recipe.model_dump_json(indent=2) + "\n"


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
            f"The recipe {path} has format version {shown(raw.get('format_version'))}, not {FORMAT_VERSION}; "
            "update napari-gem3d to use it."
        )
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"The recipe {path} is not understood ({first_problem(error)}); generate anew.") from None
