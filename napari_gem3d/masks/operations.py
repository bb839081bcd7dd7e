"""What can be done to a lesion, as data: each operation is a small model that JSON can hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeInt,
    PositiveFloat,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from napari_gem3d.errors import InputError, first_problem

# No point of a patient is further from the scanner's middle, mm.
_FURTHEST = 10_000
Place = Annotated[FiniteFloat, Field(ge=-_FURTHEST, le=_FURTHEST)]
Point = tuple[Place, Place, Place]
Centre = Literal["lesion", "body"] | Point
Angle = Annotated[FiniteFloat, Field(ge=-360, le=360)]
# Beyond these factors a lesion is no longer that lesion, and its box may not fit into memory.
Factor = Annotated[FiniteFloat, Field(ge=0.25, le=4)]

# Of a lesion made from nothing, in mm.
Diameter = Annotated[FiniteFloat, Field(gt=0, le=400)]
Plane = Literal["auto", "axial", "coronal", "sagittal"]

# A smooth displacement folds tissue over where neighbouring points cross; below this ratio of amplitude to smoothness
# that takes more than three standard deviations.
_LARGEST_SLOPE = 0.5


class Described(BaseModel):
    """Base of what describes an edit: immutable, refusing fields it does not know, with errors of one sentence."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise InputError(f"{type(self).__name__} is not possible ({first_problem(error)}); change it.") from None


class Selection(Described):
    """Which voxels are "the lesion" that the operations act on.

    Attributes
    ----------
    labels
        Names or values; empty means every label that the table calls a lesion.
    near
        World point (R, A, S) in mm: only the connected part nearest to it.
    everything
        All labels, the body included: the operations then act on the whole map, and nothing is cut off at the body.
    """

    labels: tuple[str | int, ...] = ()
    near: Point | None = None
    everything: bool = False

    @model_validator(mode="after")
    def _one_way(self) -> Selection:
        if self.everything and (self.labels or self.near is not None):
            raise ValueError("everything leaves nothing to choose by label or point")
        return self


class Translate(Described):
    """Move by `mm` towards the patient's right, front and head."""

    name: Literal["translate"] = "translate"
    mm: Point


class Rotate(Described):
    """Rotate by `degrees` about the world's R, A and S axes, in this order, through `centre`.

    Positive angles are right-handed: about S from the patient's right towards the front.
    """

    name: Literal["rotate"] = "rotate"
    degrees: tuple[Angle, Angle, Angle]
    centre: Centre = "lesion"


class Scale(Described):
    """Scale by `factor`, one number or one each for the R, A and S axis, from `centre` on."""

    name: Literal["scale"] = "scale"
    factor: Factor | tuple[Factor, Factor, Factor]
    centre: Centre = "lesion"


class Flip(Described):
    """Mirror along a world axis, left and right ("R") by default, at the plane through `centre`."""

    name: Literal["flip"] = "flip"
    axis: Literal["R", "A", "S"] = "R"
    centre: Centre = "body"


class Elastic(Described):
    """Bend by a random smooth displacement, the same for the same seed whatever the grid.

    Attributes
    ----------
    amplitude
        Root mean square of the displacement, mm; at most half of `smoothness`, beyond which tissue would fold.
    smoothness
        Distance in mm over which displacements are alike: the length of a Gaussian correlation.
    seed
        Decides the displacement.
    """

    name: Literal["elastic"] = "elastic"
    amplitude: PositiveFloat
    smoothness: Annotated[FiniteFloat, Field(ge=1)] = 15.0
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _no_folds(self) -> Elastic:
        if self.amplitude > _LARGEST_SLOPE * self.smoothness:
            raise ValueError(f"an amplitude of {self.amplitude:g} mm needs a smoothness of {2 * self.amplitude:g} mm")
        return self


class Grow(Described):
    """Move the lesion's surface outwards by `mm`, and the surfaces between nested labels with it."""

    name: Literal["grow"] = "grow"
    mm: Annotated[FiniteFloat, Field(gt=0, le=100)]


