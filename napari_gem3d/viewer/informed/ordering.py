"""An order's recipe, and the informed slice alone; in the worker's thread, of the core."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from napari_gem3d.io import write_volume
from napari_gem3d.sampling.generation import open_job
from napari_gem3d.sampling.recipe import GENERATED, Recipe, make_recipe
from napari_gem3d.viewer.informed.state import DrawnSlice
from napari_gem3d.viewer.layers import restored_labels

if TYPE_CHECKING:
    from napari_gem3d.bundle import ModelBundle
    from napari_gem3d.viewer.engine import Order


def whole_recipe(order: Order, mask: Path, settings: dict[str, Any]) -> Recipe:
    """The recipe of a whole volume, the same as on the command line; InputError as `make_recipe`.

    Parameters
    ----------
    order
        What the panel ordered.
    mask
        File of its label map.
    settings
        Model, steps, seed, anatomy, mass effect, device, precision.
    """
    if order.informed is None:
        settings |= {"position": order.position, "informed_seed": order.informed_seed}
        return make_recipe(mask, GENERATED, body=order.body, **settings)
    return make_recipe(mask, order.informed, body=order.body, slice=order.informed_slice, **settings)


def draw_informed(bundle: ModelBundle, order: Order) -> DrawnSlice:
    """Draw the informed slice of an order as its generation would, from a label map that is not kept.

    Raises
    ------
    InputError
        As `make_recipe`: if the model cannot draw, or nothing says where the body is.
    """
    names = ("model", "steps", "seed", "anatomy", "mass_effect_mm", "device", "precision")
    labels = restored_labels(order.mask.copy(), order.mask_origin, bundle.plan.labels)
    with TemporaryDirectory(prefix="gem3d-slice-") as folder:
        mask = Path(folder, "mask.nii.gz")
        write_volume(labels, mask, description="label map: napari-gem3d")
        recipe = whole_recipe(order, mask, {name: getattr(order, name) for name in names})
        job = open_job(recipe, bundle=bundle)
    _, row, column = job.prepared.case.box.spacing
    return DrawnSlice(job.informed_picture, (row, column))
