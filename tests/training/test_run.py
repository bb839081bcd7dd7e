"""A whole tiny run: every stage, the bundle at its end, resuming, stopping, and refusals."""

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_gem3d.bundle import load_bundle
from napari_gem3d.cli.train import main
from napari_gem3d.errors import InputError
from napari_gem3d.training.config.loading import load_config
from napari_gem3d.training.config.settings import TrainingConfig
from napari_gem3d.training.data.cache import Cache
from napari_gem3d.training.data.prepare import prepare
from napari_gem3d.training.run import TrainingRun
from napari_gem3d.training.stages.batches import PositionSource, SliceSource


@pytest.fixture(scope="session")
def finished(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that went through all stages."""
    folder = tmp_path_factory.mktemp("run")
    assert main(["all", "--data", str(dataset), "--out", str(folder), "--config", "tiny"]) == 0
    return folder


def test_all_stages_end_in_a_bundle_that_loads(finished: Path) -> None:
    bundle = load_bundle(finished / "bundle")
    assert bundle.vae is not None
    assert bundle.slice_unet is not None
    assert bundle.volume_unet is not None
    assert bundle.position_unet is not None
    assert bundle.plan.labels.body is not None
    assert [label.name for label in bundle.plan.labels.labels] == ["yolk", "brain"]
    assert len(bundle.plan.latents.mean) == bundle.plan.latents.channels == 4
    assert "3 patients, 1 of them held out" in bundle.card


def test_stages_leave_history_pictures_and_checkpoint(finished: Path) -> None:
    for stage in ("vae", "slice", "volume", "position"):
        history = json.loads((finished / stage / "history.json").read_text())
        assert history[-1]["step"] == 4
        assert np.isfinite(history[-1]["loss"])
        assert np.isfinite(history[-1]["validation_loss"])
        assert (finished / stage / "checkpoint.pt").is_file()
        assert list((finished / stage).glob("picture-*.png"))


def test_the_volume_stage_leaves_the_spatial_tensors_alone(finished: Path) -> None:
    bundle = load_bundle(finished / "bundle")
    assert bundle.slice_unet is not None
    assert bundle.volume_unet is not None
    spatial = bundle.slice_unet.unet.state_dict()
    inflated = bundle.volume_unet.unet.state_dict()
    assert all(torch.equal(spatial[name], inflated[name]) for name in spatial)
    convolution = next(value for name, value in inflated.items() if name.endswith("slices.weight"))
    assert not torch.equal(convolution, torch.nn.init.dirac_(torch.empty_like(convolution)))


def stage_again(finished: Path, dataset: Path, config: TrainingConfig, folder: Path, stage: str) -> Path:
    """Run a stage anew in a copy of a finished run; returns the copy's bundle."""
    shutil.copytree(finished, folder)
    TrainingRun(dataset, folder, config).run(stage)
    return folder / "bundle"


def test_a_stage_run_again_keeps_the_networks_that_still_fit(
    finished: Path, dataset: Path, tiny: TrainingConfig, tmp_path: Path
) -> None:
    position = (finished / "bundle" / "position_unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    polished = tiny.model_copy(update={"vae": tiny.vae.model_copy(update={"train_encoder": False})})
    for stage, config, kept in (
        ("vae", polished, {"vae", "slice_unet", "volume_unet", "position_unet"}),
        ("vae", tiny, {"vae"}),
        ("slice", tiny, {"vae", "slice_unet", "position_unet"}),
        ("volume", tiny, {"vae", "slice_unet", "volume_unet", "position_unet"}),
    ):
        folder = tmp_path / f"{stage}-{len(kept)}"
        bundle = stage_again(finished, dataset, config, folder, stage)
        assert {path.name for path in bundle.iterdir() if path.is_dir()} == kept
        if "position_unet" in kept:
            assert (bundle / "position_unet" / "diffusion_pytorch_model.safetensors").read_bytes() == position
        load_bundle(bundle)


def test_the_position_unet_learns_where_slices_lie(finished: Path) -> None:
    bundle = load_bundle(finished / "bundle")
    source, rng = PositionSource(Cache(finished), bundle.plan, "train"), np.random.default_rng(0)
    batch = source.join([source.draw(rng) for _ in range(40)])
    assert batch.conditions.shape[1] == 0 and batch.latents.shape[0] == 40 == batch.windows
    assert -1 <= batch.positions.min() < -0.5 and 0.5 < batch.positions.max() <= 1
    assert bundle.position_unet is not None
    x, t = batch.latents[:2], torch.full((2,), 500)
    low, high = (bundle.position_unet(x, t, torch.full((2,), position)) for position in (0.1, 0.9))
    assert low.shape == x.shape and not torch.allclose(low, high)


def test_latents_have_unit_scale_and_the_split_is_by_patient(finished: Path) -> None:
    cache = Cache(finished)
    train, held_out = cache.cases("train"), cache.cases("validation")
    assert len(train) == 2
    assert len(held_out) == 1
    assert not set(train) & set(held_out)
    latents = np.concatenate([cache.array(case, "latents")[0] for case in train]).astype(np.float32)
    assert abs(latents.mean()) < 0.3
    assert 0.6 < latents.std() < 1.6


def test_variants_start_with_the_patient_and_its_mirror_image(finished: Path) -> None:
    cache = Cache(finished)
    labels = cache.array(cache.cases("train")[0], "labels")
    assert labels.shape[0] == 2
    assert np.array_equal(labels[1], labels[0][..., ::-1])


def test_resuming_continues_exactly(finished: Path, dataset: Path, tiny: TrainingConfig, tmp_path: Path) -> None:
    def run(folder: Path, steps: int, resume: bool) -> dict[str, torch.Tensor]:
        # The cosine runs over the budget, so the learning rate is held constant to compare runs of other lengths.
        settings = tiny.slice.model_copy(update={"steps": steps, "final_learning_rate": 1.0})
        config = tiny.model_copy(update={"slice": settings})
        assert TrainingRun(dataset, folder, config, resume, say=lambda _: None).run("slice")
        state: dict[str, torch.Tensor] = torch.load(folder / "slice" / "checkpoint.pt", weights_only=True)
        return state

    whole = run(Path(shutil.copytree(finished, tmp_path / "whole")), 6, resume=False)
    parted = Path(shutil.copytree(finished, tmp_path / "parted"))
    run(parted, 3, resume=False)
    continued = run(parted, 6, resume=True)
    assert continued["step"] == whole["step"] == 6
    assert all(torch.equal(a, b) for a, b in zip(continued["parameters"], whole["parameters"], strict=True))


def test_sigterm_saves_and_ends_well(
    finished: Path, dataset: Path, tiny: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    config = tiny.model_copy(update={"slice": tiny.slice.model_copy(update={"steps": 10_000})})
    drawn = SliceSource.draw
    calls = iter(range(10_000))

    def draw_and_stop(self: SliceSource, rng: np.random.Generator) -> object:
        if next(calls) == 2 * tiny.slice.batch:
            os.kill(os.getpid(), signal.SIGTERM)
        return drawn(self, rng)

    monkeypatch.setattr(SliceSource, "draw", draw_and_stop)
    assert not TrainingRun(dataset, folder, config, say=lambda _: None).run("slice")
    assert torch.load(folder / "slice" / "checkpoint.pt", weights_only=True)["step"] == 3


def test_a_loss_that_is_not_a_number_stops_and_says_where(
    finished: Path, dataset: Path, tiny: TrainingConfig, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    for case in Cache(folder).cases("train"):
        array = np.array(Cache(folder).array(case, "latents"))
        Cache(folder).write(case, "latents", array * np.nan)
    with pytest.raises(InputError, match=r"slice is not a number at step 0 \(batch: egg\d slice \d"):
        TrainingRun(dataset, folder, tiny, say=lambda _: None).run("slice")


def test_preparing_again_keeps_what_is_there(finished: Path, dataset: Path, tiny: TrainingConfig) -> None:
    said: list[str] = []
    prepare(dataset, finished, tiny, said.append)
    assert len(said) == 1


def test_later_stages_say_what_they_need(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["volume", "--data", str(dataset), "--out", str(tmp_path), "--config", "tiny"]) == 2
    assert "run the stages prepare and vae first" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [("vae: {colour: red}", "vae.colour"), ("slice: {batch: 0}", "slice.batch"), ("a: [", "not YAML")],
)
def test_settings_that_are_not_understood_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_config(path)
