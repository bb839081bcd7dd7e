"""How well-known datasets number their labels, and what the names of labels mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from napari_gem3d.labels import UNSPECIFIED, Label, LabelTable

Concept = Literal["edema", "core", "enhancing", "cyst", "cavity", "whole"]

_NECROTIC, _EDEMA, _ENHANCING = "necrotic and non-enhancing tumor core", "edema", "enhancing tumor"
# Names by value. The Brain Tumor Segmentation challenges renumbered their labels several times.
CONVENTIONS: dict[str, dict[int, str]] = {
    "brats2018": {1: _NECROTIC, 2: _EDEMA, 4: _ENHANCING},
    "brats2023": {1: _NECROTIC, 2: _EDEMA, 3: _ENHANCING},
    "brats2024": {1: "non-enhancing tumor core", 2: "FLAIR hyperintensity (edema)", 3: _ENHANCING, 4: "cavity"},
    "brats-ped": {1: _ENHANCING, 2: "non-enhancing tumor", 3: "cystic component", 4: _EDEMA},
    "decathlon": {1: _EDEMA, 2: "non-enhancing tumor", 3: _ENHANCING},
}
ABOUT = {
    "brats2018": "BraTS 2012 to 2021",
    "brats2023": "BraTS 2023 to 2025, adult glioma before treatment, meningioma, metastases",
    "brats2024": "BraTS 2024 and 2025, adult glioma after treatment",
    "brats-ped": "BraTS-PED 2023 to 2025",
    "decathlon": "Medical Segmentation Decathlon, Task01",
}
ALIASES = {
    **{f"brats{year}": "brats2018" for year in range(2012, 2022)},
    "brats2025": "brats2024",
    "msd": "decathlon",
    **{f"brats-ped{year}": "brats-ped" for year in (2023, 2024, 2025)},
}

# The first that fits, since "non-enhancing" contains "enhancing" and so on. Whole words are in capitals.
_PATTERNS: tuple[tuple[Concept, str], ...] = (
    ("cavity", r"cavit|\bRC\b"),
    ("cyst", r"cyst|\bCC\b"),
    ("edema", r"o?edema|hyperintens|infiltrat|invaded|\bSNFH\b|\bED\b"),
    ("core", r"non ?enhanc|necro|\bNCR\b|\bNETC?\b"),
    ("enhancing", r"enhanc|active|\bET\b|\bAT\b"),
    ("core", r"\bcore\b|\bTC\b"),
    ("whole", r"tumou?r|lesion|glioma|\bmass\b|metasta|\bWT\b|\bGTV\b"),
)
_NAMELESS = re.compile(r"(label|segment|class|region|layer)?[ _-]*\d*", re.IGNORECASE)
_BODIES = {"body", "brain", "head", "foreground", "patient"}


def plain(name: str) -> str:
    """A name in lower case, letters and digits only, in one spelling."""
    return re.sub(r"[^a-z0-9]+", " ", name.casefold().replace("tumour", "tumor").replace("oedema", "edema")).strip()


def is_name(name: str) -> bool:
    """Whether a name says more than a number, as "label 1" and "Segment_1" do not."""
    return not _NAMELESS.fullmatch(name.strip())


def concept(name: str) -> Concept | None:
    """What part of a tumour a name means; None if it means something else."""
    text = plain(name)
    return next((found for found, pattern in _PATTERNS if re.search(pattern.casefold(), text)), None)


def match(name: str, table: LabelTable) -> Label | None:
    """The label of a table that a name means; None if there is none, or more than one could be meant."""
    same = [label for label in table if plain(label.name) in (plain(name), plain(name).removesuffix("s"))]
    if same:
        return same[0]
    if plain(name) in _BODIES:
        return table.body
    return _part(concept(name), table)


def _part(what: Concept | None, table: LabelTable) -> Label | None:
    """The label of a part of a tumour, or what comes nearest to it."""
    if what is None:
        return None
    known = {concept(label.name): label for label in reversed(table.lesions) if label.name != UNSPECIFIED}
    if what in known:
        return known[what]
    if what == "cavity":  # is filled with fluid
        return next((label for label in table.tissues if "csf" in plain(label.name)), None)
    if what == "cyst":
        return known.get("core")
    unspecified = [label for label in table.lesions if label.name == UNSPECIFIED]
    if what == "whole":
        return unspecified[0] if unspecified else table.lesions[0] if len(table.lesions) == 1 else None
    return table.lesions[0] if len(table.lesions) == 1 else None


def named(convention: str) -> Mapping[int, str] | None:
    """The names of a convention, by its name or another one for it; None if there is none."""
    return CONVENTIONS.get(ALIASES.get(convention.casefold(), convention.casefold()))
