"""Scan and lesions in 3D: the scan as a glass body, every label as a surface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Surface
from napari.utils.colormaps import Colormap
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from skimage.measure import marching_cubes

from napari_gem3d.viewer.layers import is_tool, is_volume, origin_of
from napari_gem3d.viewer.pace import Pace
from napari_gem3d.viewer.planes.orientation import RADIOLOGICAL_3D
from napari_gem3d.viewer.planes.pane import unwrapped
from napari_gem3d.viewer.signals import Connections
from napari_gem3d.viewer.worker import Worker

# A rendering is to show where things are; at this size it also turns smoothly without a graphics card.
_LONGEST = 96
# Painting and streaming change it often; it follows when there is time.
_PACE_MS = 1000
# From the front and a little from above.
_VIEW, _UP = (-0.25, -1.0, 0.0), (1.0, 0.0, 0.0)


@dataclass(frozen=True)
class Body:
    """A coarse copy of a scan: voxels (Z, Y, X), and scale and translation in mm."""

    voxels: NDArray[Any]
    scale: tuple[float, ...]
    translate: tuple[float, ...]


@dataclass(frozen=True)
class Mesh:
    """The surface of one label: corners (n, 3) in world mm (z, y, x), triangles (m, 3), and its colour."""

    vertices: NDArray[Any]
    faces: NDArray[Any]
    colour: tuple[float, ...]


def coarse(voxels: NDArray[Any], scale: NDArray[Any], translate: NDArray[Any]) -> Body:
    """Every n-th voxel along each axis, so that none has more than about a hundred."""
    steps = [max(1, -(-length // _LONGEST)) for length in voxels.shape]
    picked = np.ascontiguousarray(voxels[tuple(slice(step // 2, None, step) for step in steps)])
    moved = translate + scale * np.array([step // 2 for step in steps])
    return Body(picked, tuple(scale * steps), tuple(moved))


def surface(
    inside: NDArray[np.bool_], scale: NDArray[Any], translate: NDArray[Any], colour: tuple[float, ...]
) -> Mesh | None:
    """Surface of a region by marching cubes; None where it is empty.

    Parameters
    ----------
    inside
        (Z, Y, X).
    scale, translate
        Voxel size and centre of the first voxel in mm (z, y, x).
    colour
        Red, green, blue, opacity.
    """
    boxes = find_objects(inside.astype(np.uint8))
    if not boxes:
        return None
    first = np.array([box.start for box in boxes[0]])
    padded = np.pad(inside[boxes[0]], 1).astype(np.float32)
    vertices, faces, _, _ = marching_cubes(padded, 0.5, gradient_direction="ascent")
    return Mesh(translate + scale * (vertices + first - 1), faces, colour)


class Rendering:
    """A 3D view of the scan and the label map that are seen in the planes.

    Attributes
    ----------
    model
        What is shown, for a `QtViewer`.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self.model = ViewerModel(title="GEM-3D rendering", ndisplay=3)
        self.model.scene.camera.orientation = RADIOLOGICAL_3D
        self._worker = Worker()
        self._pace = Pace(self._ask, _PACE_MS)
        self._working = False
        self._framed: Any = None
        self._connections, self._watched = Connections(), Connections()
        layers = viewer.layers.events
        self._connections.add(self._on_layers, layers.inserted, layers.removed, layers.reordered)
        self._on_layers()

    def close(self) -> None:
        """Let go of the viewer, end the thread."""
        self._pace.stop()
        self._worker.close()
        self._connections.close()
        self._watched.close()
        self.model.layers.clear()

    def _seen(self, kind: type[Layer]) -> Any:
        """The topmost layer of a kind that is seen and comes from a file or a run."""
        layers = [unwrapped(layer) for layer in self._viewer.layers]
        fitting = [
            layer
            for layer in layers
            if isinstance(layer, kind)
            and layer.visible
            and layer.ndim == 3
            and not is_tool(layer)
            and (kind is not Image or is_volume(layer))
        ]
        return fitting[-1] if fitting else None

    def _on_layers(self, event: Any = None) -> None:
        self._watched.close()
        for layer in self._viewer.layers:
            if isinstance(layer, (Image, Labels)):
                self._watched.add(self._on_change, *_signals(unwrapped(layer)))
        self._pace.ask()

    def _on_change(self, event: Any = None) -> None:
        if getattr(event, "type", "") == "contrast_limits" and self.model.layers:
            scan = self._seen(Image)
            if scan is not None and isinstance(self.model.layers[0], Image):
                self.model.layers[0].contrast_limits = scan.contrast_limits
        else:
            self._pace.ask()

    def _ask(self) -> None:
        """Have it computed in the background, from what is seen now."""
        if self._working:
            self._pace.ask()
            return
        scan, labels = self._seen(Image), self._seen(Labels)
        self._working = True
        self._worker.submit(lambda: _compute(scan, labels), lambda done: self._show(scan, *done), self._fail)

    def _fail(self, error: BaseException) -> None:
        self._working = False  # is in the log; the planes do not depend on it

    def _show(self, scan: Any, body: Body | None, meshes: list[Mesh]) -> None:
        self._working = False
        layers = self.model.layers
        layers.clear()
        if body is not None:
            layers.append(
                Image(
                    body.voxels,
                    name="scan",
                    scale=body.scale,
                    translate=body.translate,
                    colormap="gray",
                    contrast_limits=scan.contrast_limits,
                    rendering="attenuated_mip",
                    attenuation=0.06,
                    blending="translucent_no_depth",
                )
            )
        for mesh in meshes:
            colour = Colormap([mesh.colour[:3], mesh.colour[:3]], name="label")
            layers.append(
                Surface(
                    (mesh.vertices, mesh.faces, np.ones(len(mesh.vertices))),
                    colormap=colour,
                    contrast_limits=(0, 1),
                    shading="none",
                    opacity=0.5,
                    blending="translucent_no_depth",
                )
            )
        if layers and self._framed is not scan:
            self._framed = scan
            self.model.scene.camera.set_view_direction(_VIEW, _UP)
            self.model.reset_view(reset_camera_angle=False)


def _signals(layer: Any) -> list[Any]:
    names = ("visible", "set_data", "data", "labels_update", "paint", "contrast_limits")
    return [getattr(layer.events, name) for name in names if hasattr(layer.events, name)]


def _compute(scan: Any, labels: Any) -> tuple[Body | None, list[Mesh]]:
    """In the worker's thread: nothing that is slow, and nothing that draws."""
    body = None if scan is None else coarse(np.asarray(scan.data), np.array(scan.scale), np.array(scan.translate))
    if labels is None:
        return body, []
    voxels = np.asarray(labels.data)
    origin = origin_of(labels)
    outside = {0} if origin is None else {0, origin.body_value, *origin.tissues}
    found = []
    for value in (int(v) for v in np.flatnonzero(np.bincount(voxels.ravel()))):
        if value not in outside:
            colour = tuple(float(c) for c in labels.get_color(value))
            mesh = surface(voxels == value, np.array(labels.scale), np.array(labels.translate), colour)
            if mesh is not None:
                found.append(mesh)
    # The largest first: the others are drawn over it, and it can be looked through.
    return body, sorted(found, key=lambda mesh: -float(np.ptp(mesh.vertices, axis=0).prod()))
