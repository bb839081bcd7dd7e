"""Forecasts: work as jobs have it, speeds that are remembered, memory that is seen."""

import time

import numpy as np
import pytest
import torch

from napari_gem3d import make_recipe
from napari_gem3d.bundle import load_bundle
from napari_gem3d.sampling.forecast import Speed, Speeds, measure_step, peak_memory
from napari_gem3d.sampling.generation import open_job
from napari_gem3d.sampling.work import work_of_edit, work_of_volume

CPU = torch.device("cpu")


def test_the_work_foretold_is_the_work_done(tiny_patient, tiny_model):
    recipe = make_recipe(tiny_patient.labels, tiny_patient.scan, model=tiny_model, seed=1)
    job = open_job(recipe)
    foretold = work_of_volume(recipe.plan, recipe.steps, len(job.todo))
    assert abs(foretold.windows - job.work.windows) <= 1 and foretold.slices == job.work.slices == 26
    steps = sum(not part.indices for part in job.run())
    assert steps <= recipe.steps * job.work.windows, "two windows are one step where they go together"
    edit = work_of_edit(recipe.plan, 3, 26, range(10, 14))
    assert edit.slices == 4 and edit.windows < foretold.windows


def test_speeds_are_remembered_and_later_ones_weigh_more(tmp_path):
    speeds = Speeds(tmp_path / "new" / "speeds.json")
    assert speeds.find("a") is None
    speeds.remember("a", Speed(seconds=9.0, memory=50))
    speeds.remember("a", Speed(seconds=1.0, opening=4.0, memory=20, runs=1))
    assert speeds.find("a") == Speed(seconds=1.0, opening=4.0, memory=50, runs=1), "a run replaces the single step"
    speeds.remember("a", Speed(seconds=3.0, opening=2.0, memory=70, runs=1))
    speeds.remember("b", Speed(seconds=5.0))
    again = Speeds(tmp_path / "new" / "speeds.json")
    assert again.find("a") == Speed(seconds=2.0, opening=3.0, memory=70, runs=2)
    again.remember("a", Speed(seconds=99.0))
    assert again.find("a").seconds == 2.0 and again.find("b").runs == 0


def test_a_file_that_is_damaged_counts_as_empty(tmp_path):
    path = tmp_path / "speeds.json"
    path.write_text("{broken")
    speeds = Speeds(path)
    assert speeds.find("a") is None
    speeds.remember("a", Speed(seconds=1.0))
    assert speeds.find("a").seconds == 1.0


def test_time_is_opening_and_steps_and_decoding(tiny_model):
    work = work_of_volume(load_bundle(tiny_model).plan, 3, 6)
    assert work.windows == 1
    assert Speed(seconds=2.0, opening=5.0).time(work) == pytest.approx(5 + 2 * (3 + 0.3 * 6))


def test_a_step_is_measured(tiny_model):
    speed = measure_step(load_bundle(tiny_model), CPU, "float32")
    assert 0 < speed.seconds < 20 and speed.runs == 0


def test_memory_that_is_taken_is_seen():
    with peak_memory(CPU) as peak:
        block = np.ones(64 * 2**20, np.uint8)
        # The thread that looks needs its turn.
        for _ in range(100):
            if peak.growth >= block.nbytes * 0.9:
                break
            torch.ones(1000, 1000).sum()
            time.sleep(0.02)
    assert 0.9 * block.nbytes < peak.growth < 20 * block.nbytes
