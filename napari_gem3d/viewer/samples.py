"""Sample data of the plugin: made-up patients, for people without scans."""

from __future__ import annotations

from napari.types import LayerDataTuple

from napari_gem3d.samples import sample_patients
from napari_gem3d.viewer.layers import image_layer, labels_layer

SAMPLES = {name: f"{sample.title} ({sample.about})" for name, sample in sample_patients().items()}
# Opened by the demo: a label map to work on, and a scan that can inform it.
DEMO = tuple(SAMPLES)[:2]


def patient_a() -> list[LayerDataTuple]:
    """Layers of the first sample patient: image and labels."""
    return sample_layers("patient-a")


def patient_b() -> list[LayerDataTuple]:
    """Layers of the second sample patient."""
    return sample_layers("patient-b")


def patient_c() -> list[LayerDataTuple]:
    """Layers of the third sample patient."""
    return sample_layers("patient-c")


def patient_d() -> list[LayerDataTuple]:
    """Layers of the fourth sample patient."""
    return sample_layers("patient-d")


def sample_layers(name: str) -> list[LayerDataTuple]:
    """Image and labels of a sample patient, by its key in `SAMPLES`.

    The image can be worked on like a patient's scan, but the canvas says that it is synthetic.
    """
    sample = sample_patients()[name]
    scan, labels = sample.read()
    return [image_layer(scan, sample.title), labels_layer(labels, f"{sample.title} labels")]
