"""What a generation starts from: arrays with geometry and labels, however they came to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Unpack

from napari_gem3d.io import read_label_map, read_slice, read_volume
from napari_gem3d.io.checks import Reading
from napari_gem3d.io.slices import has_spacing, is_slice
from napari_gem3d.labels import LabelMap
from napari_gem3d.sampling.references import InputFile
from napari_gem3d.volume import Volume


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a whole volume is generated from.

    Attributes
    ----------
    mask
        Label map (Z, Y, X) with values of the model's table; the result gets its grid.
    informed
        Scan of any patient, one axial slice of which shows how the result should look; or one axial slice alone, as a
        volume of one slice; None if the model's position U-Net draws it.
    body
        The scan of the mask's patient, whose foreground is the body where the mask has no body label, and whose tissue
        completes the mask. The same object as `informed` if the informed slice is the patient's own.
    spacing_known
        Of a lone slice: whether its spacing is that of the picture. If not, it is fitted to the body.
    files
        For the recipe: the files that `mask`, `informed` and `body` were read from, by these names; those of arrays
        that came from no file are made up of their content.
    """

    mask: LabelMap
    informed: Volume | None = None
    body: Volume | None = None
    spacing_known: bool = True
    files: Mapping[str, InputFile] = field(default_factory=dict)

    def __post_init__(self) -> None:
        arrays = {"mask": self.mask, "informed": self.informed, "body": self.body}
        object.__setattr__(self, "files", _named(arrays, self.files))


@dataclass(frozen=True, eq=False)
class EditInputs:
    """What a local edit starts from.

    Attributes
    ----------
    image
        The scan to edit, (Z, Y, X); the result gets its grid.
    mask, edited
        Its label map as it is, and after the edit, each of any orientation; aligned by geometry. Background inside the
        body means body: a lesion that is erased leaves normal tissue.
    informed
        A scan whose slice shows how the changed part should look; by default the scan's own slices beside the edit.
    files
        For the recipe: the files that `image`, `mask`, `edited` and `informed` were read from, by these names, as in
        `Inputs`.
    """

    image: Volume
    mask: LabelMap
    edited: LabelMap
    informed: Volume | None = None
    files: Mapping[str, InputFile] = field(default_factory=dict)

    def __post_init__(self) -> None:
        arrays = {"image": self.image, "mask": self.mask, "edited": self.edited, "informed": self.informed}
        object.__setattr__(self, "files", _named(arrays, self.files))


def _named(arrays: Mapping[str, Volume | None], files: Mapping[str, InputFile]) -> dict[str, InputFile]:
    """The file of every array that there is, or what stands for it."""
    return {
        name: files[name] if name in files else InputFile.of_array(array)
        for name, array in arrays.items()
        if array is not None
    }


def read_inputs(
    mask: Path | str | LabelMap,
    informed: Path | str | None,
    body: Path | str | None = None,
    **how: Unpack[Reading],
) -> Inputs:
    """Read the files of a whole volume, each once; see `Inputs`. A label map that is in memory is taken as it is.

    What is known of files that do not say all, ``how``, is that of `read_volume`.

    Raises
    ------
    InputError
        If a file cannot be used.
    """
    files = _files(how, mask=mask, informed=informed, body=body)
    return read_files(files, {"mask": mask, "informed": informed, "body": body})


def read_files(files: Mapping[str, InputFile], paths: Mapping[str, Path | str | LabelMap | None]) -> Inputs:
    """Read the files of a whole volume from where they are now; one that is both scans is read once."""
    labels = _labels(paths["mask"], files)
    informed, body = (_path(paths.get(name)) for name in ("informed", "body"))
    shown = None if body is None else read_volume(body, **files["body"].reading)
    if informed is None:
        return Inputs(labels, None, shown, files=files)
    if body is not None and files["informed"].sha256 == files["body"].sha256:
        return Inputs(labels, shown, shown, files=files)
    how = files["informed"].reading
    if is_slice(informed):
        return Inputs(labels, read_slice(informed, **how), shown, has_spacing(informed), files)
    return Inputs(labels, read_volume(informed, **how), shown, files=files)


def read_edit_inputs(
    image: Path | str,
    mask: Path | str | LabelMap,
    edited: Path | str | LabelMap,
    informed: Path | str | None = None,
    **how: Unpack[Reading],
) -> EditInputs:
    """Read the files of a local edit, each once; see `EditInputs`. Label maps in memory are taken as they are.

    What is known of files that do not say all, ``how``, is that of `read_volume`.

    Raises
    ------
    InputError
        If a file cannot be used.
    """
    files = _files(how, image=image, mask=mask, edited=edited, informed=informed)
    return read_edit_files(files, {"image": image, "mask": mask, "edited": edited, "informed": informed})


def read_edit_files(files: Mapping[str, InputFile], paths: Mapping[str, Path | str | LabelMap | None]) -> EditInputs:
    """Read the files of a local edit from where they are now; an informed scan that is `image` is read once."""
    image, informed = _path(paths["image"]), _path(paths.get("informed"))
    assert image is not None, "an edit has a scan"
    scan, other = read_volume(image, **files["image"].reading), None
    if informed is not None:
        own = files["informed"].sha256 == files["image"].sha256
        other = scan if own else read_volume(informed, **files["informed"].reading)
    mask, edited = (_labels(paths[name], files, name) for name in ("mask", "edited"))
    return EditInputs(scan, mask, edited, other, files)


def _files(how: Reading, **paths: Path | str | LabelMap | None) -> dict[str, InputFile]:
    """The hashes of files, by what they are for; a label map in memory counts as its file, if it says one."""
    sources = {name: path.source if isinstance(path, LabelMap) else path for name, path in paths.items()}
    return {name: InputFile.of(path, **how) for name, path in sources.items() if path is not None}


def _path(path: Path | str | LabelMap | None) -> Path | None:
    assert not isinstance(path, LabelMap), "only label maps are in memory"
    return None if path is None else Path(path)


def _labels(labels: Path | str | LabelMap | None, files: Mapping[str, InputFile], name: str = "mask") -> LabelMap:
    assert labels is not None, "there is always a label map"
    return labels if isinstance(labels, LabelMap) else read_label_map(labels, **files[name].reading)
