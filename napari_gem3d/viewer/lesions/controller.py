"""Tools for lesions: a preview that follows their numbers, and one undo step when it is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Labels

from napari_gem3d.errors import InputError
from napari_gem3d.masks import MaskEditor, MaskResult, Selection
from napari_gem3d.masks.operations import Point
from napari_gem3d.masks.patch import Patch
from napari_gem3d.viewer.body.controller import Bodies
from napari_gem3d.viewer.context import Context
from napari_gem3d.viewer.lesions.handles import Handles
from napari_gem3d.viewer.lesions.history import History
from napari_gem3d.viewer.lesions.operations import DONOR, default_shells, edit, hosts, selection
from napari_gem3d.viewer.lesions.state import STILL, LesionState, Tool
from napari_gem3d.viewer.lesions.subject import body_on, donor_labels, labels_of
from napari_gem3d.viewer.masks import Masks
from napari_gem3d.viewer.patients import Patient
from napari_gem3d.viewer.worker import Worker

_NUMBERS = (
    *("nearest", "label", "covers", "diameter", "shells", "core", "mm", "degrees", "factor", "grow_mm"),
    *("slices", "gap", "donor", "policy", "seed"),
)
_AT_CROSSHAIR = ("place", "transplant")


@dataclass(frozen=True)
class _Key:
    """What an editor was opened for; with another key another one is needed."""

    mask: int
    strokes: tuple[int, ...]
    select: Selection
    hosts: tuple[int, ...]
    donor: int


class Lesions:
    """The lesion tools.

    A tool is taken (`open`), its numbers are changed in `state`, `state.preview` follows in a thread, and `apply`
    writes exactly that into the mask, as one undo step. The methods named after the tools do all of it at once.

    Parameters
    ----------
    bodies
        Knows where lesions may be.
    masks
        Makes a mask for a first lesion, and puts the brush down.

    Attributes
    ----------
    state
        The tool and its numbers.
    history
        Undo and redo of strokes and tools, volumes, and the brush that stays inside the body.
    handles
        What can be dragged in the planes.
    """

    def __init__(self, context: Context, bodies: Bodies, masks: Masks) -> None:
        self._panel, self._planes, self._bodies, self._masks = context.state, context.planes, bodies, masks
        self.state = LesionState()
        self._worker = Worker()
        self.history = History(context.state, self.state, self._worker, bodies)
        self._near: Point = (0.0, 0.0, 0.0)
        self._editor: tuple[_Key, MaskEditor] | None = None
        self._asked = self._shown = 0
        self._computing = self._apply_next = False
        self.handles = Handles(context, self.state, lambda: self.outlined, self.ask)
        events = self.state.events
        for name in _NUMBERS:
            getattr(events, name).connect(self.ask)
        self.history.edited.connect(self.ask)
        panel = context.state.events
        for event in (panel.mask, panel.patient):
            event.connect(self.cancel)
        panel.label.connect(self._on_brush)
        panel.table.connect(self._on_table)
        context.planes.state.events.focus.connect(self._on_focus)
        self._on_table()

    @property
    def preview(self) -> MaskResult | None:
        """What the tool in hand would do; ``state.events.preview`` announces its changes."""
        return self.state.preview

    @property
    def outlined(self) -> Patch | None:
        """The lesion as the preview has it; of a removal what would go."""
        if self.state.preview is None:
            return None
        if self.state.tool == "remove" and self._editor is not None:
            return self._editor[1].scene.patch
        return self.state.preview.lesion

    @property
    def mask(self) -> Labels | None:
        """The mask that is worked on."""
        mask: Labels | None = self._panel.mask
        return mask

    @property
    def at(self) -> Point:
        """The crosshair, (R, A, S) in mm as shown."""
        z, y, x = self._planes.focus
        return x, y, z

    def close(self) -> None:
        """Put the tool down, end the thread."""
        self.cancel()
        self.handles.close()
        self.history.close()
        self._worker.close()

    def place(self, **numbers: Any) -> None:
        """Add a lesion at the crosshair: `diameter`, `shells`, `core` as in `LesionState`."""
        self._do("place", numbers)

    def transform(self, **numbers: Any) -> None:
        """Scale, rotate and move the lesion: `factor`, `degrees`, `mm`."""
        self._do("move", numbers)

    def grow(self, mm: float) -> None:
        """Move the lesion's surface outwards, or inwards if `mm` is negative."""
        self._do("grow", {"grow_mm": mm})

    def interpolate(self, **numbers: Any) -> None:
        """Fill the gaps between painted slices: `slices`, `gap`."""
        self._do("fill", numbers)

    def transplant(self, donor: Patient) -> None:
        """Add another patient's lesion at the crosshair."""
        self._do("transplant", {"donor": donor})

    def augment(self, seed: int) -> None:
        """A random variant, by the paper's policy."""
        self._do("random", {"seed": seed})

    def remove(self) -> None:
        """Give the lesion's voxels back to the body."""
        self._do("remove", {})

    def _do(self, tool: Tool, numbers: dict[str, Any]) -> None:
        self.open(tool)
        for name, value in numbers.items():
            setattr(self.state, name, value)
        self.apply()

    def open(self, tool: Tool) -> None:
        """Take a tool; with "" put it down. A new lesion may be the first of a new mask."""
        self.cancel()
        if tool and self.mask is None and tool in _AT_CROSSHAIR:
            self._masks.new()
        mask = self.mask
        if not tool or mask is None:
            if tool:
                self._panel.say_error(InputError("There is no lesion yet; place one, or paint it."))
            return
        if self._panel.table is None:
            self._panel.say_error(InputError("The model is still being loaded; try again in a moment."))
            return
        self._masks.stop_painting()
        self._near = self.at
        for name, value in STILL.items():
            setattr(self.state, name, value)
        if self.state.donor not in self.donors():
            self.state.donor = next(iter(self.donors()), None)
        self.state.tool = tool
        self.ask()

    def cancel(self) -> None:
        """Put the tool down and leave the mask as it is."""
        self._asked += 1
        self._apply_next = False
        self._editor = None
        self.state.tool = ""
        self.state.preview, self.state.busy, self.state.note = None, False, ""
        self.history.show()

    def donors(self) -> tuple[Patient, ...]:
        """Patients whose lesions may be transplanted, those of others first."""
        panel = self._panel
        return tuple(p for p in panel.patients if p is not panel.patient and p.mask is not None)

    def apply(self) -> None:
        """Write the preview into the mask, as soon as it is that of the present numbers, and put the tool down."""
        if not self.state.tool:
            return
        if self.state.busy:
            self._apply_next = True
            return
        result, mask = self.state.preview, self.mask
        if result is None or mask is None:
            self._panel.say(self.state.note or "There is nothing to apply yet.", failed=True)
            return
        if not self._still_fits():
            self._apply_next = True
            self.ask()
            return
        changed = result.changed
        indices = tuple(at + part.start for at, part in zip(np.nonzero(changed), result.box, strict=True))
        note = " ".join(result.notes)
        self.cancel()
        if indices[0].size:
            self.history.write(mask, indices, result.voxels[changed])
        self._panel.say(note)

    def ask(self) -> None:
        """Have the preview follow the numbers; only the latest ones count if they change faster than it can."""
        if not self.state.tool:
            return
        self._asked += 1
        self.state.busy = True
        if not self._computing:
            self._compute()

    def _compute(self) -> None:
        number, mask, table, patient = self._asked, self.mask, self._panel.table, self._panel.patient
        if mask is None or table is None or patient is None:
            return
        try:
            work = edit(self.state, self.at, table)
            open_editor = self._opener(mask, patient)
        except InputError as error:
            self._on_failed(number, error)
            return
        self._computing = True

        def compute() -> tuple[tuple[_Key, MaskEditor] | None, MaskResult | InputError]:
            opened = None
            try:
                opened = open_editor()
                return opened, work(opened[1])
            except InputError as error:
                return opened, error

        self._worker.submit(
            compute, lambda computed: self._on_computed(number, *computed), lambda error: self._on_failed(number, error)
        )

    def _opener(self, mask: Labels, patient: Patient) -> Callable[[], tuple[_Key, MaskEditor]]:
        """How to get the editor for what the tool acts on now: the one there is, or another one."""
        state, table = self.state, self._panel.table
        assert table is not None, "asked only with a table"
        select, covered = selection(state, self._near), hosts(state, table)
        donor = state.donor if state.tool == "transplant" else None
        key = _Key(id(mask), self.history.strokes(mask), select, covered, id(donor and donor.mask))
        kept = self._editor
        if kept is not None and kept[0] == key:
            return lambda: kept
        voxels, known = np.array(mask.data), self._bodies.of(patient)

        def open_editor() -> tuple[_Key, MaskEditor]:
            labels = labels_of(mask, voxels, table)
            donors = {} if donor is None else {DONOR: donor_labels(donor, mask, table)}
            body = None if select.everything else body_on(mask, patient, known)
            return key, MaskEditor(labels, select=select, body=body, host=covered, donors=donors)

        return open_editor

    def _on_computed(
        self, number: int, opened: tuple[_Key, MaskEditor] | None, result: MaskResult | InputError
    ) -> None:
        self._computing = False
        if not self.state.tool:
            return
        self._editor = opened
        self._show(number, result)

    def _on_failed(self, number: int, error: BaseException) -> None:
        self._computing = False
        if not self.state.tool:
            return
        if not isinstance(error, InputError):
            self._panel.say_error(error)
        self._show(number, InputError(str(error)))

    def _show(self, number: int, result: MaskResult | InputError) -> None:
        current = number == self._asked
        self.state.note = str(result) if isinstance(result, InputError) else " ".join(result.notes)
        self.state.preview = None if isinstance(result, InputError) else result
        self.history.show()
        if not current:
            self._compute()
            return
        self.state.busy = False
        if self._apply_next:
            self._apply_next = False
            self.apply()

    def _still_fits(self) -> bool:
        """Whether the mask is what the preview was made from: it can be painted and undone meanwhile."""
        mask = self.mask
        return (
            mask is not None
            and self._editor is not None
            and (self._editor[0].mask, self._editor[0].strokes) == (id(mask), self.history.strokes(mask))
        )

    def _on_brush(self, label: int | None) -> None:
        """Brush and tool are not in hand at once."""
        if label is not None:
            self.cancel()

    def _on_focus(self) -> None:
        if self.state.tool in _AT_CROSSHAIR:
            self.ask()

    def _on_table(self) -> None:
        table = self._panel.table
        if table is not None and table.lesions:
            self.state.shells, self.state.core = default_shells(table)
            self.state.label = 0
