"""nnU-Net v2, launched step by step through its own commands, each in a process of its own.

Everything lies under one folder: ``nnUNet_raw`` and ``nnUNet_preprocessed`` for all training sets, ``nnUNet_results``
for each training. A step that is done is not done again; a training that was stopped goes on from its last checkpoint.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from napari_gem3d.device import choose_device
from napari_gem3d.downstream.datasets import TestSet, TrainingSet, read_json, write_json
from napari_gem3d.errors import InputError

Say = Callable[[str], None]

# Module and function of nnU-Net's commands; called so, they need not be on the PATH.
_COMMANDS = {
    "plan_and_preprocess": (
        "nnunetv2.experiment_planning.plan_and_preprocess_entrypoints",
        "plan_and_preprocess_entry",
    ),
    "train": ("nnunetv2.run.run_training", "run_training_entry"),
    "predict": ("nnunetv2.inference.predict_from_raw_data", "predict_entry_point"),
    "evaluate_folder": ("nnunetv2.evaluation.evaluate_predictions", "evaluate_folder_entry_point"),
}
# Below are the numbers of the Medical Segmentation Decathlon and of what people have; all of this is our own folder.
_FIRST_ID = 701
_LAST_ID = 999
# With a test set of its own there is nothing to hold out: all cases are trained on.
_FOLD = "all"
_MOST_PROCESSES = 8
_ENDINGS = (".nii.gz", ".nii", ".nrrd")


@dataclass(frozen=True)
class NnUNetSettings:
    """How nnU-Net is used; by default as its authors recommend.

    Attributes
    ----------
    configuration
        Of the plans, such as 3d_fullres or 2d.
    trainer
        Name of the trainer's class; nnUNetTrainer_100epochs and others train for less.
    planner
        Name of the experiment planner's class, such as nnUNetPlannerResEncM.
    """

    configuration: str = "3d_fullres"
    trainer: str = "nnUNetTrainer"
    planner: str = "ExperimentPlanner"


@dataclass
class NnUNet:
    """Trains nnU-Net v2 on one training set after the other and keeps what is done.

    Attributes
    ----------
    work
        Folder of everything.
    settings
        How it is used.
    device
        "auto", "cpu", "cuda" or "mps".

    Raises
    ------
    InputError
        If nnU-Net v2 is not installed or the device is not there.
    """

    work: Path
    settings: NnUNetSettings = field(default_factory=NnUNetSettings)
    device: str = "auto"

    key = "nnunet"

    def __post_init__(self) -> None:
        if find_spec("nnunetv2") is None:
            raise InputError(
                "nnU-Net v2 is not installed; install it with pip install 'napari-gem3d[nnunet]', or compare with "
                "--segmenter stand-in."
            )
        self._device = choose_device(self.device).type

    @property
    def description(self) -> str:
        """What made the figures, for the caption of a table."""
        version = metadata.version("nnunetv2")
        return f"nnU-Net v2 ({version}), {self.settings.configuration}, {self.settings.trainer}, fold {_FOLD}"

    def predict(self, training: TrainingSet, test: TestSet, seed: int, folder: Path, say: Say) -> dict[str, Path]:
        """Plan, preprocess, train, segment the test patients and evaluate, whatever of it is not done.

        Parameters
        ----------
        training, test
            What is learned from, and what is segmented.
        seed
            Number of the run: nnU-Net takes no seed, so runs differ by chance.
        folder
            Of this training: gets ``nnUNet_results``, ``predictions`` with nnU-Net's ``summary.json``, and
            ``nnunet.log``.
        say
            Gets a line a step.

        Returns
        -------
        dict
            Label map on the scan's own grid by test case.

        Raises
        ------
        InputError
            If a step of nnU-Net fails; its last line and the log are named.
        """
        number = self.prepare(training, test, say)
        folder.mkdir(parents=True, exist_ok=True)
        run = _Run(self, f"{training.name}, run {seed}", folder, say)
        dataset, ending = self._dataset(training, number), _ending(training, test)
        configuration, plans = self.settings.configuration, self._plans(dataset)
        how = ["-tr", self.settings.trainer, "-p", plans]
        model = folder / "nnUNet_results" / dataset / f"{self.settings.trainer}__{plans}__{configuration}"
        wanted = {"settings": [*how, configuration], "cases": training.content}
        record = folder / "training.json"
        if read_json(record) != wanted:
            for old in ("nnUNet_results", "predictions"):
                shutil.rmtree(folder / old, ignore_errors=True)
            (folder / "predicted.json").unlink(missing_ok=True)
            write_json(wanted, record)
        if not (model / f"fold_{_FOLD}" / "checkpoint_final.pth").is_file():
            run.step("train", str(number), configuration, _FOLD, *how, "-device", self._device, "--c")
        made, done = folder / "predictions", folder / "predicted.json"
        images, truth = (self.work / "nnUNet_raw" / dataset / name for name in ("imagesTs", "labelsTs"))
        if read_json(done) != test.content:
            # A file that was cut off looks like a whole one, so a prediction that was stopped begins again.
            shutil.rmtree(made, ignore_errors=True)
            where = ["-i", str(images), "-o", str(made), "-d", str(number), "-device", self._device]
            run.step("predict", *where, "-c", configuration, "-f", _FOLD, *how)
            described = ["-djfile", str(made / "dataset.json"), "-pfile", str(made / "plans.json")]
            run.step("evaluate_folder", str(truth), str(made), *described)
            write_json(test.content, done)
        return {case.name: made / f"{case.name}{ending}" for case in test.cases}

    def summary(self, folder: Path) -> dict[str, dict[str, float | None]]:
        """nnU-Net's own Dice of a training's predictions, see `read_summary`."""
        return read_summary(folder / "predictions" / "summary.json")

    def prepare(self, training: TrainingSet, test: TestSet, say: Say) -> int:
        """Make nnU-Net's raw dataset of links, verify, plan and preprocess it where that is not done.

        Returns
        -------
        int
            The dataset's number.
        """
        number = self._number(training)
        dataset = self._dataset(training, number)
        raw = self.work / "nnUNet_raw" / dataset
        record = self.work / f"{dataset}.json"
        wanted: dict[str, Any] = {"planner": self.settings.planner, "configuration": self.settings.configuration}
        wanted |= {"cases": training.content}
        if read_json(record) != wanted:
            record.unlink(missing_ok=True)
            for old in (raw, self.work / "nnUNet_preprocessed" / dataset):
                shutil.rmtree(old, ignore_errors=True)
            _write_raw(training, raw, _ending(training, test))
            run = _Run(self, training.name, self.work, say)
            few = str(_processes())
            plan = ["-pl", self.settings.planner, "-npfp", few, "-c", self.settings.configuration, "-np", few]
            run.step("plan_and_preprocess", "-d", str(number), "--verify_dataset_integrity", *plan)
            write_json(wanted, record)
        _link_tests(test, raw, _ending(training, test))
        return number

    def _number(self, training: TrainingSet) -> int:
        """The number that the set has, or the next free one."""
        raw = self.work / "nnUNet_raw"
        raw.mkdir(parents=True, exist_ok=True)
        (self.work / "nnUNet_preprocessed").mkdir(exist_ok=True)
        taken = {
            found[2]: int(found[1]) for path in raw.iterdir() if (found := re.match(r"Dataset(\d{3})_(.+)", path.name))
        }
        number = taken.get(training.name, max([_FIRST_ID - 1, *taken.values()]) + 1)
        if number > _LAST_ID:
            raise InputError(f"{raw} has no number left for another dataset; begin in another folder.")
        return number

    def _dataset(self, training: TrainingSet, number: int) -> str:
        return f"Dataset{number:03d}_{training.name}"

    def _plans(self, dataset: str) -> str:
        """The name that the planner gave its plans."""
        made = sorted((self.work / "nnUNet_preprocessed" / dataset).glob("*Plans.json"))
        if not made:
            raise InputError(f"nnU-Net left no plans for {dataset} in {self.work}; remove that folder and begin again.")
        return made[0].stem

    def environment(self, results: Path) -> dict[str, str]:
        """The variables by which nnU-Net finds its folders; what people set of its processes stays."""
        few = str(_processes())
        folders = {f"nnUNet_{name}": str((self.work / f"nnUNet_{name}").absolute()) for name in ("raw", "preprocessed")}
        processes = {"nnUNet_def_n_proc": few, "nnUNet_n_proc_DA": few, "nnUNet_npp": "1", "nnUNet_nps": "1"}
        return {**processes, **os.environ, **folders, "nnUNet_results": str(results.absolute())}


@dataclass(frozen=True)
class _Run:
    """Steps of one training set, with a log."""

    network: NnUNet
    name: str
    folder: Path
    say: Say

    def step(self, command: str, *arguments: str) -> None:
        """Run a command of nnU-Net; InputError if it fails."""
        log = self.folder / "nnunet.log"
        self.say(f"{self.name}: nnU-Net's {command} (log: {log})")
        module, function = _COMMANDS[command]
        call = [sys.executable, "-c", f"from {module} import {function}; {function}()", *arguments]
        with log.open("a", encoding="utf-8") as file:
            file.write(f"\n$ nnUNetv2_{command} {' '.join(arguments)}\n")
            file.flush()
            results = self.folder / "nnUNet_results"
            environment = self.network.environment(results)
            done = subprocess.run(call, stdout=file, stderr=subprocess.STDOUT, env=environment, check=False)
        if done.returncode:
            last = log.read_text(encoding="utf-8", errors="replace").rstrip().rpartition("\n")[2]
            raise InputError(
                f"nnU-Net's {command} of {self.name} failed ({last.strip()[:200]}); see {log}, then give the same "
                "command again: what is done is kept."
            )


def read_summary(path: Path) -> dict[str, dict[str, float | None]]:
    """Read nnU-Net's ``summary.json``.

    Returns
    -------
    dict
        Dice by label value of every case; None where neither the prediction nor the segmentation has the label.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    content: Any = read_json(path)
    try:
        return {
            _stem(Path(case["reference_file"])): {
                label: _known(float(found["Dice"])) for label, found in case["metrics"].items()
            }
            for case in content["metric_per_case"]
        }
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(f"{path} is no summary of nnU-Net v2; evaluate the predictions again.") from error


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _write_raw(training: TrainingSet, raw: Path, ending: str) -> None:
    """Make a dataset in nnU-Net's raw layout of links to the files (copies where links are not possible)."""
    for name in ("imagesTr", "labelsTr"):
        (raw / name).mkdir(parents=True)
    for case in training.cases:
        _link(case.image, raw / "imagesTr" / f"{case.name}_0000{ending}")
        _link(case.labels, raw / "labelsTr" / f"{case.name}{ending}")
    dataset = training.dataset
    labels = {"background": 0, **dataset.labels, **({} if dataset.ignore is None else {"ignore": dataset.ignore})}
    facts = {
        "channel_names": {"0": dataset.channel or "MR"},
        "labels": labels,
        "numTraining": len(training.cases),
        "file_ending": ending,
    }
    write_json(facts, raw / "dataset.json")


