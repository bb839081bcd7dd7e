"""The label map that a volume is drawn from: anatomy of the scan, varied and bent with it, never in the dataset's."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from napari_gem3d import InputError, LabelMap, Volume, read_label_map, read_volume, write_volume
from napari_gem3d.anatomy import complete_anatomy
from napari_gem3d.bundle import Plan
from napari_gem3d.cli.main import main
from napari_gem3d.cohorts.enhance import enhance as enhance_with_steps
from napari_gem3d.cohorts.harmonise import harmonise
from napari_gem3d.cohorts.target import dataset_labels, make_target
from napari_gem3d.cohorts.variants import How, Variant
from napari_gem3d.labels import Label, LabelTable
from napari_gem3d.masks import Selection, operations_from_json, transform_mask
from napari_gem3d.sampling.recipe import read_recipe
from napari_gem3d.sampling.settings import Settings

enhance = partial(enhance_with_steps, steps=1)
TABLE = LabelTable(
    (
        Label(1, "edema"),
        Label(4, "brain", meaning="body"),
        Label(5, "ventricles", meaning="tissue"),
        Label(6, "csf", meaning="tissue"),
        Label(7, "grey matter", meaning="tissue"),
        Label(8, "lesion"),
    )
)
PLAN = Plan(name="anatomy", channel="FLAIR", conditioning="fine+slice+offset", labels=TABLE)
TISSUE = (5, 6, 7)
SHAPE = (40, 52, 48)


def ellipsoid(centre, radii):
    axes = np.ogrid[tuple(slice(0, n) for n in SHAPE)]
    return sum(((axis - c) / r) ** 2 for axis, c, r in zip(axes, centre, radii, strict=True)) < 1


BRAIN = ellipsoid((20, 26, 24), (17, 22, 20))
CORTEX = BRAIN & ~ellipsoid((20, 26, 24), (14, 19, 17))
VENTRICLES = ellipsoid((21, 26, 20), (5, 9, 3)) | ellipsoid((21, 26, 28), (5, 9, 3))
LESION = ellipsoid((20, 38, 25), (5, 5, 5))


@pytest.fixture
def brains(tmp_path: Path) -> Path:
    """Two patients with ventricles, a cortex and a lesion; the label map shows the lesion alone."""
    folder = tmp_path / "brains"
    for place in ("imagesTr", "labelsTr"):
        (folder / place).mkdir(parents=True)
    for number, name in enumerate("ab"):
        voxels = np.where(CORTEX, 560.0, 460.0)
        voxels[LESION], voxels[VENTRICLES] = 800, 120
        voxels += np.random.default_rng(number).normal(0, 10, SHAPE)
        scan = Volume(np.where(BRAIN, voxels, 0).astype(np.int16), np.eye(4), "MR")
        write_volume(scan, folder / "imagesTr" / f"{name}_0000.nii.gz", description="")
        write_volume(LabelMap(LESION, np.eye(4)), folder / "labelsTr" / f"{name}.nii.gz")
    facts = {"channel_names": {"0": "FLAIR"}, "labels": {"background": 0, "edema": 1}, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def anatomy_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of `tiny_model` with U-Nets that know tissue; their weights are random."""
    import torch

    from napari_gem3d.bundle import load_bundle, save_bundle
    from napari_gem3d.bundle.conditioning import condition_channels
    from napari_gem3d.networks import SliceUNet, VolumeUNet

    bundle = load_bundle(tiny_model)
    update = {"conditioning": PLAN.conditioning, "name": PLAN.name, "labels": TABLE, "channel": PLAN.channel}
    bundle.plan = bundle.plan.model_copy(update=update)
    torch.manual_seed(0)
    inputs = 4 + condition_channels(bundle.plan)
    bundle.slice_unet = SliceUNet.build(inputs, 4, (16, 16, 16), (False, False, True), 1, 8, 8)
    bundle.volume_unet = VolumeUNet.inflate(bundle.slice_unet)
    return save_bundle(bundle, tmp_path_factory.mktemp("models") / "anatomy")


