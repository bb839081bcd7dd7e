"""Files that are no published checkpoint, or half of one: refused by name, and nothing written."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from published_layout import UNET, VAE, Auto, Net, state_dict
from safetensors.torch import save_file

from napari_gem3d.bundle import load_bundle
from napari_gem3d.bundle.published.bundles import convert
from napari_gem3d.bundle.published.checkpoint import Checkpoint
from napari_gem3d.bundle.published.networks import import_unet, import_vae
from napari_gem3d.cli.main import main
from napari_gem3d.errors import InputError

NET, AUTO = Net(), Auto()
CONV_IN = f"{UNET}input_blocks.0.0.weight"


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return state_dict(NET, AUTO)


class Malicious:
    """What runs when it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return os.mkdir, (str(self.witness),)


def _bad_file(fault: str, path: Path, weights: dict[str, torch.Tensor]) -> None:
    renamed = {"layer1." + name: tensor for name, tensor in weights.items()}
    contents = {
        "code": {"state_dict": weights, "callbacks": Malicious(path.with_name("witness"))},
        "no state_dict": {"model": "weights are elsewhere", "epoch": 3},
        "foreign": {"state_dict": renamed},
        "missing": {"state_dict": {name: t for name, t in weights.items() if name != CONV_IN}},
        "missing VAE": {"state_dict": {name: t for name, t in weights.items() if not name.startswith(VAE)}},
        "missing VAE tensor": {"state_dict": {n: t for n, t in weights.items() if n != f"{VAE}quant_conv.bias"}},
        "extra": {"state_dict": weights | {f"{UNET}intruder.weight": torch.zeros(3)}},
        "extra elsewhere": {"state_dict": weights | {"intruder": torch.zeros(3)}},
        "shape": {"state_dict": weights | {f"{UNET}out.2.weight": torch.zeros(4, 32, 1, 1)}},
        "not finite": {"state_dict": weights | {f"{UNET}out.2.bias": torch.full((4,), torch.nan)}},
        "other input": {"state_dict": weights | {CONV_IN: torch.zeros(32, 8, 3, 3)}},
        "betas": {"state_dict": weights | {"betas": torch.linspace(0.1, 0.9, 1000) ** 3}},
    }
    if fault == "empty":
        path.write_bytes(b"")
    elif fault == "text":
        path.write_text("<html>Sign in to download</html>")
    elif fault == "truncated":
        torch.save({"state_dict": weights}, path)
        path.write_bytes(path.read_bytes()[:-5000])
    elif fault == "folder":
        path.mkdir()
    elif fault != "absent":
        torch.save(contents[fault], path)


