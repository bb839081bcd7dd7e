"""The letters at the edges of the canvas, against what is really on the screen."""

import numpy as np
import pytest
from napari.layers import Layer

from napari_gem3d.viewer.layers import image_layer
from napari_gem3d.viewer.planes.orientation import OrientationLetters, edge_letters
from napari_gem3d.volume import Volume


def test_axial_is_radiological() -> None:
    assert edge_letters((1, 2), 3, ("up", "left")) == {"top": "A", "bottom": "P", "left": "R", "right": "L"}


def test_letters_follow_a_flipped_camera() -> None:
    assert edge_letters((1, 2), 3, ("down", "right")) == {"top": "P", "bottom": "A", "left": "L", "right": "R"}


def test_axes_before_the_spatial_ones_have_no_letter() -> None:
    assert edge_letters((0, 3), 4, ("up", "left")) == {"top": "", "bottom": "", "left": "R", "right": "L"}


def brightest_edge(screenshot: np.ndarray) -> tuple[str, str]:
    """Which vertical and horizontal half of the canvas shows the bright voxel."""
    grey = screenshot[..., :3].min(axis=-1).astype(int)  # letters are yellow: their blue is low
    grey[:, :40] = grey[:, -40:] = 0
    grey[:40] = grey[-60:] = 0
    row, column = np.argwhere(grey > 230).mean(axis=0)
    return ("top" if row < grey.shape[0] / 2 else "bottom"), ("left" if column < grey.shape[1] / 2 else "right")


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1), (0, 2, 1)])
def test_letters_are_true_on_the_screen(make_napari_viewer_proxy, qtbot, order: tuple[int, int, int]) -> None:
    # A bright block in the patient's right, anterior, superior corner, of a scan stored LPI with thick slices.
    canonical = np.zeros((10, 40, 40), np.int16)
    canonical[:, :, :] = 50
    canonical[7:, 30:, 30:] = 1000
    affine = np.diag([-1.0, -1.0, -4.0, 1.0])
    volume = Volume(canonical[::-1, ::-1, ::-1].copy(), affine, "MR")
    viewer = make_napari_viewer_proxy(show=True)
    letters = OrientationLetters(viewer)
    layer = viewer.add_layer(Layer.create(*image_layer(volume, "scan")))
    layer.contrast_limits = (0, 1000)
    letters.show()
    viewer.dims.order = order
    viewer.dims.set_point(
        order[0], layer.translate[order[0]] + 0.9 * layer.scale[order[0]] * (layer.data.shape[order[0]] - 1)
    )
    viewer.reset_view()
    qtbot.wait(50)
    vertical, horizontal = brightest_edge(viewer.screenshot(canvas_only=True, flash=False))
    assert letters.letters[vertical] in "RAS"
    assert letters.letters[horizontal] in "RAS"
    assert sorted(letters.letters.values()) == sorted("".join(("SI", "AP", "RL")[axis] for axis in order[1:]))


def test_letters_hide_in_3d_and_before_a_scan_is_open(make_napari_viewer_proxy) -> None:
    viewer = make_napari_viewer_proxy()
    letters = OrientationLetters(viewer)
    assert letters.letters == {}
    viewer.add_image(np.zeros((4, 4, 4)))
    letters.show()
    assert letters.letters == {"top": "A", "bottom": "P", "left": "R", "right": "L"}
    viewer.dims.ndisplay = 3
    assert letters.letters == {}
    viewer.dims.ndisplay = 2
    assert letters.letters["left"] == "R"


def test_the_user_can_turn_the_view_and_letters_follow(make_napari_viewer_proxy) -> None:
    viewer = make_napari_viewer_proxy()
    letters = OrientationLetters(viewer)
    viewer.add_image(np.zeros((4, 4, 4)))
    letters.show()
    viewer.scene.camera.orientation2d = ("up", "right")
    letters.show()  # a second scan does not turn it back
    assert letters.letters == {"top": "A", "bottom": "P", "left": "L", "right": "R"}
    letters.close()
    viewer.scene.camera.orientation2d = ("down", "right")
    assert letters.letters == {}
