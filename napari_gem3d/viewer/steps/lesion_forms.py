"""The numbers of each lesion tool."""

from __future__ import annotations

from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_gem3d.viewer.lesions.controller import Lesions
from napari_gem3d.viewer.lesions.requests import unspecified
from napari_gem3d.viewer.steps.numbers import Choice, One, Three, number
from napari_gem3d.viewer.steps.parts import line, row

_PLANES = (
    ("auto", "Slices: found"),
    ("axial", "Axial slices"),
    ("coronal", "Coronal slices"),
    ("sagittal", "Sagittal slices"),
)
_POLICIES = (("brain", "Lesion moves (brain)"), ("abdomen", "Everything turns (abdomen)"))


class Form(QWidget):
    """What all forms are made of."""

    def __init__(self, lesions: Lesions) -> None:
        super().__init__()
        self._lesions = lesions
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(4)

    def add_scope(self) -> None:
        """Which lesion, and which of its labels."""
        state = self._lesions.state
        options = ((True, "Lesion at crosshair"), (False, "All lesions"))
        self.nearest = Choice(
            state, "nearest", "", options, "The connected lesion nearest to where the crosshair was, or all of the mask"
        )
        self.label = Choice(state, "label", "", ((0, "all labels"),), "All labels, or one of them")
        self._layout.addLayout(row(self.nearest, self.label))
        self._lesions.workbench.state.events.table.connect(self._offer_labels)
        self._offer_labels()

    def _offer_labels(self) -> None:
        table = self._lesions.workbench.state.table
        lesions = table.lesions if table is not None else ()
        self.label.offer(((0, "all labels"), *((label.value, label.name) for label in lesions)))

    def add_covers(self) -> None:
        """Whether it may cover other lesions."""
        state = self._lesions.state
        self.covers = QCheckBox("May cover other lesions")
        self.covers.setToolTip("Otherwise labels that are there stop it, as the edge of the body does")
        self.covers.toggled.connect(lambda on: setattr(state, "covers", on))
        state.events.covers.connect(lambda on: self.covers.setChecked(on))
        self._layout.addWidget(self.covers)


class PlaceForm(Form):
    """A sphere or an ellipsoid with shells at the crosshair."""

    def __init__(self, lesions: Lesions) -> None:
        super().__init__(lesions)
        self.diameter = Three(
            lesions.state, "diameter", "Size (mm)", 2, 400, 2, "Diameter of the whole in mm", linkable=True
        )
        self.core = Choice(lesions.state, "core", "Inside", (), "The label that fills the lesion")
        self._shells = QVBoxLayout()
        self.shells: dict[int, QWidget] = {}
        self._layout.addWidget(self.diameter)
        self._layout.addWidget(self.core)
        self._layout.addLayout(self._shells)
        self.add_covers()
        lesions.workbench.state.events.table.connect(self._make_shells)
        lesions.state.events.shells.connect(self._show_shells)
        lesions.state.events.core.connect(self._show_shells)
        self._make_shells()

    def _make_shells(self) -> None:
        table, state = self._lesions.workbench.state.table, self._lesions.state
        while (item := self._shells.takeAt(0)) is not None:
            item.widget().deleteLater()
        self.shells = {}
        names = {label.value: label.name for label in table.lesions} if table is not None else {}
        self.core.offer(tuple(names.items()))
        for value in (*(value for value, _ in state.shells), state.core):
            if value not in names:
                continue
            box = number(0, 200, 1, f"Thickness of the shell of {names[value]}, 0 for none", " mm")
            box.valueChanged.connect(lambda mm, value=value: self._set(value, mm))
            holder = QWidget()
            inside = QHBoxLayout(holder)
            inside.setContentsMargins(0, 0, 0, 0)
            name = line(box.toolTip())
            name.setText(f"Shell of {names[value]}")
            inside.addWidget(name, 1)
            inside.addWidget(box)
            self._shells.addWidget(holder)
            self.shells[value] = box
        self._show_shells()

    def _set(self, value: int, mm: float) -> None:
        state = self._lesions.state
        known = dict(state.shells)
        order = [v for v in self.shells if v in known or v == value]
        state.shells = tuple((v, mm if v == value else known.get(v, 0.0)) for v in order)

    def _show_shells(self) -> None:
        state, table = self._lesions.state, self._lesions.workbench.state.table
        known = dict(state.shells)
        whole = table is not None and state.core == unspecified(table)
        for value, box in self.shells.items():
            box.blockSignals(True)
            box.setValue(known.get(value, 0.0))
            box.blockSignals(False)
            box.parentWidget().setVisible(value != state.core and not whole)


class MoveForm(Form):
    """Moved, rotated and scaled by numbers; the handles set the same ones."""

    def __init__(self, lesions: Lesions) -> None:
        super().__init__(lesions)
        self.add_scope()
        state = lesions.state
        self.mm = Three(state, "mm", "Move (mm)", -400, 400, 1, "Towards the patient's right, front and head, in mm")
        self.degrees = Three(state, "degrees", "Rotate (°)", -360, 360, 5, "Degrees about these axes, in this order")
        self.factor = Three(
            state, "factor", "Scale (×)", 0.25, 4, 0.1, "Factor along these axes", decimals=2, linkable=True
        )
        for widget in (self.mm, self.degrees, self.factor):
            self._layout.addWidget(widget)


class GrowForm(Form):
    """The surface moves."""

    def __init__(self, lesions: Lesions) -> None:
        super().__init__(lesions)
        self.add_scope()
        self.mm = One(
            lesions.state, "grow_mm", "Surface outwards", -50, 50, 1, "Below 0 the lesion shrinks", suffix=" mm"
        )
        self._layout.addWidget(self.mm)
        self.add_covers()


class FillForm(Form):
    """Between painted slices."""

    def __init__(self, lesions: Lesions) -> None:
        super().__init__(lesions)
        state = lesions.state
        self.slices = Choice(state, "slices", "", _PLANES, "The plane in which slices were painted")
        self.gap = One(state, "gap", "gap up to", 1, 400, 5, "Slices further apart are not joined", suffix=" mm")
        self._layout.addLayout(row(self.slices, self.gap))


class TransplantForm(Form):
    """The lesion of another patient, at the crosshair."""

    def __init__(self, lesions: Lesions) -> None:
        super().__init__(lesions)
        self.donor = Choice(lesions.state, "donor", "From", (), "The patient whose lesion is put at the crosshair")
        self._layout.addWidget(self.donor)
        self.add_covers()
        lesions.state.events.tool.connect(self._offer)
        lesions.workbench.state.events.patients.connect(self._offer)
        self._offer()

    def _offer(self) -> None:
        self.donor.offer([(donor, donor.name) for donor in self._lesions.donors()])


class RandomForm(Form):
    """The paper's mask augmentation."""

    def __init__(self, lesions: Lesions) -> None:
        super().__init__(lesions)
        self.add_scope()
        self.policy = Choice(
            lesions.state,
            "policy",
            "",
            _POLICIES,
            "The paper's policies. Brain: flip, small rotation, move towards the middle. Abdomen: everything turns",
        )
        self.another = QPushButton("Another")
        self.another.setToolTip("Draw again, with the next seed")
        self.another.clicked.connect(self._draw)
        self._layout.addLayout(row(self.policy, self.another))

    def _draw(self) -> None:
        self._lesions.state.seed += 1


class RemoveForm(Form):
    """Which lesion goes."""

    def __init__(self, lesions: Lesions) -> None:
        super().__init__(lesions)
        self.add_scope()
