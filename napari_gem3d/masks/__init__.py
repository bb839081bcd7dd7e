"""What people and policies do to the lesion of a label map, in millimetres."""

from napari_gem3d.masks.augment import AbdomenPolicy, BrainPolicy, augment_mask, policy_from_json
from napari_gem3d.masks.operations import (
    Elastic,
    Flip,
    Grow,
    Operation,
    Remove,
    Rotate,
    Scale,
    Selection,
    Shrink,
    Translate,
    Transplant,
    operations_from_json,
)
from napari_gem3d.masks.transform import MaskResult, transform_mask

__all__ = [
    "AbdomenPolicy",
    "BrainPolicy",
    "Elastic",
    "Flip",
    "Grow",
    "MaskResult",
    "Operation",
    "Remove",
    "Rotate",
    "Scale",
    "Selection",
    "Shrink",
    "Translate",
    "Transplant",
    "augment_mask",
    "operations_from_json",
    "policy_from_json",
    "transform_mask",
]
