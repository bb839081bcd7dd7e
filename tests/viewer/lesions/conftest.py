"""A patient to use the lesion tools on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def lesions(panel: Any, open_scan: Any) -> Any:
    """The tools of a panel with a patient whose map has a body (4) and a lesion (1)."""
    open_scan("anna", with_body=True)
    return panel.workbench.lesions


@pytest.fixture
def idle(qtbot: Any) -> Callable[[Any], None]:
    """Waits until the preview is that of the numbers, and the tool put down if it was to be."""

    def wait(lesions: Any) -> None:
        qtbot.waitUntil(lambda: not lesions.state.busy and not lesions._apply_next, timeout=20000)

    return wait


@pytest.fixture
def centroid() -> Callable[[Any], np.ndarray]:
    """World mm (z, y, x) of the middle of all lesion voxels of a mask."""

    def middle(mask: Any) -> np.ndarray:
        voxels = np.asarray(mask.data)
        middle: np.ndarray = np.argwhere((voxels > 0) & (voxels != 4)).mean(axis=0) * mask.scale + mask.translate
        return middle

    return middle