class Shrink(Described):
    """Move the lesion's surface inwards by `mm`, and the surfaces between nested labels with it."""

    name: Literal["shrink"] = "shrink"
    mm: Annotated[FiniteFloat, Field(gt=0, le=100)]


class Transplant(Described):
    """Add the lesion of another label map, with its centroid at the world point `to`, and go on with that lesion.

    Attributes
    ----------
    donor
        File of the other patient's label map, or a key of the label maps given to `transform_mask`.
    to
        (R, A, S) in mm.
    select
        What of the donor's map is the lesion.
    """

    name: Literal["transplant"] = "transplant"
    donor: str
    to: Point
    select: Selection = Selection()


class Shell(Described):
    """A layer of a lesion.

    Attributes
    ----------
    label
        Name or value.
    mm
        Thickness; None for what is left inside.
    """

    label: str | int
    mm: PositiveFloat | None = None


class Lesion(Described):
    """Add a sphere or an ellipsoid with its centre at the world point `at`, and go on with that lesion.

    Attributes
    ----------
    at
        (R, A, S) in mm.
    diameter
        Of the whole in mm, one number or one each along the R, A and S axis.
    shells
        From outside in, for example edema, enhancing rim, core: semi-axes become shorter by a shell's thickness. The
        last one has none, it fills what is left.
    """

    name: Literal["lesion"] = "lesion"
    at: Point
    diameter: Diameter | tuple[Diameter, Diameter, Diameter]
    shells: Annotated[tuple[Shell, ...], Field(min_length=1)]

    @property
    def semi_axes(self) -> tuple[float, float, float]:
        """Half the diameters along R, A and S in mm."""
        r, a, s = self.diameter if isinstance(self.diameter, tuple) else (self.diameter,) * 3
        return r / 2, a / 2, s / 2

    @model_validator(mode="after")
    def _nested(self) -> Lesion:
        *outer, inner = self.shells
        if inner.mm is not None or any(shell.mm is None for shell in outer):
            raise ValueError("every shell but the innermost needs a thickness in mm, and that one has none")
        if len({shell.label for shell in self.shells}) < len(self.shells):
            raise ValueError("a label is in two shells")
        total, smallest = sum(shell.mm or 0 for shell in outer), min(self.semi_axes)
        if total >= smallest:
            raise ValueError(f"shells of {total:g} mm leave no room inside a radius of {smallest:g} mm")
        return self


class Interpolate(Described):
    """Fill the gaps between painted slices by interpolating signed distances.

    Attributes
    ----------
    slices
        Plane that was painted in; "auto" takes the one in which the lesion is thinnest.
    largest_gap
        Slices further apart than this many mm are not joined.
    """

    name: Literal["interpolate"] = "interpolate"
    slices: Plane = "auto"
    largest_gap: PositiveFloat = 20.0


class Remove(Described):
    """Give the lesion's voxels back to what it lies in."""

    name: Literal["remove"] = "remove"


Affine = Translate | Rotate | Scale | Flip
Operation = Annotated[
    Translate | Rotate | Scale | Flip | Elastic | Grow | Shrink | Lesion | Interpolate | Transplant | Remove,
    Field(discriminator="name"),
]

_OPERATIONS: TypeAdapter[tuple[Operation, ...]] = TypeAdapter(tuple[Operation, ...])


def operations_from_json(entries: Sequence[Mapping[str, Any]]) -> tuple[Operation, ...]:
    """Read operations as `MaskResult.record` writes them, for example to repeat an edit.

    Raises
    ------
    InputError
        If an entry has no known name, or fields or values that its operation does not have.

    Examples
    --------
    >>> operations_from_json([{"name": "grow", "mm": 3}])
    (Grow(name='grow', mm=3.0),)
    """
    try:
        return _OPERATIONS.validate_python(tuple(entries))
    except ValidationError as error:
        told = error.errors()[0].get("ctx", {}).get("error")
        if isinstance(told, InputError):  # a sentence already
            raise told from None
        raise InputError(f"The operations are not understood ({first_problem(error)}); change them.") from None
