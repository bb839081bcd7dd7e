"""The plan of a dataset: spacing, size, intensities and labels, decided from its fingerprint and the settings."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from napari_gem3d.anatomy import tissue_names
from napari_gem3d.bundle.plan import IntensityScheme, LatentSpace, Plan
from napari_gem3d.errors import InputError
from napari_gem3d.labels import UNSPECIFIED, UNSPECIFIED_COLOUR, Label, LabelTable, Meaning
from napari_gem3d.training.config.geometry import latent_geometry, size_step
from napari_gem3d.training.config.settings import DataSettings, TrainingConfig
from napari_gem3d.training.data.dataset import MOST_LABELS, Dataset
from napari_gem3d.training.data.fingerprint import PERCENTILES, CaseFacts
from napari_gem3d.volume import Modality

Facts = Mapping[str, CaseFacts]

# A lesion by its name, in the words of datasets of tumours, strokes, bleedings and plaques.
_LESION = re.compile(
    r"tumou?r|lesion|o?edema|cyst|metasta|necro|enhanc|cancer|carcinom|gliom|neoplas|nodul|haemorr|hemorr|haematom|hematom"
    r"|bleed|infarct|stroke|isch(a?)em|plaque|polyp|aneurysm|thromb|embol|consolidation|ground.?glass|infect|abscess"
    r"|fractur|calcif|stone|hyperintens|\bmass\b|\bcore\b|\bwmh\b|\bms\b|^(label|class)?[ _-]?\d+$"
)
# Names of channels that tell nnU-Net how to normalise, but not what the scans are.
_NORMALISATIONS = ("nonorm", "zscore", "rescale_to_0_1", "rgb_to_0_1")
# CT keeps air and lung below and most bone above; wider if the dataset's bodies are denser, up to the 12 bits of HU.
_LOWEST_HU, _LEAST_HIGH_HU, _MOST_HIGH_HU = -1000.0, 1000.0, 3000.0
_HU_STEP = 100
# What of DataSettings decides a plan: another value makes another plan.
_DECIDING = (
    "channel",
    "modality",
    "labels",
    "meanings",
    "body_label",
    "anatomy",
    "body_name",
    "spacing",
    "size",
    "framing",
    "percentile",
    "window_hu",
)


def deciding_settings(settings: DataSettings) -> dict[str, Any]:
    """The settings that decide the plan, as JSON."""
    return settings.model_dump(mode="json", include=set(_DECIDING))


def given_modality(dataset: Dataset, settings: DataSettings) -> Modality:
    """The modality by the settings or the channel's name; empty if neither says."""
    if settings.modality != "auto":
        return settings.modality
    if not dataset.channel:
        return ""
    if dataset.channel.lower() in _NORMALISATIONS:
        return ""
    return "CT" if re.fullmatch(r"(CT|CTA|CECT|NCCT|CBCT|LDCT)([^A-Z0-9].*)?", dataset.channel.upper()) else "MR"


def found_modality(facts: Facts) -> Modality:
    """The modality of all cases; InputError if some are CT and some are not."""
    ct = sorted(name for name, found in facts.items() if found.modality == "CT")
    if ct and len(ct) < len(facts):
        other = next(name for name in sorted(facts) if name not in ct)
        raise InputError(
            f"Some cases have the values of a CT ({ct[0]}) and some have not ({other}); separate them, or say what "
            "they are with --set data.modality=CT (or MR)."
        )
    return "CT" if ct else "MR"


def case_fault(dataset: Dataset, settings: DataSettings, facts: CaseFacts) -> str:
    """Why a case, whole in itself, does not fit the dataset's labels; empty if it does."""
    unknown = [value for value in facts.labels if value not in dataset.labels.values() and value != dataset.ignore]
    if dataset.labels and unknown:
        shown = ", ".join(str(value) for value in unknown[:8]) + (" …" if len(unknown) > 8 else "")
        named = ", ".join(f"{value} {name}" for name, value in dataset.labels.items())
        return (
            f"Its label map holds the value {shown}, but the dataset names only {named}; relabel it or name the value."
        )
    if max(facts.labels, default=0) > MOST_LABELS:
        return f"Its label map holds the value {max(facts.labels)}; renumber labels to 1 up to {MOST_LABELS}."
    if dataset.ignore in facts.labels:
        volume = facts.labels[dataset.ignore].volume_ml
        return f"{volume:g} ml of it are marked 'ignore', so what is there is not known; label them."
    body = named_body(settings)
    if body is not None and dataset.labels.get(body) not in facts.labels:
        return f"It has no voxel of the body label '{body}'; label the body."
    spacing = settings.spacing[0] if settings.spacing and settings.framing == "crop" else facts.spacing[0]
    if round(_body_mm(facts, settings)[0] / spacing) < 2:
        return f"Its body spans fewer than two slices of {spacing:g} mm; give a scan with more slices."
    return ""


def make_plan(config: TrainingConfig, dataset: Dataset, facts: Facts) -> Plan:
    """Decide spacing, size, intensity scheme and label table.

    Parameters
    ----------
    config
        The run's settings; those of the data go before what the fingerprint says.
    dataset
        Its channel and label names.
    facts
        Of the usable cases.

    Raises
    ------
    InputError
        If cases are of different modalities, or settings name labels that do not exist.
    """
    settings, modality = config.data, given_modality(dataset, config.data) or found_modality(facts)
    median = np.median([found.spacing for found in facts.values()], axis=0).round(4)
    spacing = settings.spacing or (float(median[0]), float(median[1]), float(median[2]))
    return Plan(
        modality=modality,
        channel=dataset.channel,
        spacing=spacing,
        size=_size(settings, facts, spacing, size_step(config)),
        framing=settings.framing,
        intensity=_intensities(settings, modality, facts),
        labels=_label_table(settings, modality, dataset, facts),
        background_outside_body=modality == "MR",
        latents=LatentSpace(**latent_geometry(config)._asdict()),
        **beside_data(config),
    )


