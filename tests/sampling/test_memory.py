"""When memory runs out: smaller batches, then the processor, from where it was, and people are told."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_gem3d.bundle import ModelBundle, load_bundle
from napari_gem3d.errors import InputError
from napari_gem3d.sampling.generation import open_job
from napari_gem3d.sampling.job import Job, Part
from napari_gem3d.sampling.memory import Workplace, is_out_of_memory
from napari_gem3d.sampling.recipe import Recipe, make_recipe

LINUX = "[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to ..."
WINDOWS = "[enforce fail at alloc_cpu.cpp:116] data. DefaultCPUAllocator: not enough memory: you tried to allocate ..."
MPS = "MPS backend out of memory (MPS allocated: 9.05 GB, other allocations: 0 bytes, max allowed: 9.07 GB)."


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory."), MemoryError(), *map(RuntimeError, (LINUX, WINDOWS, MPS))],
    ids=["cuda", "python", "linux", "windows", "mps"],
)
def test_errors_about_memory_are_known(error: BaseException) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("shape '[2, 3]' is invalid"), ValueError("out of memory")])
def test_other_errors_are_not_taken_for_it(error: BaseException) -> None:
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)):
        Workplace(ModelBundle(plan=None), torch.device("cpu"), "float32").give_way(error, denoising=True)  # type: ignore[arg-type]


class Hungry(nn.Module):
    """A volume U-Net whose memory holds only so many slices at once; it fails at a later step too."""

    def __init__(self, network: nn.Module, most: int) -> None:
        super().__init__()
        self.network, self.most, self.calls, self.refused = network, most, 0, 0

    def forward(self, x: Tensor, t: Tensor, num_slices: int) -> Tensor:
        self.calls += 1
        # The first window is small enough; of the first batch of two, the second step fails.
        if len(x) > self.most and self.calls > 4:
            self.refused += 1
            raise RuntimeError(LINUX)
        result: Tensor = self.network(x, t, num_slices=num_slices)
        return result


@pytest.fixture
def bundle(tiny_model: Path) -> ModelBundle:
    return load_bundle(tiny_model)


def recipe_of(patient: object, model: Path, **settings: object) -> Recipe:
    files = (patient.labels, patient.scan)  # type: ignore[attr-defined]
    return make_recipe(*files, model=model, seed=3, device="cpu", precision="float32", **settings)  # type: ignore[arg-type]


def whole(job: Job) -> tuple[list[Part], np.ndarray]:
    parts = list(job.run())
    return parts, job.result().voxels.astype(float)


@pytest.mark.parametrize("solver", ["dpmsolver++", "ddim"])
def test_one_window_at_a_time_where_two_do_not_fit(tiny_patient, tiny_model, bundle, solver) -> None:
    settings = {"solver": solver, "eta": 0.0}
    recipe = recipe_of(tiny_patient, tiny_model, **settings)
    _, expected = whole(open_job(recipe))
    bundle.volume_unet = hungry = Hungry(bundle.volume_unet, most=bundle.plan.window)
    parts, voxels = whole(open_job(recipe, bundle=bundle))
    assert hungry.refused == 1, "later batches are small from the start"
    told = [part.message for part in parts if part.message]
    assert told == ["Memory ran out; continuing with one window at a time."]
    indices = [i for part in parts for i in part.indices]
    assert sorted(indices) == list(range(32)), "every slice exactly once"
    assert max(part.progress for part in parts) <= 1.0
    np.testing.assert_allclose(voxels, expected, atol=2)


def test_fewer_slices_are_decoded_together_where_four_do_not_fit(tiny_patient, tiny_model, bundle, monkeypatch) -> None:
    recipe = recipe_of(tiny_patient, tiny_model)
    _, expected = whole(open_job(recipe))
    decode, asked = type(bundle.vae).decode, []

    def hungry(vae: nn.Module, latents: Tensor) -> Tensor:
        asked.append(len(latents))
        if len(latents) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return decode(vae, latents)

    monkeypatch.setattr(type(bundle.vae), "decode", hungry)
    parts, voxels = whole(open_job(recipe, bundle=bundle))
    assert asked[0] == 4 and set(asked[1:]) == {1}
    assert [p.message for p in parts if p.message] == ["Memory ran out; continuing with one slice decoded at a time."]
    np.testing.assert_allclose(voxels, expected, atol=2)


def test_nothing_smaller_is_left_on_the_processor(tiny_patient, tiny_model, bundle) -> None:
    bundle.volume_unet = Hungry(bundle.volume_unet, most=0)
    job = open_job(recipe_of(tiny_patient, tiny_model), bundle=bundle)
    with pytest.raises(InputError, match="too little memory to generate even one window"):
        list(job.run())
    assert 0 < job.generated.sum() < job.total, "what was finished stays"


class Full(nn.Module):
    """A volume U-Net on a device that holds the first window and no other."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.moved_to, self.calls = network, "", 0

    def to(self, device: torch.device) -> "Full":  # type: ignore[override]
        self.moved_to = str(device)
        return self

    def forward(self, x: Tensor, t: Tensor, num_slices: int) -> Tensor:
        self.calls += 1
        if self.moved_to != "cpu" and self.calls > 4:
            raise RuntimeError(MPS)
        result: Tensor = self.network(x, t, num_slices=num_slices)
        return result


def test_the_processor_takes_over_from_a_full_device(tiny_patient, tiny_model, bundle) -> None:
    recipe = recipe_of(tiny_patient, tiny_model)
    _, expected = whole(open_job(recipe))
    bundle.volume_unet = full = Full(bundle.volume_unet)
    # "cpu:0" is another device by name, and one that every machine has.
    job = open_job(recipe.model_copy(update={"device": "cpu:0"}), bundle=bundle)
    parts, voxels = whole(job)
    assert full.moved_to == "cpu" and job._propagation.place.device == torch.device("cpu")
    assert [part.message for part in parts if part.message] == [
        "Memory ran out; continuing with one window at a time. "
        "The memory of cpu:0 ran out; continuing on the processor, which is slower."
    ]
    assert sorted(i for part in parts for i in part.indices) == list(range(32))
    np.testing.assert_allclose(voxels, expected, atol=2)


def test_a_run_after_memory_ran_out_starts_where_it_fits(tiny_patient, tiny_model, bundle) -> None:
    bundle.volume_unet = hungry = Hungry(bundle.volume_unet, most=bundle.plan.window)
    job = open_job(recipe_of(tiny_patient, tiny_model), bundle=bundle)
    first, again = whole(job), whole(job)
    assert hungry.refused == 1 and not any(part.message for part in again[0])
    np.testing.assert_array_equal(again[1], first[1])
