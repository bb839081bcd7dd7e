"""The planes in a real window: drawn where they should be, at the mouse's command, and gone without a trace."""

import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import QCoreApplication, QEvent, QPoint, Qt
from qtpy.QtWidgets import QAbstractButton, QComboBox

from napari_gem3d.viewer.panel import GemPanel
from napari_gem3d.viewer.session import Session


@pytest.fixture
def shown(make_napari_viewer_proxy, engine, tmp_path, make_scan, qtbot):
    """The panel in a window that is seen, with a scan and its label map."""
    viewer = make_napari_viewer_proxy(show=True)
    panel = GemPanel(viewer, engine=engine, session=Session(tmp_path / "sessions"))
    viewer.window.add_dock_widget(panel, name="GEM-3D panel")
    scan = make_scan("anna")
    viewer.open([str(scan.image)], plugin="napari-gem3d")
    viewer.open([str(scan.labels)], plugin="napari-gem3d")
    qtbot.waitUntil(lambda: panel.view_bar.column is not None and len(panel.view_bar.column.canvases) == 2)
    yield panel
    panel.workbench.close()


def pixel_of(canvas, point) -> QPoint:
    """Where a point in world mm (z, y, x) is drawn, through vispy's own transforms."""
    vertical, horizontal = (point[axis] for axis in canvas.widget.viewer.dims.displayed)
    x, y = canvas.widget.canvas.view.scene.transform.map((horizontal, vertical))[:2]
    return QPoint(round(x), round(y))


def test_the_mouse_moves_the_crosshair_and_sets_the_window(shown, qtbot) -> None:
    workbench, column = shown.workbench, shown.view_bar.column
    planes, image = workbench.planes, workbench.state.patient.image
    coronal = column.canvases[0]
    native = coronal.widget.canvas.native
    left = Qt.MouseButton.LeftButton
    shift, ctrl = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier
    before = planes.focus
    target = (before[0] + 12, before[1], before[2] - 6)
    size_mm = 1 / coronal.widget.viewer.scene.camera.zoom
    qtbot.mouseClick(native, left, pos=pixel_of(coronal, target))
    np.testing.assert_allclose(planes.focus, target, atol=size_mm)
    # painting in the plane: a plain drag paints; with Shift or Ctrl nothing is painted
    workbench.masks.paint(3)
    mask = np.asarray(workbench.state.mask.data)
    undrawn = mask.copy()
    qtbot.mousePress(native, left, shift, pixel_of(coronal, before))
    qtbot.mouseRelease(native, left, shift, pixel_of(coronal, before))
    np.testing.assert_allclose(planes.focus, before, atol=size_mm)
    limits = image.contrast_limits
    start = pixel_of(coronal, target)
    qtbot.mousePress(native, left, ctrl, start)
    move(native, start + QPoint(0, 30), ctrl)
    qtbot.mouseRelease(native, left, ctrl, start + QPoint(0, 30))
    assert image.contrast_limits[0] > limits[0] and np.ptp(image.contrast_limits) == pytest.approx(np.ptp(limits))
    np.testing.assert_array_equal(mask, undrawn)
    qtbot.mousePress(native, left, pos=start)
    qtbot.mouseRelease(native, left, pos=start)
    assert (mask != undrawn).any()
    assert (mask[mask != undrawn] == 3).all()


def move(native, position: QPoint, modifiers) -> None:
    """A mouse move with the left button held: pytest-qt knows none with a modifier."""
    from qtpy.QtCore import QPointF
    from qtpy.QtGui import QMouseEvent

    button = Qt.MouseButton.LeftButton
    place = QPointF(position)
    event = QMouseEvent(QEvent.Type.MouseMove, place, place, Qt.MouseButton.NoButton, button, modifiers)
    QCoreApplication.sendEvent(native, event)


def test_the_bar_arranges_the_planes_and_the_panel_takes_them_along(shown, qtbot) -> None:
    workbench, bar = shown.workbench, shown.view_bar
    planes, column = workbench.planes, bar.column
    for kind in (QAbstractButton, QComboBox):
        assert all(widget.toolTip() for widget in bar.findChildren(kind))
    main = column.main.widget
    assert bar.three.isChecked() and main.parentWidget() is not main.window().centralWidget()
    bar.three.click()
    assert planes.panes == () and column.canvases == ()
    assert main.parentWidget() is main.window().centralWidget()
    bar.rendering.click()
    qtbot.waitUntil(lambda: len(column.rendering.model.layers) == 2, timeout=20_000)
    body, lesion = column.rendering.model.layers
    image, mask = workbench.state.patient.image, workbench.state.mask
    inside = np.argwhere(np.asarray(mask.data) == 1) * np.array(mask.scale) + np.array(mask.translate)
    corners = lesion.data[0]
    assert (corners.min(axis=0) < inside.min(axis=0)).all() and (corners.max(axis=0) > inside.max(axis=0)).all()
    np.testing.assert_allclose(corners.mean(axis=0), inside.mean(axis=0), atol=1)
    np.testing.assert_allclose(lesion.colormap.colors[0][:3], mask.get_color(1)[:3], atol=1e-6)
    assert body.contrast_limits == list(image.contrast_limits)
    # what is painted is rendered
    mask.paint((10, 36, 20), 3)
    qtbot.waitUntil(lambda: len(column.rendering.model.layers) == 3, timeout=20_000)
    bar.three.click()
    bar.plane.activated.emit(2)
    assert planes.letters.name == "Sagittal" and bar.plane.currentText() == "Sagittal"
    bar.presets.activated.emit(2)
    assert bar.presets.currentText() == "Full range"
    image.contrast_limits = (5, 55)
    bar._show()
    assert bar.presets.currentIndex() == -1 and bar.presets.placeholderText() == "W 50 · L 30"
    # the panel is closed by its cross
    window, crosshair = main.window(), column.main.crosshair
    workbench.viewer.window.remove_dock_widget(shown)
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    assert main.parentWidget() is window.centralWidget()
    assert planes.panes == () and planes.letters.letters == {}
    assert all(line.parent is None for line in (crosshair.vertical, crosshair.horizontal))
    assert [type(layer) for layer in workbench.viewer.layers][-1] is Labels