def variant(brains: Path, kind="IC", mask_seed=1, **how) -> Variant:
    settings = Settings(anatomy=how.pop("anatomy", "scan"))
    common = How("anatomy", settings, **{"bend_mm": 3.0, "labels": {"edema": 1}, **how})
    image, labels = brains / "imagesTr" / "a_0000.nii.gz", brains / "labelsTr" / "a.nii.gz"
    return Variant("a-v1", kind, "a", image, labels, 0, mask_seed, (), brains.parent / "out", common)


def completed(brains: Path) -> LabelMap:
    own = LabelMap(np.where(LESION, 1, np.where(BRAIN, 4, 0)).astype(np.uint8), np.eye(4), table=TABLE)
    scan = read_volume(brains / "imagesTr" / "a_0000.nii.gz")
    return complete_anatomy(own, TABLE, "scan", replace(scan, modality="MR"), channel="FLAIR").labels


def share(target, value, where):
    """How much of what was at `where` in the scan still is there."""
    return np.count_nonzero((target.labels.voxels == value) & where) / np.count_nonzero(where)


def test_body_tissue_and_lesions_are_bent_together_as_the_seed_says(brains):
    straight = make_target(variant(brains, augment="brain", bend_mm=0, mask_seed=3), PLAN)
    assert share(straight, 5, VENTRICLES) > 0.85, "the scan's ventricles lie where they are"
    bent = make_target(variant(brains), PLAN)
    assert bent.anatomy == "map" and not bent.notes
    (bend,) = bent.operations
    assert (bend["name"], bend["amplitude"], bend["smoothness"]) == ("elastic", 3, 25)
    for value, was in ((1, LESION), (5, VENTRICLES), (7, CORTEX)):
        assert 0.2 < share(bent, value, was) < 0.9
    assert 0 < np.count_nonzero((bent.labels.voxels > 0) != BRAIN) < 0.3 * BRAIN.sum(), "the outline too"
    again, other = (make_target(variant(brains, mask_seed=seed), PLAN) for seed in (1, 2))
    assert np.array_equal(again.labels.voxels, bent.labels.voxels) and again.operations == bent.operations
    assert not np.array_equal(other.labels.voxels, bent.labels.voxels)
    stronger = make_target(variant(brains, bend_mm=8), PLAN).operations[0]
    assert (stronger["amplitude"], stronger["smoothness"], stronger["seed"]) == (8, 40, bend["seed"])


def test_lesions_keep_about_their_volume_and_labels_stay_whole(brains):
    shares = []
    for seed in range(8):
        bent = make_target(variant(brains, mask_seed=seed), PLAN).labels
        assert bent.voxels.dtype == np.uint8 and set(bent.values()) <= {1, 4, 5, 6, 7}
        shares.append(np.count_nonzero(bent.voxels == 1) / LESION.sum())
    assert all(0.75 < one < 1.25 for one in shares) and abs(np.mean(shares) - 1) < 0.1


@pytest.mark.parametrize("policy", ["brain", "abdomen"])
def test_maps_are_completed_then_varied_then_bent(brains, policy):
    plain = make_target(variant(brains, bend_mm=3), PLAN).operations
    varied = make_target(variant(brains, augment=policy, bend_mm=0), PLAN)
    both = make_target(variant(brains, augment=policy), PLAN)
    assert varied.operations and varied.anatomy == both.anatomy == "map"
    assert both.operations == (*varied.operations, *plain), "neither draw changes the other"
    again = transform_mask(varied.labels, operations_from_json(plain), select=Selection(everything=True))
    assert np.array_equal(both.labels.voxels, again.labels.voxels)
    how = {"select": Selection(everything=True)} if policy == "abdomen" else {"host": (4, *TISSUE)}
    first = transform_mask(completed(brains), operations_from_json(varied.operations), **how)
    assert np.array_equal(first.labels.voxels, varied.labels.voxels), "tissue of the scan before anything moved"
    assert first.changed.any() and (policy == "brain") == np.array_equal(varied.labels.voxels > 0, BRAIN)
    if policy == "brain":
        left = LESION & (varied.labels.voxels != 1)
        assert left.any() and (varied.labels.voxels[left] == 4).all(), "where the lesion was, no tissue is told"


