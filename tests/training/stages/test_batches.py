"""Batches: who informs whom, and how the noise of a window correlates."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_gem3d.bundle import Plan
from napari_gem3d.labels import Label, LabelTable
from napari_gem3d.training.config.settings import DiffusionSettings, VolumeSettings
from napari_gem3d.training.data.cache import Cache
from napari_gem3d.training.stages.batches import LatentBatch, LatentSource, SliceSource, WindowSource

PLAN = Plan(
    name="x",
    spacing=(2.0, 1.0, 1.0),
    size=(16, 16),
    labels=LabelTable((Label(1, "brain", meaning="body"),)),
    latents={"channels": 2, "factor": 8},
)
DEPTH = 30
KEY = "abc"


@pytest.fixture
def counted(tmp_path: Path) -> Cache:
    """Two patients whose first latent channel is the slice's index, whose second is the patient's number."""
    cache = Cache(tmp_path)
    (tmp_path / "split.json").write_text(json.dumps({"train": ["a", "b"], "validation": []}))
    for number, name in enumerate(("a", "b")):
        index = np.arange(DEPTH, dtype=np.float16)[None, :, None, None, None]
        latents = np.concatenate([index, np.full_like(index, number)], axis=2) * np.ones((1, 1, 1, 2, 2), np.float16)
        cache.write(name, f"latents-{KEY}", latents)
        cache.write(name, "labels", np.ones((1, DEPTH, 16, 16), np.uint8))
    return cache


def drawn(source: LatentSource, seed: int, count: int) -> LatentBatch:
    rng = np.random.default_rng(seed)
    return source.join([source.draw(rng) for _ in range(count)])


def _informed(conditions: torch.Tensor) -> torch.Tensor:
    return conditions[:, 1:3, 0, 0]


def test_informed_slices_are_of_the_same_patient_and_mostly_near(counted: Cache) -> None:
    settings = DiffusionSettings(near_mm=6.0, far_share=0.2, mirrored_share=0.5)
    batch = drawn(SliceSource(counted, PLAN, "train", settings, KEY), 0, 400)
    target, informed = batch.latents[:, :, 0, 0], _informed(batch.conditions)
    assert torch.equal(target[:, 1], informed[:, 1])
    offset_mm = 2.0 * (target[:, 0] - informed[:, 0])
    torch.testing.assert_close(batch.conditions[:, 4, 0, 0], torch.tanh(offset_mm / 4))
    assert 0.75 < float((offset_mm.abs() <= 6).float().mean()) < 0.95
    assert float(offset_mm.abs().max()) > 20
    assert {0.0, 1.0} == set(target[:, 1].tolist())


def test_windows_are_neighbouring_slices_informed_from_within(counted: Cache) -> None:
    plan = PLAN.model_copy(update={"window": 6})
    batch = drawn(WindowSource(counted, plan, "train", VolumeSettings(edge_share=0.5), KEY), 0, 40)
    assert batch.windows == 40
    index = batch.latents[:, 0, 0, 0].unflatten(0, (40, 6))
    assert torch.equal(index[:, 1:] - index[:, :-1], torch.ones(40, 5))
    slot = _informed(batch.conditions)[:, 0].unflatten(0, (40, 6)) - index[:, :1]
    assert torch.equal(slot, slot[:, :1].expand(-1, 6))
    assert 0 <= slot.min() <= slot.max() <= 5
    at_edge = ((slot[:, 0] == 0) | (slot[:, 0] == 5)).float().mean()
    assert 0.45 < float(at_edge) < 0.9


def test_positions_run_over_the_body(counted: Cache) -> None:
    plan = PLAN.model_copy(update={"window": DEPTH})
    batch = drawn(WindowSource(counted, plan, "train", VolumeSettings(edge_share=0.0), KEY), 1, 1)
    positions = batch.conditions[:, 3, 0, 0]
    assert positions[0] == -1
    assert positions[-1] == 1


def test_a_share_of_informed_slices_comes_from_the_mirror_image(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    (tmp_path / "split.json").write_text(json.dumps({"train": ["a"], "validation": []}))
    variants = np.arange(3, dtype=np.float16)[:, None, None, None, None] * np.ones((1, DEPTH, 2, 2, 2), np.float16)
    cache.write("a", f"latents-{KEY}", variants)
    cache.write("a", "labels", np.ones((3, DEPTH, 16, 16), np.uint8))
    batch = drawn(SliceSource(cache, PLAN, "train", DiffusionSettings(mirrored_share=0.5), KEY), 0, 600)
    variant, shown = batch.latents[:, 0, 0, 0], _informed(batch.conditions)[:, 0]
    assert torch.equal(shown[variant == 2], variant[variant == 2])
    mirrored = (shown == 1 - variant)[variant < 2]
    assert 0.4 < float(mirrored.float().mean()) < 0.6
    assert bool((mirrored | (shown == variant)[variant < 2]).all())
    # Where variant 1 is no mirror image, as in CT, every patient is shown itself.
    cache.set_stamp("a", {"mirrored": False})
    batch = drawn(SliceSource(cache, PLAN, "train", DiffusionSettings(mirrored_share=0.5), KEY), 0, 60)
    assert torch.equal(_informed(batch.conditions)[:, 0], batch.latents[:, 0, 0, 0])


@pytest.mark.parametrize(("mirrored", "native"), [(True, {0, 1}), (False, {0})])
def test_a_share_of_samples_is_of_patients_as_they_are(tmp_path: Path, mirrored: bool, native: set[int]) -> None:
    cache = Cache(tmp_path)
    (tmp_path / "split.json").write_text(json.dumps({"train": ["a"], "validation": []}))
    variants = np.arange(8, dtype=np.float16)[:, None, None, None, None] * np.ones((1, DEPTH, 2, 2, 2), np.float16)
    cache.write("a", f"latents-{KEY}", variants)
    cache.write("a", "labels", np.ones((8, DEPTH, 16, 16), np.uint8))
    cache.set_stamp("a", {"mirrored": mirrored})
    held_out = []
    for share in (0.0, 0.6):
        settings = DiffusionSettings(native_share=share, mirrored_share=0.0)
        batch = drawn(SliceSource(cache, PLAN, "train", settings, KEY), 1, 1200)
        seen = batch.latents[:, 0, 0, 0].numpy().astype(int)
        expected = share + (1 - share) * len(native) / 8
        assert np.isin(seen, list(native)).mean() == pytest.approx(expected, abs=0.05)
        assert set(seen) == set(range(8))
        held_out.append(drawn(SliceSource(cache, PLAN, "monitor", settings, KEY), 2, 8).noise)
    torch.testing.assert_close(*held_out, msg="the samples of validations depend on the share")


def test_a_batch_says_where_its_slices_come_from(counted: Cache) -> None:
    batch = drawn(SliceSource(counted, PLAN, "train", DiffusionSettings(), KEY), 0, 20)
    for origin, (index, patient) in zip(batch.origins, batch.latents[:, :, 0, 0].tolist(), strict=True):
        assert origin == f"{'ab'[int(patient)]} slice {index:.0f}"


def test_slices_have_a_timestep_each_and_windows_share_theirs(counted: Cache) -> None:
    slices = drawn(SliceSource(counted, PLAN, "train", DiffusionSettings(), KEY), 0, 40)
    assert len(set(slices.timesteps.tolist())) > 30
    plan = PLAN.model_copy(update={"window": 6})
    windows = drawn(WindowSource(counted, plan, "train", VolumeSettings(), KEY), 0, 40).timesteps.unflatten(0, (40, 6))
    assert torch.equal(windows, windows[:, :1].expand(-1, 6))
    assert len(set(windows[:, 0].tolist())) > 30


def test_the_noise_of_a_window_correlates_as_the_schedule_says(counted: Cache) -> None:
    schedule = PLAN.schedule.model_copy(update={"slice_correlation": 0.8})
    plan = PLAN.model_copy(update={"window": 6, "schedule": schedule})
    noise = drawn(WindowSource(counted, plan, "train", VolumeSettings(), KEY), 0, 800).noise.unflatten(0, (800, 6))
    assert float((noise[:, 0] * noise[:, 1]).mean()) == pytest.approx(0.8, abs=0.06)
    assert float((noise[:-1] * noise[1:]).mean()) == pytest.approx(0, abs=0.06)
    slices = drawn(SliceSource(counted, plan, "train", DiffusionSettings(), KEY), 0, 800).noise
    assert float((slices[:-1] * slices[1:]).mean()) == pytest.approx(0, abs=0.06)
