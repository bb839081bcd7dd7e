"""Conditional synthesis of 3D medical images (GEM-3D) in napari, on the command line and from Python.

The names below are what scripts need. They are imported on first use, so that ``import napari_gem3d`` costs neither
PyTorch nor napari.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_gem3d.bundle import bundled_models, load_bundle
    from napari_gem3d.cohorts.enhance import enhance
    from napari_gem3d.cohorts.harmonise import harmonise, harmonize
    from napari_gem3d.errors import InputError
    from napari_gem3d.grid import Grid
    from napari_gem3d.io import read_label_map, read_volume, write_volume
    from napari_gem3d.labels import LabelMap, LabelTable
    from napari_gem3d.masks import augment_mask, transform_mask
    from napari_gem3d.samples import sample_patients
    from napari_gem3d.sampling.command_line import recipe_command
    from napari_gem3d.sampling.export import export_dicom, export_nifti
    from napari_gem3d.sampling.generation import edit, generate
    from napari_gem3d.sampling.inputs import EditInputs, Inputs
    from napari_gem3d.sampling.recipe import Recipe, make_edit_recipe, make_recipe
    from napari_gem3d.sampling.results import replay, run_recipe
    from napari_gem3d.sampling.settings import Settings
    from napari_gem3d.sampling.windows import plan_edit_windows, plan_windows
    from napari_gem3d.volume import Volume, resample

__version__ = "0.1.0"

_HOMES = {
    "EditInputs": "sampling.inputs",
    "Grid": "grid",
    "InputError": "errors",
    "Inputs": "sampling.inputs",
    "LabelMap": "labels",
    "LabelTable": "labels",
    "Recipe": "sampling.recipe",
    "Settings": "sampling.settings",
    "Volume": "volume",
    "augment_mask": "masks",
    "bundled_models": "bundle",
    "edit": "sampling.generation",
    "enhance": "cohorts.enhance",
    "export_dicom": "sampling.export",
    "export_nifti": "sampling.export",
    "generate": "sampling.generation",
    "harmonise": "cohorts.harmonise",
    "harmonize": "cohorts.harmonise",
    "load_bundle": "bundle",
    "make_edit_recipe": "sampling.recipe",
    "make_recipe": "sampling.recipe",
    "plan_edit_windows": "sampling.windows",
    "plan_windows": "sampling.windows",
    "read_label_map": "io",
    "read_volume": "io",
    "recipe_command": "sampling.command_line",
    "replay": "sampling.results",
    "resample": "volume",
    "run_recipe": "sampling.results",
    "sample_patients": "samples",
    "transform_mask": "masks",
    "write_volume": "io",
}

__all__ = [
    "EditInputs",
    "Grid",
    "InputError",
    "Inputs",
    "LabelMap",
    "LabelTable",
    "Recipe",
    "Settings",
    "Volume",
    "augment_mask",
    "bundled_models",
    "edit",
    "enhance",
    "export_dicom",
    "export_nifti",
    "generate",
    "harmonise",
    "harmonize",
    "load_bundle",
    "make_edit_recipe",
    "make_recipe",
    "plan_edit_windows",
    "plan_windows",
    "read_label_map",
    "read_volume",
    "recipe_command",
    "replay",
    "resample",
    "run_recipe",
    "sample_patients",
    "transform_mask",
    "write_volume",
]


def __getattr__(name: str) -> Any:
    """Import an exported name on first use and keep it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
