"""All figures of a pair, against a computation of their own and against the reference protocol."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import ndimage, stats

from napari_gem3d.evaluation.frame import Frame
from napari_gem3d.evaluation.judging import compare, figures_of, judge
from napari_gem3d.evaluation.pairs import find_pairs
from napari_gem3d.volume import Volume

NEW = ("ms_ssim", "ms_ssim_max", "ssim_brain", "csf_dice", "lesion_corr")
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


@pytest.fixture(scope="module")
def head() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A brain with ventricles and a tumour, another that is like it in part, and the tumour's labels, (30, 70, 56)."""
    z, y, x = np.mgrid[:30, :70, :56].astype(np.float32)
    rng = np.random.default_rng(0)

    def egg(centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
        return sum(((v - c) / r) ** 2 for v, c, r in zip((z, y, x), centre, radii, strict=True)) < 1

    inside = egg((15, 34, 28), (14, 31, 25))
    tumour = egg((16, 20, 38), (5, 8, 6)).astype(np.uint8) + 2 * egg((16, 20, 38), (2, 4, 3))
    scans = []
    for shift in (0.0, 3.0):
        texture = ndimage.gaussian_filter(rng.normal(size=inside.shape), (1, 2, 2))
        scan = 300 + 400 * texture + 90 * np.sin(x / 4 + shift / 3) * np.cos(y / 5)
        scan[egg((15, 36 + shift, 28), (6, 12, 5))] = 70
        scan[tumour > 0] += 160 + 15 * y[tumour > 0] - 8 * shift * x[tumour > 0]
        scans.append(np.where(inside, np.clip(scan, 20, 900), 0).round())
    scans[0][15, 40, 30] = 4000  # one bright voxel
    return scans[0].astype(np.float32), scans[1].astype(np.float32), tumour


def own_similarity(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """SSIM and its factor of contrast and structure at every pixel, in double precision."""

    def blur(picture: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(picture.astype(float), 1.5, radius=5, mode="mirror")

    means = blur(a), blur(b)
    spreads = [blur(v * v) - m * m for v, m in zip((a, b), means, strict=True)]
    structure = (2 * (blur(a * b) - means[0] * means[1]) + 0.03**2) / (sum(spreads) + 0.03**2)
    return structure * (2 * means[0] * means[1] + 0.01**2) / (means[0] ** 2 + means[1] ** 2 + 0.01**2), structure


def own_ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al. 2003 of two pictures, halved four times.

    As the reference (torchmetrics) and unlike the paper, the coarsest scale counts pixels whose window reaches beyond
    the rim, where the picture is mirrored.
    """
    score = 1.0
    for level, weight in enumerate(WEIGHTS):
        similar, structure = own_similarity(a, b)
        score *= max(similar.mean() if level == 4 else structure[5:-5, 5:-5].mean(), 0) ** weight
        a, b = (v.reshape(v.shape[0] // 2, 2, v.shape[1] // 2, 2).mean((1, 3)) for v in (a, b))
    return score


def own_resized(picture: np.ndarray) -> np.ndarray:
    """512 × 512, by lines between the centres of pixels, first along rows, then along columns."""
    for axis in (0, 1):
        length = picture.shape[axis]
        wanted = (np.arange(512) + 0.5) * length / 512 - 0.5
        lines = np.apply_along_axis(lambda line, at=wanted: np.interp(at, np.arange(len(line)), line), axis, picture)
        picture = lines
    return picture


def own_judge(real: np.ndarray, made: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The figures by their definitions."""
    box = tuple(slice(axis.min(), axis.max() + 1) for axis in np.nonzero(real))
    top = np.percentile(real[real > 0], 99.5)
    found = {}
    for name, highest in (("ms_ssim", top), ("ms_ssim_max", real.max())):
        a, b = (np.clip(v[box] / highest, 0, 1)[5:-5:4] for v in (real, made))
        found[name] = np.mean([own_ms_ssim(own_resized(p), own_resized(q)) for p, q in zip(a, b, strict=True)])
    a, b = (np.clip(v / top, 0, 1) for v in (real, made))
    deep = ndimage.distance_transform_edt(real > 0) > 4
    similar = np.stack([own_similarity(p[box[1:]], q[box[1:]])[0] for p, q in zip(a, b, strict=True)])
    found["ssim_brain"] = similar[deep[:, box[1], box[2]]].mean()
    healthy = (real > 0) & (labels == 0)
    fluid = [
        deep & healthy & (ndimage.gaussian_filter(v, 0.6) < 0.62 * np.median(v[healthy & (v > 0)])) for v in (a, b)
    ]
    found["csf_dice"] = 2 * (fluid[0] & fluid[1]).sum() / (fluid[0].sum() + fluid[1].sum())
    found["lesion_corr"] = stats.pearsonr(a[labels > 0], b[labels > 0]).statistic
    return found


def test_figures_are_those_of_their_definitions(head: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    pytest.importorskip("torchmetrics")
    real, made, labels = head
    found = compare(real, made, Frame.of_voxels(real), labels)
    wanted = own_judge(real, made, labels)
    assert {name: found[name] for name in NEW} == pytest.approx(wanted, abs=1e-3)
    # They say something: neither perfect nor nothing, and one bright voxel halves all contrasts.
    assert all(0.02 < wanted[name] < 0.98 for name in NEW) and wanted["ms_ssim_max"] > wanted["ms_ssim"] + 0.02


@pytest.fixture
def reference(shared_data: Path) -> ModuleType:
    """The reference protocol, beside the checkout."""
    path = shared_data.parent / "judge.py"
    if not path.is_file():
        pytest.skip("the reference protocol is not beside this checkout")
    spec = importlib.util.spec_from_file_location("judge", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_figures_are_those_of_the_reference(
    head: tuple[np.ndarray, np.ndarray, np.ndarray], reference: ModuleType
) -> None:
    pytest.importorskip("torchmetrics")
    real, made, labels = head
    found = compare(real, made, Frame.of_voxels(real), labels)
    # It wants (X, Y, Z).
    wanted = reference.judge(*(volume.transpose(2, 1, 0) for volume in head))
    for name in (*NEW, "step_axial", "sharpness"):
        assert found[name] == pytest.approx(wanted[name], abs=1e-3), name
    assert found["psnr"] == pytest.approx(wanted["psnr"], abs=6e-3)
    ratios = {int(label): entry["ratio"] for label, entry in found["contrast"].items()}
    assert ratios == pytest.approx(wanted["contrast"], abs=1e-3) and len(ratios) == 2


def test_files_are_judged_as_the_reference_does(folders, reference: ModuleType) -> None:
    pytest.importorskip("torchmetrics")
    pair = find_pairs(folders.real, folders.made, folders.labels)[0]
    found = judge(pair)
    wanted = reference.judge(*(reference.load(str(path)) for path in (pair.real, pair.made, pair.labels)))
    for name in ("ms_ssim", "ms_ssim_max", "ssim_brain", "lesion_corr", "psnr", "step_axial", "sharpness"):
        assert found[name] == pytest.approx(wanted[name], abs=6e-3 if name == "psnr" else 1e-3), name
    assert {int(k): round(v["ratio"], 3) for k, v in found["contrast"].items()} == wanted["contrast"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """MS-SSIM is not what is asked."""
    monkeypatch.setattr("napari_gem3d.evaluation.judging.mean_ms_ssim", lambda *_: 1.0)
    monkeypatch.setattr(
        "napari_gem3d.evaluation.judging.likeness", lambda *_: {"ms_ssim": 1.0, "ssim": 1.0, "psnr": 1.0}
    )


@pytest.mark.usefixtures("quick")
def test_margins_are_in_millimetres(head: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Voxels of 2 mm: as many again of them as lie within 4 mm of the background count."""
    pytest.importorskip("torchmetrics")
    real, made, _ = head
    frame = Frame.of(Volume(real, np.diag([2.0, 2.0, 2.0, 1.0]), "MR"))
    assert frame.spacing == (2, 2, 2) and not frame.ct
    found = compare(real, made, frame)["ssim_brain"]
    inside = ndimage.distance_transform_edt(real > 0) > 2
    box = frame.box
    a, b = (frame.apply(volume) for volume in (real, made))
    similar = np.stack([own_similarity(p, q)[0] for p, q in zip(a, b, strict=True)])
    assert found == pytest.approx(similar[inside[box]].mean(), abs=1e-3)
    assert found != pytest.approx(compare(real, made, Frame.of_voxels(real))["ssim_brain"], abs=1e-3)


@pytest.mark.usefixtures("quick")
def test_a_figure_that_cannot_be_is_none_or_left_out(
    head: tuple[np.ndarray, np.ndarray, np.ndarray], brain: Callable[..., np.ndarray]
) -> None:
    pytest.importorskip("torchmetrics")
    real, made, labels = head
    without = compare(real, made, Frame.of_voxels(real))
    assert "lesion_corr" not in without and "csf_dice" in without
    even = np.where(labels > 0, 500, real).astype(np.float32)
    assert compare(even, made, Frame.of_voxels(even), labels)["lesion_corr"] is None
    assert compare(real, made, Frame.of_voxels(real), 5 * labels)["lesion_corr"] is None, "labels 5 to 15 are no lesion"
    thin = np.zeros((30, 70, 56), np.float32)
    thin[:, 30:37, 20:40] = real[:, 30:37, 20:40] + 1
    assert compare(thin, made, Frame.of_voxels(thin))["ssim_brain"] is None, "nothing is 4 mm inside"
    bright = brain(0).astype(np.float32)
    bright[bright > 0] += 2000
    assert compare(bright, bright, Frame.of_voxels(bright))["csf_dice"] is None, "nothing is dark"


def test_tables_have_the_figures_that_some_pair_has() -> None:
    mr, ct = {"ms_ssim": 1, "csf_dice": None}, {"ms_ssim": 1, "lpips": 0.1}
    assert figures_of([ct], "lpips") == ["ms_ssim", "lpips"]
    assert figures_of([mr, ct], "lpips") == ["ms_ssim", "lpips", "csf_dice"]
    assert set(figures_of([], "lpips")) > {"ms_ssim", "ms_ssim_max", "ssim_brain", "csf_dice", "lesion_corr", "lpips"}
