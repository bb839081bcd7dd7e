"""A whole tiny run: every stage, the bundle at its end, going on, training anew, warm starts, the baseline."""

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file

from napari_gem3d import make_recipe, read_volume, run_recipe
from napari_gem3d.bundle import load_bundle
from napari_gem3d.bundle.conditioning import condition_channels
from napari_gem3d.cli.main import main as program
from napari_gem3d.cli.train import main
from napari_gem3d.training.config.settings import TrainingConfig
from napari_gem3d.training.data.cache import Cache
from napari_gem3d.training.run import TrainingRun
from napari_gem3d.training.stages.batches import PositionSource, SliceSource
from napari_gem3d.training.stages.latents import latent_key, latents_kind
from napari_gem3d.volume import Volume

NETWORKS = ("vae", "slice_unet", "volume_unet", "position_unet")
WEIGHTS = "diffusion_pytorch_model.safetensors"


def train(stage: str, dataset: Path, folder: Path, *options: object) -> int:
    """Run the command line with the preset of tests."""
    arguments = [stage, "--data", dataset, "--out", folder, "--config", "tiny", *options]
    return main([str(argument) for argument in arguments])


def weights(folder: Path) -> dict[str, bytes]:
    """The stored weights of a run's bundle."""
    return {path.parent.name: path.read_bytes() for path in (folder / "bundle").rglob(WEIGHTS)}


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_all_stages_end_in_a_bundle_that_loads(finished: Path) -> None:
    bundle = load_bundle(finished / "bundle")
    assert all(getattr(bundle, name) is not None for name in NETWORKS)
    assert [label.name for label in bundle.plan.labels.labels] == [
        "yolk",
        "brain",
        "ventricles",
        "csf",
        "grey matter",
    ]
    assert bundle.plan.labels.body is not None and bundle.plan.informed
    assert len(bundle.plan.latents.mean) == bundle.plan.latents.channels == 4
    assert bundle.plan.window == 4
    assert (bundle.plan.residual_mm, bundle.plan.persistence_mm, bundle.plan.streak_filter) == (4, 5, True)
    stored = load_file(finished / "bundle" / "slice_unet" / WEIGHTS)
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    assert not list(finished.glob(".*")) and not (finished / "bundle-failed").exists()


def test_stages_leave_history_pictures_and_checkpoint(finished: Path) -> None:
    for stage in ("vae", "slice", "volume", "position"):
        history = json.loads((finished / stage / "history.json").read_text())
        assert history[-1]["step"] == 4
        assert np.isfinite(history[-1]["loss"])
        assert np.isfinite(history[-1]["validation_loss"])
        assert list((finished / stage).glob("checkpoint*.pt"))
        assert list((finished / stage).glob("picture-*.png"))


def test_the_card_has_the_facts_blanks_for_the_rest_and_no_names(finished: Path) -> None:
    card = (finished / "bundle" / "README.md").read_text()
    assert "2 cases were trained on, 1 held out for the validation loss (split by patient, seed 0)" in card
    assert "| 1 yolk | 3 |" in card
    for stage in ("vae", "slice", "volume", "position"):
        history = json.loads((finished / stage / "history.json").read_text())
        (row,) = [line for line in card.splitlines() if line.startswith(f"| {stage} |")]
        assert f"| 4 | {history[-1]['minutes']:.1f} |" in row
        assert f"loss {history[-1]['validation_loss']:.4g}" in row
    assert f"torch {torch.__version__}" in card and "1 process" in card
    assert "slice.channels: [16, 16, 32]" in card and "near_mm" not in card
    assert "slices of a patient's label map drawn in 2 steps: finite, of the right shape, nothing outside" in card
    assert card.count("[to fill in") == 4
    assert "egg" not in card and str(finished) not in card


def test_the_volume_stage_leaves_the_spatial_tensors_alone(finished: Path) -> None:
    bundle = load_bundle(finished / "bundle")
    assert bundle.slice_unet is not None
    assert bundle.volume_unet is not None
    spatial = bundle.slice_unet.unet.state_dict()
    inflated = bundle.volume_unet.unet.state_dict()
    assert all(torch.equal(spatial[name], inflated[name]) for name in spatial)
    convolution = next(value for name, value in inflated.items() if name.endswith("slices.weight"))
    assert not torch.equal(convolution, torch.nn.init.dirac_(torch.empty_like(convolution)))


