"""The panel without its widgets: makes the parts, hands each what it needs, and closes them."""

from __future__ import annotations

from typing import Any

from napari_gem3d.viewer.adoption import Adoption
from napari_gem3d.viewer.body.anatomy import ScanAnatomy
from napari_gem3d.viewer.body.controller import Bodies
from napari_gem3d.viewer.browsing import Patients
from napari_gem3d.viewer.context import Context, Part
from napari_gem3d.viewer.core import Engine
from napari_gem3d.viewer.engine import CoreEngine
from napari_gem3d.viewer.estimate import Estimates
from napari_gem3d.viewer.fitting import Fitting
from napari_gem3d.viewer.generation import Generation
from napari_gem3d.viewer.informed.controller import Informed
from napari_gem3d.viewer.informed.drawing import Drawing
from napari_gem3d.viewer.lesions.controller import Lesions
from napari_gem3d.viewer.masks import Masks
from napari_gem3d.viewer.models.manager import Models
from napari_gem3d.viewer.numbering import Numbering
from napari_gem3d.viewer.planes.controller import Planes
from napari_gem3d.viewer.preferences import Preferences
from napari_gem3d.viewer.runs.autosave import Autosave
from napari_gem3d.viewer.runs.comparison import Comparison
from napari_gem3d.viewer.runs.restore import Restore
from napari_gem3d.viewer.runs.results import Results
from napari_gem3d.viewer.session import Session
from napari_gem3d.viewer.state import PanelState
from napari_gem3d.viewer.worker import Worker


class Workbench:
    """Composes the parts; widgets and scripts take them from here, and no part knows it.

    Parameters
    ----------
    viewer
        napari's viewer, or the proxy plugins get.
    engine
        The core; a small one in tests.
    session
        Where masks are kept.

    Attributes
    ----------
    context
        What every part may use; `viewer`, `state` and `planes` are those of the context.
    patients, masks, models
        Open scans, paint masks, load models.
    adoption, fitting, numbering
        Make patients of layers that others have added, know the label maps that fit no scan, and those whose values
        are not the model's.
    body, anatomy
        Know every patient's body, and write its anatomy into the mask.
    informed, drawing
        Choose the informed slice, or let the model draw it.
    lesions
        The tools that change lesions.
    generation, estimates
        Make runs of what is chosen and carry them out, and say beforehand how long that takes.
    results
        Shows, compares, exports and deletes what came of them.
    autosave, restore
        Keep results and painted masks in the session, and offer those of a session that a crash has ended.
    preferences
        What the user has set on the Preferences page.
    """

    def __init__(self, viewer: Any, *, engine: Engine | None = None, session: Session | None = None) -> None:
        session = session or Session()
        self.viewer, self.state, self.planes = viewer, PanelState(), Planes(viewer)
        engine = engine if engine is not None else CoreEngine(session)
        self.context = Context(viewer, self.state, self.planes, engine, session, Worker(), Worker())
        context = self.context
        # Ends, and shows again what it has hidden, before another patient is shown.
        comparison = Comparison(context)
        self.numbering = Numbering(context)  # before patients, who look where the lesion is
        self.patients = Patients(context)
        self.masks = Masks(context)
        self.body = Bodies(context, self.patients.show)
        self.adoption = Adoption(context, self.patients.find)
        self.fitting = Fitting(context, self.patients.show)
        self.informed = Informed(context)
        self.patients.settled.connect(self.informed.update)
        self.patients.lesion_opened.connect(self.informed.follow)
        self.generation = Generation(context, self.informed.choice, self.body.applied)
        self.drawing = Drawing(context, self.informed.state, self.generation.request)
        self.estimates = Estimates(context, self.generation.request)
        self.preferences = Preferences(context)
        self.models = Models(context, self.preferences)
        self.results = Results(context, comparison, self.informed, self.generation)
        self.autosave = Autosave(context, self.preferences.session_days)
        self.restore = Restore(context, self.autosave, self.patients.show, self.results.show)
        self.lesions = Lesions(context, self.body, self.masks)
        self.anatomy = ScanAnatomy(context, self.body, self.masks, self.lesions.history.write)
        self._parts: tuple[Part, ...] = (
            self.autosave,  # first of all: whatever fails while a window is torn down, it was no crash
            *(self.preferences, self.models, self.body, self.drawing, self.estimates, self.generation),
            *(self.restore, self.results, comparison, self.patients, self.adoption, self.numbering, self.masks),
            *(self.lesions, self.planes, context.worker, context.files),
        )
        self.models.load()
        self.patients.find()
        self.adoption.look()
        self.numbering.look()

    def close(self) -> None:
        """Cancel what is running, end the threads, let go of the viewer."""
        parts, self._parts = self._parts, ()
        for part in parts:
            part.close()
