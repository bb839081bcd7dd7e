"""What many tests need: the real data beside the checkout, and a display for the viewer."""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real scans beside the checkout (``GEM3D_SHARED`` overrides its place); skips without it."""
    folder = Path(os.environ.get("GEM3D_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip("the shared scans are not beside this checkout")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything under tests/viewer, and skip it on Linux without a display."""
    no_display = sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    for item in items:
        if "viewer" in item.path.relative_to(ROOT).parts:
            item.add_marker(pytest.mark.viewer)
        if no_display and item.get_closest_marker("viewer"):
            item.add_marker(pytest.mark.skip(reason="no display; run under xvfb-run"))
