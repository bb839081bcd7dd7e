"""Pictures of volumes for reports and the command line: three planes, the labels as contours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from skimage.measure import find_contours

from napari_gem3d.errors import InputError
from napari_gem3d.foreground import is_ct
from napari_gem3d.io import replacing
from napari_gem3d.labels import Label, LabelMap, LabelTable
from napari_gem3d.volume import Volume, resample

# Pixels of the longest side of a plane, and between planes.
_LONGEST, _GAP = 480, 8
_LETTERS = 15
_MARGIN_MM = 6.0
# Share of the brightest and darkest foreground voxels that the grey scale leaves out, percent.
_CLIPPED = 0.5
_SOFT_TISSUE_HU = (-160.0, 240.0)
_WHITE, _GREY = (255, 255, 255), (170, 170, 170)


@dataclass(frozen=True)
class _Plane:
    """One plane through a canonical volume: which axis it cuts, and the patient's side at each edge of the picture.

    As a radiologist looks: from the feet (the patient's right on the left), from the front, from the left.
    """

    name: str
    axis: int
    left: str
    right: str
    top: str

    def cut(self, array: NDArray[Any], index: Sequence[int]) -> NDArray[Any]:
        """The plane of a (Z, Y, X) array through an index, as rows and columns of the picture."""
        # Superior and anterior are up, right and anterior are left: all against the direction of RAS indices.
        return array.take(index[self.axis], axis=self.axis)[::-1, ::-1]


_PLANES = (
    _Plane("axial", 0, left="R", right="L", top="A"),
    _Plane("coronal", 1, left="R", right="L", top="S"),
    _Plane("sagittal", 2, left="A", right="P", top="S"),
)


def three_planes(
    volume: Volume,
    labels: LabelMap | None,
    path: Path | str,
    at: Sequence[float] | None = None,
    below: Sequence[Volume] = (),
) -> None:
    """Draw the axial, coronal and sagittal plane through a point as PNG.

    All planes have one scale in mm and follow radiological convention: superior or anterior up, the patient's right,
    or front, on the left. With labels there is a last row that shows their contours and names.

    Parameters
    ----------
    volume
        (Z, Y, X) in any orientation; MR is shown from the background to the 99.5th percentile of the foreground, CT
        in a window for soft tissue.
    labels
        On any grid that overlaps; colours and names from their table.
    path
        The PNG to write.
    at
        (right, anterior, superior) in mm. By default the middle of the lesions, or of all labels if the table names
        none, or of the foreground.
    below
        Volumes to compare with, each in a row of its own: the same planes in the same grey scale.

    Raises
    ------
    InputError
        If the point is outside the volume, the labels do not overlap it, or the file cannot be written.
    """
    scan = resample(volume, volume.grid.canonical())
    aligned = None if labels is None else labels.aligned_to(scan.grid)
    centre = _index(scan, aligned, at)
    field = _field_of_view(scan)
    limits = _grey_limits(scan)
    grey = _grey(scan, limits)
    scale = _scale(scan, field)
    greys = [grey, *(_grey(resample(other, scan.grid), limits) for other in below)]
    rows = [[_draw(plane, scan, shown, None, centre, field, scale) for plane in _PLANES] for shown in greys]
    if aligned is not None:
        rows.append([_draw(plane, scan, grey, aligned, centre, field, scale) for plane in _PLANES])
    _save(_assemble(rows, None if aligned is None else _table(aligned)), path)


@dataclass(frozen=True)
class Row:
    """A volume among others that are to be compared, see `planes_in_rows`.

    Attributes
    ----------
    volume
        (Z, Y, X), in any orientation.
    caption
        What it is.
    labels
        Drawn as contours in the axial plane, beside the planes without.
    greys
        The volume whose grey scale it has, for scans of other units; the first row's by default.
    at
        (right, anterior, superior) in mm, if its planes go through another point than the first one's.
    """

    volume: Volume
    caption: str = ""
    labels: LabelMap | None = None
    greys: Volume | None = None
    at: Sequence[float] | None = None


def planes_in_rows(rows: Sequence[Row], path: Path | str, at: Sequence[float] | None = None) -> None:
    """Draw three planes of several volumes of one patient, a row each, with captions, as PNG.

    Parameters
    ----------
    rows
        The first decides the grid, the field of view and, where a row has none of its own, the grey scale.
    path
        The PNG to write.
    at
        (right, anterior, superior) in mm; by default as `three_planes` chooses it for the first row.

    Raises
    ------
    InputError
        As `three_planes`.
    """
    first = resample(rows[0].volume, rows[0].volume.grid.canonical())
    field, limits = _field_of_view(first), _grey_limits(first)
    scale = _scale(first, field)
    cells, table = [], None
    for row in rows:
        scan = resample(row.volume, first.grid)
        labels = None if row.labels is None else row.labels.aligned_to(first.grid)
        if row is rows[0]:
            middle = _index(first, labels, at)
        centre = middle if row.at is None else _index(first, None, row.at)
        grey = _grey(scan, limits if row.greys is None else _grey_limits(row.greys))
        drawn = [_draw(plane, scan, grey, None, centre, field, scale) for plane in _PLANES]
        if labels is not None:
            table = _table(labels)
            drawn.append(_draw(_PLANES[0], scan, grey, labels, centre, field, scale))
        corner = (4, drawn[0].height - 4)
        ImageDraw.Draw(drawn[0]).text(corner, row.caption, _WHITE, ImageFont.load_default(_LETTERS), anchor="ls")
        cells.append(drawn)
    _save(_assemble(cells, table), path)


def _save(picture: Image.Image, path: Path | str) -> None:
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG")


def _index(scan: Volume, labels: LabelMap | None, at: Sequence[float] | None) -> NDArray[np.int_]:
    """Index (z, y, x) of a point, or of the middle of what there is to see; InputError if it is not in the volume."""
    centre = _centre(scan, labels) if at is None else np.rint(scan.grid.world_to_index([at])[0]).astype(int)
    if (centre < 0).any() or (centre >= scan.shape).any():
        raise InputError(f"The point {tuple(at or ())} mm is outside the volume; choose one inside.")
    return centre


def _scale(scan: Volume, field: tuple[slice, slice, slice]) -> float:
    """Pixels a mm."""
    return _LONGEST / max((part.stop - part.start) * mm for part, mm in zip(field, scan.spacing, strict=True))


def _table(labels: LabelMap) -> LabelTable:
    return labels.table or LabelTable.from_values(labels.values())


def _outlined(table: LabelTable | None) -> list[Label]:
    # The body's outline is the one thing that everybody sees without help.
    return [label for label in table or () if label.meaning != "body"]


def _foreground(voxels: NDArray[Any]) -> NDArray[np.bool_]:
    # The corner is background in every scan, whatever its value; a picture needs no better foreground than that.
    result: NDArray[np.bool_] = voxels > voxels[0, 0, 0]
    return result if result.any() else np.ones_like(result)


def _centre(scan: Volume, labels: LabelMap | None) -> NDArray[np.int_]:
    """Index (z, y, x) of the voxel of the lesions nearest to their middle."""
    chosen = np.zeros(scan.shape, bool)
    if labels is not None:
        chosen = np.isin(labels.voxels, [label.value for label in _table(labels).lesions])
        chosen = chosen if chosen.any() else labels.voxels > 0
    if not chosen.any():
        chosen = _foreground(scan.voxels)
    indices = np.argwhere(chosen)
    nearest: NDArray[np.int_] = indices[np.linalg.norm(indices - indices.mean(axis=0), axis=1).argmin()]
    return nearest


def _field_of_view(scan: Volume) -> tuple[slice, slice, slice]:
    """The part of the volume that holds the foreground, with a margin."""
    inside = _foreground(scan.voxels)
    parts = []
    for axis, spacing in enumerate(scan.spacing):
        where = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        margin = round(_MARGIN_MM / spacing)
        parts.append(slice(max(int(where[0]) - margin, 0), min(int(where[-1]) + margin + 1, scan.shape[axis])))
    return parts[0], parts[1], parts[2]


def _grey_limits(scan: Volume) -> tuple[float, float]:
    """The intensities that are drawn black and white."""
    if is_ct(scan):
        return _SOFT_TISSUE_HU
    voxels = scan.voxels
    low, high = (float(p) for p in np.percentile(voxels[_foreground(voxels)], [_CLIPPED, 100 - _CLIPPED]))
    # Black is the background, unless that is a value far from all others.
    background = float(voxels[0, 0, 0])
    return (background if low - background <= high - low or low == high else low), high


def _grey(scan: Volume, limits: tuple[float, float]) -> NDArray[np.uint8]:
    low, high = limits
    share = (scan.voxels.astype(np.float32) - low) / max(high - low, 1e-6)
    return np.clip(255 * share, 0, 255).astype(np.uint8)


def _draw(
    plane: _Plane,
    scan: Volume,
    grey: NDArray[np.uint8],
    labels: LabelMap | None,
    centre: NDArray[np.int_],
    field: tuple[slice, slice, slice],
    scale: float,
) -> Image.Image:
    """One plane at `scale` pixels a mm, with the sides named, and the contours of `labels`."""
    index = np.asarray(centre) - [part.start for part in field]
    index = np.clip(index, 0, [part.stop - part.start - 1 for part in field])
    shown = plane.cut(grey[field], index)
    row_mm, column_mm = (mm for axis, mm in enumerate(scan.spacing) if axis != plane.axis)
    height, width = round(shown.shape[0] * row_mm * scale), round(shown.shape[1] * column_mm * scale)
    picture = Image.fromarray(shown).resize((width, height), Image.Resampling.BICUBIC).convert("RGB")
    canvas = ImageDraw.Draw(picture)
    if labels is not None:
        cut = plane.cut(labels.voxels[field], index)
        for label in _outlined(_table(labels)):
            for contour in find_contours(np.pad(cut == label.value, 1).astype(float), 0.5):
                # Contours are in the middle of voxels, moved by one through the padding; pixels count from the edge.
                points = (contour[:, ::-1] - 0.5) * [column_mm * scale, row_mm * scale]
                canvas.line([(float(x), float(y)) for x, y in points], fill=label.colour, width=2)
    font = ImageFont.load_default(_LETTERS)
    canvas.text((4, 3), plane.name, _WHITE, font)
    if height < 5 * _LETTERS:
        return picture  # too thin for letters at its sides
    canvas.text((4, height / 2), plane.left, _GREY, font, anchor="lm")
    canvas.text((width - 4, height / 2), plane.right, _GREY, font, anchor="rm")
    canvas.text((width / 2, 3), plane.top, _GREY, font, anchor="ma")
    return picture


def _assemble(rows: list[list[Image.Image]], table: LabelTable | None) -> Image.Image:
    """Put the rows of planes below each other, and the names of the labels below the last."""
    widths = [max(row[column].width for row in rows if column < len(row)) for column in range(max(map(len, rows)))]
    heights = [max(picture.height for picture in row) for row in rows]
    legend = 0 if table is None else 24
    size = (sum(widths) + _GAP * (len(widths) - 1), sum(heights) + _GAP * (len(rows) - 1) + legend)
    sheet = Image.new("RGB", size)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            left, top = sum(widths[:j]) + _GAP * j, sum(heights[:i]) + _GAP * i
            sheet.paste(picture, (left + (widths[j] - picture.width) // 2, top + (heights[i] - picture.height) // 2))
    canvas, font, x = ImageDraw.Draw(sheet), ImageFont.load_default(_LETTERS), 4.0
    for label in _outlined(table):
        canvas.text((x, size[1] - 4), label.name, label.colour, font, anchor="ls")
        x += canvas.textlength(label.name, font) + 20
    return sheet
