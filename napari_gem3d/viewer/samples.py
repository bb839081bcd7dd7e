"""Sample data of the plugin: the procedural phantoms, for people without scans."""

from __future__ import annotations

from napari.types import LayerDataTuple

from napari_gem3d.io import read_label_map, read_volume
from napari_gem3d.phantoms import PHANTOM_LABELS, write_phantoms
from napari_gem3d.viewer.layers import image_layer, labels_layer
from napari_gem3d.viewer.session import samples_folder

SAMPLES = {"phantom-1": "Phantom head 1 (procedural)", "phantom-2": "Phantom head 2 (procedural)"}


def phantom_1() -> list[LayerDataTuple]:
    """Layers of the first phantom: image and labels."""
    return sample_layers("phantom-1")


def phantom_2() -> list[LayerDataTuple]:
    """Layers of the second phantom: image and labels."""
    return sample_layers("phantom-2")


def sample_layers(name: str) -> list[LayerDataTuple]:
    """Image and labels of a phantom, by its key in `SAMPLES`, read from files so that recipes can refer to them."""
    folder = samples_folder()
    image, labels = folder / f"{name}.nii.gz", folder / f"{name}_labels.nii.gz"
    if not (image.is_file() and labels.is_file()):
        write_phantoms(folder)
    title = SAMPLES[name]
    return [
        image_layer(read_volume(image), title),
        labels_layer(read_label_map(labels, PHANTOM_LABELS), f"{title.removesuffix(' (procedural)')} labels"),
    ]
