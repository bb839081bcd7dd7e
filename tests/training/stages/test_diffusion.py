"""Objectives against closed forms, what learns in stage 2, and validation that compares."""

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from napari_gem3d.bundle import Plan
from napari_gem3d.bundle.conditioning import condition_channels
from napari_gem3d.bundle.plan import NoiseSchedule
from napari_gem3d.bundle.published.bundles import convert
from napari_gem3d.labels import Label, LabelTable
from napari_gem3d.networks import PositionUNet, SliceUNet, SliceVAE, VolumeUNet
from napari_gem3d.training.config.settings import (
    DenoisingSettings,
    PositionSettings,
    SliceSettings,
    VolumeSettings,
)
from napari_gem3d.training.data.cache import Cache
from napari_gem3d.training.stages.batches import LatentBatch, PositionSource, SliceSource, WindowSource
from napari_gem3d.training.stages.diffusion import (
    Denoising,
    DiffusionStage,
    PositionDenoising,
    SliceDenoising,
    WindowDenoising,
)
from napari_gem3d.training.stages.latents import encode_cache
from napari_gem3d.training.stages.stage import learning, rng_of

EPSILON = NoiseSchedule(prediction_type="epsilon", rescale_betas_zero_snr=False)
V = NoiseSchedule()
CPU = torch.device("cpu")


class Says(Denoising):
    """An objective whose network says the same whatever it sees."""

    def __init__(self, value: float, schedule: NoiseSchedule, settings: DenoisingSettings) -> None:
        super().__init__(nn.Identity(), schedule, settings)
        self.value, self.seen = value, torch.empty(0)

    def predict(self, x: Tensor, t: Tensor, batch: LatentBatch) -> Tensor:
        self.seen = x
        return torch.full_like(x, self.value)


def flat_batch(latent: float, noise: float, timesteps: list[int]) -> LatentBatch:
    """Slices that are one latent value and one noise value everywhere."""
    shape = (len(timesteps), 2, 3, 4)
    return LatentBatch(
        latents=torch.full(shape, latent),
        noise=torch.full(shape, noise),
        timesteps=torch.tensor(timesteps),
        conditions=torch.zeros(len(timesteps), 0, 3, 4),
        positions=torch.zeros(len(timesteps)),
        origins=("x",) * len(timesteps),
    )


def signal(schedule: NoiseSchedule, t: int) -> float:
    """ᾱ of a timestep, from the betas alone."""
    roots = np.linspace(schedule.beta_start**0.5, schedule.beta_end**0.5, schedule.num_train_timesteps)
    kept = np.sqrt(np.cumprod(1 - roots**2))
    if schedule.rescale_betas_zero_snr:
        kept = (kept - kept[-1]) * kept[0] / (kept[0] - kept[-1])
    return float(kept[t] ** 2)


@pytest.mark.parametrize("schedule", [EPSILON, V], ids=["epsilon", "v"])
def test_the_loss_is_the_error_of_the_noise_or_of_v(schedule: NoiseSchedule) -> None:
    objective = Says(0.3, schedule, DenoisingSettings())
    times, x, e = [0, 400, 999], 0.8, -0.5
    outcome = objective(flat_batch(x, e, times), 0)
    kept = np.array([signal(schedule, t) for t in times])
    a, s = np.sqrt(kept), np.sqrt(1 - kept)
    np.testing.assert_allclose(objective.seen[:, 0, 0, 0], a * x + s * e, atol=1e-4)
    target = np.full(3, e) if schedule is EPSILON else a * e - s * x
    assert float(outcome.loss) == pytest.approx(((0.3 - target) ** 2).mean(), abs=1e-4)
    assert not outcome.figures


def test_min_snr_weighs_every_slice_by_its_own_level() -> None:
    objective = Says(0.0, V, DenoisingSettings(timestep_weighting="min_snr", min_snr_gamma=2.0))
    times = [5, 500, 999]
    outcome = objective(flat_batch(0.0, 1.0, times), 0)
    kept = np.array([signal(V, t) for t in times])
    errors, weights = kept, np.minimum(kept, 2 * (1 - kept))
    assert float(outcome.loss) == pytest.approx((errors * weights).mean(), rel=1e-4)
    assert float(outcome.figures["unweighted"]) == pytest.approx(errors.mean(), rel=1e-4)


def slice_unet(plan: Plan) -> SliceUNet:
    inputs = plan.latents.channels + condition_channels(plan)
    return SliceUNet.build(inputs, plan.latents.channels, (8, 16), (False, True), 1, 8, 4)