@pytest.mark.slow
def test_the_volume_stage_may_teach_all_layers_and_the_bundle_has_one_copy_of_them(copy: Path, dataset: Path) -> None:
    before = load_bundle(copy / "bundle").slice_unet
    assert train("volume", dataset, copy, "--overwrite", "--set", "volume.train_spatial=true") == 0
    bundle = load_bundle(copy / "bundle")
    assert before is not None and bundle.slice_unet is not None and bundle.volume_unet is not None
    spatial, inflated = bundle.slice_unet.state_dict(), bundle.volume_unet.spatial_state()
    assert spatial.keys() == inflated.keys()
    assert all(torch.equal(spatial[name], inflated[name]) for name in spatial)
    assert any(not torch.equal(spatial[name], tensor) for name, tensor in before.state_dict().items())
    stored = json.loads((copy / "bundle" / "volume_unet" / "config.json").read_text(encoding="utf-8"))
    assert stored["inflates"] == "slice_unet"


def test_the_position_unet_learns_where_slices_lie(finished: Path, tiny: TrainingConfig) -> None:
    bundle = load_bundle(finished / "bundle")
    assert bundle.vae is not None and bundle.position_unet is not None
    key = latent_key(bundle.vae)
    source, rng = PositionSource(Cache(finished), bundle.plan, "train", tiny.position, key), np.random.default_rng(0)
    batch = source.join([source.draw(rng) for _ in range(40)])
    assert batch.conditions.shape[1] == 0 and batch.latents.shape[0] == 40 == batch.windows
    assert -1 <= batch.positions.min() < -0.5 and 0.5 < batch.positions.max() <= 1
    x, t = batch.latents[:2], torch.full((2,), 500)
    low, high = (bundle.position_unet(x, t, torch.full((2,), position)) for position in (0.1, 0.9))
    assert low.shape == x.shape and not torch.allclose(low, high)


def test_latents_are_those_of_the_bundles_vae_and_have_unit_scale(finished: Path) -> None:
    cache, bundle = Cache(finished), load_bundle(finished / "bundle")
    train_cases, held_out = cache.cases("train"), cache.cases("validation")
    assert (len(train_cases), len(held_out)) == (2, 1) and not set(train_cases) & set(held_out)
    assert bundle.vae is not None
    stored = [cache.array(case, latents_kind(latent_key(bundle.vae)))[0] for case in train_cases]
    latents = np.concatenate(stored).astype(np.float32)
    assert abs(latents.mean()) < 0.3
    assert 0.6 < latents.std() < 1.6
    images = torch.from_numpy(np.array(cache.array(train_cases[0], "images")[0], np.float32))[:, None]
    with torch.no_grad():
        again = bundle.vae.encode(images).numpy()
    # Encoded in the run's precision, which may be bfloat16.
    assert np.abs(again - stored[0]).mean() < 0.02 * np.abs(again).mean() + 0.01


