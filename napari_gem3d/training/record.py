"""What is known of the stages of a run: done with which settings, on what, and whether to the end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from napari_gem3d.errors import InputError
from napari_gem3d.io import replacing
from napari_gem3d.io.documents import read_json
from napari_gem3d.training.config.loading import flattened
from napari_gem3d.training.config.settings import TrainingConfig

STAGES = ("prepare", "vae", "slice", "volume", "position")
NETWORKS = STAGES[1:]
# What a stage learns on: its latents, or the network that it inflates.
UPSTREAM = {"slice": "vae", "volume": "slice", "position": "vae"}
# Where the result of a stage lies in the bundle.
PART_OF = {"vae": "vae", "slice": "slice_unet", "volume": "volume_unet", "position": "position_unet"}

Action = Literal["start", "anew", "continue", "skip"]

# Settings without a say in the result.
_TECHNICAL = {"checkpoint_minutes", "keep_checkpoints", "validate_every", "volume_every", "workers"}
_BUDGET = {"steps", "minutes"}
# Settings of a stage without which its checkpoint makes no sense; others may change while it is under way.
_FIXED = {
    "attention",
    "channels",
    "head_channels",
    "init",
    "latent_channels",
    "layers_per_block",
    "middle_attention",
    "norm_groups",
    "train_encoder",
    "unshuffle",
}


class StageRecord(BaseModel):
    """What is known of a stage.

    Attributes
    ----------
    settings
        By dotted name, those that its result depends on.
    upstream
        The `result` of the stage that it learned on.
    result
        Tells one result of the stage from another.
    finished
        Whether it came to the end of its budget and its result is in the bundle.
    facts
        For the card: steps, minutes, parameters, hardware, versions.
    """

    model_config = ConfigDict(frozen=True)

    settings: dict[str, Any]
    upstream: str = ""
    result: str = ""
    finished: bool = False
    facts: dict[str, Any] = {}


class Records:
    """The records of a run, in ``run.json``.

    Parameters
    ----------
    folder
        The run.

    Raises
    ------
    InputError
        If the file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._path = folder, folder / "run.json"
        self._stages: dict[str, StageRecord] = {}
        if self._path.is_file():
            try:
                raw = read_json(self._path)
                self._stages = {name: StageRecord.model_validate(entry) for name, entry in raw.items()}
            except (ValueError, AttributeError, ValidationError) as error:
                raise InputError(
                    f"{self._path} is damaged; remove it to go on from the checkpoints, or choose another --out."
                ) from error

    def get(self, stage: str) -> StageRecord | None:
        """The record of a stage, if there is one."""
        return self._stages.get(stage)

    def write(self, stage: str, record: StageRecord) -> None:
        """Keep the record of a stage."""
        self._stages[stage] = record
        self._save()

    def forget(self, stage: str) -> None:
        """Drop the record of a stage."""
        self._stages.pop(stage, None)
        self._save()

    def _save(self) -> None:
        with replacing(self._path) as temporary:
            raw = {name: record.model_dump(mode="json") for name, record in self._stages.items()}
            temporary.write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")

    def begun(self, stage: str) -> bool:
        """Whether there is anything of a stage that could be gone on from."""
        if any((self.folder / stage).glob("checkpoint*.pt")):
            return True
        record = self.get(stage)
        return record is not None and record.finished and self._in_bundle(stage)

    def finished(self, stage: str) -> bool:
        """Whether a stage came to its end and its result is there."""
        record = self.get(stage)
        return record is not None and record.finished and self._in_bundle(stage)

    def _in_bundle(self, stage: str) -> bool:
        return (self.folder / "bundle" / PART_OF[stage] / "config.json").is_file()