def test_stage_2_freezes_exactly_the_tensors_of_the_slice_unet(plan: Plan) -> None:
    network = slice_unet(plan)
    spatial = {f"unet.{name}" for name, _ in network.unet.named_parameters()}
    objective = WindowDenoising(VolumeUNet.inflate(network), plan.schedule, VolumeSettings())
    frozen = {name for name, p in objective.network.named_parameters() if not p.requires_grad}
    assert frozen == spatial
    assert len(learning(objective)) == len(list(objective.parameters())) - len(spatial) > 0


def test_frozen_tensors_get_no_gradients_and_the_others_do(cache: Cache, plan: Plan, vae: SliceVAE) -> None:
    key = encode_cache(cache, vae, "float32", lambda _: None)
    objective = WindowDenoising(VolumeUNet.inflate(slice_unet(plan)), plan.schedule, VolumeSettings())
    computed: list[str] = []
    for name, parameter in objective.network.named_parameters():
        if parameter.requires_grad:
            parameter.register_hook(lambda _, name=name: computed.append(name))
    source = WindowSource(cache, plan, "train", VolumeSettings(), key)
    objective(source.draw(np.random.default_rng(0)), 0).loss.backward()
    grown = {name for name, parameter in objective.network.named_parameters() if parameter.grad is not None}
    assert grown == set(computed) == {name for name, _ in objective.network.volumetric_parameters()}


def test_stage_2_freezes_what_is_not_tem_in_the_published_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint of the published layout whose volumetric tensors hold 7 and whose others hold 3."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "bundle")
    layout = importlib.import_module("published_layout")
    weights = layout.state_dict(layout.Net(kind="volume", mults=(1, 2), attends=(0, 1)), layout.Auto())
    for name, tensor in weights.items():
        if name.startswith(layout.UNET):
            tensor.fill_(7.0 if "tem" in name else 3.0)
    torch.save({"state_dict": weights}, tmp_path / "model.ckpt")
    network = convert([tmp_path / "model.ckpt"], head_channels=32).bundle.volume_unet
    assert network is not None
    objective = WindowDenoising(network, EPSILON, VolumeSettings())
    learns = [p for p in objective.parameters() if p.requires_grad]
    assert {float(value) for p in learns for value in p.detach().unique()} == {7.0}
    assert {float(v) for p in objective.parameters() if not p.requires_grad for v in p.unique()} == {3.0}


Make = Callable[..., DiffusionStage]


@pytest.fixture
def make_stage(cache: Cache, plan: Plan, vae: SliceVAE) -> Make:
    def make(name: str, plan: Plan = plan, **settings: object) -> DiffusionStage:
        torch.manual_seed(1)
        key = encode_cache(cache, vae, "float32", lambda _: None)
        kinds = {
            "slice": (SliceSettings, SliceSource, SliceDenoising, lambda: slice_unet(plan)),
            "volume": (VolumeSettings, WindowSource, WindowDenoising, lambda: VolumeUNet.inflate(slice_unet(plan))),
            "position": (PositionSettings, PositionSource, PositionDenoising, lambda: position_unet(plan)),
        }
        kind, source, denoising, network = kinds[name]
        chosen = kind(**settings)
        sources = [source(cache, plan, split, chosen, key) for split in ("train", "monitor")]
        objective = denoising(network(), plan.schedule, chosen)
        return DiffusionStage(name, objective, chosen, sources, vae, CPU, "float32", lambda _: None)

    return make


def position_unet(plan: Plan) -> PositionUNet:
    return PositionUNet.build(plan.latents.channels, (8, 16), (True, True), 1, 8, 4, 16)


def test_validation_also_tells_how_it_goes_without_tissue_labels(make_stage: Make, plan: Plan) -> None:
    table = LabelTable((*plan.labels, Label(3, "csf", meaning="tissue")))
    fine = plan.model_copy(update={"labels": table, "conditioning": "fine+slice+offset"})
    stage = make_stage("volume", fine)
    figures = stage.validate()
    assert {"loss", "loss_plain"} <= set(figures)
    assert figures["loss_plain"] != figures["loss"]
    assert stage.validate() == pytest.approx(figures), "the next validation is told all again"


