"""What people and policies do to the lesion of a label map, in millimetres."""

from napari_gem3d.masks.augment import AbdomenPolicy, BrainPolicy, augment_mask, draw_variant, policy_from_json
from napari_gem3d.masks.editor import MaskEditor
from napari_gem3d.masks.mass_effect import MassEffect
from napari_gem3d.masks.operations import (
    Elastic,
    Flip,
    Grow,
    Interpolate,
    Lesion,
    Operation,
    Remove,
    Rotate,
    Scale,
    Selection,
    Shell,
    Shrink,
    Translate,
    Transplant,
    operations_from_json,
)
from napari_gem3d.masks.pushing import with_mass_effect
from napari_gem3d.masks.result import MaskResult
from napari_gem3d.masks.transform import transform_mask

__all__ = [
    "AbdomenPolicy",
    "BrainPolicy",
    "Elastic",
    "Flip",
    "Grow",
    "Interpolate",
    "Lesion",
    "MaskEditor",
    "MaskResult",
    "MassEffect",
    "Operation",
    "Remove",
    "Rotate",
    "Scale",
    "Selection",
    "Shell",
    "Shrink",
    "Translate",
    "Transplant",
    "augment_mask",
    "draw_variant",
    "operations_from_json",
    "policy_from_json",
    "transform_mask",
    "with_mass_effect",
]
