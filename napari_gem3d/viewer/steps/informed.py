"""Step 3: the informed slice, which sets contrast and appearance of what is generated."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtGui import QStandardItemModel
from qtpy.QtWidgets import QLabel, QPushButton, QSpinBox, QStackedWidget, QVBoxLayout, QWidget
from superqt import QLabeledSlider

from napari_gem3d.viewer.informed.pictures import as_pixmap, axial_picture, grey, intensity_range
from napari_gem3d.viewer.informed.strip import SliceStrip
from napari_gem3d.viewer.patients import Patient
from napari_gem3d.viewer.steps.parts import choices, fill, line, position, row, step
from napari_gem3d.viewer.workbench import Workbench

_PICTURE = 104
_DRAWN = "drawn by the model"


class InformedStep(QWidget):
    """Where the slice comes from, which one it is, and how it looks beside the target's own."""

    def __init__(self, workbench: Workbench) -> None:
        super().__init__()
        self._workbench, self._informed = workbench, workbench.informed
        self.donors = choices("Where the informed slice comes from: a patient, or the model itself")
        self.slice = QSpinBox()
        self.slice.setToolTip("Axial slice, counted from the lowest, 0")
        self.match = QPushButton("At crosshair")
        self.match.setToolTip("Take the slice at the same relative height as the crosshair")
        self.strip = SliceStrip()
        self.position = QLabeledSlider(Qt.Orientation.Horizontal)
        self.position.setRange(0, 100)
        self.position.setToolTip("Where the drawn slice lies, in % of the way from the lowest slice to the highest")
        self.seed = QSpinBox()
        self.seed.setRange(0, 2**31 - 1)
        self.seed.setToolTip("Seed of the drawn slice alone; the same seed draws the same slice")
        self.pages = QStackedWidget()
        self.pages.addWidget(self.strip)
        page = QWidget()
        page.setLayout(row(QLabel("%"), self.position, QLabel("Seed"), self.seed))
        page.layout().setContentsMargins(0, 0, 0, 0)
        self.pages.addWidget(page)
        self.pages.setFixedHeight(self.strip.height())
        self.picture, self.about = _picture("The informed slice"), line()
        self.target, self.about_target = _picture("The patient's own slice that it stands for"), line()

        frame, inside = step(3, "Informed slice")
        chosen = row(self.donors, self.slice, self.match)
        inside.addLayout(chosen)
        inside.addWidget(self.pages)
        inside.addLayout(row(self.picture, self.about, self.target, self.about_target))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(frame)
        self._connect()
        self._show()

    def _connect(self) -> None:
        informed, panel = self._informed, self._workbench.state
        self.donors.currentIndexChanged.connect(self._choose)
        self.slice.valueChanged.connect(self._choose_slice)
        self.strip.chosen.connect(self._choose_slice)
        for asked in (self.match.clicked, self.strip.match_asked):
            asked.connect(lambda *_: informed.match())
        self.position.valueChanged.connect(lambda value: setattr(informed.state, "position", value / 100))
        self.seed.valueChanged.connect(lambda value: setattr(informed.state, "seed", value))
        events, own = panel.events, informed.state.events
        for event in (events.patients, events.patient, events.donor, own.source, own.obstacle):
            event.connect(self._show)
        for event in (events.donor_slice, own.drawn, own.drawing, own.position, own.seed):
            event.connect(self._show_slice)
        self._workbench.planes.state.events.focus.connect(self._mark)
        informed.thumbnails.ready.connect(self._show_strip)

    def _show(self) -> None:
        panel, state = self._workbench.state, self._informed.state
        names = [f"{p.name} (its own slice)" if p is panel.patient else p.name for p in panel.patients]
        drawn = state.source == "generated"
        fill(self.donors, [*names, _DRAWN], len(names) if drawn else position(panel.donor, panel.patients))
        self.donors.setEnabled(bool(names))
        model = self.donors.model()
        assert isinstance(model, QStandardItemModel), "a combo box has this model unless it is given another"
        item = model.item(len(names))
        item.setEnabled(not state.obstacle)
        item.setToolTip(state.obstacle or "The model's position U-Net draws a slice for a place in the body")
        self.pages.setCurrentIndex(int(drawn))
        self.slice.setVisible(not drawn)
        for widget in (self.slice, self.match, self.position, self.seed):
            widget.setEnabled(panel.donor is not None)
        self._show_strip()
        self._show_slice()

    def _show_strip(self, patient: Patient | None = None) -> None:
        donor = self._workbench.state.donor
        if donor is None or self._informed.state.source == "generated":
            self.strip.show_slices(None, (0, 1), 0)
        elif patient is None or patient is donor:
            limits = donor.image.contrast_limits
            self.strip.show_slices(self._informed.thumbnails.of(donor), (limits[0], limits[1]), donor.num_slices)

    def _show_slice(self) -> None:
        panel, state = self._workbench.state, self._informed.state
        blockers = [QSignalBlocker(widget) for widget in (self.slice, self.position, self.seed)]
        if panel.donor is not None:
            self.slice.setRange(0, panel.donor.num_slices - 1)
        self.slice.setValue(panel.donor_slice)
        self.position.setValue(round(state.position * 100))
        self.seed.setValue(state.seed)
        for blocker in blockers:
            blocker.unblock()
        self._mark()
        if state.source == "generated":
            self._show_drawn()
        else:
            self._show_of(panel.donor, panel.donor_slice, self.picture, self.about, "informed")
        self._show_of(panel.patient, self._informed.stands_for, self.target, self.about_target, "target")

    def _mark(self) -> None:
        donor = self._workbench.state.donor
        if donor is not None:
            self.strip.mark(self._workbench.state.donor_slice, self._informed.matching)

    def _show_of(self, patient: Patient | None, index: int, picture: QLabel, about: QLabel, what: str) -> None:
        """Picture of a patient's slice, what it is and the range of its intensities."""
        if patient is None or not 0 <= index < patient.num_slices:
            picture.clear()
            about.clear()
            return
        _, rows, columns = (float(v) for v in patient.image.scale)
        picture.setPixmap(as_pixmap(axial_picture(patient, index), (rows, columns), _PICTURE))
        share = index / max(1, patient.num_slices - 1)
        about.setText(f"<b>{what}</b><br>slice {index}<br>{share:.0%} up<br>{_range(patient.image.data[index])}")
        about.setToolTip(f"{patient.name}: 1st to 99.5th percentile of what is not background")

    def _show_drawn(self) -> None:
        state = self._informed.state
        if state.drawn is None:
            self.picture.clear()
            self.about.setText("<b>informed</b><br>drawing …" if state.drawing else "<b>informed</b><br>not drawn")
            return
        drawn = state.drawn.voxels
        limits = (float(drawn.min()), float(drawn.max()))
        self.picture.setPixmap(as_pixmap(grey(drawn, limits), state.drawn.spacing, _PICTURE))
        self.about.setText(f"<b>informed</b><br>drawn<br>{state.position:.0%} up<br>{_range(drawn)}")
        self.about.setToolTip("In the intensities of the patient's own scan")

    def _choose(self, index: int) -> None:
        patients = self._workbench.state.patients
        if 0 <= index < len(patients):
            self._informed.choose(patients[index])
        elif index == len(patients):
            self._informed.choose_generated()
            self._show()

    def _choose_slice(self, index: int) -> None:
        self._workbench.state.donor_slice = index


def _picture(tooltip: str) -> QLabel:
    label = QLabel()
    label.setFixedSize(_PICTURE, _PICTURE)
    label.setAlignment(Qt.AlignmentFlag.AlignCenter)
    label.setStyleSheet("background: black;")
    label.setToolTip(f"{tooltip}; patient's right on the left, anterior up")
    return label


def _range(plane: object) -> str:
    """Intensities of a slice in words."""
    ends = intensity_range(plane)  # type: ignore[arg-type]
    if ends is None:
        return "empty"
    digits = 0 if ends[1] - ends[0] >= 50 else 2
    return f"{ends[0]:.{digits}f} … {ends[1]:.{digits}f}"
