"""Conditional synthesis of 3D medical images (GEM-3D) in napari, on the command line and from Python."""
