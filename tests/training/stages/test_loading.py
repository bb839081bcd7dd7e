"""What is sent to the processes that load data, and patients that cannot be learned from."""

import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_gem3d.bundle import Plan
from napari_gem3d.errors import InputError
from napari_gem3d.networks import SliceVAE
from napari_gem3d.training.config.settings import DiffusionSettings, PositionSettings, VolumeSettings
from napari_gem3d.training.data.cache import Cache
from napari_gem3d.training.loop.samples import Samples, Share, load
from napari_gem3d.training.stages.batches import PositionSource, SliceSource, WindowSource
from napari_gem3d.training.stages.crops import CropSource
from napari_gem3d.training.stages.latents import encode_cache
from napari_gem3d.training.stages.stage import Source, rng_of
from napari_gem3d.training.stages.stored import Stored

OPEN_FILES = Path("/proc/self/fd")


@pytest.fixture
def sources(cache: Cache, plan: Plan, vae: SliceVAE) -> list[Source]:
    key = encode_cache(cache, vae, "float32", lambda _: None)
    return [
        CropSource(cache, 16, 8, 2),
        SliceSource(cache, plan, "train", DiffusionSettings(), key),
        WindowSource(cache, plan, "train", VolumeSettings(), key),
        PositionSource(cache, plan, "train", PositionSettings(), key),
    ]


def same(one: object, other: object) -> bool:
    """Whether two batches are equal, bit by bit."""
    return all(
        torch.equal(value, vars(other)[name]) if isinstance(value, torch.Tensor) else value == vars(other)[name]
        for name, value in vars(one).items()
    )


def test_parts_of_an_array_are_read_as_a_memory_map_would(cache: Cache) -> None:
    whole, stored = cache.array("egg1", "images"), Stored.of(cache, "egg1", "images")
    assert stored.shape == whole.shape == (2, 9, 32, 48)
    for variant, part in ((0, range(1)), (1, range(3, 7)), (1, range(8, 9))):
        assert np.array_equal(stored.read(variant, part), whole[variant, part.start : part.stop])


def test_an_array_that_was_cut_short_is_not_taken_for_whole(cache: Cache) -> None:
    stored, path = Stored.of(cache, "egg1", "images"), cache.path("egg1", "images")
    path.write_bytes(path.read_bytes()[:-10])
    stored.read(1, range(7))
    with pytest.raises(OSError, match=r"images\.npy is cut short"):
        stored.read(1, range(8, 9))


def test_sources_are_sent_without_their_arrays(sources: list[Source]) -> None:
    for source in sources:
        sent = pickle.dumps(source)
        assert len(sent) < 20_000
        again = pickle.loads(sent)
        assert all(same(source.draw(rng_of(0, "x", i)), again.draw(rng_of(0, "x", i))) for i in range(5))


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="only Linux lists the open files of a process")
def test_no_files_stay_open(sources: list[Source]) -> None:
    for source in sources:
        source.draw(rng_of(0, "x", 0))
    assert not [path for path in OPEN_FILES.iterdir() if path.exists() and path.resolve().suffix == ".npy"]
    assert ".npy" not in Path("/proc/self/maps").read_text()


def test_spawned_processes_load_the_same_batches(sources: list[Source], monkeypatch: pytest.MonkeyPatch) -> None:
    share = Share(2)
    samples = Samples(sources[2], 7, "volume")
    here = iter(load(samples, share, 3))
    wanted = [next(here) for _ in range(2)]
    multiprocessing.set_start_method("spawn", force=True)
    try:
        there = iter(load(samples, share, 3, workers=1))
        assert all(same(next(there), batch) for batch in wanted)
    finally:
        multiprocessing.set_start_method(None, force=True)


def test_patients_that_cannot_be_learned_from_are_named(
    make_cache: Callable[..., Cache], plan: Plan, vae: SliceVAE
) -> None:
    cache = make_cache({"whole": 9, "flat": 1, "held": 9}, "thin")
    key = encode_cache(cache, vae, "float32", lambda _: None)
    with pytest.raises(InputError, match="patient flat has fewer than two slices with body"):
        SliceSource(cache, plan, "train", DiffusionSettings(), key)
    latents = np.zeros((2, 9, 2, 4, 8), np.float16)
    cache.write("flat", f"latents-{key}", latents)
    with pytest.raises(InputError, match="slices of patient flat are not as large as those of whole"):
        SliceSource(cache, plan, "train", DiffusionSettings(), key)


def test_latents_of_another_vae_are_not_taken(cache: Cache, plan: Plan, vae: SliceVAE) -> None:
    encode_cache(cache, vae, "float32", lambda _: None)
    with pytest.raises(InputError, match=r"latents-other\.npy is missing; run napari-gem3d-train"):
        SliceSource(cache, plan, "train", DiffusionSettings(), "other")


def test_grey_label_maps_of_imported_weights_are_refused(cache: Cache, plan: Plan) -> None:
    grey = plan.model_copy(update={"conditioning": "grey"})
    with pytest.raises(InputError, match="a channel a label"):
        SliceSource(cache, grey, "train", DiffusionSettings(), "any")
