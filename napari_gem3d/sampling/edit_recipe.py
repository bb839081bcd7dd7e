"""The recipe of a local edit."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_gem3d.bundle.store import find_bundle, hash_bundle, read_plan
from napari_gem3d.sampling.edit_inputs import EditInputs, read_edit_inputs
from napari_gem3d.sampling.inputs import choose_slice, matching_start
from napari_gem3d.sampling.recipe import Edit, Recipe, current_versions, drawing_settings
from napari_gem3d.sampling.references import InputFile, ModelReference

# Up to here a wider margin makes the transition softer (the gradient across it is the scan's own); beyond, it only
# takes more of the scan. See docs/howto/edit.md.
MARGIN_MM = 5.0
# What the last recipe was made from, until a job takes it: a recipe is mostly run at once.
_checked: dict[tuple[object, ...], EditInputs] = {}


def make_edit_recipe(
    image: Path | str,
    mask: Path | str,
    edited: Path | str,
    *,
    margin_mm: float = MARGIN_MM,
    informed: Path | str | None = None,
    slice: int | None = None,
    position: float | None = None,
    model: Path | str = "brain-flair",
    steps: int | None = None,
    solver: str | None = None,
    eta: float = 0.0,
    seed: int | None = None,
    anatomy: str = "scan",
    mass_effect_mm: float = 0.0,
    device: str = "auto",
    precision: str = "auto",
) -> Recipe:
    """Check everything that a local edit needs and write down what it will do.

    Parameters
    ----------
    image
        The scan to edit.
    mask, edited
        Its label map as it is, and as it shall be. Lesions may be added, changed, moved or removed; background
        inside the body means body.
    margin_mm
        How far from changed labels voxels may change, mm. All others stay as they are.
    informed
        A scan whose slice shows how the changed part should look. By default the scan's own slices next to the edit
        do.
    slice, position
        The informed slice by index (0 the lowest), or by position from 0 (lowest) to 1 (highest), of `informed`, or
        else of the scan itself. By default the position of the edit.
    model
        Folder of a bundle, or the name of a bundled model.
    anatomy
        Where labels of anatomy come from: "scan", those that the label maps lack are found in `image`; "map"; "none".
        Where a lesion was taken out no tissue is known, and the model draws what fits.
    mass_effect_mm
        How far the rim of a lesion that is new or larger pushes what surrounds it: the scan's own voxels and the
        anatomy labels are moved before anything is drawn, so more than the margin changes. Where a lesion goes, the
        tissue comes back as far. 0 for none.
    steps, solver, eta, seed, device, precision
        As for `make_recipe`.

    Raises
    ------
    InputError
        If an input cannot be used, the label maps do not differ inside the body, or a value is out of range.
    """
    folder = find_bundle(model)
    plan = read_plan(folder)
    drawn = (plan, solver, steps, eta, seed, device, precision)
    settings = drawing_settings(*drawn, anatomy=anatomy, mass_effect_mm=mass_effect_mm)
    shown = InputFile.of(image)
    chosen = shown if informed is None else InputFile.of(informed)
    other = None if informed is None or chosen.sha256 == shown.sha256 else Path(informed)
    how = settings["anatomy"]
    inputs = read_edit_inputs(plan, Path(image), Path(mask), Path(edited), margin_mm, other, how, mass_effect_mm)
    neighbours = informed is None and slice is None and position is None
    if neighbours:
        start = nearest_untouched(inputs)
        index = matching_index(inputs, start)
    else:
        middle = float(inputs.reach.mean()) / max(inputs.case.grid.shape[0] - 1, 1)
        index = choose_slice(inputs, slice, middle if slice is None and position is None else position)
        start = matching_start(inputs, index)
    recipe = Recipe(
        task="edit",
        mask=InputFile.of(mask),
        informed=chosen,
        informed_slice=index,
        start=start,
        edit=Edit(image=shown, edited=InputFile.of(edited), margin_mm=margin_mm, own_neighbours=neighbours),
        model=ModelReference(folder=str(model), sha256=hash_bundle(folder)),
        plan=plan,
        versions=current_versions(),
        **settings,
    )
    _checked.clear()
    _checked[_key(recipe)] = inputs
    return recipe


def inputs_of(recipe: Recipe, beside: Path | None = None) -> EditInputs:
    """The files of an edit's recipe, checked to be those that it was made with; see `read_edit_inputs`."""
    assert recipe.edit is not None, "the caller has looked"
    image, before, after = (file.found(beside) for file in (recipe.edit.image, recipe.mask, recipe.edit.edited))
    informed = None if recipe.informed is None or recipe.same_patient else recipe.informed.found(beside)
    checked = _checked.pop(_key(recipe), None)
    if checked is not None:
        return checked
    how = (recipe.anatomy, recipe.mass_effect_mm)
    return read_edit_inputs(recipe.plan, image, before, after, recipe.edit.margin_mm, informed, *how)


def _key(recipe: Recipe) -> tuple[object, ...]:
    how = (recipe.anatomy, recipe.mass_effect_mm)
    return (recipe.edit, recipe.mask, recipe.informed, *how, recipe.plan.model_dump_json())


def nearest_untouched(inputs: EditInputs) -> int:
    """Slice of the case's grid that the edit leaves alone, nearest to it; the least changed one if it reaches all."""
    reach, slices = inputs.reach, inputs.case.slices
    outside = np.setdiff1d(slices, reach)
    if not outside.size:
        return slices.start + int(inputs.box_weight.sum(axis=(1, 2)).argmin())
    return int(min(outside, key=lambda i: int(np.abs(reach - i).min())))


def matching_index(inputs: EditInputs, start: int) -> int:
    """Axial index, in the scan's canonical order, of the slice nearest to a slice of the case's grid."""
    ours, theirs = inputs.case.grid, inputs.own.grid
    middle = (start, ours.shape[1] / 2, ours.shape[2] / 2)
    index = round(float(theirs.world_to_index(ours.index_to_world([middle]))[0, 0]))
    return min(max(index, inputs.own.slices.start), inputs.own.slices.stop - 1)
