"""What is chosen in step 4 before a generation: what, with which model, how; and what is known of it beforehand."""

from __future__ import annotations

from qtpy.QtWidgets import QFileDialog, QLabel, QWidget

from napari_gem3d.labels import AnatomySource
from napari_gem3d.viewer.context import Context
from napari_gem3d.viewer.core import Estimate, Mode
from napari_gem3d.viewer.models.manager import Models
from napari_gem3d.viewer.models.window import ModelWindow
from napari_gem3d.viewer.widgets import (
    Choice,
    WindowButton,
    bind,
    button,
    check,
    choices,
    column,
    fill,
    line,
    number,
    row,
    say,
    whole,
)

_MODES: dict[Mode, str] = {"volume": "Whole volume", "edit": "Edit this scan"}
_ANATOMY: dict[AnatomySource, str] = {"scan": "from the scan", "map": "from the label map", "none": "none"}
_PRECISIONS = {name: name for name in ("auto", "float32", "bfloat16", "float16")}
_OTHER = "Other folder…"


class GenerateSettings(QWidget):
    """Mode, model, steps and seed; behind "More" all else; below the estimate and what to mind."""

    def __init__(self, context: Context, models: Models) -> None:
        super().__init__()
        state = self._state = context.state
        tooltip = (
            "Whole volume: a new synthetic scan from the mask and the informed slice.\n"
            "Edit this scan: only what the changed mask reaches is generated; the rest stays the scan's own voxels."
        )
        self.mode = Choice(state, "mode", _MODES, tooltip)
        self.model = choices("The trained model (bundle) that generates; its card says what it was trained on")
        tooltip = "Models: their cards, and how to add one"
        self.models = WindowButton("…", tooltip, lambda parent: ModelWindow(models, parent))
        tooltip = "Denoising steps of each window of slices: more is slower and finer"
        self.steps = whole(state, "steps", 1, 1000, tooltip)
        tooltip = "The same seed and inputs give the same voxels again"
        self.seed = whole(state, "seed", 0, 2**31 - 1, tooltip)
        tooltip = "Draw a new seed for every run; it is shown here and kept with the result"
        self.random = check("random", tooltip, state, "random_seed")
        self.more = button("More", "Anatomy, mass effect, device, precision, and what informs an edit")
        self.more.setCheckable(True)
        self.anatomy = Choice(state, "anatomy", _ANATOMY, "")  # its tooltip depends on the model
        self.mass_effect = bind(number(0, 30, 1, "", " mm"), state, "mass_effect_mm")
        self.device = Choice(state, "device", {}, "Where the networks run; auto takes a GPU if there is one")
        tooltip = "In which numbers the networks run; auto takes what is fastest on the device"
        self.precision = Choice(state, "precision", _PRECISIONS, tooltip)
        tooltip = "Off: the scan's own slices beside the edit show the model how it should look (best)"
        words = "edit with the informed slice of step 3"
        self.informed = check(words, tooltip, state, "own_neighbours", inverted=True)
        self.follow = check("follow new slices", "Move the view to the slices as they arrive", state, "follow")
        self.estimate = line("By what this machine was measured to do; other programs at work make it slower")
        self.notices = line("What to mind before generating", "color: #ffcc80;")
        self._lay_out()
        self.model.activated.connect(self._choose_model)
        self.more.toggled.connect(self.details.setVisible)
        events = state.events
        for event in (events.mode, events.model, events.models, events.devices, events.table):
            event.connect(self._show)
        for event in (events.random_seed, events.anatomy):
            event.connect(self._show)
        events.estimate.connect(self._show_estimate)
        self._show()
        self._show_estimate()

    def _lay_out(self) -> None:
        self.details = QWidget()
        column(
            self.details,
            row(QLabel("Anatomy"), self.anatomy, QLabel("Mass effect"), self.mass_effect),
            row(QLabel("Device"), self.device, QLabel("Precision"), self.precision),
            row(self.follow, self.informed),
        )
        self.details.hide()
        numbers = row(QLabel("Steps"), self.steps, QLabel("Seed"), self.seed, self.random, self.more)
        column(self, row(self.mode, self.model, self.models), numbers, self.details, self.estimate, self.notices)

    def _choose_model(self, index: int) -> None:
        if index < len(self._models):
            self._state.model = self._models[index]
            return
        folder = QFileDialog.getExistingDirectory(self, "A model: a folder with a model.json")
        if folder:
            self._state.model = folder
        self._show()

    @property
    def _models(self) -> list[str]:
        return list(dict.fromkeys([*self._state.models, self._state.model]))

    def _show(self) -> None:
        state, models = self._state, self._models
        fill(self.model, [*models, _OTHER], models.index(state.model))
        self.device.offer([(name, name) for name in state.devices])
        self.seed.setEnabled(not state.random_seed)
        self.informed.setEnabled(state.mode == "edit")
        self.anatomy.setEnabled(not state.no_anatomy)
        self.anatomy.setToolTip(
            state.no_anatomy
            or "Where ventricles, sulci and other tissue come from: from the patient's scan what the map lacks, all "
            "from the map, or none (the model draws it as it likes)"
        )
        possible = state.can_push(state.mode)
        self.mass_effect.setEnabled(possible)
        self.mass_effect.setToolTip(
            "How far the rim of a lesion pushes what surrounds it, 0 for not at all. In an edit those that are new or "
            "larger push the scan's own voxels, and where one goes they come back."
            if possible
            else f"The model {state.model} knows no labels of anatomy, so lesions of whole volumes push nothing."
        )

    def _show_estimate(self) -> None:
        estimate = self._state.estimate
        say(self.estimate, describe(estimate))
        say(self.notices, "\n".join(estimate.notices) if estimate is not None else "")


def describe(estimate: Estimate | None) -> str:
    """What is known of a generation beforehand, in a line or two."""
    if estimate is None or estimate.seconds is None:
        return ""
    basis = "as the last ones did here" if estimate.measured else "a guess from one step; the first run will tell"
    text = f"Takes about {time_left(estimate.seconds)} ({basis})"
    if estimate.memory is None or estimate.free is None:
        return f"{text}."
    text += f", {estimate.memory / 2**30:.1f} GB of memory of {estimate.free / 2**30:.1f} GB free."
    if estimate.memory > estimate.free:
        text += " Memory may run out: it then goes on with less at once, more slowly."
    return text


def time_left(seconds: float) -> str:
    """Seconds in words: "35 s", "2 min 05 s"."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"
