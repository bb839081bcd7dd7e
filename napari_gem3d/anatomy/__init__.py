"""Anatomy labels: which tissue lies where, found in a scan; label maps completed by it."""

from napari_gem3d.anatomy.complete import Completed, complete_anatomy
from napari_gem3d.anatomy.find import Anatomy, find_anatomy, tissue_names

__all__ = ["Anatomy", "Completed", "complete_anatomy", "find_anatomy", "tissue_names"]
