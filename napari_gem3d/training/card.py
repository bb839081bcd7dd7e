"""The model card of a run, drafted from facts."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import torch

from napari_gem3d.bundle.plan import Plan
from napari_gem3d.training.config.settings import TrainingConfig

_HEAD = """\
---
library_name: napari-gem3d
tags: [medical-imaging, diffusion, synthetic-data]
---
# {name}

A GEM-3D bundle: {modality} {channel}, slices of {rows}×{columns} at {spacing} mm (Z, Y, X), labels {labels}.

**Intended use**: research on synthetic images and counterfactuals. **Not** for diagnosis, treatment or any clinical
decision: what it draws is made up.

## Training
{patients} patients, {held_out} of them held out for the validation loss (split by patient, seed {seed}).

| stage | steps | minutes | validation |
|---|---|---|---|
"""


def write_card(plan: Plan, folder: Path, config: TrainingConfig) -> str:
    """Draft a card (Markdown) from the plan, the split and the histories in a run folder."""
    split = json.loads((folder / "split.json").read_text(encoding="utf-8"))
    card = _HEAD.format(
        name=plan.name,
        modality=plan.modality,
        channel=plan.channel,
        rows=plan.size[0],
        columns=plan.size[1],
        spacing=" × ".join(f"{length:g}" for length in plan.spacing),
        labels=plan.labels,
        patients=len(split["train"]) + len(split["validation"]),
        held_out=len(split["validation"]),
        seed=config.seed,
    )
    for stage in ("vae", "slice", "volume", "position"):
        history = folder / stage / "history.json"
        entries = json.loads(history.read_text(encoding="utf-8")) if history.is_file() else []
        if entries:
            validated = [entry for entry in entries if "validated" in entry]
            last: dict[str, float] = validated[-1] if validated else {}
            figures = ", ".join(
                f"{key.removeprefix('validation_')} {value:.4g}"
                for key, value in last.items()
                if key.startswith("validation_")
            )
            card += f"| {stage} | {entries[-1]['step']:.0f} | {entries[-1]['minutes']:.0f} | {figures} |\n"
    return card + f"\nTrained on {platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}.\n"