def beside_data(config: TrainingConfig) -> dict[str, Any]:
    """Fields of the plan that no data decide: what the settings say of the networks and of sampling."""
    return {
        "name": config.name,
        "window": config.window,
        "conditioning": "fine+slice+offset" if config.informed else "fine",
        "schedule": config.schedule,
        **config.sampling.model_dump(),
    }


def named_body(settings: DataSettings) -> str | None:
    """The label of the dataset that is the body; None if the body is the foreground."""
    return settings.body_label or next((name for name, meaning in settings.meanings.items() if meaning == "body"), None)


def _body_mm(facts: CaseFacts, settings: DataSettings) -> tuple[float, float, float]:
    """Extent (Z, Y, X) of what becomes slices: the labels alone if one of them is the body."""
    return (facts.labels_mm or facts.body_mm) if named_body(settings) is not None else facts.body_mm


def _size(settings: DataSettings, facts: Facts, spacing: tuple[float, float, float], step: int) -> tuple[int, int]:
    """Rows and columns that hold the largest body, or the settings', rounded up to what the networks can halve."""
    if settings.size is not None:
        lengths = np.array([settings.size])
    elif settings.framing == "crop":
        # A little less than a voxel's rounding, lest 160.00001 voxels become 192.
        lengths = np.array([_body_mm(found, settings)[1:] for found in facts.values()]) / spacing[1:] - 1e-3
    elif settings.framing == "stretch":
        lengths = np.array([np.divide(_body_mm(found, settings), found.spacing)[1:] for found in facts.values()]) - 1e-3
    else:
        lengths = np.array([found.shape[1:] for found in facts.values()])
    rows, columns = (max(step, math.ceil(length / step) * step) for length in lengths.max(axis=0))
    return rows, columns


def _intensities(settings: DataSettings, modality: Modality, facts: Facts) -> IntensityScheme:
    if modality != "CT":
        elsewhere = any(found.floor != 0 for found in facts.values())
        return IntensityScheme(percentile=settings.percentile, low_end="scan" if elsewhere else "zero")
    if settings.window_hu is not None:
        return IntensityScheme(kind="window", low=settings.window_hu[0], high=settings.window_hu[1])
    # The median over cases: an implant in one of them must not take contrast from all.
    dense = float(np.median([found.percentiles[PERCENTILES.index(99.9)] for found in facts.values()]))
    high = min(max(_LEAST_HIGH_HU, math.ceil(dense / _HU_STEP) * _HU_STEP), _MOST_HIGH_HU)
    return IntensityScheme(kind="window", low=_LOWEST_HU, high=high)


def _label_table(settings: DataSettings, modality: Modality, dataset: Dataset, facts: Facts) -> LabelTable:
    """The dataset's labels with their meanings, the body, the tissues that scans show, and an unspecified lesion."""
    names, body = dict(dataset.labels) or _unnamed(facts), named_body(settings)
    wanted = {"data.meanings": tuple(settings.meanings), "data.body_label": (body,) if body else ()}
    for what, name in ((what, name) for what, given in wanted.items() for name in given):
        if name not in names:
            known = ", ".join(names) or "none"
            raise InputError(
                f"The setting {what} speaks of the label '{name}', but the dataset has: {known}; correct it."
            )
    labels = [
        Label(value, name, meaning="body" if name == body else settings.meanings.get(name) or guess_meaning(name))
        for name, value in sorted(names.items(), key=lambda item: item[1])
    ]
    if body is None:
        labels.append(Label(max(names.values(), default=0) + 1, _body_name(settings, names, facts), meaning="body"))
    added = tissue_names(modality, _stripped(facts)) if settings.anatomy else ()
    meanings: list[tuple[str, Meaning]] = [(name, "tissue") for name in added]
    if sum(label.meaning == "lesion" for label in labels) > 1:
        meanings.append((UNSPECIFIED, "lesion"))
    for name, meaning in meanings:
        if name not in names:
            colour = UNSPECIFIED_COLOUR if name == UNSPECIFIED else ""
            labels.append(Label(max(label.value for label in labels) + 1, name, colour, meaning))
    return LabelTable(tuple(labels))


def _stripped(facts: Facts) -> bool:
    """Whether most scans show a brain alone."""
    return float(np.mean([found.constant_background for found in facts.values()])) > 0.5


def _body_name(settings: DataSettings, names: Mapping[str, int], facts: Facts) -> str:
    """What the added body label is called."""
    if settings.body_name is not None:
        if settings.body_name in names:
            raise InputError(
                f"The dataset has a label '{settings.body_name}' already; take it as the body with "
                f"--set data.body_label={settings.body_name}, or choose another data.body_name."
            )
        return settings.body_name
    taken = {name.lower() for name in names}
    return next(name for name in ("brain" if _stripped(facts) else "body", "body", "foreground") if name not in taken)


def guess_meaning(name: str) -> Meaning:
    """Lesion, tissue or organ, by a label's name; a label that has only a number is a lesion."""
    if name.lower() in (*tissue_names("MR", True), *tissue_names("CT", False)):
        return "tissue"
    return "lesion" if _LESION.search(name.lower()) else "organ"


def _unnamed(facts: Facts) -> dict[str, int]:
    """Names for the values that occur where nothing names them."""
    table = LabelTable.from_values(value for found in facts.values() for value in found.labels)
    return {label.name: label.value for label in table}
