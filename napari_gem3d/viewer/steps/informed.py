"""Step 3: the informed slice, which sets contrast and appearance of what is generated."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtGui import QStandardItemModel
from qtpy.QtWidgets import QLabel, QSpinBox, QStackedWidget, QWidget
from superqt import QLabeledSlider
from superqt.utils import signals_blocked

from napari_gem3d.viewer.context import Context
from napari_gem3d.viewer.informed.controller import Informed
from napari_gem3d.viewer.informed.strip import SliceStrip
from napari_gem3d.viewer.informed.thumbnails import as_pixmap, axial_picture, grey, intensity_range
from napari_gem3d.viewer.patients import Patient
from napari_gem3d.viewer.widgets import bind, button, choices, fill, holder, line, position, row, step, whole

_PICTURE = 104
_DRAWN = "drawn by the model"


class InformedStep(QWidget):
    """Where the slice comes from, which one it is, and how it looks beside the target's own."""

    def __init__(self, context: Context, informed: Informed) -> None:
        super().__init__()
        self._panel, self._informed = context.state, informed
        self.donors = choices("Where the informed slice comes from: a patient, or the model itself")
        self.slice = QSpinBox()
        self.slice.setToolTip("Axial slice, counted from the lowest, 0")
        tooltip = "Take the slice at the same relative height as the crosshair"
        self.match = button("At crosshair", tooltip, informed.match)
        self.strip = SliceStrip()
        slider = QLabeledSlider(Qt.Orientation.Horizontal)
        slider.setRange(0, 100)
        slider.setToolTip("Where the drawn slice lies, in % of the way from the lowest slice to the highest")
        self.position = bind(slider, informed.state, "position", lambda p: round(100 * p), lambda value: value / 100)
        tooltip = "Seed of the drawn slice alone; the same seed draws the same slice"
        self.seed = whole(informed.state, "seed", 0, 2**31 - 1, tooltip)
        self.pages = QStackedWidget()
        self.pages.addWidget(self.strip)
        self.pages.addWidget(holder(QLabel("%"), self.position, QLabel("Seed"), self.seed))
        self.pages.setFixedHeight(self.strip.height())
        self.picture, self.about = _picture("The informed slice"), line()
        self.target, self.about_target = _picture("The patient's own slice that it stands for"), line()
        pictures = row(self.picture, self.about, self.target, self.about_target)
        step(3, "Informed slice", self, row(self.donors, self.slice, self.match), self.pages, pictures)

        self.donors.currentIndexChanged.connect(self._choose)
        for chosen in (self.slice.valueChanged, self.strip.chosen):
            chosen.connect(lambda index: setattr(context.state, "donor_slice", index))
        self.strip.match_asked.connect(informed.match)
        events, own = context.state.events, informed.state.events
        for event in (events.patients, events.patient, events.donor, own.source, own.obstacle):
            event.connect(self._show)
        for event in (events.donor_slice, own.drawn, own.drawing, own.position, own.seed):
            event.connect(self._show_slice)
        context.planes.state.events.focus.connect(self._mark)
        informed.thumbnails.ready.connect(self._show_strip)
        self._show()

    def _show(self) -> None:
        panel, state = self._panel, self._informed.state
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
        donor = self._panel.donor
        if donor is None or self._informed.state.source == "generated":
            self.strip.show_slices(None, (0, 1), 0)
        elif patient is None or patient is donor:
            limits = donor.image.contrast_limits
            self.strip.show_slices(self._informed.thumbnails.of(donor), (limits[0], limits[1]), donor.num_slices)

    def _show_slice(self) -> None:
        panel = self._panel
        with signals_blocked(self.slice):
            if panel.donor is not None:
                self.slice.setRange(0, panel.donor.num_slices - 1)
            self.slice.setValue(panel.donor_slice)
        self._mark()
        if self._informed.state.source == "generated":
            self._show_drawn()
        else:
            self._show_of(panel.donor, panel.donor_slice, self.picture, self.about, "informed")
        self._show_of(panel.patient, self._informed.stands_for, self.target, self.about_target, "target")

    def _mark(self) -> None:
        donor = self._panel.donor
        if donor is not None:
            self.strip.mark(self._panel.donor_slice, self._informed.matching)

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
        patients = self._panel.patients
        if 0 <= index < len(patients):
            self._informed.choose(patients[index])
        elif index == len(patients):
            self._informed.choose_generated()
            self._show()


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
