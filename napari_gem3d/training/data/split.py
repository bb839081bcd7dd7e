"""The split of a dataset by patient, stored with the run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_gem3d.errors import InputError
from napari_gem3d.io.documents import read_json
from napari_gem3d.training.data.cache import write_json
from napari_gem3d.training.data.dataset import CasePaths, Dataset

_FILE = "split.json"
# Patients held out by default, where there are enough.
_BY_DEFAULT, _ENOUGH = 2, 6


def held_out(dataset: Dataset, usable: list[CasePaths], wanted: int | tuple[str, ...] | None) -> int | tuple[str, ...]:
    """How many patients to hold out, or which.

    Parameters
    ----------
    dataset
        Where the cases are from.
    usable
        Cases that are not broken.
    wanted
        The setting ``data.validation_cases``; by default 2, of fewer than 6 patients 1.

    Raises
    ------
    InputError
        If so many cannot be spared, or there is no patient of such a name.
    """
    patients = sorted({case.patient for case in usable})
    if not patients:
        raise InputError(f"{dataset.path} has no usable case; repair the cases or give another dataset.")
    if isinstance(wanted, tuple):
        missing = [name for name in wanted if name not in patients]
        if missing:
            raise InputError(
                f"{dataset.path} has no usable patient '{missing[0]}' to hold out; it has {_few(patients)}."
            )
    chosen = wanted if wanted is not None else (_BY_DEFAULT if len(patients) >= _ENOUGH else 1)
    validation = chosen if isinstance(chosen, int) else len(set(chosen))
    if validation < len(patients):
        return chosen
    instead = "train without a held-out patient with --set data.validation_cases=0"
    if len(patients) == 1:
        raise InputError(
            f"{dataset.path} has one patient ({patients[0]}), who cannot be both trained on and held out: at least two "
            f"patients are needed; add one, or {instead}."
        )
    raise InputError(
        f"{dataset.path} has {len(patients)} patients, which cannot spare {validation} for validation; hold out at "
        f"most {len(patients) - 1} with --set data.validation_cases={len(patients) - 1}, or {instead}."
    )


def _few(names: list[str]) -> str:
    return ", ".join(names[:8]) + (" …" if len(names) > 8 else "")


def make_split(
    folder: Path, usable: list[CasePaths], validation: int | tuple[str, ...], seed: int
) -> dict[str, list[str]]:
    """Say which cases train and which are held out; writes ``split.json``.

    A split that is stored stays: cases that came since join their patient's side, or the training side; cases that
    went are dropped.

    Parameters
    ----------
    folder
        The run.
    usable
        Cases that are not broken.
    validation
        Patients to hold out, how many or which; counts only while there is no split.
    seed
        Of the choice.

    Returns
    -------
    dict
        Case names under ``train`` and ``validation``.

    Raises
    ------
    InputError
        If the stored split cannot be read, or no case to train on is left of it.
    """
    path = folder / _FILE
    owners = {case.name: case.patient for case in usable}
    if path.is_file():
        aside = {owners[name] for name in _stored(path)["validation"] if name in owners}
    elif isinstance(validation, tuple):
        aside = set(validation)
    else:
        shuffled = np.random.default_rng(seed).permutation(sorted(set(owners.values())))
        aside = set(shuffled[:validation].tolist())
    split = {
        "train": [name for name in sorted(owners) if owners[name] not in aside],
        "validation": [name for name in sorted(owners) if owners[name] in aside],
    }
    if not split["train"]:
        raise InputError(f"{path} leaves no case to train on; delete it to split anew.")
    if not path.is_file() or _stored(path) != split:
        write_json(path, split)
    return split


def _stored(path: Path) -> dict[str, list[str]]:
    try:
        split = read_json(path)
        if all(isinstance(split[name], list) for name in ("train", "validation")):
            return {"train": split["train"], "validation": split["validation"]}
    except (ValueError, KeyError, TypeError):
        pass
    raise InputError(f"{path} is no split into train and validation; correct it, or delete it to split anew.")
