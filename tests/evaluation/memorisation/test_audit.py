"""Planted copies are found, new patients are not taken for copies."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from napari_gem3d.bundle import load_bundle
from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.memorisation.audit import Audit, audit
from napari_gem3d.evaluation.memorisation.latents import Latents
from napari_gem3d.evaluation.memorisation.pixels import Pixels
from napari_gem3d.evaluation.report import audit_folders
from napari_gem3d.io import read_volume, write_volume
from napari_gem3d.volume import Volume

Keep = Callable[..., dict[str, Path]]
Person = Callable[..., np.ndarray]
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def turned(scan: np.ndarray, degrees: float, scale: float) -> np.ndarray:
    angle, middle = np.deg2rad(degrees), (np.array(scan.shape) - 1) / 2
    matrix = np.eye(3)
    matrix[1:, 1:] = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    return ndimage.affine_transform(scan, matrix, middle - matrix @ middle, order=1)


def noisy(scan: np.ndarray) -> np.ndarray:
    blurred = ndimage.gaussian_filter(scan, 1) + np.random.default_rng(7).normal(0, 20, scan.shape)
    return np.where(scan > 0, np.maximum(blurred, 1), 0)


@pytest.fixture
def audited(keep: Keep, person: Person) -> Callable[..., Audit]:
    """An audit of three training and three held-out patients with the synthetic scans given."""
    training = keep("training", **{f"t{seed}": person(seed) for seed in range(3)})
    held_out = keep("real", **{f"h{seed}": person(seed) for seed in range(10, 13)})

    def run(**synthetic: np.ndarray) -> Audit:
        return audit(training, held_out, keep("made", **synthetic))

    return run


def test_copies_are_flagged_and_their_source_is_named(audited: Callable[..., Audit], person: Person) -> None:
    source = person(1)
    found = audited(
        same=source,
        shifted=np.roll(source, (2, -3, 3), (0, 1, 2)),
        brighter=np.where(source > 0, 2.5 * source + 100, 0),
        mirrored=source[:, :, ::-1],
        everything=np.roll(np.where(source > 0, 0.4 * source + 20, 0), (-3, 2, 1), (0, 1, 2))[:, :, ::-1],
        turned=turned(source, 5, 1.04),
        noisy=noisy(source),
    )
    assert set(found.verdicts().values()) == {"copy"}
    scans = found.comparisons[0].synthetic
    assert {scan.nearest for scan in scans.values()} == {"t1"}
    assert all(set(scan.scan) == {"t1"} for scan in scans.values())
    assert scans["same"].nearest_distance == pytest.approx(0, abs=1e-3)
    assert not scans["same"].mirrored.any() and scans["mirrored"].mirrored.all()
    assert np.array_equal(scans["same"].number, scans["same"].slices)
    assert np.abs(scans["shifted"].number - (scans["shifted"].slices - 2)).max() <= 1
    assert found.comparisons[0].share_of_slices == 1 and found.comparisons[0].share_of_scans == 1


def test_new_patients_are_no_copies_even_in_the_body_of_a_training_scan(
    audited: Callable[..., Audit], person: Person
) -> None:
    found = audited(new=person(20), another=person(21), borrowed=person(22, body_of=1))
    assert "copy" not in found.verdicts().values()
    assert found.doubtful() == []
    comparison = found.comparisons[0]
    assert comparison.share_of_slices < 0.2
    for scan in (*comparison.synthetic.values(), *comparison.held_out.values()):
        assert comparison.yardstick.sure < scan.nearest_distance < scan.second_distance


def test_a_copy_in_the_body_of_somebody_else_is_flagged(keep: Keep, person: Person, tmp_path: Path) -> None:
    keep("training", **{f"t{seed}": person(seed) for seed in range(3)})
    keep("real", **{f"h{seed}": person(seed) for seed in range(10, 13)})
    keep("made", dressed=person(2, body_of=20))
    found = audit_folders(tmp_path / "real", tmp_path / "made", tmp_path / "training")
    assert found.verdicts() == {"dressed": "copy"} and found.training == ("t0", "t1", "t2")


def test_single_copied_slices_are_to_look_at(audited: Callable[..., Audit], person: Person) -> None:
    mixed = person(20, body_of=1)
    mixed[30:38] = person(1)[30:38]
    found = audited(mixed=mixed)
    assert found.verdicts() == {"mixed": "look"}
    scan = found.comparisons[0].synthetic["mixed"]
    near = scan.distance < found.comparisons[0].yardstick.closest_slice
    assert near.any() and set(scan.slices[near]) <= set(range(28, 40))
    assert 0 < found.comparisons[0].share_of_slices < 0.5


def test_latents_find_copies_and_mirror_images(keep: Keep, person: Person, tiny_model: Path) -> None:
    training = keep("training", **{f"t{seed}": person(seed) for seed in range(2)})
    held_out = keep("real", **{f"h{seed}": person(seed) for seed in range(10, 13)})
    source = person(1)
    made = keep("made", same=source, mirrored=source[:, :, ::-1], darker=source * 0.5, new=person(20))
    found = audit(training, held_out, made, (Pixels(), Latents(load_bundle(tiny_model))))
    pixels, latents = found.comparisons
    assert "VAE of tiny" in latents.how
    for name in ("same", "mirrored", "darker"):
        assert latents.synthetic[name].nearest == "t1" and latents.synthetic[name].nearest_distance < 0.05
        assert found.verdicts()[name] == "copy"
    assert latents.synthetic["mirrored"].mirrored.all() and not latents.synthetic["same"].mirrored.any()
    assert latents.synthetic["new"].nearest_distance > 0.2
    assert pixels.synthetic["new"].nearest_distance > pixels.yardstick.sure


def test_held_out_scans_that_were_trained_on_are_refused_or_named(keep: Keep, person: Person) -> None:
    training = keep("training", **{f"t{seed}": person(seed) for seed in range(3)})
    real = {f"h{seed}": person(seed) for seed in range(10, 13)}
    made = keep("made", new=person(20))
    with pytest.raises(InputError, match="is the training scan t2; give scans that were held out"):
        audit(training, keep("real", **real, h13=person(2)), made)
    moved = np.roll(person(2), 2, axis=1) * 1.5
    assert audit(training, keep("moved", **real, h13=moved), made).doubtful() == ["h13"]


def test_a_body_too_small_to_compare_is_named(keep: Keep, person: Person) -> None:
    training, real = keep("training", t0=person(0)), keep("real", h10=person(10))
    small = np.zeros((64, 88, 76), np.float32)
    small[30:34, 40:44, 40:44] = 100
    with pytest.raises(InputError, match=r"small\.nii\.gz: it shows too little of a body"):
        audit(training, real, keep("made", small=small))


def test_real_scans_pass_and_a_planted_copy_of_one_does_not(shared_data: Path, tmp_path: Path) -> None:
    images = shared_data / "Dataset501_GliomaFLAIR"
    training = {path.name: path for path in sorted((images / "imagesTr").glob("*.nii.gz"))[:2]}
    new = {path.name: path for path in sorted((images / "imagesTs").glob("*.nii.gz"))[:2]}
    source = read_volume(next(iter(training.values())))
    copied = np.roll(np.where(source.voxels > 0, 1.6 * source.voxels + 40, 0), (3, 4, -5), (0, 1, 2)).astype(np.int16)
    write_volume(Volume(copied, LPS, "MR"), tmp_path / "planted.nii.gz")
    held_out = dict(list(new.items())[:1])
    found = audit(training, held_out, {"planted": tmp_path / "planted.nii.gz", "new": list(new.values())[1]})
    assert found.verdicts()["planted"] == "copy" and found.verdicts()["new"] != "copy"
    assert found.comparisons[0].synthetic["planted"].nearest == next(iter(training))
