"""A brain taken out of its head, when that is asked for: a scan and a label map beside the original."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from napari.types import LayerDataTuple

from napari_gem3d.brain import extract_brain, stripped
from napari_gem3d.brain.extraction import choose_method
from napari_gem3d.errors import InputError
from napari_gem3d.io import read_volume, write_volume
from napari_gem3d.labels import Label, LabelMap, LabelTable
from napari_gem3d.viewer.body.state import BodyState
from napari_gem3d.viewer.layers import image_layer, labels_layer, volume_of
from napari_gem3d.viewer.patients import Patient
from napari_gem3d.viewer.worker import Worker

if TYPE_CHECKING:
    from napari_gem3d.viewer.workbench import Workbench


class BrainExtraction:
    """Runs brain extraction in the background; the scan stays as it is.

    Parameters
    ----------
    workbench
        Whose patient it is, and whose session keeps the result's file: a recipe can only name files.
    state
        Tells what is going on.
    worker
        Waits for the library's process.
    """

    def __init__(self, workbench: Workbench, state: BodyState, worker: Worker) -> None:
        self._workbench, self._state, self._worker = workbench, state, worker
        self._cancel = threading.Event()
        self._worker.submit(_obstacle, lambda obstacle: setattr(state, "obstacle", obstacle))

    def start(self) -> None:
        """Extract the brain of the patient that is worked on; nothing is downloaded."""
        patient = self._workbench.state.patient
        if patient is None or self._state.extracting:
            return
        self._cancel = threading.Event()
        self._state.extracting = True
        self._workbench.state.say(f"Extracting the brain of {patient.name} …")
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
        path = self._workbench.session.new_file("scan")
        write_volume(stripped(scan, found.brain), path, description="skull-stripped: napari-gem3d")
        name = f"{patient.name} brain"
        table = self._workbench.state.table
        body = (table.body if table is not None else None) or Label(1, "brain", meaning="body")
        voxels = found.brain.astype(np.uint8) * np.uint8(body.value)
        mask = labels_layer(LabelMap(voxels, scan.affine, table=table or LabelTable((body,))), f"{name} mask")
        told = f"{found.method} found the brain in {found.seconds:.0f} s; check it before you use it. It is in {path}."
        return [image_layer(replace(read_volume(path), modality="MR"), name), mask], told

    def _show(self, made: tuple[list[LayerDataTuple], str]) -> None:
        layers, told = made
        self._state.extracting = False
        self._workbench.show(layers)
        self._workbench.state.say(told)

    def _fail(self, error: BaseException) -> None:
        self._state.extracting = False
        self._workbench.state.say_error(error)


def _obstacle() -> str:
    try:
        choose_method()
    except InputError as error:
        return str(error)
    return ""
