"""The model card of a run, drafted from facts; what no file tells is left for a person to fill in."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import napari_gem3d
from napari_gem3d.bundle import ModelBundle
from napari_gem3d.training.config.describe import on_one_line
from napari_gem3d.training.config.loading import differences
from napari_gem3d.training.config.settings import StageSettings, TrainingConfig
from napari_gem3d.training.data.cache import Cache
from napari_gem3d.training.loop.processes import count
from napari_gem3d.training.record import PART_OF, StageRecord

_HEAD = """\
---
library_name: napari-gem3d
tags: [medical-imaging, diffusion, synthetic-data]
---
# {name}

A GEM-3D bundle: {scans}, slices of {rows}×{columns} at {spacing} mm (Z, Y, X), labels {labels}.{baseline}

**Intended use**: **[to fill in: what for, by whom, in which patients]**. Research on synthetic images only; **not** for
diagnosis, treatment or any clinical decision: what it draws is made up.

**Licence**: **[to fill in; the licence of the data may bind it]**

## Data

**[to fill in: which data set, its source, its licence and how to cite it, who the patients are, what was excluded]**

{train} cases were trained on, {held_out} held out for the validation loss (split by patient, seed {seed}).{broken}

"""
_BASELINE = " A Make-A-Volume baseline: label map and position condition it, an informed slice does not."


def stage_facts(
    folder: Path, network: nn.Module, settings: StageSettings, device: torch.device, precision: str
) -> dict[str, Any]:
    """What is known of a stage that has ended.

    Parameters
    ----------
    folder
        Of the stage.
    network
        Its result.
    settings
        Its settings.
    device, precision
        Where and how it computed.

    Returns
    -------
    dict
        Ready for JSON.
    """
    entries = _history(folder)
    validated = [entry for entry in entries if "validated" in entry]
    last = entries[-1] if entries else {}
    return {
        "steps": int(last.get("step", 0)),
        "minutes": round(float(last.get("minutes", 0.0)), 2),
        "loss": last.get("loss"),
        "validation": {
            key.removeprefix("validation_"): value
            for key, value in (validated[-1] if validated else {}).items()
            if key.startswith("validation_")
        },
        "parameters": sum(p.numel() for p in network.parameters()),
        "batch": settings.batch,
        "accumulation": settings.accumulation,
        "processes": count(),
        "hardware": hardware(device),
        "precision": precision,
        "torch": torch.__version__,
        "package": napari_gem3d.__version__,
        "revision": revision(),
        "finished": datetime.now(UTC).date().isoformat(),
    }


def hardware(device: torch.device) -> str:
    """Name of the graphics card or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="ignore").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass
    return f"{name}, {torch.get_num_threads()} threads" if device.type == "cpu" else f"{name}, {device.type}"


def revision() -> str:
    """Git revision of the package's checkout, with "-dirty" for changes; empty where there is none."""
    root = Path(napari_gem3d.__file__).resolve().parents[1]
    if not (root / "pyproject.toml").is_file():  # an installed package; a repository above it is somebody else's
        return ""
    try:
        command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def write_card(
    bundle: ModelBundle,
    cache: Cache,
    config: TrainingConfig,
    records: Mapping[str, StageRecord | None],
    checked: str,
) -> str:
    """Draft a card (Markdown).

    Parameters
    ----------
    bundle
        Its plan and networks.
    cache
        Of the run: how many patients, and what they hold. No names get into the card.
    config
        The run's settings.
    records
        Of the stages; those that are in the bundle are told.
    checked
        What the bundle was checked for.
    """
    plan = bundle.plan
    fingerprint = _read(cache.folder / "fingerprint.json")
    broken = len(fingerprint.get("broken", {}))
    parts = [
        _HEAD.format(
            name=plan.name,
            scans=plan.scans if plan.channel else f"{plan.modality} (unnamed channel)",
            rows=plan.size[0],
            columns=plan.size[1],
            spacing=" × ".join(f"{length:g}" for length in plan.spacing),
            labels=plan.labels,
            baseline="" if plan.informed else _BASELINE,
            train=len(cache.cases("train")),
            held_out=len(cache.cases("validation")),
            seed=config.seed,
            broken=f" {broken} were left out, as their files cannot be used." if broken else "",
        ),
        _labels(bundle, fingerprint.get("cases", {})),
        "## Training\n\n",
        *_stages(bundle, records),
        _settings(config),
        f"## Check\n\n{checked}\n\n",
        "**[to fill in: how well it does on patients it never saw, and what it cannot do]**\n",
    ]
    return "".join(parts)


def _labels(bundle: ModelBundle, cases: Mapping[str, Any]) -> str:
    """Table of how large the labels are, in the cases as they came."""
    rows = []
    for label in bundle.plan.labels:
        found = [case["labels"].get(str(label.value)) for case in cases.values()]
        volumes = [facts["volume_ml"] for facts in found if facts is not None]
        if volumes:
            low, middle, high = np.percentile(volumes, (0, 50, 100))
            rows.append(f"| {label.value} {label.name} | {len(volumes)} | {middle:.3g} | {low:.3g} to {high:.3g} |\n")
    if not rows:
        return ""
    head = "| label | cases with it | median volume, ml | range |\n|---|---|---|---|\n"
    return head + "".join(rows) + "\n"


def _stages(bundle: ModelBundle, records: Mapping[str, StageRecord | None]) -> Iterator[str]:
    """Table of the stages, and where they were trained."""
    yield "| stage | parameters | steps | minutes | batch | loss at the end | validation |\n"
    yield "|---|---|---|---|---|---|---|\n"
    places: dict[str, list[str]] = {}
    for stage, part in PART_OF.items():
        record = records.get(stage)
        if record is None or not record.facts or getattr(bundle, part) is None:
            continue
        facts = record.facts
        batch = f"{facts['batch'] * facts['accumulation'] * facts['processes']}"
        loss = "" if facts["loss"] is None else f"{facts['loss']:.4g}"
        figures = ", ".join(f"{name} {value:.4g}" for name, value in facts["validation"].items())
        yield (
            f"| {stage} | {facts['parameters'] / 1e6:.2f} M | {facts['steps']} | {facts['minutes']:.1f} | {batch} "
            f"| {loss} | {figures} |\n"
        )
        several = f"{facts['processes']} processes" if facts["processes"] > 1 else "1 process"
        place = (
            f"{facts['hardware']}, {several}, {facts['precision']}, torch {facts['torch']}, "
            f"napari-gem3d {facts['package']}" + (f" at revision {facts['revision']}" if facts["revision"] else "")
        )
        places.setdefault(place, []).append(stage)
    yield "\nBatch counts slices (volume: windows) of an optimiser step. Weights are moving averages (EMA), stored as "
    yield "float16.\n\n"
    for place, stages in places.items():
        yield f"- {', '.join(stages)}: {place}\n"
    yield "\n"


def _settings(config: TrainingConfig) -> str:
    """Settings that differ from the defaults; of paths only the last part, the rest is nobody's business."""
    changed = {
        name: Path(value).name if name.rsplit(".", 1)[-1] == "init" and value else value
        for name, value in differences(config, TrainingConfig()).items()
    }
    if not changed:
        return "All settings are the defaults.\n\n"
    listed = "".join(f"{name}: {on_one_line(value)}\n" for name, value in changed.items())
    return f"Settings that differ from the defaults:\n\n```yaml\n{listed}```\n\n"


def _history(folder: Path) -> list[dict[str, float]]:
    path = folder / "history.json"
    entries: list[dict[str, float]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    return entries


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return content
