"""Three planes: the right way round, in true proportions, with the labels where they are."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_gem3d import Grid, InputError, LabelMap, Volume, resample
from napari_gem3d.labels import Label, LabelTable
from napari_gem3d.pictures import Row, planes_in_rows, three_planes

TABLE = LabelTable((Label(1, "core", "#ff0000"), Label(4, "body", "#00ff00", meaning="body")))
# A body of 40 × 60 × 80 mm (z, y, x) in voxels of 4 × 2 × 1 mm with 6 mm about it (8 in z), stored RAS.
SPACING, SHAPE = (4.0, 2.0, 1.0), (14, 36, 92)
BODY = (slice(2, 12), slice(3, 33), slice(6, 86))
# Upper, front, right corner of the body.
CORNER = (slice(9, 12), slice(27, 33), slice(70, 86))
CORNER_MM = (78.0, 60.0, 40.0)
# The longest extent, 92 mm, is drawn 480 pixels wide.
SCALE = 480 / 92


@pytest.fixture
def scan() -> Volume:
    voxels = np.zeros(SHAPE, np.int16)
    voxels[BODY] = 100
    voxels[CORNER] = 250
    return Volume(voxels, np.diag([*SPACING[::-1], 1.0]), "MR")


@pytest.fixture
def labels(scan) -> LabelMap:
    voxels = np.where(scan.voxels > 0, 4, 0).astype(np.uint8)
    voxels[CORNER] = 1
    return LabelMap(voxels, scan.affine, table=TABLE)


def panels(path: Path, row: int = 0) -> dict[str, np.ndarray]:
    """The planes of one row of the sheet, (height, width, 3)."""
    sheet = np.asarray(Image.open(path).convert("RGB")).astype(int)
    z, y, x = (round(n * mm * SCALE) for n, mm in zip(SHAPE, SPACING, strict=True))
    top, down = row * (y + 8), (y - z) // 2
    return {
        "axial": sheet[top : top + y, :x],
        "coronal": sheet[top + down : top + down + z, x + 8 : 2 * x + 8],
        "sagittal": sheet[top + down : top + down + z, 2 * x + 16 :],
    }


def box(mask: np.ndarray, least: int = 40) -> tuple[int, int, int, int]:
    """First and last row, first and last column that hold so many pixels of a mask."""
    rows, columns = np.flatnonzero(mask.sum(1) >= least), np.flatnonzero(mask.sum(0) >= least)
    return rows[0], rows[-1], columns[0], columns[-1]


@pytest.mark.parametrize(
    ("plane", "height_mm", "width_mm"), [("axial", 60, 80), ("coronal", 40, 80), ("sagittal", 40, 60)]
)
def test_proportions_are_those_in_mm(scan, tmp_path, plane, height_mm, width_mm):
    three_planes(scan, None, tmp_path / "p.png")
    grey = panels(tmp_path / "p.png")[plane]
    top, bottom, left, right = box(grey.min(2) > 50, least=70)
    assert (bottom - top + 1, right - left + 1) == pytest.approx((height_mm * SCALE, width_mm * SCALE), abs=14)


@pytest.mark.parametrize("stored", ["RAS", "LPS", "SAL"])
def test_right_front_and_top_are_where_a_radiologist_expects_them(scan, tmp_path, stored):
    three_planes(resample(scan, reoriented(scan.grid, stored)), None, tmp_path / "p.png", at=CORNER_MM)
    for name, picture in panels(tmp_path / "p.png").items():
        top, bottom, left, right = box(picture.min(2) > 240)
        height, width = picture.shape[:2]
        assert bottom < height / 2, f"{name}: superior, or anterior, is up"
        assert right < width / 2, f"{name}: the patient's right, or front, is on the left"
        assert top > 10 and left > 10


def reoriented(grid: Grid, stored: str) -> Grid:
    """The same voxels with their axes in another order and direction."""
    to_old, shape = np.zeros((4, 4)), []
    to_old[3, 3] = 1
    for new, letter in enumerate(stored):
        old = next(i for i, pair in enumerate(("RL", "AP", "SI")) if letter in pair)
        size = grid.shape[2 - old]
        to_old[old, new], to_old[old, 3] = (1, 0) if letter in "RAS" else (-1, size - 1)
        shape.append(size)
    return Grid((shape[2], shape[1], shape[0]), grid.affine @ to_old)


def test_lesions_are_outlined_where_they_are_and_the_body_is_not(scan, labels, tmp_path):
    three_planes(scan, labels, tmp_path / "p.png")
    above, below = panels(tmp_path / "p.png"), panels(tmp_path / "p.png", row=1)
    for name, picture in below.items():
        red = (picture[..., 0] > 200) & (picture[..., 1] < 80)
        assert box(red, least=1) == pytest.approx(box(above[name].min(2) > 190), abs=8)
        assert not ((picture[..., 1] > 200) & (picture[..., 0] < 80)).any()
        assert not (above[name][..., 0] != above[name][..., 1]).any(), "the first row shows the scan alone"


def test_the_planes_go_through_the_lesion_unless_told_otherwise(scan, labels, tmp_path):
    voxels = np.where(scan.voxels > 0, 4, 0).astype(np.uint8)
    voxels[4, 10, 20] = 1
    single = LabelMap(voxels, scan.affine, table=TABLE)
    three_planes(scan, single, tmp_path / "a.png")
    three_planes(scan, single, tmp_path / "b.png", at=(20.0, 20.0, 16.0))
    three_planes(scan, single, tmp_path / "c.png", at=CORNER_MM)
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c


def test_labels_on_another_grid_are_aligned(scan, labels, tmp_path):
    three_planes(scan, labels, tmp_path / "a.png")
    elsewhere = labels.grid.box((1, 2, 3), (13, 40, 89))
    three_planes(scan, resample(labels, elsewhere, order=0), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_ct_is_shown_in_a_window_for_soft_tissue(scan, tmp_path):
    hounsfield = np.where(scan.voxels > 0, 40, -1000).astype(np.int16)
    hounsfield[CORNER] = 1500
    three_planes(Volume(hounsfield, scan.affine, "CT"), None, tmp_path / "p.png", at=CORNER_MM)
    values = np.unique(panels(tmp_path / "p.png")["sagittal"][:, 250:300], return_counts=True)
    assert values[0][values[1].argsort()[-2:]].tolist() in ([0, 127], [127, 0])


def test_a_constant_body_is_white_on_black(scan, tmp_path):
    three_planes(scan.with_voxels((scan.voxels > 0).astype(np.uint8)), None, tmp_path / "p.png")
    assert (panels(tmp_path / "p.png")["axial"].min(2) == 255).mean() > 0.5


def test_what_cannot_be_drawn_is_refused(scan, labels, tmp_path):
    with pytest.raises(InputError, match=r"point \(500.0, 0.0, 0.0\) mm is outside"):
        three_planes(scan, None, tmp_path / "p.png", at=(500.0, 0.0, 0.0))
    affine = labels.affine.copy()
    affine[:3, 3] += 1000
    with pytest.raises(InputError, match="does not overlap"):
        three_planes(scan, LabelMap(labels.voxels, affine), tmp_path / "p.png")
    with pytest.raises(InputError, match="does not exist"):
        three_planes(scan, None, tmp_path / "nowhere" / "p.png")
    assert list(tmp_path.iterdir()) == []


def test_volumes_below_have_the_planes_and_the_grey_scale_of_the_first(scan, labels, tmp_path):
    dim = scan.with_voxels(scan.voxels // 2)
    three_planes(scan, labels, tmp_path / "p.png", below=[dim])
    first, second, contours = (panels(tmp_path / "p.png", row) for row in range(3))
    for name, plane in first.items():
        bright = plane[..., 0] > 90
        assert np.median(second[name][bright, 0]) == pytest.approx(np.median(plane[bright, 0]) / 2, abs=2)
        assert (contours[name][..., 0] != contours[name][..., 1]).any()
        assert (second[name][..., 0] == second[name][..., 1]).all()


def cells(path: Path, count: int) -> list[np.ndarray]:
    """The first cell of every row of a sheet of `planes_in_rows`: the axial plane without labels."""
    sheet = np.asarray(Image.open(path).convert("RGB")).astype(int)
    _, y, x = (round(n * mm * SCALE) for n, mm in zip(SHAPE, SPACING, strict=True))
    return [sheet[row * (y + 8) : row * (y + 8) + y, :x] for row in range(count)]


def test_rows_have_the_grey_scale_of_the_first_or_of_another(scan, tmp_path):
    dim = scan.with_voxels(scan.voxels // 2)
    planes_in_rows([Row(scan), Row(dim), Row(dim, greys=dim)], tmp_path / "p.png")
    first, same, own = (cell[..., 0] for cell in cells(tmp_path / "p.png", 3))
    inside = first > 90
    assert np.median(same[inside]) == pytest.approx(np.median(first[inside]) / 2, abs=2)
    assert np.median(own[inside]) == pytest.approx(np.median(first[inside]), abs=2)


def test_the_labels_of_a_row_are_outlined_beside_its_planes(scan, labels, tmp_path):
    planes_in_rows([Row(scan, "scan"), Row(scan, "the same", labels)], tmp_path / "p.png", at=CORNER_MM)
    sheet = np.asarray(Image.open(tmp_path / "p.png").convert("RGB")).astype(int)
    red = (sheet[..., 0] > 200) & (sheet[..., 1] < 80)
    _, y, x = (round(n * mm * SCALE) for n, mm in zip(SHAPE, SPACING, strict=True))
    below, right = y + 8, sheet.shape[1] - x
    corner = box(cells(tmp_path / "p.png", 2)[1].min(2) > 240)
    drawn = red[below : below + y]
    assert box(drawn[:, right:], least=1) == pytest.approx(corner, abs=8)
    assert not red[:below].any() and not drawn[:, :right].any()


def test_rows_may_look_at_another_place_and_lie_on_another_grid(scan, labels, tmp_path):
    elsewhere = resample(scan, scan.grid.box((1, 2, 3), (13, 40, 89)))
    planes_in_rows([Row(scan), Row(elsewhere), Row(scan, at=CORNER_MM)], tmp_path / "p.png")
    first, moved, corner = cells(tmp_path / "p.png", 3)
    assert (first == moved).all() and (first != corner).any()
    with pytest.raises(InputError, match="outside the volume"):
        planes_in_rows([Row(scan), Row(scan, at=(500.0, 0.0, 0.0))], tmp_path / "q.png")
    assert not (tmp_path / "q.png").exists()
