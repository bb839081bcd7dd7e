"""Generation and edits by a small model that knows tissue: where it comes from, and what mass effect moves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_gem3d import LabelMap, Volume, make_edit_recipe, make_recipe, read_volume, run_recipe, write_volume
from napari_gem3d.bundle import ModelBundle, Plan, save_bundle
from napari_gem3d.bundle.conditioning import condition_channels
from napari_gem3d.cli.main import main
from napari_gem3d.errors import InputError
from napari_gem3d.labels import Label, LabelTable
from napari_gem3d.networks import SliceUNet, SliceVAE, VolumeUNet
from napari_gem3d.sampling.generation import open_job
from napari_gem3d.volume import resample

from .phantom import BRAIN, ellipsoid, scan

TABLE = LabelTable(
    (
        Label(1, "edema"),
        Label(4, "brain", meaning="body"),
        Label(5, "ventricles", meaning="tissue"),
        Label(6, "csf", meaning="tissue"),
        Label(7, "grey matter", meaning="tissue"),
    )
)
BESIDE = ellipsoid((48, 62, 24), (15, 15, 13)) & BRAIN


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    latents = {"channels": 4, "factor": 8, "mean": [0.0] * 4, "std": [1.0] * 4}
    plan = Plan(
        name="fine",
        channel="FLAIR",
        spacing=(4, 2, 2),
        size=(64, 64),
        window=6,
        labels=TABLE,
        conditioning="fine+slice+offset",
        latents=latents,
        default_steps=2,
    )
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3}
    vae = SliceVAE.build(
        {"block_out_channels": (8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4, "latent_channels": 4, **blocks}
    )
    net = SliceUNet.build(4 + condition_channels(plan), 4, (16, 16), (False, False), 1, 8, 4)
    return save_bundle(
        ModelBundle(plan, vae=vae, slice_unet=net, volume_unet=VolumeUNet.inflate(net)),
        tmp_path_factory.mktemp("model") / "fine",
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A scan at 2 mm, its label map without and with a lesion, and one that holds ventricles of its own."""
    folder = tmp_path_factory.mktemp("files")
    volume = scan()
    grid = volume.grid.with_spacing((2, 2, 2))
    coarse = resample(volume, grid).voxels
    inside = resample(LabelMap(BRAIN, volume.affine), grid, order=0).voxels > 0
    write_volume(Volume(np.where(inside, coarse, 0).astype(np.int16), grid.affine, "MR"), folder / "scan.nii.gz")
    lesion = resample(LabelMap(BESIDE, volume.affine), grid, order=0).voxels > 0
    own = resample(LabelMap(ellipsoid((50, 58, 70), (8, 8, 8)), volume.affine), grid, order=0).voxels > 0
    for name, labels in (
        ("none", 4 * inside),
        ("lesion", np.where(lesion, 1, 4 * inside)),
        ("own", np.where(own, 5, 4 * inside)),
    ):
        write_volume(LabelMap(labels.astype(np.uint8), grid.affine), folder / f"{name}.nii.gz")
    return folder


def job(files, model, mask="lesion", **options):
    settings = {"model": model, "seed": 1, "device": "cpu", "precision": "float32", **options}
    return open_job(
        make_recipe(files / f"{mask}.nii.gz", files / "scan.nii.gz", body=files / "scan.nii.gz", **settings)
    )


def drawn(job):
    for _ in job.run():
        pass
    return job.result().voxels


def test_tissue_comes_from_the_scan_the_map_or_nowhere(files, model):
    by_scan, by_map, by_none = (
        job(files, model, "own", anatomy=source).prepared.case for source in ("scan", "map", "none")
    )
    assert by_scan.unknown == () and set(np.unique(by_scan.labels).tolist()) == {0, 4, 5, 6, 7}
    assert by_map.unknown == (6, 7) and set(np.unique(by_map.labels).tolist()) == {0, 4, 5}
    assert by_none.unknown == (5, 6, 7) and set(np.unique(by_none.labels).tolist()) == {0, 4}
    assert np.array_equal(by_scan.labels == 5, by_map.labels == 5), "the map's own ventricles stay"
    volumes = [drawn(job(files, model, "own", anatomy=source)) for source in ("scan", "map", "none")]
    assert (volumes[0] != volumes[2]).any() and (volumes[1] != volumes[2]).any()


def test_a_recipe_says_where_tissue_comes_from_and_replays(files, model, tmp_path):
    recipe = make_recipe(
        files / "lesion.nii.gz",
        files / "scan.nii.gz",
        body=files / "scan.nii.gz",
        model=model,
        seed=1,
        anatomy="none",
        mass_effect_mm=2.0,
    )
    first = run_recipe(recipe, tmp_path / "a.nii.gz")
    written = json.loads((tmp_path / "a.json").read_text())
    assert (written["anatomy"], written["mass_effect_mm"]) == ("none", 2.0)
    assert main(["replay", str(tmp_path / "a.json"), "--out", str(tmp_path / "b.nii.gz")]) == 0
    assert np.array_equal(read_volume(first).voxels, read_volume(tmp_path / "b.nii.gz").voxels)


def test_other_sources_and_distances_are_refused(files, model):
    with pytest.raises(InputError, match="anatomy atlas is not possible; choose scan, map or none"):
        job(files, model, anatomy="atlas")
    with pytest.raises(InputError, match="mass effect"):
        job(files, model, mass_effect_mm=-1.0)
    with pytest.raises(InputError, match="mass effect"):
        job(files, model, mass_effect_mm=60.0)


def test_mass_effect_makes_the_ventricle_beside_a_lesion_smaller(files, model):
    plain, pushed = (job(files, model, mass_effect_mm=mm).prepared.case.labels for mm in (0.0, 5.0))
    assert np.array_equal(plain == 1, pushed == 1)
    assert np.array_equal(plain > 0, pushed > 0)
    assert np.count_nonzero(pushed == 5) < 0.95 * np.count_nonzero(plain == 5)


def edited(files, model, out, before="none", after="lesion", **options):
    recipe = make_edit_recipe(
        files / "scan.nii.gz", files / f"{before}.nii.gz", files / f"{after}.nii.gz", model=model, seed=1, **options
    )
    return read_volume(run_recipe(recipe, out)).voxels


def test_an_edit_leaves_the_scan_beyond_its_margin_unless_tissue_is_pushed(files, model, tmp_path):
    own = read_volume(files / "scan.nii.gz").voxels
    still, moved = (
        edited(files, model, tmp_path / f"{mm}.nii.gz", mass_effect_mm=mm, margin_mm=4.0) for mm in (0.0, 6.0)
    )
    lesion = read_volume(files / "lesion.nii.gz").voxels == 1
    from scipy import ndimage

    far = ndimage.distance_transform_edt(~lesion, sampling=2.0) > 5
    assert np.array_equal(still[far], own[far])
    assert (moved[far] != own[far]).mean() > 0.02
    assert np.array_equal(moved[own == 0], own[own == 0])


def test_edits_go_without_anatomy_too(files, model, tmp_path):
    one, two = (
        edited(files, model, tmp_path / f"{source}.nii.gz", "lesion", "none", anatomy=source)
        for source in ("scan", "none")
    )
    assert (one != two).any()
