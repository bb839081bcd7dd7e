"""From the numbers of a tool to the core's operations."""

from __future__ import annotations

from collections.abc import Callable

from napari_gem3d.errors import InputError
from napari_gem3d.labels import UNSPECIFIED, Label, LabelTable
from napari_gem3d.masks import (
    AbdomenPolicy,
    BrainPolicy,
    Grow,
    Interpolate,
    Lesion,
    MaskEditor,
    MaskResult,
    Operation,
    Remove,
    Rotate,
    Scale,
    Selection,
    Shell,
    Shrink,
    Translate,
    Transplant,
    draw_variant,
)
from napari_gem3d.masks.operations import Point
from napari_gem3d.viewer.lesions.state import STILL, LesionState

DONOR = "donor"
# Tools that add a lesion act on none that is there; interpolation looks for its own parts.
_ON_ALL = ("place", "transplant", "fill")


def selection(state: LesionState, near: Point) -> Selection:
    """What the tool in hand acts on; `near` is where the crosshair was when it was taken."""
    if state.tool == "random" and state.policy == "abdomen":
        return Selection(everything=True)
    if state.tool in ("place", "transplant"):
        return Selection()
    labels = (state.label,) if state.label else ()
    return Selection(labels=labels, near=near if state.nearest and state.tool not in _ON_ALL else None)


def hosts(state: LesionState, table: LabelTable) -> tuple[int, ...]:
    """Lesion labels that the tool's lesion may cover."""
    grows = state.tool == "grow" and state.grow_mm > 0
    if not state.covers or not (grows or state.tool in ("place", "transplant")):
        return ()
    return tuple(label.value for label in table.lesions if label.value != state.label)


def edit(state: LesionState, at: Point, table: LabelTable) -> Callable[[MaskEditor], MaskResult]:
    """What the tool in hand does to a mask that was taken apart; safe to call in another thread.

    Parameters
    ----------
    state
        The tool and its numbers, as they are now.
    at
        The crosshair, (R, A, S) in mm.
    table
        The labels.

    Raises
    ------
    InputError
        If the numbers do not describe anything that can be done.
    """
    if state.tool == "random":
        policy = BrainPolicy() if state.policy == "brain" else AbdomenPolicy()
        seed = state.seed
        return lambda editor: draw_variant(editor, policy, seed=seed)
    operations = _operations(state, at, table)
    if not operations:
        return lambda editor: editor.unchanged("")
    return lambda editor: editor.apply(operations)


def _operations(state: LesionState, at: Point, table: LabelTable) -> tuple[Operation, ...]:
    if state.tool == "place":
        return (Lesion(at=at, diameter=state.diameter, shells=_shells(state, table)),)
    if state.tool == "move":
        return _move(state)
    if state.tool == "grow":
        mm = state.grow_mm
        return () if mm == 0 else (Grow(mm=mm) if mm > 0 else Shrink(mm=-mm),)
    if state.tool == "fill":
        return (Interpolate(slices=state.slices, largest_gap=state.gap),)
    if state.tool == "transplant":
        if state.donor is None:
            raise InputError("There is no other patient to take a lesion from; open one with a mask.")
        return (Transplant(donor=DONOR, to=at), *_move(state))
    return (Remove(),) if state.tool == "remove" else ()


def _move(state: LesionState) -> tuple[Operation, ...]:
    operations: list[Operation] = []
    if state.factor != STILL["factor"]:
        operations.append(Scale(factor=state.factor))
    if state.degrees != STILL["degrees"]:
        operations.append(Rotate(degrees=state.degrees))
    if state.mm != STILL["mm"]:
        operations.append(Translate(mm=state.mm))
    return tuple(operations)


def unspecified(table: LabelTable) -> int | None:
    """Value of the label for a lesion of which nothing but the place is known; None if parts are all there is."""
    lesions = table.lesions
    return next((label.value for label in lesions if label.name == UNSPECIFIED and len(lesions) > 1), None)


def _shells(state: LesionState, table: LabelTable) -> tuple[Shell, ...]:
    if state.core == unspecified(table):
        return (Shell(label=state.core),)
    outer = [Shell(label=value, mm=mm) for value, mm in state.shells if mm > 0 and value != state.core]
    return (*outer, Shell(label=state.core))


def default_shells(table: LabelTable) -> tuple[tuple[tuple[int, float], ...], int]:
    """Shells from outside in, and the core, of a first lesion: as gliomas have them if the names say so."""
    whole = unspecified(table)
    order = sorted((label for label in table.lesions if label.value != whole), key=_depth)
    *outer, core = order
    known = len({_depth(label) for label in order}) == len(order) > 1
    thickness = {0: 6.0, 1: 3.0}
    return tuple((label.value, thickness.get(_depth(label), 0.0) if known else 0.0) for label in outer), core.value


def _depth(label: Label) -> int:
    """How deep inside a lesion a label usually lies, by its name: edema 0, enhancing rim 1, everything else 2."""
    name = label.name.lower()
    if "edema" in name or "oedema" in name:
        return 0
    enhancing = ("enhancing" in name or "rim" in name) and not name.startswith("non")
    return 1 if enhancing else 2
