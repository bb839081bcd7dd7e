"""A brain taken out of its head, when that is asked for: a scan and a label map beside the original."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import numpy as np
from napari.types import LayerDataTuple

from napari_gem3d.brain import extract_brain, stripped
from napari_gem3d.brain.extraction import choose_method
from napari_gem3d.errors import InputError
from napari_gem3d.io import read_volume, write_volume
from napari_gem3d.labels import Label, LabelMap, LabelTable
from napari_gem3d.viewer.context import Context
from napari_gem3d.viewer.layers import image_layer, labels_layer, volume_of
from napari_gem3d.viewer.patients import Patient
from napari_gem3d.viewer.signals import State
from napari_gem3d.viewer.worker import Worker


class BodyState(State):
    """What the body's buttons show and choose.

    Attributes
    ----------
    shown
        Whether the outline is drawn over the scan.
    correcting
        Whether the brush changes the body.
    extracting
        Whether a brain is being extracted.
    finding
        Whether the anatomy of a scan is being found.
    obstacle
        Why no brain can be extracted on this computer; empty if one can.
    """

    shown: bool = False
    correcting: bool = False
    extracting: bool = False
    finding: bool = False
    obstacle: str = ""


class BrainExtraction:
    """Runs brain extraction in the background; the scan stays as it is.

    Parameters
    ----------
    state
        Tells what is going on.
    worker
        Waits for the library's process.
    show
        Adds layers to the viewer.
    """

    def __init__(
        self, context: Context, state: BodyState, worker: Worker, show: Callable[[Iterable[LayerDataTuple]], None]
    ) -> None:
        self._context, self._panel, self._state, self._worker = context, context.state, state, worker
        self._show_layers = show
        self._cancel = threading.Event()
        self._worker.submit(_obstacle, lambda obstacle: setattr(state, "obstacle", obstacle))

    def start(self) -> None:
        """Extract the brain of the patient that is worked on; nothing is downloaded."""
        patient = self._panel.patient
        if patient is None or self._state.extracting:
            return
        self._cancel = threading.Event()
        self._state.extracting = True
        self._panel.say(f"Extracting the brain of {patient.name} …")
        self._worker.submit(partial(self._extract, patient, self._cancel), self._show, self._fail)

    def cancel(self) -> None:
        """End it within a moment."""
        self._cancel.set()

    def _extract(self, patient: Patient, cancel: threading.Event) -> tuple[list[LayerDataTuple], str]:
        """In the worker's thread: find the brain, write the scan without all else, make layers of both."""
        from napari_gem3d.device import choose_device

        scan = volume_of(patient.image)
        device = "cuda" if choose_device().type == "cuda" else "cpu"
        found = extract_brain(scan, device=device, cancel=cancel)
        path = self._context.session.new_file("scan")
        write_volume(stripped(scan, found.brain), path, description="skull-stripped: napari-gem3d")
        name = f"{patient.name} brain"
        table = self._panel.table
        body = (table.body if table is not None else None) or Label(1, "brain", meaning="body")
        voxels = found.brain.astype(np.uint8) * np.uint8(body.value)
        mask = labels_layer(LabelMap(voxels, scan.affine, table=table or LabelTable((body,))), f"{name} mask")
        message = (
            f"{found.method} found the brain in {found.seconds:.0f} s; check it before you use it. It is in {path}."
        )
        return [image_layer(replace(read_volume(path), modality="MR"), name), mask], message

    def _show(self, extracted: tuple[list[LayerDataTuple], str]) -> None:
        layers, message = extracted
        self._state.extracting = False
        self._show_layers(layers)
        self._panel.say(message)

    def _fail(self, error: BaseException) -> None:
        self._state.extracting = False
        self._panel.say_error(error)


def _obstacle() -> str:
    try:
        choose_method()
    except InputError as error:
        return str(error)
    return ""
