"""Volumes as napari layers and back: nearest RAS axes, millimetres, and the true geometry kept in the metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Image, Labels, Layer
from napari.types import LayerDataTuple
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray

from napari_gem3d.errors import InputError
from napari_gem3d.foreground import is_ct
from napari_gem3d.grid import Grid
from napari_gem3d.labels import LabelMap, LabelTable
from napari_gem3d.viewer.planes.intensity import contrast_limits
from napari_gem3d.volume import Modality, Volume, resample

METADATA = "gem3d"
# Layers whose voxels were generated (results, files of such, a checkerboard with one) say so under this key.
SYNTHETIC = "synthetic"
# Layers that are tools of this plugin (handles, previews) and not the user's have this in their metadata.
TOOL = "napari-gem3d-tool"
# The label table whose values a label map has, once that is known.
NUMBERED = "gem3d_numbered"
# Directions in which the axes of a canonical layer increase; napari shows them beside its sliders.
AXIS_LABELS = ("I→S", "P→A", "L→R")
UNITS = ("mm", "mm", "mm")

# Body and tissue cover the whole scan, so they are only hinted at; a value the label table does not know must be seen.
_ALPHA = {"body": "1a", "tissue": "80"}
_UNKNOWN_COLOUR = "#ff00ff"


@dataclass(frozen=True, eq=False)
class Origin:
    """What a layer must remember of its volume; kept in ``layer.metadata["gem3d"]``.

    Attributes
    ----------
    grid
        The volume's own grid: shape, and affine to RAS+ mm (the layer shows `grid.canonical()`).
    modality
        "MR", "CT" or "".
    path
        File or DICOM folder, None if the voxels exist in memory only.
    synthetic
        Whether the voxels were generated.
    oriented
        Whether it is known which way the axes run in the patient; else the grid's directions are assumed.
    body
        Label maps with a body label: voxels that carried any label when loaded, packed bits over the canonical array.
        Erasing a lesion leaves 0 where the body has to be again.
    body_value
        The value of that label, 0 if there is none.
    tissues
        Label maps: values of the table's tissue labels, which are no lesions either.
    names
        Label maps: what their file calls its values.
    renumbered
        Label maps: whether `path` is a file of the session that holds the map with the model's numbers.
    before
        Label maps into which the scan's anatomy was written: the file of the scan's map as it is, with that anatomy.
    """

    grid: Grid
    modality: Modality = ""
    path: Path | None = None
    synthetic: bool = False
    oriented: bool = True
    body: NDArray[np.uint8] | None = None
    body_value: int = 0
    tissues: tuple[int, ...] = ()
    names: Mapping[int, str] = field(default_factory=dict)
    renumbered: bool = False
    before: Path | None = None


def origin_of(layer: Layer) -> Origin | None:
    """What `layer` remembers of its volume; None for layers that did not come through this plugin."""
    origin = layer.metadata.get(METADATA)
    return origin if isinstance(origin, Origin) else None


def required_origin(layer: Layer) -> Origin:
    """As `origin_of`, for scans, results and masks, which have one; ValueError for other layers."""
    origin = origin_of(layer)
    if origin is None:
        raise ValueError(f"layer {layer.name} did not come through this plugin")
    return origin


def require_numbered(layer: Labels, table: LabelTable | None) -> None:
    """Raise InputError if it is not known that the values of a label map are those of the table."""
    if table is not None and layer.metadata.get(NUMBERED) != table:
        raise InputError(
            f"It is not known what the values of {layer.name} stand for; say in step 1 how it is numbered."
        )


def path_of_layer(layer: Layer) -> Path | None:
    """The file that a layer was read from; None if it is in none."""
    origin = origin_of(layer)
    return None if origin is None else origin.path


def lesion_in(voxels: NDArray[Any], origin: Origin | None) -> NDArray[np.bool_]:
    """Where voxels of a label map, of any shape, are neither background nor body nor tissue of it."""
    lesion: NDArray[np.bool_] = voxels != 0
    for value in () if origin is None else (origin.body_value, *origin.tissues):
        lesion &= voxels != value
    return lesion


def is_tool(layer: Layer) -> bool:
    """Whether `layer` is a tool of this plugin: no patient's, and not to be exported."""
    return bool(layer.metadata.get(TOOL))


def is_volume(layer: Layer) -> bool:
    """Whether a layer is an image of one volume in memory: no picture, colours, pyramid or dask array."""
    return isinstance(layer, Image) and layer.ndim == 3 and not layer.rgb and isinstance(layer.data, np.ndarray)


def mask_changes(mask: Labels) -> tuple[Any, ...]:
    """Events of a mask whose voxels change."""
    return mask.events.paint, mask.events.data, mask.events.labels_update


