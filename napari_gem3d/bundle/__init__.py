"""Model bundles: weights, the plan that travels with them, and the preprocessing that follows the plan.

The names are imported on first use: processes that only prepare data need the plan, but no PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_gem3d.bundle.places import bundled_models, known_models
    from napari_gem3d.bundle.plan import Plan
    from napari_gem3d.bundle.store import ModelBundle, load_bundle, save_bundle

_HOMES = {
    "ModelBundle": "store",
    "Plan": "plan",
    "bundled_models": "places",
    "known_models": "places",
    "load_bundle": "store",
    "save_bundle": "store",
}

__all__ = ["ModelBundle", "Plan", "bundled_models", "known_models", "load_bundle", "save_bundle"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