def test_a_finished_run_is_recognised_and_left_as_it_is(
    copy: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = weights(copy)
    assert train("all", dataset, copy, "--resume") == 0
    said = capsys.readouterr().out
    for stage in ("vae", "slice", "volume", "position"):
        assert f"{stage}: finished before, skipped" in said
    assert weights(copy) == before


def test_without_config_the_run_goes_on_with_its_own(copy: Path, dataset: Path) -> None:
    assert main(["all", "--data", str(dataset), "--out", str(copy), "--resume"]) == 0
    assert main(["all", "--data", str(dataset), "--out", str(copy), "--resume", "--config", "laptop"]) == 2


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_to_the_same_end(
    finished: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, drawn, calls = tmp_path / "run", SliceSource.draw, iter(range(10_000))

    def draw_and_stop(self: SliceSource, rng: np.random.Generator) -> object:
        if next(calls) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return drawn(self, rng)

    with monkeypatch.context() as patched:
        patched.setattr(SliceSource, "draw", draw_and_stop)
        assert train("all", dataset, folder) == 0
    assert "slice: stopped and saved; the same command with --resume goes on" in capsys.readouterr().out
    assert set(weights(folder)) == {"vae"}, "a stage that has not ended is not in the bundle"
    assert train("volume", dataset, folder) == 2
    assert "stage slice, which volume builds on, is not finished" in capsys.readouterr().err
    assert train("all", dataset, folder, "--resume") == 0
    assert "vae: finished before, skipped" in capsys.readouterr().out
    assert weights(folder) == weights(finished)


@pytest.mark.slow
def test_a_stage_trained_anew_keeps_the_networks_that_still_fit(finished: Path, dataset: Path, tmp_path: Path) -> None:
    before = weights(finished)
    for stage, options, kept, same in (
        ("vae", ["--set", "vae.train_encoder=false"], set(NETWORKS), {"slice_unet", "volume_unet", "position_unet"}),
        ("vae", ["--set", "vae.learning_rate=0.01"], {"vae"}, set()),
        ("slice", ["--set", "seed=5"], {"vae", "slice_unet", "position_unet"}, {"vae", "position_unet"}),
        ("volume", ["--set", "seed=5"], set(NETWORKS), {"vae", "slice_unet", "position_unet"}),
    ):
        folder = tmp_path / f"{stage}-{len(kept)}"
        shutil.copytree(finished, folder)
        assert train(stage, dataset, folder, "--overwrite", *options) == 0
        after = weights(folder)
        assert set(after) == kept
        assert {name for name in kept if after[name] == before[name]} == same
        load_bundle(folder / "bundle")


@pytest.mark.slow
def test_what_no_longer_fits_is_trained_anew_and_only_that(
    copy: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, longer = weights(copy), ("--resume", "--set", "slice.steps=6")
    assert train("all", dataset, copy, *longer) == 2
    assert "The stage volume was trained on another result of the stage slice" in capsys.readouterr().err
    assert train("all", dataset, copy, *longer, "--overwrite") == 0
    said = capsys.readouterr().out
    assert "vae: finished before, skipped" in said and "position: finished before, skipped" in said
    assert "goes on with other settings than it began with (slice.steps was 4, is 6)" in said
    assert "bundle: drops volume" in said
    after = weights(copy)
    assert {name for name in NETWORKS if after[name] == before[name]} == {"vae", "position_unet"}
    assert json.loads((copy / "slice" / "history.json").read_text())[-1]["step"] == 6
    assert train("all", dataset, copy, *longer) == 0
    assert weights(copy) == after


def save_vae(folder: Path) -> AutoencoderKL:
    """A foreign VAE as diffusers writes it: colour pictures, factor 4."""
    torch.manual_seed(3)
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        block_out_channels=(8, 8, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=3,
        norm_num_groups=4,
    )
    vae.save_pretrained(folder)
    return vae


@pytest.mark.slow
def test_a_vae_from_elsewhere_is_used_as_it_is_and_the_plan_follows(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = save_vae(tmp_path / "foreign")
    assert train("all", dataset, tmp_path / "run", "--vae", tmp_path / "foreign") == 0
    assert f"vae: starts from {tmp_path / 'foreign'}" in capsys.readouterr().out
    bundle = load_bundle(tmp_path / "run" / "bundle")
    latents = bundle.plan.latents
    assert (latents.channels, latents.factor, latents.unshuffle) == (3, 4, 1)
    assert all(length % 16 == 0 for length in bundle.plan.size)
    assert bundle.vae is not None
    for name, tensor in bundle.vae.autoencoder.state_dict().items():
        assert torch.equal(tensor, foreign.state_dict()[name].half().float())
    assert bundle.slice_unet is not None
    assert bundle.slice_unet.in_channels == 3 + condition_channels(bundle.plan)


@pytest.mark.slow
def test_another_vae_than_the_cache_was_made_for_is_told(
    copy: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_vae(tmp_path / "foreign")
    before = weights(copy)
    assert train("vae", dataset, copy, "--vae", tmp_path / "foreign", "--overwrite") == 2
    assert "run prepare with the same settings and --overwrite" in capsys.readouterr().err
    assert weights(copy) == before
    assert train("all", dataset, copy, "--resume") == 0, "nothing was lost"
    assert train("prepare", dataset, copy, "--vae", tmp_path / "foreign", "--overwrite") == 0
    assert train("vae", dataset, copy, "--vae", tmp_path / "foreign", "--overwrite") == 0
    assert set(weights(copy)) == {"vae"}


@pytest.mark.slow
def test_a_bundle_starts_every_stage_whose_network_fits(
    finished: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = [f"--set={stage}.steps=0" for stage in ("vae", "slice", "volume", "position")]
    assert train("all", dataset, tmp_path / "same", "--init", finished / "bundle", *nothing) == 0
    assert weights(tmp_path / "same") == weights(finished)
    capsys.readouterr()
    plain = ["--set", "informed=false", *nothing]
    assert train("all", dataset, tmp_path / "plain", "--init", finished / "bundle", *plain) == 0
    said = capsys.readouterr().out
    assert "slice: starts with fresh weights. The plan of this run has no informed channels" in said
    assert f"volume: starts from {finished / 'bundle'}" in said
    assert weights(tmp_path / "plain")["position_unet"] == weights(finished)["position_unet"]


@pytest.fixture(scope="module")
def baseline(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the Make-A-Volume baseline."""
    folder = tmp_path_factory.mktemp("baseline")
    assert train("all", dataset, folder, "--set", "informed=false") == 0
    return folder


@pytest.mark.slow
def test_the_baseline_trains_the_same_stages_and_does_not_see_the_informed_slice(
    finished: Path, baseline: Path, dataset: Path, tmp_path: Path
) -> None:
    bundle = load_bundle(baseline / "bundle")
    assert all(getattr(bundle, name) is not None for name in NETWORKS)
    assert bundle.plan.conditioning == "fine"
    assert "A Make-A-Volume baseline" in bundle.card
    scan = dataset / "imagesTr" / "egg0_0000.nii.gz"
    voxels = read_volume(scan)
    mirrored = tmp_path / "mirrored.nii.gz"
    from napari_gem3d import write_volume

    write_volume(Volume(np.ascontiguousarray(voxels.voxels[..., ::-1]), voxels.affine, "MR"), mirrored)
    same = {}
    for name, folder in (("gem3d", finished), ("baseline", baseline)):
        drawn = []
        for informed in (scan, mirrored):
            out = tmp_path / f"{name}-{informed.name}"
            mask = dataset / "labelsTr" / "egg0.nii.gz"
            run_recipe(make_recipe(mask, informed, body=scan, model=folder / "bundle", seed=1, device="cpu"), out)
            drawn.append(read_volume(out).voxels)
        assert drawn[0].std() > 0
        same[name] = np.array_equal(*drawn)
    assert same == {"gem3d": False, "baseline": True}


@pytest.mark.slow
def test_the_bundle_of_a_run_generates_on_the_command_line(finished: Path, dataset: Path, tmp_path: Path) -> None:
    mask, scan = dataset / "labelsTr" / "egg1.nii.gz", dataset / "imagesTr" / "egg1_0000.nii.gz"
    for informed in (dataset / "imagesTr" / "egg0_0000.nii.gz", "generated"):
        out = tmp_path / f"{Path(informed).name}-out.nii.gz"
        files = ["--mask", mask, "--informed", informed, "--body", scan, "--model", finished / "bundle", "--out", out]
        assert program([str(part) for part in ("generate", *files, "--seed", 1)]) == 0
        drawn, real = read_volume(out), read_volume(scan)
        assert drawn.voxels.shape == real.voxels.shape
        np.testing.assert_allclose(drawn.affine, real.affine)
        assert drawn.voxels.std() > 0


@pytest.mark.slow
def test_a_bundle_that_fails_its_check_does_not_replace_the_one_that_is_there(
    copy: Path, dataset: Path, tiny: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_gem3d.errors import InputError
    from napari_gem3d.training import run as module

    trained = module.train_stage

    def diverge(stage: object, *arguments: object, **options: object) -> bool:
        trained(stage, *arguments, **options)  # type: ignore[arg-type]
        with torch.no_grad():
            next(p for p in stage.objective.network.parameters() if p.requires_grad).fill_(float("nan"))  # type: ignore[attr-defined]
        return True

    before = {path: path.read_bytes() for path in (copy / "bundle").rglob("*") if path.is_file()}
    with monkeypatch.context() as patched:
        patched.setattr(module, "train_stage", diverge)
        run = TrainingRun(dataset, copy, tiny, say=lambda _: None, overwrite=True)
        with pytest.raises(
            InputError, match=r"failed its check \(The tensor .* of .*volume_unet.* holds NaN or infinite values"
        ) as told:
            run.run("volume")
    assert f"{copy / 'bundle'} is left as it was" in str(told.value)
    assert {path: path.read_bytes() for path in (copy / "bundle").rglob("*") if path.is_file()} == before
    assert (copy / "bundle-failed" / "volume_unet" / WEIGHTS).is_file()
    assert not json.loads((copy / "run.json").read_text())["volume"]["finished"]
    assert not list(copy.glob(".*"))
    # Nothing but the check failed: going on puts the weights of the checkpoint in place.
    assert TrainingRun(dataset, copy, tiny, resume=True, say=lambda _: None).run("volume")
    assert json.loads((copy / "run.json").read_text())["volume"]["finished"]
