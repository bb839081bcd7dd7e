"""What no tensor tells of published weights: which labels they know, and how scans and label maps became pictures.

The two schemes are those of the paper's data sets. nnU-Net had prepared them: cut to the voxels that are not zero,
which leaves a brain's own box and an abdomen's whole field of view; outside a brain the label map is -1, one step
below the brain itself, and the scan has the brain's mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from napari_gem3d.bundle.plan import Plan
from napari_gem3d.errors import InputError, first_problem
from napari_gem3d.io.documents import read_json
from napari_gem3d.labels import LabelTable

BODY_CODE = 0

SCHEMES: dict[str, dict[str, Any]] = {
    "brain": {
        "modality": "MR",
        "channel": "FLAIR",
        "framing": "stretch",
        "intensity": {"kind": "minmax", "outside": "mean"},
        "background_outside_body": True,
        "labels": [
            {"value": 1, "name": "edema"},
            {"value": 2, "name": "non-enhancing tumor"},
            {"value": 3, "name": "enhancing tumor"},
            {"value": 4, "name": "brain", "meaning": "body"},
        ],
        "grey": {"codes": [1, 2, 3, BODY_CODE], "outside": -1, "highest": 3},
    },
    "abdomen": {
        "modality": "CT",
        "framing": "field",
        # nnU-Net clips CT at percentiles of the organs in its training set, which the checkpoint does not hold.
        "intensity": {"kind": "window", "low": -160.0, "high": 240.0},
        "background_outside_body": False,
        "labels": [
            {"value": 1, "name": "liver", "meaning": "organ"},
            {"value": 2, "name": "kidney", "meaning": "organ"},
            {"value": 3, "name": "spleen", "meaning": "organ"},
            {"value": 4, "name": "pancreas", "meaning": "organ"},
            {"value": 5, "name": "body", "meaning": "body"},
        ],
        "grey": {"codes": [1, 2, 3, 4, BODY_CODE], "outside": 0, "highest": 4},
    },
}


def read_scheme(name: str) -> dict[str, Any]:
    """Fields of the plan for the labels and pictures of published weights.

    Parameters
    ----------
    name
        "brain", "abdomen", or a JSON file: the list of labels in the order of their grey codes 1, 2, …, one of them
        the body (code 0), or an object of the plan's fields, ``labels`` among them. What a file does not say is as
        for "brain", or, if its ``modality`` is CT, as for "abdomen".

    Raises
    ------
    InputError
        If there is no such file, or it does not hold such labels.
    """
    if name in SCHEMES:
        return SCHEMES[name]
    path = Path(name)
    if not path.exists():
        raise InputError(f"The labels '{name}' are neither a file nor {', '.join(SCHEMES)}; choose one.")
    content = read_json(path)
    given = {"labels": content} if isinstance(content, list) else content
    if not isinstance(given, dict) or not isinstance(given.get("labels"), list):
        raise InputError(f"{path} holds no list of labels; write one with value, name and meaning.")
    table = LabelTable.from_json(given["labels"])
    if table.body is None:
        raise InputError(f"{path} names no body label; add the one that holds all others, with the meaning 'body'.")
    likewise = SCHEMES["abdomen" if given.get("modality") == "CT" else "brain"]
    scheme = {**likewise, "channel": "", "grey": _ordinal(table, likewise["grey"]["outside"]), **given}
    try:
        Plan(name="check", conditioning="grey", **scheme)
    except (ValidationError, TypeError) as error:
        problem = first_problem(error) if isinstance(error, ValidationError) else str(error)
        raise InputError(f"{path} is not understood ({problem}); see the reference of model.json.") from error
    return scheme


def _ordinal(table: LabelTable, outside: int) -> dict[str, Any]:
    """Grey codes 1, 2, … in the table's order, and 0 for the body."""
    others = [label.value for label in table if label.meaning != "body"]
    codes = [BODY_CODE if label.meaning == "body" else 1 + others.index(label.value) for label in table]
    return {"codes": codes, "outside": outside, "highest": max(*codes, 1)}
