"""The cache of a run: what was prepared, a folder of memory-mapped arrays a patient."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from napari_gem3d.bundle.plan import Plan
from napari_gem3d.errors import InputError, first_problem
from napari_gem3d.io import documents, replacing

# Training patients whose losses and pictures are shown where no patient is held out.
_MONITORED = 2
_STAMP = "prepared.json"
# What survives when a patient is prepared anew.
FOREGROUND = "foreground"


def plan_key(plan: Plan) -> str:
    """Hash of what in a plan decides the images and labels of the cache: names, colours and the schedule do not."""
    facts = plan.model_dump(
        mode="json", include={"modality", "spacing", "size", "framing", "intensity", "background_outside_body"}
    )
    facts["labels"] = [(label.value, label.meaning == "body") for label in plan.labels]
    facts["factor"] = plan.latents.factor
    return hashed(facts)


def hashed(facts: Any) -> str:
    """A short hash of what JSON can hold."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """An object written by `write_json`; empty if there is none or it is damaged."""
    try:
        content = documents.read_json(path)
    except InputError:
        return {}
    return content if isinstance(content, dict) else {}


@dataclass(frozen=True)
class Cache:
    """The prepared dataset of a run: ``plan.json``, ``split.json`` and a folder of memory-mapped arrays a patient."""

    folder: Path

    @property
    def plan(self) -> Plan:
        """The plan that the data is prepared by, as people may have edited it.

        Raises
        ------
        InputError
            If there is none, or an edit broke it; the message names the field.
        """
        path = self.folder / "plan.json"
        self._check_prepared(path)
        try:
            return Plan.model_validate(documents.read_json(path))
        except ValidationError as error:
            raise InputError(
                f"{path} is not usable ({first_problem(error)}); correct it, or delete it to plan anew."
            ) from error
        except InputError as error:
            raise InputError(f"{path} is not usable: {error}") from error

    def cases(self, split: str) -> list[str]:
        """Names of the cases of a split.

        Parameters
        ----------
        split
            ``train``; ``validation``, the held-out ones, of which there may be none; ``monitor``, those whose losses
            and pictures are shown: the held-out ones, or if there are none two of the training cases.

        Raises
        ------
        InputError
            If the run was not prepared.
        """
        path = self.folder / "split.json"
        self._check_prepared(path)
        splits: dict[str, list[str]] = documents.read_json(path)
        if split == "monitor":
            return splits["validation"] or splits["train"][:_MONITORED]
        return splits[split]

    @staticmethod
    def _check_prepared(path: Path) -> None:
        if not path.exists():
            raise InputError(f"There is no {path}; run napari-gem3d-train prepare with this --out first.")

    @property
    def mirrored(self) -> bool:
        """Whether a patient's second variant is the mirror image of the first."""
        stamps = (self.stamp(case) for case in self.cases("train"))
        return all(stamp.get("mirrored", True) for stamp in stamps)

    def check(self) -> None:
        """Raise InputError if the arrays were not all made by the plan as it is now."""
        key = plan_key(self.plan)
        for case in self.cases("train") + self.cases("validation"):
            made_by = self.stamp(case).get("plan")
            if made_by != key:
                why = f"{case} is not prepared"
                if made_by:
                    why = f"{self.folder / 'plan.json'} was changed since {case} was prepared"
                raise InputError(f"{why}; run napari-gem3d-train prepare again with this --out.")

    def path(self, case: str, kind: str) -> Path:
        """File of one of a case's arrays."""
        return self.folder / "cache" / case / f"{kind}.npy"

    def array(self, case: str, kind: str) -> NDArray[Any]:
        """Open one of a patient's arrays, (V, Z, ...) for V variants and Z slices.

        ``images`` (V, Z, H, W) float16 in [-1, 1], ``labels`` (V, Z, H, W) uint8, ``latents`` (V, Z, c, h, w) float16.

        Raises
        ------
        InputError
            If the stage that writes it has not been run, or the file is damaged.
        """
        path = self.path(case, kind)
        if not path.is_file():
            raise InputError(f"{path} is missing; run napari-gem3d-train prepare (and vae) with this --out first.")
        try:
            array: NDArray[Any] = np.load(path, mmap_mode="r")
        except ValueError as error:
            raise InputError(f"{path} is damaged ({error}); delete its folder and prepare again.") from error
        return array

    def has(self, case: str, kind: str) -> bool:
        """Whether an array is there."""
        return self.path(case, kind).is_file()

    def write(self, case: str, kind: str, array: NDArray[Any]) -> None:
        """Write an array under a temporary name, then rename."""
        with self.writing(case, kind, array.shape, array.dtype) as append:
            append(array)

    @contextmanager
    def writing(
        self, case: str, kind: str, shape: tuple[int, ...], dtype: Any
    ) -> Iterator[Callable[[NDArray[Any]], None]]:
        """Give a function that appends parts (along the first axis) to an array that appears when the block ends well.

        Raises
        ------
        InputError
            If it cannot be written, as on a full disk.
        """
        path, dtype = self.path(case, kind), np.dtype(dtype)
        path.parent.mkdir(parents=True, exist_ok=True)
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        # Not a memory map: writing to one on a full disk kills the process.
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)

            def append(part: NDArray[Any]) -> None:
                file.write(np.ascontiguousarray(part, dtype).data)

            yield append

    def stamp(self, case: str) -> Mapping[str, Any]:
        """By what a case was prepared; empty if it was not."""
        return read_json(self.folder / "cache" / case / _STAMP)

    def set_stamp(self, case: str, stamp: Mapping[str, Any]) -> None:
        """Say that a case's arrays are complete, and by what they were made."""
        write_json(self.folder / "cache" / case / _STAMP, dict(stamp))

    def clear(self, case: str) -> None:
        """Remove a case's stamp, then its arrays and whatever was made of them (latents); its foreground stays."""
        folder = self.folder / "cache" / case
        (folder / _STAMP).unlink(missing_ok=True)
        for file in (*folder.glob("*.npy"), *folder.glob(".*.npy")):
            if file.stem != FOREGROUND:
                file.unlink(missing_ok=True)
