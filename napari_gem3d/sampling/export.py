"""Passing results on: NIfTI with label maps and recipe beside it, or a DICOM series; never over somebody's scan."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from napari_gem3d.errors import InputError
from napari_gem3d.io import read_label_map, read_volume, sha256, write_volume
from napari_gem3d.io.dicom_writing import check_new_folder, write_dicom
from napari_gem3d.io.files import check_writable, staging
from napari_gem3d.io.outputs import check_output, is_record
from napari_gem3d.sampling.pair import belongs, write_pair
from napari_gem3d.sampling.recipe import Recipe, read_recipe, sidecar, write_recipe
from napari_gem3d.sampling.references import InputFile
from napari_gem3d.volume import Volume


def export_nifti(volume: Volume, recipe: Recipe, out: Path | str, *, sources: Iterable[Path] = ()) -> list[Path]:
    """Write a result for others: the volume, the label maps that it was made from, and the recipe, which names those.

    Parameters
    ----------
    volume
        The result (Z, Y, X) on its own grid, in the units of the scan.
    recipe
        What it was made with. Its label maps must be where it says.
    out
        Ends in .nii or .nii.gz. OUT.json, OUT_labels.nii.gz and, for an edit, OUT_labels-before.nii.gz go beside it.
    sources
        More files that must not be replaced, such as the scans that are open.

    Returns
    -------
    list of Path
        What was written, the volume first.

    Raises
    ------
    InputError
        If a file is in the way that is no earlier result, a label map is missing, or nothing can be written.
    """
    out = Path(out)
    labels = _label_maps(recipe, out)
    kept = [*sources, *(Path(file.path) for file in recipe.files if file.path)]
    check_output(out, record=sidecar(out), inputs=kept, size=volume.voxels.size * 4)
    for target in labels:
        check_output(target, inputs=kept)
    try:
        with staging(out) as staged:
            copies = {file: _copied(file, staged / target.name, target) for target, file in labels.items()}
            write_pair(volume, _for_others(_with_copies(recipe, copies)), staged / out.name)
            # Everything is written before the first name appears, and no volume lies beside another's recipe.
            written = [out, *labels, sidecar(out)]
            sidecar(out).unlink(missing_ok=True)
            for target in written:
                (staged / target.name).replace(target)
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror or error}); choose another place.") from error
    return written


def export_dicom(
    volume: Volume,
    recipe: Recipe,
    folder: Path | str,
    modality: Literal["MR", "CT"] | None = None,
    *,
    keep_paths: bool = False,
) -> Path:
    """Write a result as a DICOM series in a new folder, and its recipe beside the folder, as FOLDER.json.

    Parameters
    ----------
    volume, recipe
        As for `export_nifti`.
    folder
        A new or empty folder.
    modality
        What the volume looks like; by default what the recipe's model draws.
    keep_paths
        Whether the recipe names inputs with their folders, which tell of the machine and its users.

    Raises
    ------
    InputError
        As `write_dicom`, and if there is a file FOLDER.json.
    """
    folder = Path(folder)
    check_new_folder(folder)
    beside = sidecar(folder)
    # Without its folder a recipe is what an export that was stopped has left.
    if beside.exists() and not is_record(beside):
        raise InputError(f"{beside} exists and is no recipe; give the folder another name.")
    check_writable(folder.absolute().parent)
    folder.parent.mkdir(parents=True, exist_ok=True)
    write_recipe(recipe if keep_paths else _for_others(recipe), beside)
    try:
        return write_dicom(volume, folder, modality=modality or recipe.plan.modality, description=in_words(recipe))
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def export_file(
    path: Path | str, folder: Path | str, modality: Literal["MR", "CT"] | None = None, *, keep_paths: bool = False
) -> Path:
    """Turn a synthetic NIfTI file into a DICOM series; its recipe, if it lies beside it, goes along.

    Parameters
    ----------
    path
        A result of this package, known by the mark in its header.
    folder, modality, keep_paths
        As for `export_dicom`.

    Raises
    ------
    InputError
        If the file is none of ours, nothing tells the modality, or the folder cannot be written.
    """
    path = Path(path)
    volume = read_volume(path)
    if "synthetic" not in volume.meta:
        raise InputError(
            f"{path} does not carry the mark of a synthetic volume; only results of napari-gem3d are exported."
        )
    if not belongs(path):
        raise InputError(f"{sidecar(path)} is not the recipe of {path}; bring its own back, or move it away.")
    if sidecar(path).exists():
        return export_dicom(volume, read_recipe(sidecar(path)), folder, modality, keep_paths=keep_paths)
    if modality is None:
        raise InputError(f"Without its recipe nothing says whether {path} shows MR or CT; give --modality.")
    told = "Synthetic volume of napari-gem3d; its recipe is not at hand."
    return write_dicom(volume, folder, modality=modality, description=told)


def in_words(recipe: Recipe) -> str:
    """How a volume was made, in a sentence that names no file and no person."""
    what = "Local edit of a scan" if recipe.task == "edit" else "Whole synthetic volume"
    return (
        f"{what} by the model {recipe.plan.name} ({recipe.model.sha256[:12]}), {recipe.steps} steps of "
        f"{recipe.solver}, seed {recipe.seed}, napari-gem3d {recipe.versions.get('napari-gem3d', '')}."
    )


def _label_maps(recipe: Recipe, out: Path) -> dict[Path, InputFile]:
    """Where the label maps of a recipe go; that of the result first."""
    stem = sidecar(out).stem
    after, before = out.with_name(f"{stem}_labels.nii.gz"), out.with_name(f"{stem}_labels-before.nii.gz")
    return {after: recipe.mask} if recipe.edit is None else {after: recipe.edit.edited, before: recipe.mask}


def _copied(file: InputFile, staged: Path, target: Path) -> InputFile:
    """Write a recipe's label map as NIfTI, for `target`; returns what a recipe says of it there."""
    write_volume(read_label_map(file.found(), **file.reading), staged)
    return InputFile(path=target.name, sha256=sha256(staged))


def _with_copies(recipe: Recipe, copies: dict[InputFile, InputFile]) -> Recipe:
    edit = recipe.edit
    if edit is not None:
        edit = edit.model_copy(update={"edited": copies[edit.edited]})
    return recipe.model_copy(update={"mask": copies[recipe.mask], "edit": edit})


def _for_others(recipe: Recipe) -> Recipe:
    """The recipe with names and hashes of its files and its model, and no folders of this machine."""

    def named(file: InputFile | None) -> InputFile | None:
        return None if file is None else file.model_copy(update={"path": Path(file.path).name})

    update: dict[str, Any] = {name: named(getattr(recipe, name)) for name in ("mask", "informed", "body")}
    if recipe.edit is not None:
        files = {name: named(getattr(recipe.edit, name)) for name in ("image", "edited")}
        update["edit"] = recipe.edit.model_copy(update=files)
    update["model"] = recipe.model.model_copy(update={"folder": Path(recipe.model.folder).name})
    return recipe.model_copy(update=update)
