"""Bundles: round trip, and clear refusals of what is not understood."""

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_gem3d.bundle import Plan, bundled_models, load_bundle, save_bundle
from napari_gem3d.bundle.plan import LatentSpace, NoiseSchedule
from napari_gem3d.errors import InputError
from napari_gem3d.labels import Label, LabelTable

TABLE = LabelTable((Label(1, "edema"), Label(4, "brain", meaning="body")))


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bundle that a test may damage."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def _edit_plan(folder: Path, **changes: Any) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_round_trip_keeps_plan_card_and_weights(tiny_model: Path, tmp_path: Path) -> None:
    bundle = load_bundle(tiny_model)
    bundle.card = "# A card\n"
    again = load_bundle(save_bundle(bundle, tmp_path / "again"))
    assert again.plan == bundle.plan
    assert again.card == "# A card\n"
    assert again.sha256 == bundle.sha256  # the card does not count
    for part in ("vae", "slice_unet", "volume_unet"):
        before, after = getattr(bundle, part).state_dict(), getattr(again, part).state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_volume_unet_is_stored_as_what_the_slice_unet_lacks(tiny_model: Path) -> None:
    slices = load_file(tiny_model / "slice_unet" / "diffusion_pytorch_model.safetensors")
    volumetric = load_file(tiny_model / "volume_unet" / "diffusion_pytorch_model.safetensors")
    assert volumetric
    assert all(".slices." in name or ".processor." in name for name in volumetric)
    assert {tensor.dtype for tensor in (slices | volumetric).values()} == {torch.float16}


def test_saving_replaces_a_bundle_and_leaves_nothing_beside_it(model: Path) -> None:
    bundle = load_bundle(model)
    bundle.volume_unet = None
    save_bundle(bundle, model)
    assert not (model / "volume_unet").exists()
    assert [path.name for path in model.parent.iterdir()] == ["model"]


def test_an_unknown_name_lists_the_bundled_models() -> None:
    with pytest.raises(InputError, match="no model 'liver-ct'") as error:
        load_bundle("liver-ct")
    assert all(name in str(error.value) for name in bundled_models())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "format version 2"),
        ({"flavour": "sweet"}, "flavour"),
        ({"conditioning": "telepathy"}, "conditioning"),
        ({"schedule": {"prediction_type": "score"}}, "schedule.prediction_type"),
        ({"labels": [{"value": 1, "name": "a"}, {"value": 1, "name": "b"}]}, "value 1 twice"),
        ({"window": 1, "overlap": 1}, "overlap"),
        ({"size": [30, 32]}, "multiple"),
        ({"latents": {"channels": 3, "factor": 8}}, "does not fit the latents"),
    ],
)
def test_a_plan_that_is_not_understood_is_refused(model: Path, changes: dict[str, Any], message: str) -> None:
    _edit_plan(model, **changes)
    with pytest.raises(InputError, match=message):
        load_bundle(model)


def test_damaged_weights_are_refused(model: Path) -> None:
    weights = model / "slice_unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="missing or damaged"):
        load_bundle(model)


@pytest.mark.parametrize("fault", ["missing", "extra", "shape"])
def test_foreign_weights_are_refused_by_name(model: Path, fault: str) -> None:
    path = model / "volume_unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    name = sorted(tensors)[0]
    if fault == "missing":
        del tensors[name]
    elif fault == "extra":
        tensors["intruder"] = torch.zeros(1)
    else:
        tensors[name] = torch.zeros(1, 2, 3)
    save_file(tensors, path)
    with pytest.raises(InputError, match="intruder" if fault == "extra" else name.replace(".", r"\.")):
        load_bundle(model)


def test_model_json_that_is_not_json(model: Path) -> None:
    (model / "model.json").write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        load_bundle(model)


def test_a_plan_checks_itself() -> None:
    with pytest.raises(ValueError, match="zero terminal SNR"):
        NoiseSchedule(prediction_type="epsilon")
    with pytest.raises(ValueError, match="one value for each"):
        LatentSpace(channels=8, mean=(0.0,))
    with pytest.raises(ValueError, match="spacing"):
        Plan(name="x", labels=TABLE, spacing=(1.0, 0.0, 1.0))


@pytest.mark.parametrize("name", sorted(bundled_models()))
def test_bundled_models_load_and_are_complete(name: str) -> None:
    bundle = load_bundle(name)
    assert bundle.plan.name == name
    assert bundle.vae is not None
    assert bundle.volume_unet is not None
    assert bundle.card


