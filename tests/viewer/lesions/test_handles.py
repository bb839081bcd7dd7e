"""Handles: dragged in every plane, they set the numbers that the preview follows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation


def take(lesions, idle, tool: str = "move"):
    lesions.open(tool)
    idle(lesions)
    return lesions.handles


def test_every_plane_moves_turns_and_scales(panel, lesions, idle, centroid) -> None:
    handles, focus = take(lesions, idle), np.array(panel.workbench.planes.focus)
    for axis in range(3):
        handles = take(lesions, idle)
        assert handles.hit(axis, focus, 1.0) == "inside"
        by = np.array([4.0, -3.0, 2.4])
        handles.begin("inside", axis, focus)
        handles.drag_to(focus + by / 2)
        handles.drag_to(focus + by)
        handles.end()
        by[axis] = 0  # a plane knows nothing of its own depth
        np.testing.assert_allclose(lesions.state.mm[::-1], by, atol=1e-6)

        handles = take(lesions, idle)
        knob = handles.knob(axis)
        assert handles.hit(axis, knob, 50.0) == "knob"  # the nearest of those in reach
        handles.begin("knob", axis, knob)
        centre = handles._drag.centre
        arm = knob - centre
        v, h = (other for other in range(3) if other != axis)
        turned = arm.copy()
        turned[v], turned[h] = arm[h], -arm[v]  # a quarter of a turn in the plane
        corner = handles.corners(axis)[2]
        handles.drag_to(centre + turned)
        # The numbers turn the arm of the knob to where the mouse is, and the box on the screen turns along.
        turn = Rotation.from_euler("xyz", lesions.state.degrees, degrees=True)
        for now, then in ((centre + turned, knob), (handles.corners(axis)[2], corner)):
            reached = centre + turn.apply((then - centre)[::-1])[::-1]
            np.testing.assert_allclose(np.delete(reached, axis), np.delete(now, axis), atol=0.05)
        handles.end()

        handles = take(lesions, idle)
        corner = handles.corners(axis)[2]
        assert handles.hit(axis, corner, 50.0) == "corner"
        handles.begin("corner", axis, corner)
        centre = handles._drag.centre
        handles.drag_to(centre + 1.5 * (corner - centre))
        handles.end()
        assert lesions.state.factor == pytest.approx((1.5,) * 3, rel=1e-3)
    idle(lesions)
    ((_, before, after),) = lesions.state.volumes
    assert after + sum(lesions.preview.lost_ml.values()) == pytest.approx(before * 1.5**3, rel=0.03)
    start = centroid(lesions.mask)
    lesions.apply()
    np.testing.assert_allclose(centroid(lesions.mask), start, atol=1.5)


def test_a_new_lesion_is_sized_and_moved_and_the_mouse_drags(panel, lesions, idle) -> None:
    handles = take(lesions, idle, "place")
    focus = np.array(panel.workbench.planes.focus)
    handles.begin("corner", 0, handles.corners(0)[2])
    handles.drag_to(focus + np.array([0, 9.0, 6.0]))
    handles.end()
    assert lesions.state.diameter == (12.0, 18.0, 30.0)
    by = np.array([0, 3.0, -2.4])
    handles.begin("inside", 0, focus)
    handles.drag_to(focus + by)
    handles.end()
    np.testing.assert_allclose(panel.workbench.planes.focus, focus + by, atol=1e-6)

    # through napari's own mouse callbacks
    handles = take(lesions, idle)
    viewer = panel.workbench.viewer
    assert handles.on_drag in viewer.mouse_drag_callbacks

    class Event:
        type, button, modifiers = "mouse_press", 1, ()
        position = tuple(panel.workbench.planes.focus)

    drag = handles.on_drag(viewer, Event)
    next(drag)
    assert not viewer.scene.camera.mouse_pan
    Event.type, Event.position = "mouse_move", tuple(np.array(Event.position) + np.array([0, 2.0, 0]))
    next(drag)
    Event.type = "mouse_release"
    with pytest.raises(StopIteration):
        next(drag)
    assert viewer.scene.camera.mouse_pan
    assert lesions.state.mm == pytest.approx((0, 2.0, 0))
    idle(lesions)
