"""Image layers that others have added as patients: brought to canonical axes in millimetres, and into a file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import permutations, product
from typing import Any

import numpy as np
from napari.layers import Image, Layer
from napari.types import LayerDataTuple
from numpy.typing import NDArray
from pint import DimensionalityError

from napari_gem3d.errors import InputError
from napari_gem3d.grid import FloatArray
from napari_gem3d.io import write_volume
from napari_gem3d.viewer.context import Context
from napari_gem3d.viewer.layers import AXIS_LABELS, METADATA, Origin, image_layer, is_tool, origin_of
from napari_gem3d.viewer.patients import id_of
from napari_gem3d.viewer.signals import Connections, State
from napari_gem3d.volume import Volume

# What the user has said of a layer, kept in its metadata: size of a voxel in mm along its axes, their directions.
SPACING, ORIENTATION = "gem3d_spacing_mm", "gem3d_orientation"
# Layers to be left as they are: no scans, or beside their finest level that has become a patient.
_LEFT = "gem3d_left_alone"
# Directions in which the three world axes of a layer may increase, the usual ones first.
_ALL = ("".join(letters) for axes in permutations(("SI", "AP", "RL")) for letters in product(*axes))
ORIENTATIONS = tuple(dict.fromkeys(("SAR", "SPL", "IPL", *_ALL)))
_ASSUMED = "SAR"


class AdoptionState(State):
    """What the panel asks of a layer.

    Attributes
    ----------
    layer
        The image layer that is asked about, None while nothing is asked.
    question
        What is not known of it; "" while nothing is asked.
    spacing_asked
        Whether the size of its voxels is not known; else only the directions of its axes are not.
    spacing, orientation
        The answer so far: mm along the layer's axes, and the letters in which they increase, "" for unknown.
    """

    layer: Any = None
    question: str = ""
    spacing_asked: bool = False
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    orientation: str = ""


class Adoption:
    """Makes patients of image layers that did not come through the plugin.

    A layer whose voxels have a size becomes a patient by itself; one of pixels is asked about first. Directions are
    asked for once, and until they are known no orientation letters are shown.

    Parameters
    ----------
    found
        Called when a layer has become a patient.
    """

    def __init__(self, context: Context, found: Callable[[], None]) -> None:
        self._context, self._panel, self._found = context, context.state, found
        self.state = AdoptionState()
        self._seen: set[int] = set()
        self._connections = Connections()
        events = context.viewer.layers.events
        self._connections.add(self.look, events.inserted, events.removed)
        self._connections.add(self._ask, context.state.events.patient, context.state.events.masks)

    def close(self) -> None:
        """Let go of the viewer."""
        self._connections.close()

    def answer(self) -> None:
        """Take what `state` says of the layer that is asked about, and keep it in the layer's metadata."""
        state, layer = self.state, self.state.layer
        if layer is None:
            return
        if state.spacing_asked:
            layer.metadata[SPACING] = state.spacing
        layer.metadata[ORIENTATION] = state.orientation
        self._take(layer)
        self._ask()

    def dismiss(self) -> None:
        """Ask no more: a layer of pixels is no scan, a patient's axes stay unknown."""
        if self.state.layer is not None:
            self.state.layer.metadata.update({_LEFT: True} if self.state.spacing_asked else {ORIENTATION: ""})
            self._ask()

    def look(self, event: Any = None) -> None:
        """Take the layers that are new and say enough."""
        layers = [layer for layer in self._context.viewer.layers if _is_foreign(layer)]
        self._seen &= {id_of(layer) for layer in layers}
        for layer in [layer for layer in layers if id_of(layer) not in self._seen]:
            self._seen.add(id_of(layer))
            refusal = unusable(layer)
            if refusal:
                self._panel.say(refusal)
            elif world_mm(layer) is not None:
                self._take(layer)
        self._ask()

    def _ask(self) -> None:
        """Ask about a layer of pixels, else about the axes of the patient that is worked on, if nobody has answered."""
        state, patient = self.state, self._panel.patient
        pixels = [
            layer
            for layer in self._context.viewer.layers
            if _is_foreign(layer) and not unusable(layer) and world_mm(layer) is None
        ]
        layer = pixels[-1] if pixels else None
        # With a mask it is too late: that would not lie on the turned scan.
        if layer is None and patient is not None and not patient.oriented and not patient.masks:
            layer = patient.image if ORIENTATION not in patient.image.metadata else None
        if layer is None or state.layer is None or id_of(layer) != id_of(state.layer):
            state.spacing, state.orientation = (1.0, 1.0, 1.0), ""
        state.layer, state.spacing_asked = layer, bool(pixels)
        if layer is None:
            state.question = ""
        elif pixels:
            state.question = f"{layer.name} does not say how large its voxels are, nor which way its axes run."
        else:
            state.question = f"{layer.name} does not say which way its axes run, so no letters are shown."

    def _take(self, layer: Image) -> None:
        """Read the voxels and write the file in the background, then give the layer its place."""
        affine = world_mm(layer)
        assert affine is not None, "only layers whose voxels have a size are taken"
        known = orientation_of(layer)
        name, data, multiscale = str(layer.name), layer.data, bool(layer.multiscale)

        def write() -> tuple[LayerDataTuple, Origin, str]:
            volume, note = _volume(data, multiscale, ras_affine(affine, known or _ASSUMED), name)
            path = self._context.session.new_file("scan")
            write_volume(volume, path)
            origin = Origin(volume.grid, volume.modality, path, oriented=bool(known))
            return image_layer(volume, name), origin, note

        self._context.files.submit(write, partial(self._show, layer), self._panel.say_error)

    def _show(self, layer: Image, written: tuple[LayerDataTuple, Origin, str]) -> None:
        (voxels, attributes, _), origin, note = written
        if layer not in self._context.viewer.layers:
            return
        if layer.multiscale:  # cannot be given other voxels: stays as it is, hidden, beside its finest level
            attributes["metadata"] = {**layer.metadata, METADATA: origin}
            layer.metadata[_LEFT], layer.visible = True, False
            self._context.viewer.add_layer(Layer.create(voxels, attributes, "image"))
        else:
            layer.metadata[METADATA] = origin
            if voxels is not layer.data:
                layer.data = voxels
            layer.affine, layer.rotate, layer.shear = np.eye(4), np.eye(3), (0, 0, 0)
            for name in ("scale", "translate", "units", "axis_labels"):
                setattr(layer, name, attributes[name])
            self._found()
            if self._panel.patient is not None and id_of(self._panel.patient.image) == id_of(layer):
                self._context.planes.frame(layer, oriented=origin.oriented)
        self._ask()
        if note:
            self._panel.say(note)