@pytest.mark.parametrize("name", ["slice", "volume", "position"])
def test_validation_is_the_same_whatever_batch_and_weighting(make_stage: Make, name: str) -> None:
    figures = make_stage(name, batch=3).validate()
    again = make_stage(name, batch=8, timestep_weighting="published").validate()
    weighted = make_stage(name, batch=1, timestep_weighting="min_snr").validate()
    assert set(figures) == {"loss", "loss_q1", "loss_q2", "loss_q3", "loss_q4"}
    assert figures == pytest.approx(again)
    assert figures == pytest.approx(weighted)
    assert figures["loss"] == pytest.approx(np.mean([figures[f"loss_q{q}"] for q in (1, 2, 3, 4)]))


def test_quarters_of_a_validation_run_from_least_to_most_noise(make_stage: Make) -> None:
    stage = make_stage("slice")
    seen = []
    stage.objective = Says(0.0, V, SliceSettings())
    errors = stage.objective.errors

    def note(batch: LatentBatch) -> Tensor:
        seen.extend(batch.timesteps.tolist())
        return errors(batch)

    stage.objective.errors = note  # type: ignore[method-assign]
    figures = stage.validate()
    assert seen == sorted(seen) and len(seen) == 64
    assert (seen[0], seen[-1]) == (7, 992)
    # Where there is little noise v is mostly the noise, of unit variance, times what is left of the signal.
    assert figures["loss_q1"] == pytest.approx(np.mean([signal(V, t) for t in range(250)]), abs=0.08)


def test_validation_learns_what_the_network_learns(make_stage: Make) -> None:
    stage = make_stage("slice", learning_rate=1e-2)
    before = stage.validate()["loss"]
    optimiser = torch.optim.AdamW(learning(stage.objective), 1e-2)
    for step in range(25):
        batch = stage.source.join([stage.source.draw(rng_of(0, "slice", 8 * step + i)) for i in range(8)])
        optimiser.zero_grad()
        stage.objective(batch, step).loss.backward()
        optimiser.step()
    assert stage.validate()["loss"] < 0.9 * before


@pytest.mark.parametrize(("name", "rows", "columns"), [("slice", 3, 12), ("volume", 3, 4), ("position", 2, 12)])
def test_pictures_show_real_generated_and_informed_slices(
    make_stage: Make, tmp_path: Path, name: str, rows: int, columns: int
) -> None:
    stage = make_stage(name)
    state = torch.get_rng_state()
    stage.picture(tmp_path / "p.png")
    assert torch.equal(torch.get_rng_state(), state)
    assert Image.open(tmp_path / "p.png").size == (columns * 48, rows * 32)


def test_the_baseline_learns_from_the_same_slices_without_informed_slice(
    make_stage: Make, plan: Plan, tmp_path: Path
) -> None:
    baseline = make_stage("volume", plan.model_copy(update={"conditioning": "labels"}))
    informed = make_stage("volume")
    ours, theirs = (stage.source.draw(rng_of(0, "volume", 3)) for stage in (baseline, informed))
    assert ours.origins == theirs.origins
    for name in ("latents", "noise", "timesteps", "positions"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name))
    assert torch.equal(ours.conditions[:, :2], theirs.conditions[:, :2])
    assert torch.equal(ours.conditions[:, 2], theirs.conditions[:, 4])
    assert (ours.conditions.shape[1], theirs.conditions.shape[1]) == (3, 7)
    assert np.isfinite(baseline.validate()["loss"])
    baseline.picture(tmp_path / "p.png")
    assert Image.open(tmp_path / "p.png").size == (4 * 48, 2 * 32)


def test_patients_too_short_for_a_window_are_named(make_cache: Callable[..., Cache], plan: Plan, vae: SliceVAE) -> None:
    cache = make_cache({"long": 9, "short": 3, "tall": 8, "held": 9}, "mixed")
    key = encode_cache(cache, vae, "float32", lambda _: None)
    settings, said = VolumeSettings(), list[str]()
    sources = [WindowSource(cache, plan, split, settings, key) for split in ("train", "monitor")]
    objective = WindowDenoising(VolumeUNet.inflate(slice_unet(plan)), plan.schedule, settings)
    DiffusionStage("volume", objective, settings, sources, vae, CPU, "float32", said.append)
    assert said == ["volume: patients with fewer than 4 slices are left out: short"]


def test_a_batch_goes_to_a_device_whole(plan: Plan) -> None:
    batch = flat_batch(0.5, 1.0, [1, 2])
    moved = batch.to(torch.device("meta"))
    assert moved.origins == batch.origins
    assert all(getattr(moved, name).is_meta for name in ("latents", "noise", "timesteps", "conditions", "positions"))
    assert replace(batch, origins=("a", "b")).windows == 2
