"""Reading NIfTI, NRRD and DICOM series; writing NIfTI."""

from napari_gem3d.io.files import replacing, sha256
from napari_gem3d.io.nifti import write_volume
from napari_gem3d.io.reading import read_label_map, read_volume
from napari_gem3d.io.slices import read_slice

__all__ = ["read_label_map", "read_slice", "read_volume", "replacing", "sha256", "write_volume"]
