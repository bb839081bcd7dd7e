"""The napari side of the project: the only package that imports napari or Qt, thin over the core."""
