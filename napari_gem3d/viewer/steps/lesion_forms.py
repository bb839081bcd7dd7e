"""The numbers of each lesion tool."""

from __future__ import annotations

from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget
from superqt.utils import signals_blocked

from napari_gem3d.labels import LabelTable
from napari_gem3d.viewer.lesions.controller import Lesions
from napari_gem3d.viewer.lesions.operations import unspecified
from napari_gem3d.viewer.state import PanelState
from napari_gem3d.viewer.widgets import Choice, Three, bind, button, check, column, holder, line, number, row

_PLANES = {"auto": "Slices: found", "axial": "Axial slices", "coronal": "Coronal slices", "sagittal": "Sagittal slices"}
_POLICIES = {"brain": "Lesion moves (brain)", "abdomen": "Everything turns (abdomen)"}
_ALL_LABELS = (0, "all labels")


class Form(QWidget):
    """What all forms are made of."""

    def __init__(self, lesions: Lesions, panel: PanelState) -> None:
        super().__init__()
        self._lesions, self._state, self._panel = lesions, lesions.state, panel
        self._layout = column(self, spacing=4)

    def add_scope(self) -> None:
        """Which lesion, and which of its labels."""
        options = {True: "Lesion at crosshair", False: "All lesions"}
        tooltip = "The connected lesion nearest to where the crosshair was, or all of the mask"
        self.nearest = Choice(self._state, "nearest", options, tooltip)
        self.label = Choice(self._state, "label", {}, "All labels, or one of them")
        self._layout.addLayout(row(self.nearest, self.label))
        self._panel.events.table.connect(self._offer_labels)
        self._offer_labels()

    def _offer_labels(self) -> None:
        lesions = (self._panel.table or LabelTable(())).lesions
        self.label.offer((_ALL_LABELS, *((label.value, label.name) for label in lesions)))

    def add_covers(self) -> None:
        """Whether it may cover other lesions."""
        tooltip = "Otherwise labels that are there stop it, as the edge of the body does"
        self.covers = check("May cover other lesions", tooltip, self._state, "covers")
        self._layout.addWidget(self.covers)


class PlaceForm(Form):
    """A sphere or an ellipsoid with shells at the crosshair."""

    def __init__(self, lesions: Lesions, panel: PanelState) -> None:
        super().__init__(lesions, panel)
        tooltip = "Diameter of the whole in mm"
        self.diameter = Three(self._state, "diameter", "Size (mm)", 2, 400, 2, tooltip, linkable=True)
        self.core = Choice(self._state, "core", {}, "The label that fills the lesion")
        self._shells = QVBoxLayout()
        self.shells: dict[int, QWidget] = {}
        self._layout.addWidget(self.diameter)
        self._layout.addLayout(row(QLabel("Inside"), self.core))
        self._layout.addLayout(self._shells)
        self.add_covers()
        panel.events.table.connect(self._make_shells)
        self._state.events.shells.connect(self._show_shells)
        self._state.events.core.connect(self._show_shells)
        self._make_shells()

    def _make_shells(self) -> None:
        while (item := self._shells.takeAt(0)) is not None:
            item.widget().deleteLater()
        self.shells = {}
        names = {label.value: label.name for label in (self._panel.table or LabelTable(())).lesions}
        self.core.offer(tuple(names.items()))
        for value in (*(value for value, _ in self._state.shells), self._state.core):
            if value not in names:
                continue
            box = number(0, 200, 1, f"Thickness of the shell of {names[value]}, 0 for none", " mm")
            box.valueChanged.connect(lambda mm, value=value: self._set(value, mm))
            name = line(box.toolTip())
            name.setText(f"Shell of {names[value]}")
            shell = holder(name, box)
            shell.layout().setStretchFactor(name, 1)
            self._shells.addWidget(shell)
            self.shells[value] = box
        self._show_shells()

    def _set(self, value: int, mm: float) -> None:
        known = dict(self._state.shells)
        order = [v for v in self.shells if v in known or v == value]
        self._state.shells = tuple((v, mm if v == value else known.get(v, 0.0)) for v in order)

    def _show_shells(self) -> None:
        state, table = self._state, self._panel.table
        known = dict(state.shells)
        whole = table is not None and state.core == unspecified(table)
        for value, box in self.shells.items():
            with signals_blocked(box):
                box.setValue(known.get(value, 0.0))
            box.parentWidget().setVisible(value != state.core and not whole)


class MoveForm(Form):
    """Moved, rotated and scaled by numbers; the handles set the same ones."""

    def __init__(self, lesions: Lesions, panel: PanelState) -> None:
        super().__init__(lesions, panel)
        self.add_scope()
        state = self._state
        self.mm = Three(state, "mm", "Move (mm)", -400, 400, 1, "Towards the patient's right, front and head, in mm")
        self.degrees = Three(state, "degrees", "Rotate (°)", -360, 360, 5, "Degrees about these axes, in this order")
        tooltip = "Factor along these axes"
        self.factor = Three(state, "factor", "Scale (×)", 0.25, 4, 0.1, tooltip, decimals=2, linkable=True)
        for widget in (self.mm, self.degrees, self.factor):
            self._layout.addWidget(widget)


class GrowForm(Form):
    """The surface moves."""

    def __init__(self, lesions: Lesions, panel: PanelState) -> None:
        super().__init__(lesions, panel)
        self.add_scope()
        self.mm = bind(number(-50, 50, 1, "Below 0 the lesion shrinks", " mm"), self._state, "grow_mm")
        self._layout.addLayout(row(QLabel("Surface outwards"), self.mm))
        self.add_covers()


class FillForm(Form):
    """Between painted slices."""

    def __init__(self, lesions: Lesions, panel: PanelState) -> None:
        super().__init__(lesions, panel)
        self.slices = Choice(self._state, "slices", _PLANES, "The plane in which slices were painted")
        self.gap = bind(number(1, 400, 5, "Slices further apart are not joined", " mm"), self._state, "gap")
        self._layout.addLayout(row(self.slices, QLabel("gap up to"), self.gap))


class TransplantForm(Form):
    """The lesion of another patient, at the crosshair."""

    def __init__(self, lesions: Lesions, panel: PanelState) -> None:
        super().__init__(lesions, panel)
        self.donor = Choice(self._state, "donor", {}, "The patient whose lesion is put at the crosshair")
        self._layout.addLayout(row(QLabel("From"), self.donor))
        self.add_covers()
        self._state.events.tool.connect(self._offer)
        panel.events.patients.connect(self._offer)
        self._offer()

    def _offer(self) -> None:
        self.donor.offer([(donor, donor.name) for donor in self._lesions.donors()])


class RandomForm(Form):
    """The paper's mask augmentation."""

    def __init__(self, lesions: Lesions, panel: PanelState) -> None:
        super().__init__(lesions, panel)
        self.add_scope()
        tooltip = (
            "The paper's policies. Brain: flip, small rotation, move towards the middle. Abdomen: everything turns"
        )
        self.policy = Choice(self._state, "policy", _POLICIES, tooltip)
        self.another = button("Another", "Draw again, with the next seed", self._draw)
        self._layout.addLayout(row(self.policy, self.another))

    def _draw(self) -> None:
        self._state.seed += 1


class RemoveForm(Form):
    """Which lesion goes."""

    def __init__(self, lesions: Lesions, panel: PanelState) -> None:
        super().__init__(lesions, panel)
        self.add_scope()
