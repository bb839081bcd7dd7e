"""Model bundles: weights, the plan that travels with them, and the preprocessing that follows the plan."""

from napari_gem3d.bundle.plan import Plan
from napari_gem3d.bundle.store import ModelBundle, bundled_models, load_bundle, save_bundle

__all__ = ["ModelBundle", "Plan", "bundled_models", "load_bundle", "save_bundle"]
