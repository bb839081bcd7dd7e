"""Published weights: every number of the reference outputs, and any other size, computed as their layout says."""

import json
import runpy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from published_layout import Auto, Net, Run, state_dict, unet_shapes, vae_shapes
from torch import Tensor

from napari_gem3d.bundle import ModelBundle, load_bundle, save_bundle
from napari_gem3d.bundle.published.bundles import convert
from napari_gem3d.sampling.solver import denoise, make_solver

KINDS = ("slice", "volume", "position")
TOLERANCE = 1e-4


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


@dataclass
class Reference:
    """A bundle that was converted, saved and loaded, and what the authors' code computes with its weights."""

    kind: str
    bundle: ModelBundle
    outputs: dict[str, np.ndarray]

    def given(self, name: str) -> Tensor:
        return torch.from_numpy(self.outputs[name])

    def predict(self, x: Tensor, t: Tensor) -> Tensor:
        return predict(self.bundle, self.kind, x, t, self.outputs)

    def deviation(self, result: Tensor, name: str) -> float:
        return deviation(result, self.outputs[name])


def predict(bundle: ModelBundle, kind: str, x: Tensor, t: Tensor, inputs: dict[str, np.ndarray]) -> Tensor:
    if kind == "position":
        return bundle.position_unet(x, t, torch.from_numpy(inputs["position"]))
    x = torch.cat([x, torch.from_numpy(inputs["condition_latents"])], dim=1)
    return bundle.slice_unet(x, t) if kind == "slice" else bundle.volume_unet(x, t, num_slices=len(x))


def deviation(result: Tensor, wanted: np.ndarray) -> float:
    return float(np.abs(result.numpy() - wanted).max() / np.abs(wanted).max())


@pytest.fixture(scope="module", params=KINDS)
def reference(request, shared_data, tmp_path_factory) -> Reference:
    source = shared_data.parent / "reference"
    if not source.is_dir():
        pytest.skip("the reference checkpoints are not beside this checkout")
    folder, kind = tmp_path_factory.mktemp(request.param), request.param
    write = runpy.run_path(str(source / "make_checkpoint.py"))["main"]
    write(str(source / f"{kind}_unet.json"), str(folder / "model.ckpt"))
    save_bundle(convert([folder / "model.ckpt"]).bundle, folder / "bundle", torch.float32)
    with np.load(source / f"{kind}_unet.npz") as outputs:
        return Reference(kind, load_bundle(folder / "bundle"), dict(outputs))


def test_the_vae_encodes_and_decodes_as_published(reference):
    autoencoder = reference.bundle.vae.autoencoder
    posterior = autoencoder.encode(reference.given("image")).latent_dist
    assert reference.deviation(posterior.mean, "posterior_mean") < TOLERANCE
    assert reference.deviation(posterior.logvar, "posterior_logvar") < TOLERANCE
    decoded = autoencoder.decode(reference.given("latent") / 0.18215).sample
    assert reference.deviation(decoded, "decoded") < TOLERANCE


def test_latents_of_the_bundle_are_scaled_and_grey_slices_seen_in_three_channels(reference):
    vae, slices = reference.bundle.vae, reference.given("image")[:, :1]
    mode = vae.autoencoder.encode(slices.repeat(1, 3, 1, 1)).latent_dist.mode()
    assert torch.allclose(vae.encode(slices), 0.18215 * mode, atol=1e-6)
    decoded = vae.decode(reference.given("latent"))
    assert decoded.shape[1] == 1
    assert deviation(decoded, reference.outputs["decoded"][:, :1]) < TOLERANCE


def test_the_unet_predicts_as_published(reference):
    prediction = reference.predict(reference.given("noisy_latents"), reference.given("timesteps"))
    assert reference.deviation(prediction, "noise_prediction") < TOLERANCE


def test_ten_steps_with_the_scheduler_of_diffusers(reference):
    scheduler = DDIMScheduler(
        **reference.bundle.plan.schedule.diffusers_config(), set_alpha_to_one=False, clip_sample=False
    )
    scheduler.set_timesteps(10)
    x = reference.given("noisy_latents")
    for t in scheduler.timesteps:
        x = scheduler.step(reference.predict(x, t.expand(len(x))), t, x).prev_sample
    assert reference.deviation(x, "ddim_10_steps_eta0") < TOLERANCE


def test_ten_steps_with_our_solver(reference):
    schedule, noise = reference.bundle.plan.schedule, reference.given("noisy_latents")
    network = lambda x, t: reference.predict(x, torch.full((len(x),), t))  # noqa: E731
    nothing = torch.zeros(len(noise), 1, 1, 1)
    solver = make_solver(schedule, "ddim", 10)
    *_, x = denoise(network, solver, schedule.prediction_type, noise, torch.zeros_like(noise), nothing)
    assert reference.deviation(x, "ddim_10_steps_eta0") < TOLERANCE