def test_a_lesion_may_be_moved_over_tissue(brains):
    moved = make_target(variant(brains, augment="brain", bend_mm=0, mask_seed=3), PLAN)
    assert np.count_nonzero(moved.labels.voxels == 1) / LESION.sum() == pytest.approx(1, abs=0.1)
    assert (moved.labels.voxels[VENTRICLES | CORTEX] == 1).any()


@pytest.mark.parametrize(
    "changes", [{"anatomy": "none"}, {"anatomy": "map"}, {"bend_mm": 0}, {"bend_mm": 0, "kind": "harmonised"}]
)
def test_without_anatomy_of_the_scan_the_map_is_the_case_s_own(brains, changes):
    target = make_target(variant(brains, **changes), PLAN)
    assert np.array_equal(target.labels.voxels, LESION) and target.operations == target.found == ()
    assert target.anatomy == changes.get("anatomy", "scan")


def test_models_without_tissue_and_edits_are_not_bent(brains):
    old = PLAN.model_copy(
        update={"conditioning": "labels+slice+offset", "labels": LabelTable((TABLE.by_value(1), TABLE.by_value(4)))}
    )
    assert np.array_equal(make_target(variant(brains), old).labels.voxels, LESION)
    edit = make_target(variant(brains, "edit"), PLAN)
    assert edit.operations and "elastic" not in [step["name"] for step in edit.operations]
    assert set(edit.labels.values()) == {1} and edit.anatomy == "scan"


def test_only_tissue_that_people_have_labelled_reaches_the_dataset(brains):
    target = make_target(variant(brains), PLAN)
    assert target.found == TISSUE
    how = How("anatomy", labels={"edema": 1})
    assert dataset_labels(target.labels, how, PLAN, target.found).values() == (1,)
    assert dataset_labels(target.labels, how, PLAN).values() == (1,), "the dataset names no tissue"
    named = How("anatomy", labels={"edema": 1, "ventricles": 5, "brain": 4})
    assert dataset_labels(target.labels, named, PLAN, target.found).values() == (1, 4), "ventricles are the scan's"
    assert dataset_labels(target.labels, named, PLAN, (6, 7)).values() == (1, 4, 5)
    with pytest.raises(InputError, match=r"value 4, which dataset.json does not name"):
        dataset_labels(target.labels, how)

    path = brains / "labelsTr" / "a.nii.gz"
    write_volume(LabelMap(np.where(VENTRICLES, 5, LESION).astype(np.uint8), np.eye(4)), path)
    own = make_target(variant(brains), PLAN)
    assert own.found == (6, 7)
    kept = dataset_labels(own.labels, named, PLAN, own.found)
    assert kept.values() == (1, 4, 5) and np.array_equal(kept.voxels == 5, own.labels.voxels == 5)


