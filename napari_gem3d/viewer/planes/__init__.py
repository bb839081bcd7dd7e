"""Axial, coronal and sagittal planes with one crosshair, what may be read off them, and how they look."""