@pytest.mark.parametrize(
    ("modality", "channel", "said"), [("MR", "FLAIR", "MR FLAIR"), ("CT", "CT", "CT"), ("CT", "", "CT")]
)
def test_a_plan_says_what_scans_it_knows(tiny_model, modality: str, channel: str, said: str) -> None:
    plan = load_bundle(tiny_model).plan
    assert plan.model_copy(update={"modality": modality, "channel": channel}).scans == said


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("part", ["vae", "slice_unet", "volume_unet"])
def test_weights_that_are_no_numbers_are_refused_by_name(model: Path, part: str, value: float) -> None:
    path = model / part / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    name = sorted(tensors)[-1]
    tensors[name] = tensors[name].to(torch.float64)
    tensors[name].view(-1)[-1] = value * value  # 1e60 is a number only in float64
    save_file(tensors, path)
    with pytest.raises(InputError, match=rf"{name}.*NaN or infinite"):
        load_bundle(model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latents": {"channels": 4, "mean": [0.0] * 4, "std": [1.0, 0.0, 1.0, 1.0]}}, "deviation"),
        ({"latents": {"channels": 4, "mean": [0.0] * 4, "std": [1.0, -1.0, 1.0, 1.0]}}, "deviation"),
        ({"latents": {"channels": 4, "mean": [0.0] * 4, "std": [1.0, 1e-300, 1.0, 1.0]}}, "deviation"),
        ({"latents": {"channels": 4, "mean": [0.0] * 4, "std": [1.0, 1e300, 1.0, 1.0]}}, "deviation"),
        ({"latents": {"channels": 4, "mean": [0.0] * 4, "std": [float("nan")] * 4}}, "latents.std.0: .*finite"),
        ({"latents": {"channels": 4, "mean": [float("inf")] * 4, "std": [1.0] * 4}}, "latents.mean.0: .*finite"),
        ({"spacing": [1.0, float("nan"), 1.0]}, "spacing.1: .*finite"),
        ({"intensity": {"kind": "window", "low": float("-inf")}}, "intensity.low: .*finite"),
        ({"schedule": {"beta_start": float("inf")}}, "schedule.beta_start: .*finite"),
        ({"schedule": {"beta_start": 2.0}}, "schedule.beta_start"),
    ],
)
def test_a_plan_of_values_that_are_no_numbers_is_refused(model: Path, changes: dict[str, Any], message: str) -> None:
    _edit_plan(model, **changes)
    with pytest.raises(InputError, match=message):
        load_bundle(model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": [10**6, 10**6]}, "size"),
        ({"window": 10**9}, "window"),
        ({"latents": {"channels": 10**9}}, "latents.channels"),
        ({"schedule": {"num_train_timesteps": 10**9}}, "num_train_timesteps"),
        ({"labels": [{"value": 300, "name": "far"}]}, "less than 255"),
        ({"labels": [{"value": value, "name": f"label {value}"} for value in range(1, 200_000)]}, "too much"),
    ],
)
def test_a_plan_of_sizes_that_nothing_has_is_refused(model: Path, changes: dict[str, Any], message: str) -> None:
    _edit_plan(model, **changes)
    with pytest.raises(InputError, match=message):
        load_bundle(model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers_per_block": 200_000}, "layers_per_block beyond 64"),
        ({"down_block_types": ["DownBlock2D"] * 20_000}, "20000 values"),
        ({"block_out_channels": [10**9, 16, 16]}, "block_out_channels beyond"),
        ({"norm_eps": float("nan")}, "norm_eps beyond"),
        ({"down_block_types": ["DownBlock2D", "DownBlock2D", "SidewaysBlock2D"]}, "SidewaysBlock2D"),
        ({"act_fn": "telepathy"}, "telepathy"),
        ({"block_out_channels": 7}, "no network"),
        ({"norm_num_groups": 7}, "no network"),
        ({"norm_num_groups": 0}, "no network"),
    ],
)
def test_settings_that_make_no_network_are_refused(model: Path, changes: dict[str, Any], message: str) -> None:
    path = model / "slice_unet" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(InputError, match=message):
        load_bundle(model)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_bundles_are_for_those_whom_the_umask_lets(tiny_model: Path, tmp_path: Path, mask: int, mode: int) -> None:
    bundle = load_bundle(tiny_model)
    before = os.umask(mask)
    try:
        folder = save_bundle(bundle, tmp_path / "shared")
    finally:
        os.umask(before)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {mode}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~mask
