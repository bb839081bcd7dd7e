"""The tools through the panel's own widgets."""

import numpy as np


def test_a_lesion_is_placed_moved_and_taken_back_with_the_panel(panel, open_scan, idle) -> None:
    open_scan("anna", with_body=True)
    step, workbench = panel.mask, panel.workbench
    tools, lesions = step.tools, workbench.lesions
    before = np.array(lesions.mask.data)
    workbench.planes.look_at(np.array((11, 28, 23)) * lesions.mask.scale + lesions.mask.translate)
    assert not step.history.undo.isEnabled() and tools.apply.isHidden()

    tools.buttons["place"].click()
    form = tools.forms["place"]
    assert not form.isHidden() and not tools.apply.isHidden() and tools.forms["move"].isHidden()
    form.diameter.boxes[0].setValue(14)  # all three: they are linked
    assert lesions.state.diameter == (14, 14, 14)
    form.core.setCurrentIndex(1)  # enhancing
    form.core.activated.emit(1)
    form.shells[1].setValue(2)
    idle(lesions)
    assert "enhancing" in tools.volumes.text() and "→" in tools.volumes.text()
    tools.apply.click()
    idle(lesions)
    placed = np.array(lesions.mask.data)
    assert (placed == 3).any() and not (before == 3).any() and ((placed > 0) == (before > 0)).all()
    assert step.history.undo.isEnabled() and tools.forms["place"].isHidden()

    tools.buttons["move"].click()
    tools.forms["move"].label.activated.emit(2)  # enhancing alone
    tools.forms["move"].mm.boxes[2].setValue(-4)
    idle(lesions)
    assert lesions.state.mm == (0, 0, -4) and not tools.note.text().startswith("There is")
    tools.dismiss.click()
    np.testing.assert_array_equal(np.array(lesions.mask.data), placed)

    step.history.ball.click()
    assert lesions.mask.n_edit_dimensions == 2
    step.history.undo.click()
    np.testing.assert_array_equal(np.array(lesions.mask.data), before)
    assert step.history.redo.isEnabled() and not step.history.undo.isEnabled()
    step.brushes[1].click()
    assert str(lesions.mask.mode) == "paint"
    tools.buttons["remove"].click()
    assert str(lesions.mask.mode) == "pan_zoom" and not step.brushes[1].isChecked()
    idle(lesions)
    tools.dismiss.click()