def test_a_dataset_of_bent_anatomy(brains, anatomy_model, tmp_path):
    out = tmp_path / "out"
    made = enhance(brains, out, model=anatomy_model, edit=1, include_real=True)
    assert not made.failed and list(made.records) == ["a-v1", "a-e1", "a", "b-v1", "b-e1", "b"]
    assert [made.records["a-v1"].operations[0][key] for key in ("name", "amplitude")] == ["elastic", 3]
    mask, labels = (read_label_map(out / place / "a-v1.nii.gz") for place in ("masks", "labelsTr"))
    assert set(mask.values()) >= {1, 4, 5, 7} and labels.values() == (1,)
    assert np.array_equal(mask.voxels == 1, labels.voxels == 1) and not np.array_equal(labels.voxels, LESION)
    recipes = {name: read_recipe(out / "imagesTr" / f"{name}_0000.json") for name in ("a-v1", "a-e1")}
    assert {name: recipe.anatomy for name, recipe in recipes.items()} == {"a-v1": "map", "a-e1": "scan"}
    assert np.array_equal(read_label_map(out / "labelsTr" / "a.nii.gz").voxels, LESION)
    assert made.records["a-v1"].operations != made.records["b-v1"].operations

    again = enhance(brains, out, model=anatomy_model, edit=1, include_real=True)
    assert again.count("there") == 6
    for other in ({"bend_mm": 2.0}, {"anatomy": "none"}):
        (name,) = other
        with pytest.raises(InputError, match=f"was begun with {name} "):
            enhance(brains, out, model=anatomy_model, edit=1, include_real=True, **other)
    older = json.loads((out / "provenance.json").read_text())
    del older["settings"]["bend_mm"]
    (out / "provenance.json").write_text(json.dumps(older))
    with pytest.raises(InputError, match=r"was begun with bend_mm None, not 3.0"):
        enhance(brains, out, model=anatomy_model, edit=1, include_real=True)


def test_a_model_without_tissue_draws_the_same_whatever_the_bend(brains, tiny_model, tmp_path):
    bent, straight = (
        enhance(brains, tmp_path / f"{mm}", model=tiny_model, augment="brain", bend_mm=mm) for mm in (3.0, 0.0)
    )
    for name, record in bent.records.items():
        other = straight.records[name]
        assert (record.image_sha256, record.labels_sha256) == (other.image_sha256, other.labels_sha256)
        assert record.operations == other.operations and record.settings != other.settings


def test_harmonising_keeps_anatomy_where_it_is(brains, anatomy_model, tmp_path):
    pytest.importorskip("matplotlib")
    informed, out = brains / "imagesTr" / "b_0000.nii.gz", tmp_path / "out"
    made = harmonise(brains, informed, out, model=anatomy_model, steps=1)
    assert made.cohort.count("made") == 2 and read_recipe(out / "imagesTr" / "a_0000.json").anatomy == "scan"
    assert np.array_equal(read_label_map(out / "labelsTr" / "a.nii.gz").voxels, LESION)
    with pytest.raises(InputError, match="was begun with anatomy scan, not none"):
        harmonise(brains, informed, out, model=anatomy_model, steps=1, anatomy="none")
    shutil.rmtree(out)
    call = ["harmonize", str(brains), "--informed", str(informed), "--out", str(out), "--steps", "1"]
    assert main([*call, "--model", str(anatomy_model), "--anatomy", "none"]) == 0
    assert read_recipe(out / "imagesTr" / "a_0000.json").anatomy == "none"


def test_the_options_of_the_command(brains, anatomy_model, tmp_path, capsys):
    call = ["enhance", str(brains), "--model", str(anatomy_model), "--steps", "1", "--variants", "1"]
    assert main([*call, "--out", str(tmp_path / "bent"), "--bend-anatomy", "1.5"]) == 0
    settings = json.loads((tmp_path / "bent" / "provenance.json").read_text())["settings"]
    assert (settings["bend_mm"], settings["anatomy"]) == (1.5, "scan")
    assert main([*call, "--out", str(tmp_path / "none"), "--anatomy", "none"]) == 0
    assert read_recipe(tmp_path / "none" / "imagesTr" / "a-v1_0000.json").anatomy == "none"
    capsys.readouterr()
    for wrong in (["--bend-anatomy", "-1"], ["--bend-anatomy", "nan"], ["--bend-anatomy", "30"]):
        assert main([*call, "--out", str(tmp_path / "wrong"), *wrong]) == 2
        assert "choose 0 (not at all) to 20" in capsys.readouterr().err
    assert main([*call, "--out", str(tmp_path / "wrong"), "--anatomy", "guess"]) == 2
    assert "The anatomy guess is not possible; choose scan, map or none" in capsys.readouterr().err
    assert not (tmp_path / "wrong").exists()
