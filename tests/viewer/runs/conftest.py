"""Results to work with: a panel whose small engine has generated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from napari_gem3d.viewer.panel import GemPanel
from napari_gem3d.viewer.run import Run


@pytest.fixture
def generated(panel: GemPanel, open_scan: Callable[..., Any], engine: Any, qtbot: Any) -> Callable[..., Run]:
    """Generate once more; the first time two patients are opened, and anna is worked on."""

    def generate(mode: str = "volume") -> Run:
        workbench, state = panel.workbench, panel.workbench.state
        if not state.patients:
            open_scan("anna")
            open_scan("bert", shift=300)
            state.patient = state.patients[0]
        engine.permits.release(5)
        run = workbench.generation.generate(mode)
        qtbot.waitUntil(lambda: run.status == "finished")
        return run

    return generate
