"""Command lines: ``napari-gem3d`` and ``napari-gem3d-train``."""
