"""Sample data of the plugin: made-up patients, for people without scans."""

from __future__ import annotations

from functools import partial

from napari.types import LayerDataTuple

from napari_gem3d.samples import sample_patients
from napari_gem3d.viewer.layers import image_layer, labels_layer

SAMPLES = {name: f"{sample.title} ({sample.about})" for name, sample in sample_patients().items()}
# Opened by the demo: a label map to work on, and a scan that can inform it.
DEMO = tuple(SAMPLES)[:2]


def sample_layers(name: str) -> list[LayerDataTuple]:
    """Image and labels of a sample patient, by its key in `SAMPLES`.

    The image can be worked on like a patient's scan, but the canvas says that it is synthetic.
    """
    sample = sample_patients()[name]
    scan, labels = sample.read()
    return [image_layer(scan, sample.title), labels_layer(labels, f"{sample.title} labels")]


# What the manifest names.
patient_a, patient_b, patient_c, patient_d = (partial(sample_layers, f"patient-{letter}") for letter in "abcd")