def placement(grid: Grid) -> dict[str, Any]:
    """Where a canonical layer of this grid lies in napari's world: scale and translate in mm along (z, y, x).

    napari's affine stays diagonal (one that permutes axes breaks its 2D view). The centre of the volume keeps its
    true RAS position, so that oblique scans of one patient stay as close to each other as they can.
    """
    canonical = grid.canonical()
    scale = np.array(canonical.spacing)
    middle = (np.array(canonical.shape) - 1) / 2
    centre_zyx = canonical.index_to_world(middle[None])[0][::-1]
    return {
        "scale": tuple(float(v) for v in scale),
        "translate": tuple(float(v) for v in centre_zyx - scale * middle),
        "units": UNITS,
        "axis_labels": AXIS_LABELS,
    }


def image_layer(volume: Volume, name: str, *, synthetic: bool = False) -> LayerDataTuple:
    """A scan as napari's (data, attributes, type): canonical axes (Z, Y, X), grey, in mm."""
    canonical = resample(volume, volume.grid.canonical(), order=0)
    origin = Origin(volume.grid, volume.modality, volume.source, synthetic=synthetic)
    attributes = {
        "name": name,
        "metadata": {METADATA: origin, SYNTHETIC: synthetic or "synthetic" in volume.meta},
        "colormap": "gray",
        "contrast_limits": contrast_limits(canonical.voxels, "CT" if is_ct(volume) else "MR"),
        **placement(volume.grid),
    }
    return canonical.voxels, attributes, "image"


def labels_layer(labels: LabelMap, name: str) -> LayerDataTuple:
    """A label map as napari's (data, attributes, type): canonical axes (Z, Y, X), names and colours of its table."""
    table = labels.table or LabelTable.from_values(labels.values())
    canonical = resample(labels, labels.grid.canonical(), order=0)
    voxels = canonical.voxels.astype(np.min_scalar_type(int(canonical.voxels.max())), copy=True)
    origin = Origin(labels.grid, labels.modality, labels.source, names=labels.meta.get("segments", {}))
    attributes = {
        "name": name,
        "metadata": {METADATA: _with_body(origin, voxels, table)},
        "opacity": 0.6,
        **_style(table),
        **placement(labels.grid),
    }
    return voxels, attributes, "labels"


def apply_table(layer: Labels, table: LabelTable) -> bool:
    """Give a labels layer the names and colours of `table`, if the table knows all its values; says whether it did."""
    origin = required_origin(layer)
    voxels = np.asarray(layer.data)
    present = np.flatnonzero(np.bincount(voxels.ravel()))
    if not set(present.tolist()) <= {0, *table.values}:
        return False
    layer.metadata[METADATA] = _with_body(origin, voxels, table)
    for attribute, value in _style(table).items():
        setattr(layer, attribute, value)
    return True


def _with_body(origin: Origin, voxels: NDArray[Any], table: LabelTable) -> Origin:
    tissues = tuple(label.value for label in table.tissues)
    if table.body is None or not (voxels == table.body.value).any():
        return replace(origin, body=None, body_value=0, tissues=tissues)
    return replace(origin, body=np.packbits(voxels != 0), body_value=table.body.value, tissues=tissues)


def _style(table: LabelTable) -> dict[str, Any]:
    """Colours, and the names that the status bar shows."""
    colours: dict[int | None, str] = {None: _UNKNOWN_COLOUR, 0: "transparent"}
    for label in table:
        colours[label.value] = label.colour + _ALPHA.get(label.meaning, "")
    features = pd.DataFrame({"index": [0, *table.values], "name": ["background", *(label.name for label in table)]})
    return {"colormap": DirectLabelColormap(color_dict=colours), "features": features}


def volume_of(layer: Image) -> Volume:
    """The scan shown by `layer`, back on its own grid (Z, Y, X), voxels bit-identical to the file's."""
    origin = required_origin(layer)
    canonical = Volume(np.asarray(layer.data), origin.grid.canonical().affine, origin.modality, origin.path)
    return resample(canonical, origin.grid, order=0)


def label_map_of(layer: Labels, table: LabelTable | None = None) -> LabelMap:
    """The label map shown by `layer`, back on its own grid (Z, Y, X); see `restored_labels`."""
    return restored_labels(np.array(layer.data), required_origin(layer), table)


def restored_labels(voxels: NDArray[Any], origin: Origin, table: LabelTable | None = None) -> LabelMap:
    """Bring the labels of a layer back to the grid of its file; where a lesion was erased the body is put back.

    Parameters
    ----------
    voxels
        (Z, Y, X) as the layer has them, canonical axes; changed in place.
    origin
        What the layer remembers of its volume.
    table
        What the values mean.
    """
    if origin.body is not None:
        was_body = np.unpackbits(origin.body, count=voxels.size).reshape(voxels.shape).astype(bool)
        voxels[was_body & (voxels == 0)] = origin.body_value
    canonical = LabelMap(voxels, origin.grid.canonical().affine, origin.modality, table=table)
    return resample(canonical, origin.grid, order=0)
