"""The crosshair: one point that the planes are cut at."""

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_gem3d.viewer.planes.controller import Planes


@pytest.fixture
def viewer():
    """A scan of thick slices that lies somewhere in the world: z from 10 to 46, y from -20 to 20, x from 5 to 35 mm."""
    viewer = ViewerModel()
    viewer.add_image(np.zeros((10, 21, 31)), scale=(4, 2, 1), translate=(10, -20, 5))
    return viewer


def test_the_crosshair_follows_the_sliders_and_leads_them(viewer) -> None:
    planes = Planes(viewer)
    seen = []
    planes.state.events.focus.connect(seen.append)
    viewer.dims.set_point(0, 22)
    assert planes.focus[0] == 22
    planes.look_at((30, 6, 11))
    assert planes.focus == seen[-1] == (30, 6, 11)
    assert viewer.dims.point[0] == 30


def test_an_axis_that_gets_hidden_is_cut_at_the_crosshair(viewer) -> None:
    planes = Planes(viewer)
    planes.look_at((30, 6, 11))
    viewer.dims.order = (1, 0, 2)
    assert viewer.dims.point[1] == 6
    viewer.dims.order = (2, 0, 1)
    assert viewer.dims.point[2] == 11
    assert planes.focus == (30, 6, 11)
    viewer.dims.ndisplay = 3
    planes.look_at((14, 0, 20))
    viewer.dims.ndisplay = 2
    assert viewer.dims.point[2] == 20


def test_the_crosshair_stays_inside_of_what_is_open(viewer) -> None:
    planes = Planes(viewer)
    planes.look_at((1000, -1000, 7))
    assert planes.focus == (46, -20, 7)
    viewer.layers.clear()
    viewer.add_image(np.zeros((3, 3, 3)))
    assert all(0 <= p <= 2 for p in planes.focus)
    with pytest.raises(ValueError, match="three coordinates"):
        planes.look_at((1, 2))


def test_closed_planes_let_the_viewer_go(viewer) -> None:
    planes = Planes(viewer)
    planes.look_at((30, 6, 11))
    planes.close()
    viewer.dims.set_point(0, 14)
    assert planes.focus == (30, 6, 11)