def _is_foreign(layer: Layer) -> bool:
    there = origin_of(layer) is not None or is_tool(layer) or bool(layer.metadata.get(_LEFT))
    return isinstance(layer, Image) and not there


def unusable(layer: Image) -> str:
    """Why an image layer can be no patient; empty if it can: a scan has three axes and one intensity a voxel."""
    if layer.rgb:
        return f"{layer.name} has colours, and a patient's scan has intensities; it is shown only."
    if layer.ndim != 3:
        return f"{layer.name} has {layer.ndim} axes, and a patient's scan has three; it is shown only."
    return ""


def world_mm(layer: Image) -> FloatArray | None:
    """From voxel indices (z, y, x, 1) to world mm (z, y, x, 1), (4, 4); None where voxels have no size.

    That is where the units are no lengths and the scale is 1; a scale without units is taken for mm. What the user has
    said is in the layer's metadata.
    """
    units = []
    for unit in layer.units:
        try:
            units.append(float((1 * unit).to("mm").magnitude))
        except DimensionalityError:
            units.append(0.0)
    matrix = np.eye(4)
    matrix[:3, 3] = layer.data_to_world((0, 0, 0))
    for axis in range(3):
        matrix[:3, axis] = np.array(layer.data_to_world(np.eye(3)[axis])) - matrix[:3, 3]
    if all(units):
        factors = units
    elif not np.allclose(np.linalg.norm(matrix[:3, :3], axis=0), 1):
        factors = [1.0, 1.0, 1.0]
    elif SPACING in layer.metadata:
        factors = list(layer.metadata[SPACING])
    else:
        return None
    matrix[:3] *= np.array(factors)[:, None]
    return matrix


def orientation_of(layer: Image) -> str:
    """Letters in which the world axes (z, y, x) of a layer increase, such as "SAR"; empty where that is unknown."""
    said = str(layer.metadata.get(ORIENTATION, ""))
    return said or (_ASSUMED if tuple(layer.axis_labels) == AXIS_LABELS and origin_of(layer) is None else "")


def ras_affine(world: FloatArray, orientation: str) -> FloatArray:
    """From voxel indices (x, y, z, 1) to RAS mm, as grids have it, where the world's axes run as the letters say."""
    turn = np.zeros((3, 3))
    for axis, letter in enumerate(orientation):
        turn["RASLPI".index(letter) % 3, axis] = 1 if letter in "RAS" else -1
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn @ world[:3, 2::-1], turn @ world[:3, 3]
    return affine


def _volume(data: Any, multiscale: bool, affine: FloatArray, name: str) -> tuple[Volume, str]:
    """In the worker's thread: all voxels in memory, the finest level, finite; and what was done to them."""
    voxels: NDArray[Any] = np.asarray(data[0] if multiscale else data)
    if voxels.dtype == bool:
        voxels = voxels.astype(np.uint8)
    if voxels.dtype.kind == "c":
        raise InputError(f"{name} has complex voxels; add its magnitude as a layer.")
    finite = np.isfinite(voxels)
    if finite.all():
        return Volume(voxels, affine), ""
    if not finite.any():
        raise InputError(f"{name} has no finite voxel; there is nothing to work on.")
    lowest = voxels[finite].min()
    note = f"{np.count_nonzero(~finite)} voxels of {name} are not finite; they are background ({lowest:.4g}) now."
    return Volume(np.where(finite, voxels, lowest), affine), note