def _link_tests(test: TestSet, raw: Path, ending: str) -> None:
    """Put the test patients, and no others, into a raw dataset."""
    for name in ("imagesTs", "labelsTs"):
        shutil.rmtree(raw / name, ignore_errors=True)
        (raw / name).mkdir()
    for case in test.cases:
        _link(case.image, raw / "imagesTs" / f"{case.name}_0000{ending}")
        _link(case.labels, raw / "labelsTs" / f"{case.name}{ending}")


def _link(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source.resolve())
    except OSError:  # Windows allows links only to some people
        shutil.copyfile(source, target)


def _ending(training: TrainingSet, test: TestSet) -> str:
    """The one type of file that all scans and label maps have; InputError if they have several."""
    files = [path for case in (*training.cases, *test.cases) for path in (case.image, case.labels)]
    endings = {next((end for end in _ENDINGS if path.name.lower().endswith(end)), path.suffix) for path in files}
    if len(endings) > 1 or not endings <= set(_ENDINGS):
        shown = " and ".join(sorted(endings))
        raise InputError(
            f"The files of {training.name} and of the test patients end in {shown}; nnU-Net takes one of "
            f"{', '.join(_ENDINGS)} for all, so convert them."
        )
    return endings.pop()


def _stem(path: Path) -> str:
    ending = next((end for end in _ENDINGS if path.name.endswith(end)), "")
    return path.name.removesuffix(ending)


def _processes() -> int:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, _MOST_PROCESSES)