FAULTS = {
    "absent": "cannot be read",
    "folder": "is a folder",
    "empty": "is empty",
    "text": "not a PyTorch checkpoint",
    "truncated": "incomplete",
    "code": r"holds code \((posix|nt).mkdir\)",
    "no state_dict": "no state_dict",
    "foreign": r"no model.diffusion_model.\* tensor",
    "missing": r"lacks model.diffusion_model.input_blocks.0.0.weight \(1 missing\)",
    "missing VAE": r"lacks the VAE \(first_stage_model",
    "missing VAE tensor": r"lacks first_stage_model.quant_conv.bias \(1 missing\)",
    "extra": r"unknown tensor model.diffusion_model.intruder.weight \(1 extra\)",
    "extra elsewhere": r"unknown tensor intruder \(1 extra\)",
    "shape": r"out.2.weight of shape \(4, 32, 1, 1\) instead of \(4, 32, 3, 3\)",
    "not finite": "out.2.bias that are not finite",
    "other input": "takes 8 and gives 4 channels where a slice U-Net on 4 latents takes 12",
    "betas": "no noise schedule",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_files_are_refused_in_one_sentence(fault, weights, tmp_path):
    path = tmp_path / "model.ckpt"
    _bad_file(fault, path, weights)
    with pytest.raises(InputError, match=FAULTS[fault]) as error:
        convert([path])
    assert str(path) in str(error.value)
    assert str(error.value).endswith(".") and "\n" not in str(error.value)
    assert not (tmp_path / "witness").exists()


def test_the_command_refuses_and_leaves_an_older_bundle_alone(weights, tmp_path, capsys):
    torch.save({"state_dict": weights}, tmp_path / "good.ckpt")
    _bad_file("missing", tmp_path / "bad.ckpt", weights)
    out = tmp_path / "bundle"
    assert main(["convert", str(tmp_path / "good.ckpt"), "--out", str(out), "--name", "mine"]) == 0
    before = load_bundle(out)
    assert before.plan.name == "mine"
    assert main(["convert", str(tmp_path / "bad.ckpt"), "--out", str(out)]) == 2
    assert "lacks" in capsys.readouterr().err
    assert load_bundle(out).sha256 == before.sha256
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.ckpt", "bundle", "good.ckpt"]


def test_a_folder_that_is_no_bundle_is_not_replaced(weights, tmp_path, capsys):
    torch.save({"state_dict": weights}, tmp_path / "good.ckpt")
    letters = tmp_path / "letters"
    letters.mkdir()
    (letters / "dear.txt").write_text("Dear")
    assert main(["convert", str(tmp_path / "good.ckpt"), "--out", str(letters)]) == 2
    assert "is no model bundle" in capsys.readouterr().err
    assert (letters / "dear.txt").read_text() == "Dear"


@pytest.mark.parametrize("kind", ["slice", "volume", "position"])
def test_every_tensor_that_is_missing_is_named(kind):
    net = Net(kind=kind)
    whole = {n: torch.empty(t.shape, device="meta") for n, t in state_dict(net, AUTO).items() if n.startswith(UNET)}
    unet = {name.removeprefix(UNET): tensor for name, tensor in whole.items()}
    for name in list(unet)[:: 1 if kind == "slice" else 5]:
        rest = {other: tensor for other, tensor in unet.items() if other != name}
        with pytest.raises(InputError) as error:
            import_unet(Checkpoint(Path("x.ckpt"), rest, {}, {}, {}), 4, 32, False)
        assert f"lacks {UNET}{name} (1 missing)" in str(error.value)


def test_every_tensor_of_a_wrong_shape_is_named():
    whole = {n: torch.empty(t.shape, device="meta") for n, t in state_dict(NET, AUTO).items()}
    vae = {name.removeprefix(VAE): tensor for name, tensor in whole.items() if name.startswith(VAE)}
    for name, tensor in list(vae.items())[::3]:
        if name.startswith("decoder.conv_out") or name == "encoder.conv_in.weight":
            continue  # alone tells the channels of the pictures
        doubled = vae | {name: torch.empty(2 * tensor.shape[0], *tensor.shape[1:], device="meta")}
        with pytest.raises(InputError, match="1 wrong") as error:
            import_vae(Checkpoint(Path("x.ckpt"), {}, doubled, {}, {}), 1.0)
        assert f"{VAE}{name} of shape" in str(error.value)


def test_what_comes_along_with_the_weights_is_tolerated(weights, tmp_path):
    class ModelCheckpoint:  # a note of the training library, by the name of its class
        pass

    ModelCheckpoint.__module__, ModelCheckpoint.__qualname__ = "pytorch_lightning.callbacks", "ModelCheckpoint"
    company = {
        "first_stage_model.loss.discriminator.main.0.weight": torch.zeros(2, 2),
        "cond_stage_model.encoder.conv_in.weight": torch.zeros(1),
        "model_ema.decay": torch.tensor(0.9999),
        "model_ema.num_updates": torch.tensor(3),
        "logvar": torch.zeros(1000),
        "alphas_cumprod": torch.zeros(1000),
    }
    path = tmp_path / "model.ckpt"
    _save_with_class({"state_dict": weights | company, "callbacks": {ModelCheckpoint: {"best": 1.0}}}, path)
    assert convert([path]).bundle.slice_unet is not None


def _save_with_class(content: dict, path: Path) -> None:
    """Save with a class that can be named without being importable, as in files of another machine."""
    import sys
    import types

    (kind,) = content["callbacks"]
    modules = {"pytorch_lightning": types.ModuleType("pytorch_lightning")}
    modules["pytorch_lightning.callbacks"] = types.ModuleType("pytorch_lightning.callbacks")
    modules["pytorch_lightning.callbacks"].ModelCheckpoint = kind
    with pytest.MonkeyPatch.context() as patch:
        for name, module in modules.items():
            patch.setitem(sys.modules, name, module)
        torch.save(content, path)


def test_bare_state_dicts_and_safetensors_are_read(weights, tmp_path):
    torch.save(weights, tmp_path / "bare.ckpt")
    save_file(weights, tmp_path / "model.safetensors")
    for name in ("bare.ckpt", "model.safetensors"):
        unet = convert([tmp_path / name]).bundle.slice_unet.unet
        assert torch.equal(unet.conv_in.weight, weights[CONV_IN])
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(InputError, match="no complete safetensors"):
        convert([tmp_path / "model.safetensors"])
