"""Keys: those of the panel, and what else keyboard and mouse do to a scan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from napari.settings import get_settings
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QShortcut, QWidget

from napari_gem3d.viewer.context import Context
from napari_gem3d.viewer.generation import Generation
from napari_gem3d.viewer.lesions.controller import Lesions
from napari_gem3d.viewer.masks import Masks
from napari_gem3d.viewer.runs.comparison import Comparison


@dataclass(frozen=True)
class Shortcut:
    """A key of the panel's.

    Attributes
    ----------
    keys
        As Qt writes them on every system, such as "Ctrl+Return"; on macOS Ctrl is the command key.
    what
        What it does, for people.
    act
        What it does.
    """

    keys: str
    what: str
    act: Callable[[Targets], object]


@dataclass(frozen=True)
class Targets:
    """What the keys act on."""

    context: Context
    masks: Masks
    lesions: Lesions
    generation: Generation
    comparison: Comparison

    def toggle(self, name: str) -> None:
        """Turn a part of the planes on or off."""
        state = self.context.planes.state
        if name == "layout":
            state.layout = "one" if state.layout == "three" else "three"
        else:
            setattr(state, name, not getattr(state, name))

    def toggle_brush(self) -> None:
        """Take the brush for the label that was painted last, or put it down."""
        state = self.context.state
        if state.label is not None:
            self.masks.stop_painting()
            return
        lesions = [label.value for label in state.table or () if label.meaning == "lesion"]
        selected = int(state.mask.selected_label) if state.mask is not None else 0
        self.masks.paint(selected if selected in lesions or not lesions else lesions[0])

    def go_to_lesion(self) -> None:
        """Move the crosshair to the lesion."""
        if self.context.state.patient is not None:
            self.context.planes.look_at(self.context.state.patient.middle())

    def compare(self) -> None:
        """Compare the latest result with its scan, or stop comparing."""
        shown = [run for run in self.context.state.runs if run.layer is not None]
        if self.comparison.state.run is not None:
            self.comparison.stop()
        elif shown:
            self.comparison.start(shown[-1])


SHORTCUTS = (
    Shortcut(
        "Ctrl+Return", "Generate, or edit; waits in line while another one runs", lambda to: to.generation.generate()
    ),
    Shortcut("Ctrl+.", "Cancel the generation at work; finished slices are kept", lambda to: to.generation.cancel()),
    Shortcut("Alt+1", "Axial plane on the main canvas", lambda to: to.context.planes.show_plane(0)),
    Shortcut("Alt+2", "Coronal plane on the main canvas", lambda to: to.context.planes.show_plane(1)),
    Shortcut("Alt+3", "Sagittal plane on the main canvas", lambda to: to.context.planes.show_plane(2)),
    Shortcut("Alt+4", "Three planes, or the main canvas alone", lambda to: to.toggle("layout")),
    Shortcut("Alt+5", "3D rendering on or off", lambda to: to.toggle("rendering")),
    Shortcut("Alt+X", "Crosshair on or off", lambda to: to.toggle("crosshair")),
    Shortcut("Alt+G", "Crosshair to the lesion", Targets.go_to_lesion),
    Shortcut("Alt+B", "Take the brush for the mask, or put it down", Targets.toggle_brush),
    Shortcut("Alt+N", "Place a new lesion at the crosshair", lambda to: to.lesions.open("place")),
    Shortcut("Alt+M", "Move, rotate and scale the lesion at the crosshair", lambda to: to.lesions.open("move")),
    Shortcut("Alt+Return", "Apply the lesion tool in hand", lambda to: to.lesions.apply()),
    Shortcut("Alt+Backspace", "Put the lesion tool down, the mask stays as it is", lambda to: to.lesions.cancel()),
    Shortcut("Alt+Z", "Take back the last stroke or lesion tool", lambda to: to.lesions.history.undo()),
    Shortcut("Alt+Shift+Z", "Do it again", lambda to: to.lesions.history.redo()),
    Shortcut("Alt+K", "Compare the latest result with its scan, or stop comparing", Targets.compare),
)
HELP = "F1"

# What widgets and canvases of the panel do on their own: keys or mouse, and what happens.
GESTURES = (
    ("Click in a plane", "Crosshair to that point, while nothing is painted"),
    ("Shift + drag", "Move the crosshair, whatever tool is in hand"),
    ("Ctrl + drag", "Window and level: to the right wider, upwards brighter"),
    ("Drag a lesion's box, a corner or the disc", "Move, resize or turn the lesion, while its tool is in hand"),
    ("Strip of slices: arrows, Page Up, Page Down, Home, End", "Choose another informed slice"),
    ("Strip of slices: M", "The informed slice at the crosshair's height"),
)

# Of napari's own keys those that serve here; they are shown as the user has set them.
NAPARI = (
    ("napari:activate_labels_paint_mode", "Paint, with the mask selected"),
    ("napari:activate_labels_erase_mode", "Erase, with the mask selected"),
    ("napari:activate_labels_pan_zoom_mode", "Put the brush down, with the mask selected"),
    ("napari:decrease_brush_size", "Smaller brush"),
    ("napari:increase_brush_size", "Larger brush"),
    ("napari:increment_dims_left", "One slice back"),
    ("napari:increment_dims_right", "One slice on"),
    ("napari:toggle_selected_visibility", "Show or hide the selected layer"),
    ("napari:reset_view", "Zoom back to the whole scan"),
)


def bind(targets: Targets, widget: QWidget, show_help: Callable[[], object]) -> list[QShortcut]:
    """Make the keys work in the window of a widget, as long as the widget is there."""
    actions: list[tuple[str, Callable[[], object]]] = [(HELP, show_help)]
    actions += [(shortcut.keys, lambda act=shortcut.act: act(targets)) for shortcut in SHORTCUTS]  # type: ignore[misc]
    bound = []
    for keys, action in actions:
        shortcut = QShortcut(QKeySequence(keys), widget)
        shortcut.setContext(Qt.ShortcutContext.WindowShortcut)
        shortcut.setAutoRepeat(False)
        shortcut.activated.connect(action)
        bound.append(shortcut)
    return bound


def table() -> list[tuple[str, list[tuple[str, str]]]]:
    """All keys in groups: the group's title, and for each what to press and what it does."""
    set_by_user = get_settings().shortcuts.shortcuts
    own = [(shown(shortcut.keys), shortcut.what) for shortcut in SHORTCUTS]
    napari = [(" or ".join(str(key) for key in set_by_user.get(name, ())), what) for name, what in NAPARI]
    return [
        ("GEM-3D panel", [*own, (shown(HELP), "This table")]),
        ("Mouse and strip", list(GESTURES)),
        ("napari", [(keys, what) for keys, what in napari if keys]),
    ]


def shown(keys: str) -> str:
    """Keys as this system writes them."""
    return str(QKeySequence(keys).toString(QKeySequence.SequenceFormat.NativeText))