def stage_settings(config: TrainingConfig, stage: str) -> dict[str, Any]:
    """The settings, by dotted name, that the result of a stage depends on."""
    groups = {
        "vae": ("vae.",),
        "slice": ("slice.", "schedule.", "informed"),
        "volume": ("volume.", "schedule.", "informed", "window"),
        "position": ("position.", "schedule."),
    }[stage]
    # Only windows have neighbouring slices, whose noise correlates.
    without = set() if stage == "volume" else {"schedule.slice_correlation", "schedule.slice_decay"}
    return {
        name: value
        for name, value in flattened(config).items()
        if name.startswith((*groups, "seed", "init")) and name not in without
    }


def decide(
    records: Records, config: TrainingConfig, wanted: Sequence[str], resume: bool, overwrite: bool
) -> dict[str, Action]:
    """What to do about each wanted stage, decided before any of them begins.

    Raises
    ------
    InputError
        If something would be trained over that nobody allowed to, or would not fit what is there.
    """
    actions: dict[str, Action] = {}
    for stage in wanted:
        if not records.begun(stage):
            actions[stage] = "start"
        elif not resume and overwrite:
            actions[stage] = "anew"
        elif not resume:
            state = "finished" if records.finished(stage) else "begun"
            raise InputError(
                f"{records.folder} already holds the stage {stage}, {state}; add --resume to go on from it, or "
                "--overwrite to train it anew."
            )
        else:
            problem = _misfit(records, config, stage, actions)
            if problem and not overwrite:
                raise InputError(f"{problem}; add --overwrite to train it anew, or choose another --out.")
            actions[stage] = "anew" if problem else _going_on(records, config, stage)
    return actions


def changes(record: StageRecord, config: TrainingConfig, stage: str) -> dict[str, tuple[Any, Any]]:
    """Settings of a stage, by name, that were others when it began: their values then and now."""
    now = stage_settings(config, stage)
    return {
        name: (record.settings[name], value)
        for name, value in now.items()
        if name in record.settings and record.settings[name] != value and _last(name) not in _TECHNICAL
    }


def described(changed: dict[str, tuple[Any, Any]]) -> str:
    """Changed settings in words."""
    shown = [f"{name} was {old}, is {new}" for name, (old, new) in list(changed.items())[:3]]
    return ", ".join(shown) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")


def _going_on(records: Records, config: TrainingConfig, stage: str) -> Action:
    record = records.get(stage)
    if record is None or not records.finished(stage):
        return "continue"
    return "continue" if _longer(changes(record, config, stage)) else "skip"


def _misfit(records: Records, config: TrainingConfig, stage: str, actions: dict[str, Action]) -> str:
    """Why a stage cannot be gone on from, or nothing."""
    record = records.get(stage)
    if record is None:
        return ""
    changed = changes(record, config, stage)
    if record.finished:
        wrong = {name: values for name, values in changed.items() if _last(name) not in _BUDGET}
    else:
        wrong = {name: values for name, values in changed.items() if _is_fixed(name, stage)}
    if wrong:
        state = "finished" if record.finished else "begun"
        return f"The stage {stage} was {state} with other settings ({described(wrong)})"
    above = UPSTREAM.get(stage, "")
    if above and _is_stale(records, config, record, above, actions.get(above)):
        return f"The stage {stage} was trained on another result of the stage {above} than the run has or will have"
    return ""


def _is_stale(records: Records, config: TrainingConfig, record: StageRecord, above: str, action: Action | None) -> bool:
    source = records.get(above)
    if source is None:
        return action in ("start", "anew")
    if above == "vae" and not config.vae.train_encoder:  # the latents stay as they are
        return bool(source.result) and source.result != record.upstream
    extended = action == "continue" and records.finished(above)
    return source.result != record.upstream or action in ("start", "anew") or extended


def _is_fixed(name: str, stage: str) -> bool:
    in_stage = name.startswith(f"{stage}.")
    return _last(name) in _FIXED if in_stage else True


def _longer(changed: dict[str, tuple[Any, Any]]) -> bool:
    """Whether a budget has grown; no limit (None) is the largest."""
    return any(
        new is None or (old is not None and new > old) for name, (old, new) in changed.items() if _last(name) in _BUDGET
    )


def _last(name: str) -> str:
    return name.rsplit(".", 1)[-1]
