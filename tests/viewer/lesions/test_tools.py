"""The lesion tools, driven through their state: preview, apply, undo, and what stays untouched."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

NUMBERS = [
    ("move", {"mm": (4.0, -3.0, 6.0), "degrees": (10.0, 20.0, 30.0), "factor": (1.2, 1.2, 1.2)}),
    ("grow", {"grow_mm": 3.0}),
    ("grow", {"grow_mm": -2.0}),
    ("place", {"diameter": (14.0, 18.0, 20.0), "shells": ((1, 3.0),), "core": 3}),
    ("random", {"seed": 4}),
    ("remove", {}),
]


def stroke(mask, place, value) -> None:
    """Paint as the mouse does: the whole stroke is one entry of the history."""
    with mask.block_history():
        mask.paint(place, value)


def data(lesions) -> np.ndarray:
    return np.array(lesions.mask.data)


def test_applying_changes_exactly_what_the_preview_showed(panel, lesions, idle) -> None:
    before = data(lesions)
    for tool, numbers in NUMBERS:
        lesions.open(tool)
        for name, value in numbers.items():
            setattr(lesions.state, name, value)
        if tool == "place":
            panel.workbench.planes.look_at(panel.workbench.planes.focus + np.array([4.0, 0, 8.0]))
        idle(lesions)
        while tool == "random" and not lesions.preview.changed.any():  # draws that would leave the body change nothing
            lesions.state.seed += 1
            idle(lesions)
        np.testing.assert_array_equal(data(lesions), before)  # nothing is written yet
        outline = np.zeros_like(before)
        lesions.outlined.put(outline)
        assert outline.any()
        # What the outline encloses is lesion; what was lesion before and is not enclosed is body; nothing else changes.
        old = (before > 0) & (before != 4)
        expected = np.where(old & (tool != "place"), 4, before)
        if tool != "remove":
            expected = np.where(outline > 0, outline, expected)
        volumes = lesions.state.volumes
        lesions.apply()
        np.testing.assert_array_equal(data(lesions), expected)
        assert (expected != before).any() and ((expected > 0) == (before > 0)).all()
        assert lesions.state.tool == "" and lesions.outlined is None
        millilitres = np.prod(lesions.mask.scale) / 1000
        for value, start, end in volumes:
            assert start == pytest.approx(np.count_nonzero(before == value) * millilitres)
            assert end == pytest.approx(np.count_nonzero(expected == value) * millilitres)
        lesions.history.undo()
        np.testing.assert_array_equal(data(lesions), before)


def test_strokes_and_tools_are_undone_in_their_order(panel, lesions, idle, qtbot) -> None:
    mask, history = lesions.mask, lesions.history
    qtbot.waitUntil(lambda: history._inside is not None)
    states = [data(lesions)]
    body = states[0] > 0

    def keep() -> None:
        idle(lesions)
        states.append(data(lesions))
        np.testing.assert_array_equal(states[-1] > 0, body)  # by brush or tool

    mask.brush_size = 16
    stroke(mask, (10, 24, 6), 3)  # at the edge of the body
    keep()
    assert (states[-1] == 3).any()
    lesions.grow(2)
    keep()
    stroke(mask, (9, 30, 22), 1)
    keep()
    stroke(mask, (8, 24, 14), 0)  # erasing gives the body back
    keep()
    lesions.remove()
    keep()
    assert all((a != b).any() for a, b in pairwise(states))
    for state in reversed(states[:-1]):
        assert history.can_undo
        history.undo()
        np.testing.assert_array_equal(data(lesions), state)
    assert not history.can_undo
    for state in states[1:]:
        history.redo()
        np.testing.assert_array_equal(data(lesions), state)
    assert not history.can_redo
    mask.paint((1, 2, 2), 3)  # by a script: it is corrected a moment later
    qtbot.waitUntil(lambda: data(lesions)[1, 2, 2] == 0)
    np.testing.assert_array_equal(data(lesions), states[-1])
    assert "Nothing was painted" in panel.workbench.state.message


def test_numbers_that_change_while_the_preview_is_made(panel, lesions, idle, centroid) -> None:
    before, start = data(lesions), centroid(lesions.mask)
    lesions.transform(mm=(300.0, 0.0, 0.0))
    idle(lesions)
    assert lesions.preview is None and "out of the label map" in lesions.state.note
    assert panel.workbench.state.failed
    np.testing.assert_array_equal(data(lesions), before)
    lesions.state.mm = (1.0, 2.0, 0.0)  # the tool is still there
    lesions.apply()
    lesions.state.mm = (2.4, 3.0, 0.0)  # before there is a preview of the first
    idle(lesions)
    np.testing.assert_allclose(centroid(lesions.mask) - start, (0, 3, 2.4), atol=0.3)
    assert lesions.state.tool == ""
    assert [layer.name for layer in panel.workbench.viewer.layers] == ["anna_0000", "anna"]

    # a stroke that is painted while a tool is in hand is kept
    lesions.open("grow")
    idle(lesions)
    mask = lesions.mask
    mask.brush_size = 4
    stroke(mask, (13, 26, 24), 3)
    painted = data(lesions) == 3
    lesions.apply()
    idle(lesions)
    assert painted.any() and (data(lesions) == 3)[painted].all()

    # only the nearest of two lesions goes
    panel.workbench.planes.look_at(np.array((13, 26, 24)) * mask.scale + mask.translate)
    lesions.state.label = 3
    lesions.remove()
    idle(lesions)
    assert not (data(lesions) == 3).any() and (data(lesions) == 1).any()

    # the brush puts the tool down
    lesions.open("move")
    panel.workbench.masks.paint(1)
    assert lesions.state.tool == "" and str(mask.mode) == "paint"


def test_a_map_without_a_body_is_limited_by_the_scan(panel, open_scan, idle) -> None:
    open_scan("bert", shift=300)
    lesions, workbench = panel.workbench.lesions, panel.workbench
    lesions.transform(mm=(0.0, -14.0, 0.0))
    idle(lesions)
    image = np.asarray(workbench.state.patient.image.data)
    assert (data(lesions) > 0).any() and (image[data(lesions) > 0] > 0).all()
    assert "cut off" in workbench.state.message

    # slices painted into an empty mask are filled
    workbench.masks.new()
    lesions.state.brush_in_3d = False
    mask = lesions.mask
    mask.brush_size = 9
    for k in (6, 12):
        stroke(mask, (k, 24, 20), 1)
    assert np.flatnonzero(data(lesions).any(axis=(1, 2))).tolist() == [6, 12]
    lesions.interpolate(gap=40)
    idle(lesions)
    areas = np.count_nonzero(data(lesions) == 1, axis=(1, 2))
    assert areas[6:13] == pytest.approx(areas[6], rel=0.15) and areas.sum() == areas[6:13].sum()


def test_a_lesion_of_another_patient_comes_to_the_crosshair(panel, open_scan, idle, centroid) -> None:
    open_scan("anna", with_body=True)
    open_scan("bert", shift=300, orientation="RAS", with_body=True)
    workbench, lesions = panel.workbench, panel.workbench.lesions
    anna = workbench.state.patients[0]
    lesions.remove()
    idle(lesions)
    focus = (50.0, 4.0, 296.0)
    workbench.planes.look_at(focus)
    lesions.transplant(anna)
    idle(lesions)
    np.testing.assert_allclose(centroid(lesions.mask), focus, atol=1)
    theirs = np.count_nonzero(np.asarray(anna.mask.data) == 1)
    assert np.count_nonzero(data(lesions) == 1) == pytest.approx(theirs, rel=0.01)
