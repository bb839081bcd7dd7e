"""A result beside, over or against the scan or another result."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from napari.layers import Image, Layer
from napari.utils.colormaps import Colormap
from numpy.typing import NDArray
from qtpy.QtCore import QTimer

from napari_gem3d.errors import InputError
from napari_gem3d.viewer.context import Context
from napari_gem3d.viewer.layers import SYNTHETIC, TOOL, required_origin
from napari_gem3d.viewer.run import Run
from napari_gem3d.viewer.signals import State
from napari_gem3d.volume import Volume, resample

Limits = tuple[float, float]


@dataclass(frozen=True)
class Shown:
    """A volume and the grey window it is shown with.

    Attributes
    ----------
    volume
        Voxels (Z, Y, X).
    limits
        Intensities that are black and white.
    """

    volume: Volume
    limits: Limits


def matched(other: Shown, like: Shown) -> NDArray[np.float32]:
    """Voxels of `other` on the grid of `like`, intensities carried over from its window to that of `like`.

    Equal windows leave the intensities as they are.
    """
    voxels = resample(other.volume, like.volume.grid).voxels.astype(np.float32)
    if other.limits == like.limits:
        return voxels
    (low, high), (new_low, new_high) = other.limits, like.limits
    scaled: NDArray[np.float32] = (voxels - np.float32(low)) * np.float32((new_high - new_low) / (high - low))
    scaled += np.float32(new_low)
    return scaled


def checkerboard(first: Shown, other: Shown, tile_mm: float) -> NDArray[np.float32]:
    """Cubes of `tile_mm` of the one volume and of the other in turn, (Z, Y, X) on the grid of `first`."""
    second = matched(other, first)
    parity: NDArray[Any] = np.zeros((1, 1, 1), np.int64)
    for axis, (size, spacing) in enumerate(zip(first.volume.shape, first.volume.spacing, strict=True)):
        tile = (np.arange(size) * spacing // tile_mm).astype(np.int64)
        parity = parity + tile.reshape([-1 if i == axis else 1 for i in range(3)])
    return np.where(parity % 2 == 0, first.volume.voxels.astype(np.float32), second)


@dataclass(frozen=True)
class Difference:
    """What one volume has more than the other.

    Attributes
    ----------
    voxels
        (Z, Y, X), `first` minus `other`.
    limit
        The colours run from minus this to this: the 99.9th percentile of what differs.
    share
        Of voxels that differ at all, 0 to 1.
    mean, largest
        Of the size of the difference, where there is one.
    """

    voxels: NDArray[np.float32]
    limit: float
    share: float
    mean: float
    largest: float


def difference(first: Shown, other: Shown) -> Difference:
    """`first` minus `other`, on the grid of `first`, in its intensities; see `matched`."""
    voxels = first.volume.voxels.astype(np.float32) - matched(other, first)
    sizes = np.abs(voxels[voxels != 0])
    if not sizes.size:
        return Difference(voxels, 1.0, 0.0, 0.0, 0.0)
    limit = float(np.percentile(sizes[:: max(1, sizes.size // 1_000_000)], 99.9))
    return Difference(voxels, limit or 1.0, sizes.size / voxels.size, float(sizes.mean()), float(sizes.max()))


How = Literal["flicker", "side by side", "checkerboard", "difference"]
_FLICKER_MS = 700
# Symmetric: what is equal is black, as the background is, so that the eye goes to what differs.
DIVERGING = Colormap(
    [[0.35, 0.75, 1.0], [0.1, 0.3, 0.8], [0, 0, 0], [0.8, 0.2, 0.1], [1.0, 0.8, 0.3]], name="difference"
)


class ComparisonState(State):
    """What is compared, and how.

    Attributes
    ----------
    run
        The result, None while nothing is compared.
    other
        Another run, or None for the patient's scan.
    how
        The way.
    tile_mm
        Edge of the checkerboard's cubes.
    note
        What can be said of it in a line: the size of the difference, or that grey windows were matched.
    """

    run: Any = None
    other: Any = None
    how: How = "flicker"
    tile_mm: float = 20.0
    note: str = ""


class Comparison:
    """Shows two images of a patient against each other, and puts the viewer back as it was afterwards.

    Attributes
    ----------
    state
        Change `how`, `other` or `tile_mm` and the view follows; `start` and `stop` begin and end it.
    """

    def __init__(self, context: Context) -> None:
        self._context, self._panel, self._viewer = context, context.state, context.viewer
        self.state = ComparisonState()
        self._before: list[tuple[Layer, bool]] = []
        self._cameras: list[tuple[Any, float, tuple[float, ...], bool]] = []
        self._mix: Image | None = None
        self._wanted = 0
        self._timer = QTimer()
        self._timer.setInterval(_FLICKER_MS)
        self._timer.timeout.connect(self.flick)
        for name in ("how", "other", "tile_mm"):
            getattr(self.state.events, name).connect(self._show)
        context.state.events.patient.connect(self._on_patient)

    @property
    def mix(self) -> Image | None:
        """The layer of the checkerboard or the difference, None while there is none."""
        return self._mix

    def start(self, run: Run, other: Run | None = None, how: How | None = None) -> None:
        """Compare a result with its patient's scan, or with another result; another comparison ends."""
        self.stop()
        if run.layer is None or run.status not in ("finished", "partial"):
            self._panel.say_error(InputError(f"{run.name} is not finished yet; compare it when it is."))
            return
        self._panel.patient = run.patient
        self._before = [(layer, layer.visible) for layer in self._viewer.layers]
        with self.state.events.blocked():
            self.state.other = other
            self.state.how = how or self.state.how
        self.state.run = run
        self._show()

    def stop(self) -> None:
        """Show what was visible before."""
        if self.state.run is None:
            return
        self._clear()
        with self.state.events.blocked():
            self.state.other, self.state.note = None, ""
        self.state.run = None
        layers = self._viewer.layers
        for layer, visible in self._before:
            if layer in layers:
                layer.visible = visible
        self._before = []

    def flick(self) -> None:
        """Change from the one image to the other."""
        pair = self._pair()
        if pair is None:
            self.stop()
            return
        first, other = pair
        first.visible, other.visible = not first.visible, first.visible

    def close(self) -> None:
        """Let go of the viewer."""
        self.stop()
        self._panel.events.patient.disconnect(self._on_patient)

    def _on_patient(self) -> None:
        run = self.state.run
        if run is not None and self._panel.patient is not run.patient:
            self.stop()

    def _pair(self) -> tuple[Image, Image] | None:
        """The two layers; None if one of them is gone."""
        run, other = self.state.run, self.state.other
        if run is None:
            return None
        second = run.patient.image if other is None else other.layer
        layers = self._viewer.layers
        return (run.layer, second) if run.layer in layers and second in layers else None

    def _clear(self) -> None:
        """End one way of showing, before the next."""
        self._timer.stop()
        self._wanted += 1
        for model, zoom, centre, scale_bar in self._cameras:
            model.canvas.grid.enabled = False
            model.canvas.overlays.scale_bar.visible = scale_bar
            model.scene.camera.zoom, model.scene.camera.center = zoom, centre
        self._cameras = []
        pair = self._pair()
        for layer in pair or ():
            layer.name_overlay.visible = False
        mix, self._mix = self._mix, None
        if mix is not None and mix in self._viewer.layers:
            self._viewer.layers.remove(mix)

    def _show(self) -> None:
        """Show the pair in the way that is chosen."""
        if self.state.run is None:
            return
        self._clear()
        pair = self._pair()
        if pair is None:
            self.stop()
            return
        first, other = pair
        how = self.state.how
        self.state.note = ""
        for layer in self._viewer.layers:
            if isinstance(layer, Image):
                layer.visible = layer in pair if how != "flicker" else layer == first
        if how == "flicker":
            self._timer.start()
        elif how == "side by side":
            self._side_by_side(first, other)
        else:
            self._ask_for_mix(first, other)

    def _side_by_side(self, first: Image, other: Image) -> None:
        """Napari's grid has a cell for each visible layer, so there may be two of them."""
        for layer in self._viewer.layers:
            layer.visible = layer in (first, other)
        for layer in (first, other):
            layer.name_overlay.position = "bottom_left"  # the other corners are taken
            layer.name_overlay.visible = True
        for model in self._context.planes.models:
            camera, scale_bar = model.scene.camera, model.canvas.overlays.scale_bar
            self._cameras.append((model, float(camera.zoom), tuple(camera.center), bool(scale_bar.visible)))
            scale_bar.visible = False  # it would lie over the name
            model.canvas.grid.shape, model.canvas.grid.stride = (1, 2), -1
            model.canvas.grid.enabled = True
            model.reset_view()  # both have to fit into half the width

    def _ask_for_mix(self, first: Image, other: Image) -> None:
        a, b, how, tile = _shown(first), _shown(other), self.state.how, self.state.tile_mm
        number = self._wanted
        self.state.note = "Mixing …"

        def mix() -> Difference | np.ndarray:
            return difference(a, b) if how == "difference" else checkerboard(a, b, tile)

        matched = "" if a.limits == b.limits else "; intensities matched by the two grey windows"
        self._context.files.submit(mix, partial(self._show_mix, number, first, matched), self._panel.say_error)

    def _show_mix(self, number: int, first: Image, matched: str, mixed: Any) -> None:
        pair = self._pair()
        if number != self._wanted or pair is None:
            return  # something else was chosen meanwhile
        limits, colours, voxels = first.contrast_limits, first.colormap, mixed
        note = "Cubes of both"
        if isinstance(mixed, Difference):
            limits, colours, voxels = (-mixed.limit, mixed.limit), DIVERGING, mixed.voxels
            note = "No voxel differs"
            if mixed.share:
                size = f"by {mixed.mean:.3g} on average and {mixed.largest:.4g} at most"
                note = f"{mixed.share:.1%} of voxels differ, {size}"
        attributes = {
            "name": self.state.how.capitalize(),
            "metadata": {TOOL: True, SYNTHETIC: True},
            "contrast_limits": limits,
            "colormap": colours,
            "scale": first.scale,
            "translate": first.translate,
            "units": first.units,
            "axis_labels": first.axis_labels,
        }
        layers = self._viewer.layers
        # Neither image is seen below it, and every visible layer costs time at each refresh.
        self._mix = self._viewer.add_layer(Layer.create(voxels, attributes, "image"))
        layers.move(layers.index(self._mix), max(layers.index(layer) for layer in pair) + 1)
        for layer in pair:
            layer.visible = False
        if isinstance(mixed, Difference):
            self._mix.colorbar.visible = True
        self.state.note = note + matched + "."


def _shown(layer: Image) -> Shown:
    """A layer's volume in canonical axes, with its window."""
    origin = required_origin(layer)
    low, high = layer.contrast_limits
    return Shown(Volume(np.asarray(layer.data), origin.grid.canonical().affine), (float(low), float(high)))