NETS = {
    "one level": Net(mults=(1,), attends=()),
    "attention at the finest level": Net(mults=(1, 1, 2), attends=(0, 2)),
    "three blocks, falling widths": Net(mults=(1, 3, 2), blocks=3, attends=(1,)),
    "wide heads, other latents": Net(base=64, mults=(1, 2), blocks=2, attends=(0, 1), head=64, latents=3),
    "published multipliers": Net(mults=(1, 2, 3, 4), blocks=2, attends=(1, 2, 3)),
    "volume": Net(kind="volume", mults=(1, 2, 3), blocks=2, attends=(0, 2)),
    "volume, one level": Net(kind="volume", base=64, mults=(1,), attends=(0,), latents=8),
    "position, deep": Net(kind="position", mults=(1, 2), attends=(0,), depth=2, token=64),
    "position, one level": Net(kind="position", base=64, mults=(1,), blocks=2, attends=()),
    "position, published multipliers": Net(kind="position", mults=(1, 2, 4, 4), blocks=2, attends=(0, 1, 2)),
}


@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
def test_unets_of_any_size(net, tmp_path):
    weights = state_dict(net, Auto(z=net.latents, embed=net.latents), seed=1)
    torch.save({"state_dict": weights}, tmp_path / "model.ckpt")
    bundle = convert([tmp_path / "model.ckpt"], head_channels=net.head).bundle
    save_bundle(bundle, tmp_path / "bundle", torch.float32)
    bundle = load_bundle(tmp_path / "bundle")
    prefix = "model.diffusion_model."
    run = Run({n.removeprefix(prefix): v for n, v in weights.items() if n.startswith(prefix)}, net.head, slices=5)
    side = 2 ** (len(net.mults) - 1)
    channels = net.latents * (1 if net.kind == "position" else 3)
    x = torch.randn(5, channels, 2 * side, side, generator=torch.Generator().manual_seed(2))
    t, position = torch.full((5,), 321), torch.linspace(0, 1, 5)
    wanted = run.unet(x, t, position if net.kind == "position" else None)
    inputs = {"position": position.numpy(), "condition_latents": x[:, net.latents :].numpy()}
    result = predict(bundle, net.kind, x[:, : net.latents], t, inputs)
    assert deviation(result, wanted.numpy()) < TOLERANCE


AUTOS = {
    "one level": Auto(mults=(1,)),
    "attention at a level": Auto(mults=(1, 2, 2), attends=(1,), blocks=2),
    "attention nowhere": Auto(mults=(1, 3), middle=False),
    "other latents inside": Auto(z=6, embed=4),
    "first level wider than the stem": Auto(mults=(2, 1), embed=8, z=8),
}


@pytest.mark.parametrize("auto", AUTOS.values(), ids=AUTOS)
def test_vaes_of_any_size(auto, tmp_path):
    weights = state_dict(Net(mults=(1,), attends=(), latents=auto.embed), auto, vae_seed=3)
    torch.save({"state_dict": weights}, tmp_path / "model.ckpt")
    save_bundle(convert([tmp_path / "model.ckpt"]).bundle, tmp_path / "bundle", torch.float32)
    vae = load_bundle(tmp_path / "bundle").vae
    prefix = "first_stage_model."
    run = Run({n.removeprefix(prefix): v for n, v in weights.items() if n.startswith(prefix)})
    pictures = torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(4)) * 2 - 1
    moments = run.encode(pictures)
    assert deviation(vae.autoencoder.encode(pictures).latent_dist.parameters, moments.numpy()) < TOLERANCE
    latents = moments[:, : auto.embed]
    assert deviation(vae.autoencoder.decode(latents).sample, run.decode(latents).numpy()) < TOLERANCE
    assert (vae.latent_channels, vae.factor) == (auto.embed, 2 ** (len(auto.mults) - 1))


def test_the_published_names_are_those_of_the_references(shared_data):
    """The generator of these tests writes the layout that the authors' code has."""
    source = shared_data.parent / "reference"
    if not source.is_dir():
        pytest.skip("the reference checkpoints are not beside this checkout")
    auto = Auto(mults=(1, 2, 4, 4), blocks=2)
    nets = [Net(kind=kind) for kind in KINDS[:2]] + [Net(kind="position", mults=(1, 2, 4, 4), attends=(0, 1, 2))]
    for net in nets:
        described = json.loads(Path(source / f"{net.kind}_unet.json").read_text())["tensors"]
        made = {f"model.diffusion_model.{name}": shape for name, shape in unet_shapes(net).items()}
        made |= {f"first_stage_model.{name}": shape for name, shape in vae_shapes(auto).items()}
        assert {name: tuple(shape) for name, shape in described.items()} == made
