"""What is chosen in step 4 before a generation: what, with which model, how; and what is known of it beforehand."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import QCheckBox, QFileDialog, QLabel, QPushButton, QSpinBox, QVBoxLayout, QWidget

from napari_gem3d.labels import AnatomySource
from napari_gem3d.viewer.engine import Mode, Prospect
from napari_gem3d.viewer.models.button import ModelsButton
from napari_gem3d.viewer.steps.numbers import number
from napari_gem3d.viewer.steps.parts import choices as choice_box
from napari_gem3d.viewer.steps.parts import fill, line, row
from napari_gem3d.viewer.workbench import Workbench

_MODES: dict[Mode, str] = {"volume": "Whole volume", "edit": "Edit this scan"}
_ANATOMY: dict[AnatomySource, str] = {"scan": "from the scan", "map": "from the label map", "none": "none"}
_PRECISIONS = ("auto", "float32", "bfloat16", "float16")
_OTHER = "Other folder…"


class GenerateSettings(QWidget):
    """Mode, model, steps and seed; behind "More" all else; below the forecast and what to mind."""

    def __init__(self, workbench: Workbench) -> None:
        super().__init__()
        self._workbench = workbench
        self._state, self._choices = workbench.state, workbench.generation.choices
        self._make()
        self._lay_out()
        self._connect()
        for show in (self._show_settings, self._show_choices, self._show_prospect):
            show()

    def _make(self) -> None:
        self.mode = choice_box(
            "Whole volume: a new synthetic scan from the mask and the informed slice.\n"
            "Edit this scan: only what the changed mask reaches is generated; the rest stays the scan's own voxels."
        )
        self.model = choice_box("The trained model (bundle) that generates; its card says what it was trained on")
        self.models = ModelsButton(self._workbench)
        self.steps = QSpinBox()
        self.steps.setRange(1, 1000)
        self.steps.setToolTip("Denoising steps of each window of slices: more is slower and finer")
        self.seed = QSpinBox()
        self.seed.setRange(0, 2**31 - 1)
        self.seed.setToolTip("The same seed and inputs give the same voxels again")
        self.random = QCheckBox("random")
        self.random.setToolTip("Draw a new seed for every run; it is shown here and kept with the result")
        self.more = QPushButton()
        self.more.setText("More")
        self.more.setCheckable(True)
        self.more.setToolTip("Anatomy, mass effect, device, precision, and what informs an edit")
        self.anatomy = choice_box("")  # its tooltip depends on the model
        self.mass_effect = number(0, 30, 1, "", " mm")
        self.device = choice_box("Where the networks run; auto takes a GPU if there is one")
        self.precision = choice_box("In which numbers the networks run; auto takes what is fastest on the device")
        self.informed = QCheckBox("edit with the informed slice of step 3")
        self.informed.setToolTip("Off: the scan's own slices beside the edit show the model how it should look (best)")
        self.follow = QCheckBox("follow new slices")
        self.follow.setToolTip("Move the view to the slices as they arrive")
        self.forecast = line("By what this machine was measured to do; other programs at work make it slower")
        self.notices = line("What to mind before generating")
        self.notices.setStyleSheet("color: #ffcc80;")

    def _lay_out(self) -> None:
        self.details = QWidget()
        details = QVBoxLayout(self.details)
        details.setContentsMargins(0, 0, 0, 0)
        details.addLayout(row(QLabel("Anatomy"), self.anatomy, QLabel("Mass effect"), self.mass_effect))
        details.addLayout(row(QLabel("Device"), self.device, QLabel("Precision"), self.precision))
        details.addLayout(row(self.follow, self.informed))
        self.details.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addLayout(row(self.mode, self.model, self.models))
        layout.addLayout(row(QLabel("Steps"), self.steps, QLabel("Seed"), self.seed, self.random, self.more))
        for widget in (self.details, self.forecast, self.notices):
            layout.addWidget(widget)

    def _connect(self) -> None:
        state, choices = self._state, self._choices
        self.steps.valueChanged.connect(lambda value: setattr(state, "steps", value))
        self.seed.valueChanged.connect(lambda value: setattr(state, "seed", value))
        self.random.toggled.connect(lambda on: setattr(state, "random_seed", on))
        self.follow.toggled.connect(lambda on: setattr(state, "follow", on))
        self.mode.activated.connect(lambda index: setattr(choices, "mode", list(_MODES)[index]))
        self.device.activated.connect(lambda index: setattr(choices, "device", choices.devices[index]))
        self.anatomy.activated.connect(lambda index: setattr(choices, "anatomy", list(_ANATOMY)[index]))
        self.mass_effect.valueChanged.connect(lambda mm: setattr(choices, "mass_effect_mm", mm))
        self.precision.activated.connect(lambda index: setattr(choices, "precision", _PRECISIONS[index]))
        self.informed.toggled.connect(lambda on: setattr(choices, "own_neighbours", not on))
        self.model.activated.connect(self._choose_model)
        self.more.toggled.connect(self.details.setVisible)
        for event in (state.events.steps, state.events.seed, state.events.random_seed, state.events.follow):
            event.connect(self._show_settings)
        for event in (choices.events.mode, choices.events.device, choices.events.devices, choices.events.precision):
            event.connect(self._show_choices)
        for event in (choices.events.models, choices.events.own_neighbours, choices.events.anatomy):
            event.connect(self._show_choices)
        for event in (state.events.model, state.events.table, choices.events.mass_effect_mm):
            event.connect(self._show_choices)
        choices.events.prospect.connect(self._show_prospect)

    def _choose_model(self, index: int) -> None:
        if index < len(self._models):
            self._state.model = self._models[index]
            return
        folder = QFileDialog.getExistingDirectory(self, "A model: a folder with a model.json")
        if folder:
            self._state.model = folder
        self._show_choices()

    @property
    def _models(self) -> list[str]:
        return list(dict.fromkeys([*self._choices.models, self._state.model]))

    def _show_settings(self) -> None:
        state = self._state
        for widget, value in ((self.steps, state.steps), (self.seed, state.seed)):
            blocker = QSignalBlocker(widget)
            widget.setValue(value)
            blocker.unblock()
        for box, on in ((self.random, state.random_seed), (self.follow, state.follow)):
            blocker = QSignalBlocker(box)
            box.setChecked(on)
            blocker.unblock()
        self.seed.setEnabled(not state.random_seed)

    def _show_choices(self) -> None:
        choices, models = self._choices, self._models
        fill(self.mode, list(_MODES.values()), list(_MODES).index(choices.mode))
        fill(self.model, [*models, _OTHER], models.index(self._state.model))
        fill(self.device, choices.devices, choices.devices.index(choices.device))
        fill(self.precision, _PRECISIONS, _PRECISIONS.index(choices.precision))
        self._show_anatomy()
        self._show_mass_effect()
        blocker = QSignalBlocker(self.informed)
        self.informed.setChecked(not choices.own_neighbours)
        blocker.unblock()
        self.informed.setEnabled(choices.mode == "edit")

    def _show_anatomy(self) -> None:
        obstacle = self._workbench.body.anatomy.obstacle
        fill(self.anatomy, list(_ANATOMY.values()), list(_ANATOMY).index(self._choices.anatomy))
        self.anatomy.setEnabled(not obstacle)
        self.anatomy.setToolTip(
            obstacle
            or "Where ventricles, sulci and other tissue come from: from the patient's scan what the map lacks, all "
            "from the map, or none (the model draws it as it likes)"
        )

    def _show_mass_effect(self) -> None:
        possible = self._workbench.generation.can_push(self._choices.mode)
        blocker = QSignalBlocker(self.mass_effect)
        self.mass_effect.setValue(self._choices.mass_effect_mm)
        blocker.unblock()
        self.mass_effect.setEnabled(possible)
        self.mass_effect.setToolTip(
            "How far the rim of a lesion pushes what surrounds it, 0 for not at all. In an edit those that are new or "
            "larger push the scan's own voxels, and where one goes they come back."
            if possible
            else f"The model {self._state.model} knows no labels of anatomy, so lesions of whole volumes push nothing."
        )

    def _show_prospect(self) -> None:
        prospect = self._choices.prospect
        text = forecast(prospect)
        self.forecast.setText(text)
        self.forecast.setVisible(bool(text))
        notices = "\n".join(prospect.notices) if prospect is not None else ""
        self.notices.setText(notices)
        self.notices.setVisible(bool(notices))


def forecast(prospect: Prospect | None) -> str:
    """What is known of a generation beforehand, in a line or two."""
    if prospect is None or prospect.seconds is None:
        return ""
    basis = "as the last ones did here" if prospect.measured else "a guess from one step; the first run will tell"
    text = f"Takes about {time_left(prospect.seconds)} ({basis})"
    if prospect.memory is None or prospect.free is None:
        return f"{text}."
    text += f", {prospect.memory / 2**30:.1f} GB of memory of {prospect.free / 2**30:.1f} GB free."
    if prospect.memory > prospect.free:
        text += " Memory may run out: it then goes on with less at once, more slowly."
    return text


def time_left(seconds: float) -> str:
    """Seconds in words: "35 s", "2 min 05 s"."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"
