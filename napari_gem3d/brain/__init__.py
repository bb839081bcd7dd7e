"""Is the skull still there, and if so, taking the brain out of the head."""

from napari_gem3d.brain.extraction import METHODS, Extraction, available_methods, extract_brain, stripped
from napari_gem3d.brain.skull import Head, look_at_head

__all__ = ["METHODS", "Extraction", "Head", "available_methods", "extract_brain", "look_at_head", "stripped"]
