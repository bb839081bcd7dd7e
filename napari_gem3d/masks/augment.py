"""The paper's mask augmentation (MA): random transforms of a label map, by policies that people may change."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError

from napari_gem3d.errors import InputError, first_problem
from napari_gem3d.labels import LabelMap
from napari_gem3d.masks.editor import MaskEditor
from napari_gem3d.masks.operations import Described, Flip, Operation, Rotate, Selection, Translate
from napari_gem3d.masks.result import MaskResult
from napari_gem3d.masks.scene import Body, Scene, with_body

Probability = Annotated[FiniteFloat, Field(ge=0, le=1)]
Degrees = Annotated[FiniteFloat, Field(ge=0, le=180)]

# A draw that pushes too much of the lesion out of the body is drawn again, this often.
_ATTEMPTS = 10


class BrainPolicy(Described):
    """The paper's policy for brains (its section 4.1): only the lesion moves, and it stays inside the brain.

    Attributes
    ----------
    flip_probability
        Of a flip of left and right at the brain's middle.
    rotation_probability, max_degrees
        Of a rotation about the lesion's centroid, uniform up to `max_degrees` either way about each axis.
    translation_probability, max_mm
        Of a move towards the brain's centroid, uniform from 0 to `max_mm`, never beyond the centroid.
    max_lost_share
        A draw that would cut off more than this share of the lesion at the brain's surface is drawn again.
    """

    name: Literal["brain"] = "brain"
    flip_probability: Probability = 0.5
    rotation_probability: Probability = 0.8
    max_degrees: Degrees = 2.5
    translation_probability: Probability = 0.8
    max_mm: Annotated[FiniteFloat, Field(ge=0)] = 25.0
    max_lost_share: Probability = 0.1


class AbdomenPolicy(Described):
    """The paper's policy for abdomens: everything, the body included, is rotated about its middle, nothing else.

    The paper does not say how far. Beyond the field of view the map goes on as at its edge.

    Attributes
    ----------
    rotation_probability, max_degrees
        Of a rotation, uniform up to `max_degrees` either way about each axis.
    """

    name: Literal["abdomen"] = "abdomen"
    rotation_probability: Probability = 1.0
    max_degrees: Degrees = 5.0


Policy = Annotated[BrainPolicy | AbdomenPolicy, Field(discriminator="name")]

_POLICY: TypeAdapter[BrainPolicy | AbdomenPolicy] = TypeAdapter(Policy)


def policy_from_json(fields: dict[str, Any]) -> BrainPolicy | AbdomenPolicy:
    """Read a policy, such as ``{"name": "brain", "max_mm": 10}``; InputError says what is wrong with it."""
    try:
        return _POLICY.validate_python(fields)
    except ValidationError as error:
        raise InputError(f"The policy is not understood ({first_problem(error)}); change it.") from None


def augment_mask(
    labels: LabelMap,
    policy: BrainPolicy | AbdomenPolicy | Literal["brain", "abdomen"] = "brain",
    *,
    seed: int | np.random.Generator,
    select: Selection | None = None,
    body: Body | None = None,
    host: tuple[str | int, ...] = (),
) -> MaskResult:
    """Draw a random variant of a label map (MA of the paper, ``Augmentation3D`` of its Algorithm 1).

    Parameters
    ----------
    labels
        The map. Its table says which labels are lesions and which the body.
    policy
        What may be drawn, or the name of one of the paper's policies.
    seed
        Decides the draw; or a generator, from which it is taken.
    select, body, host
        As for `transform_mask`; the brain's policy needs a body label or `body`. For the abdomen's, `body` completes a
        map that shows no body (`result.source`), so that the body turns with the organs; the others have no use.

    Returns
    -------
    MaskResult
        Its `operations` are what was drawn: given to `transform_mask` with `result.source` and `result.select`, they
        make the same map again. Nothing changes, and a note says so, if there is no lesion, every probability said
        no, or ten draws in a row would have lost too much of the lesion.

    Raises
    ------
    InputError
        If the name of the policy is unknown, or the brain's policy does not know where the brain is.
    """
    if isinstance(policy, str):
        policy = policy_from_json({"name": policy})
    if isinstance(policy, AbdomenPolicy):
        whole = labels if body is None else with_body(labels, body)
        return draw_variant(MaskEditor(whole, select=Selection(everything=True)), policy, seed=seed)
    return draw_variant(MaskEditor(labels, select=select, body=body, host=host), policy, seed=seed)


def draw_variant(
    editor: MaskEditor, policy: BrainPolicy | AbdomenPolicy, *, seed: int | np.random.Generator
) -> MaskResult:
    """Draw a random variant of a map that was taken apart already; otherwise as `augment_mask`.

    Parameters
    ----------
    editor
        Of the map; for `AbdomenPolicy` it must select everything.
    policy, seed
        As for `augment_mask`.
    """
    rng = np.random.default_rng(seed)
    if isinstance(policy, AbdomenPolicy):
        return _everything(editor, policy, rng)
    if editor.scene.patch.empty:
        return editor.unchanged("There is no lesion to move: the map is as it was.")
    for _ in range(_ATTEMPTS):
        operations = _draw_brain(policy, editor.scene, rng)
        if not operations:
            return editor.unchanged("No transform was drawn: the map is as it was.")
        try:
            result = editor.apply(operations)
        except InputError:  # nothing of the lesion is left inside the brain
            continue
        if result.lost_share <= policy.max_lost_share:
            return result
    return editor.unchanged(
        f"{_ATTEMPTS} draws would have pushed too much of the lesion out of the body: the map is as it was."
    )


def _everything(editor: MaskEditor, policy: AbdomenPolicy, rng: np.random.Generator) -> MaskResult:
    if not editor.select.everything:
        raise ValueError("the abdomen's policy moves everything")
    rotate, degrees = rng.random() < policy.rotation_probability, _angles(rng, policy.max_degrees)
    if not editor.labels.voxels.any():
        return editor.unchanged("The map is empty: it is as it was.")
    if not rotate:
        return editor.unchanged("No transform was drawn: the map is as it was.")
    return editor.apply(Rotate(degrees=degrees))


def _draw_brain(policy: BrainPolicy, scene: Scene, rng: np.random.Generator) -> list[Operation]:
    # Every number is drawn, used or not: a probability that is changed does not change the other draws.
    flip, rotate, translate = rng.random(3) < (
        policy.flip_probability,
        policy.rotation_probability,
        policy.translation_probability,
    )
    degrees, length = _angles(rng, policy.max_degrees), rng.uniform(0, policy.max_mm)
    operations: list[Operation] = []
    middle, lesion = scene.body_centroid(), scene.patch.centroid()
    if flip:
        operations.append(Flip(centre=(float(middle[0]), float(middle[1]), float(middle[2]))))
        lesion[0] = 2 * middle[0] - lesion[0]
    if rotate:
        operations.append(Rotate(degrees=degrees))
    distance = float(np.linalg.norm(middle - lesion))
    if translate and distance > 0:
        x, y, z = (middle - lesion) / distance * min(length, distance)
        operations.append(Translate(mm=(float(x), float(y), float(z))))
    return operations


def _angles(rng: np.random.Generator, largest: float) -> tuple[float, float, float]:
    x, y, z = rng.uniform(-largest, largest, 3)
    return float(x), float(y), float(z)
