"""A run that was stopped goes on: the same bits, every slice once, in the same process and in another one."""

from collections.abc import Callable
from threading import Event

import numpy as np
import pytest
import torch

from napari_gem3d import (
    InputError,
    make_edit_recipe,
    make_recipe,
    read_label_map,
    read_volume,
    run_recipe,
    write_volume,
)
from napari_gem3d.sampling.generation import open_job
from napari_gem3d.sampling.job import Job
from napari_gem3d.sampling.recipe import Recipe
from napari_gem3d.sampling.stopping import Stopped, stoppable


@pytest.fixture
def recipe(tiny_patient, tiny_model) -> Recipe:
    """DDIM with fresh noise at every step: where the generator stands matters."""
    settings = {"model": tiny_model, "seed": 3, "device": "cpu", "solver": "ddim", "eta": 0.7, "steps": 4}
    return make_recipe(tiny_patient.labels, tiny_patient.scan, **settings)


@pytest.fixture
def steady(tiny_patient, steady_model) -> Recipe:
    """Slices wait for their neighbours: some are decoded, but not finished, whenever it is stopped."""
    settings = {"model": steady_model(), "seed": 3, "device": "cpu", "solver": "ddim", "eta": 0.7, "steps": 4}
    return make_recipe(tiny_patient.labels, tiny_patient.scan, **settings)


@pytest.fixture
def edit(tiny_patient, tiny_model, tmp_path) -> Recipe:
    labels = read_label_map(tiny_patient.labels)
    voxels = labels.voxels.copy()
    voxels[6:24, 16:24, 18:26][voxels[6:24, 16:24, 18:26] == 4] = 3
    write_volume(labels.with_voxels(voxels), tmp_path / "after.nii.gz")
    files = (tiny_patient.scan, tiny_patient.labels, tmp_path / "after.nii.gz")
    return make_edit_recipe(*files, model=tiny_model, seed=3, device="cpu", solver="ddim", eta=0.7)


def stopped_after(job: Job, parts: int, resume: bool = False) -> list[int]:
    """Run a job until so many parts have come; the slices that came."""
    cancel, slices = Event(), []
    for number, part in enumerate(job.run(cancel, resume=resume), 1):
        slices.extend(part.indices)
        if number == parts:
            cancel.set()
    return slices


@pytest.mark.parametrize("task", ["recipe", "steady", "edit"])
def test_whenever_it_was_stopped_the_result_is_the_same_to_the_bit(request, task):
    recipe = request.getfixturevalue(task)
    whole = open_job(recipe)
    count = len(list(whole.run()))
    expected = whole.result().voxels
    job = open_job(recipe)
    for parts in range(1, count, 8):
        first = stopped_after(job, parts)
        assert job.cancelled and not job.finished
        second = stopped_after(job, 4, resume=True)
        third = [i for part in job.run(resume=True) for i in part.indices]
        assert job.finished and not job.cancelled
        np.testing.assert_array_equal(job.result().voxels, expected)
        assert set(first) <= set(second), "what was there comes again at once"
        assert sorted(third) == list(range(job.total)), "over the last run every slice comes exactly once"


def test_a_job_that_is_run_anew_gives_the_same_again(edit):
    job = open_job(edit)
    list(job.run())
    once = job.result().voxels
    list(job.run())
    np.testing.assert_array_equal(job.result().voxels, once)


def test_progress_goes_on_where_it_was(recipe):
    job = open_job(recipe)
    stopped_after(job, 8)
    progress = [part.progress for part in job.run(resume=True)]
    assert progress[0] > 0.1 and progress[-1] == pytest.approx(1)
    assert progress == sorted(progress)


def interrupted(recipe: Recipe, out, parts: int, **options) -> None:
    cancel, count = Event(), iter(range(1000))
    stop: Callable = lambda part: cancel.set() if next(count) == parts else None  # noqa: E731
    run_recipe(recipe, out, cancel=cancel, progress=stop, keep_partial=True, **options)


@pytest.mark.parametrize("task", ["recipe", "steady", "edit"])
def test_another_process_goes_on_from_the_files(request, task, tmp_path):
    recipe = request.getfixturevalue(task)
    whole = run_recipe(recipe, tmp_path / "whole.nii.gz").read_bytes()
    folder = tmp_path / "out"
    out = folder / "out.nii.gz"
    interrupted(recipe, out, 13)
    assert (read_volume(folder / "out.partial.nii.gz").voxels != read_volume(tmp_path / "whole.nii.gz").voxels).any()
    interrupted(recipe, out, 6, resume=True)
    assert not out.exists() and (folder / "out.partial.nii.gz").exists()
    assert run_recipe(recipe, out, resume=True) == out
    assert out.read_bytes() == whole
    assert sorted(path.name for path in folder.iterdir()) == ["out.json", "out.nii.gz"]


def test_what_cannot_be_gone_on_with_is_refused(recipe, tmp_path):
    out = tmp_path / "out.nii.gz"
    with pytest.raises(InputError, match=r"no out\.partial\.safetensors"):
        run_recipe(recipe, out, resume=True)
    interrupted(recipe, out, 9)
    other = recipe.model_copy(update={"seed": 4})
    with pytest.raises(InputError, match=r"other inputs, settings or versions; give those of out\.partial\.json"):
        run_recipe(other, out, resume=True)
    state = tmp_path / "out.partial.safetensors"
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(InputError, match="cannot be read"):
        run_recipe(recipe, out, resume=True)
    assert not out.exists() and (tmp_path / "out.partial.nii.gz").exists()


def test_a_cancel_stops_a_network_between_two_of_its_layers():
    cancel, seen = Event(), []

    class Layer(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(len(seen))
            if len(seen) == 2:
                cancel.set()
            return x

    network = torch.nn.Sequential(*(Layer() for _ in range(5)))
    with stoppable(network, cancel), pytest.raises(Stopped):
        network(torch.zeros(1))
    assert seen == [0, 1]
    network(torch.zeros(1))  # afterwards it is as before
    assert len(seen) == 7
