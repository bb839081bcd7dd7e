"""Local edits: what changes, what never does, and what the windows are shown."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_gem3d import (
    Grid,
    InputError,
    LabelMap,
    Recipe,
    Volume,
    make_edit_recipe,
    read_label_map,
    read_volume,
    replay,
    resample,
    run_recipe,
    write_volume,
)
from napari_gem3d.bundle import load_bundle
from napari_gem3d.bundle.preprocessing import prepare_scan
from napari_gem3d.foreground import foreground
from napari_gem3d.sampling.edit import EditJob
from napari_gem3d.sampling.generation import open_job
from napari_gem3d.sampling.prepare_edit import soft_weight

MARGIN = 3.0
Change = Callable[[np.ndarray], np.ndarray]


def ball(z: float, y: float, x: float, radius: float, shape: tuple[int, ...] = (32, 36, 40)) -> np.ndarray:
    zyx = np.mgrid[tuple(slice(n) for n in shape)]
    return sum((axis - centre) ** 2 for axis, centre in zip(zyx, (z, y, x), strict=True)) < radius**2


# The lesion (label 1) is about (18, 20, 24), slices 16 to 20; the body (label 4) from slice 2 to 27.
def add(labels: np.ndarray) -> np.ndarray:
    return np.where(ball(9, 14, 18, 2.5) & (labels == 4), 3, labels)


def enlarge(labels: np.ndarray) -> np.ndarray:
    return np.where(ndimage.binary_dilation(labels == 1, iterations=2) & (labels == 4), 1, labels)


def remove(labels: np.ndarray) -> np.ndarray:
    return np.where(labels == 1, 4, labels)


def erase(labels: np.ndarray) -> np.ndarray:
    return np.where(labels == 1, 0, labels)


def move(labels: np.ndarray) -> np.ndarray:
    moved = np.roll(labels == 1, (-3, -2, -4), (0, 1, 2))
    return np.where(moved, 1, remove(labels))


@dataclass(frozen=True)
class Edit:
    """Files of one edit, and the change between its maps (Z, Y, X) on the scan's grid."""

    image: Path
    mask: Path
    edited: Path
    changed: np.ndarray

    def recipe(self, model: Path, **options: object) -> Recipe:
        options = {"margin_mm": MARGIN, "seed": 1, "device": "cpu", "model": model, **options}
        return make_edit_recipe(self.image, self.mask, self.edited, **options)


@pytest.fixture
def edit_of(tiny_patient, tmp_path) -> Callable[..., Edit]:
    def make(change: Change, grid: Grid | None = None, dtype: type = np.int16) -> Edit:
        scan, labels = read_volume(tiny_patient.scan), read_label_map(tiny_patient.labels)
        if grid is not None:
            scan, after = resample(scan, grid), resample(LabelMap(change(labels.voxels), labels.affine), grid, order=0)
            labels = resample(labels, grid, order=0)
        else:
            after = labels.with_voxels(change(labels.voxels).astype(np.uint8))
        files = [tmp_path / name for name in ("image.nii.gz", "before.nii.gz", "after.nii.gz")]
        scan = scan.with_voxels((scan.voxels / (5 if dtype is np.uint8 else 1)).astype(dtype))
        for volume, path in zip((scan, labels, after), files, strict=True):
            write_volume(volume, path)
        return Edit(*files, labels.voxels != after.voxels)

    return make


def ran(recipe: Recipe) -> EditJob:
    job = open_job(recipe)
    assert isinstance(job, EditJob)
    for _ in job.run():
        pass
    return job


def check_confined(edit: Edit, result: Volume) -> None:
    """Something changes where labels do, and not one bit beyond the margin."""
    scan = read_volume(edit.image)
    assert result.grid == scan.grid and result.voxels.dtype == scan.voxels.dtype
    beyond = ndimage.distance_transform_edt(~edit.changed, sampling=scan.spacing) >= MARGIN
    assert beyond.any()
    assert result.voxels[beyond].tobytes() == scan.voxels[beyond].tobytes()
    assert (result.voxels[edit.changed] != scan.voxels[edit.changed]).mean() > 0.9


@pytest.mark.parametrize("change", [add, enlarge, move, remove])
def test_only_what_the_change_reaches_changes(edit_of, tiny_model, change):
    edit = edit_of(change)
    check_confined(edit, ran(edit.recipe(tiny_model)).result())


OBLIQUE = np.array([[0.94, 0.1, 0.05, -22], [-0.1, 0.95, 0.1, -8], [-0.05, -0.1, 2.5, -10], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("dtype", "affine", "shape"),
    [
        (np.uint8, np.array([[0, 1.0, 0, -19], [0, 0, 1, -5], [-1, 0, 0, 24], [0, 0, 0, 1]]), (36, 40, 32)),
        (np.float32, np.diag([-0.8, 1.3, 3.0, 1]) + np.outer([20, -5, -7, 0], [0, 0, 0, 1]), (11, 28, 50)),
        (np.float64, OBLIQUE, (13, 40, 42)),
    ],
    ids=["other axes", "thick slices", "oblique"],
)
def test_every_orientation_spacing_and_dtype(edit_of, tiny_model, dtype, affine, shape):
    edit = edit_of(enlarge, Grid(shape, affine), dtype)
    check_confined(edit, ran(edit.recipe(tiny_model)).result())


def test_maps_of_other_axes_and_without_body_give_the_same_result(edit_of, tiny_model, tiny_patient, tmp_path):
    edit = edit_of(remove)
    whole = ran(edit.recipe(tiny_model)).result().voxels
    erased = edit_of(erase)
    np.testing.assert_array_equal(ran(erased.recipe(tiny_model)).result().voxels, whole)
    nothing, turned = tmp_path / "nothing.nii.gz", tmp_path / "turned.nii.gz"
    lesions = read_label_map(tiny_patient.lesions)
    write_volume(lesions.with_voxels(np.zeros_like(lesions.voxels)), nothing)
    write_volume(resample(lesions, lesions.grid.canonical()), turned)
    # The foreground of the scan is the body that the map with labels has.
    without = Edit(edit.image, turned, nothing, edit.changed)
    np.testing.assert_array_equal(ran(without.recipe(tiny_model)).result().voxels, whole)


def test_labels_beyond_the_body_are_left_out(edit_of, tiny_model):
    def over_the_edge(labels: np.ndarray) -> np.ndarray:
        return np.where(ball(14, 6, 21, 4), 1, labels)

    edit = edit_of(over_the_edge)
    job, scan = ran(edit.recipe(tiny_model)), read_volume(edit.image)
    body = read_label_map(edit.mask).voxels > 0
    assert (edit.changed & ~body).any() and (edit.changed & body).any()
    result = job.result().voxels
    np.testing.assert_array_equal(result[~body], scan.voxels[~body])
    assert (result != scan.voxels)[edit.changed & body].any()


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda labels: labels, {}, "has the same labels as"),
        (lambda labels: np.where(ball(2, 2, 2, 2), 1, labels), {}, "only outside the body"),
        (lambda labels: np.where(ball(9, 14, 18, 2), 7, labels), {}, "the value 7"),
        (add, {"margin_mm": 0.0}, "margin 0.0 mm is not possible"),
        (add, {"margin_mm": float("nan")}, "margin nan mm is not possible"),
        (add, {"slice": 99}, "no slice 99"),
        (add, {"slice": 9, "position": 0.5}, "one of the two"),
        (add, {"steps": 0}, "number of steps 0"),
    ],
)
def test_what_cannot_be_done_is_refused(edit_of, tiny_model, change, options, message):
    with pytest.raises(InputError, match=message):
        edit_of(change).recipe(tiny_model, **options)


def test_a_map_of_another_place_is_refused(edit_of, tiny_model, tmp_path):
    edit = edit_of(add)
    after = read_label_map(edit.edited)
    write_volume(LabelMap(after.voxels, after.affine + np.outer([0, 0, 500, 0], [0, 0, 0, 1])), tmp_path / "far.nii")
    with pytest.raises(InputError, match=r"far.nii does not overlap"):
        Edit(edit.image, edit.mask, tmp_path / "far.nii", edit.changed).recipe(tiny_model)


def test_parts_bring_every_slice_once_the_untouched_ones_first(edit_of, tiny_model):
    edit = edit_of(remove)
    job = open_job(edit.recipe(tiny_model))
    parts = list(job.run())
    scan = resample(read_volume(edit.image), job.grid).voxels
    # Changed in slices 16 to 20; with a margin of 3 mm slices 2 mm further have a weight above 0.
    touched = list(range(14, 23))
    assert parts[0].indices == [i for i in range(32) if i not in touched]
    np.testing.assert_array_equal(parts[0].voxels, scan[parts[0].indices])
    assert sorted(i for part in parts for i in part.indices) == list(range(32))
    result = resample(job.result(), job.grid).voxels
    for part in parts:
        np.testing.assert_array_equal(result[part.indices], np.rint(part.voxels))
    assert job.finished and parts[-1].progress == pytest.approx(1.0)


def test_the_windows_are_shown_the_scan_around_the_change(edit_of, tiny_model):
    edit = edit_of(remove)
    job, bundle = open_job(edit.recipe(tiny_model, precision="float32")), load_bundle(tiny_model)
    given = job._given()
    # Counted from slice 2, the lowest with body; a window is 6 slices.
    assert [w.new for w in given.windows] == [range(12, 17), range(17, 21)]
    assert [w.informed for w in given.windows] == [11, 16], "the scan's own slice, then what it led to"
    keep = given.keep.numpy()
    assert keep.shape == (26, 1, 4, 4) and keep.min() == 0 and keep.max() == 1
    assert (keep[:12] == 1).all() and (keep[21:] == 1).all() and (keep[12:21].min(axis=(1, 2, 3)) < 1).all()
    scan = read_volume(edit.image)
    slices = torch.from_numpy(prepare_scan(bundle.plan, scan, job.prepared.case.box, foreground(scan)))[:, None]
    needed = sorted({i for w in given.windows for i in w.slices})
    with torch.no_grad():
        torch.testing.assert_close(given.latents[needed], bundle.vae.encode(slices[needed]), atol=1e-4, rtol=1e-4)
    others = [i for i in range(26) if i not in needed]
    assert others and not given.latents[others].any(), "no others are encoded"


def test_the_informed_slice_is_the_nearest_that_the_edit_leaves_alone(edit_of, tiny_model):
    recipe = edit_of(remove).recipe(tiny_model)
    assert recipe.start == recipe.informed_slice == 13
    assert recipe.edit is not None and recipe.edit.own_neighbours
    assert recipe.informed == recipe.edit.image and recipe.same_patient


def test_another_informed_slice_informs_the_edges_of_the_edit(edit_of, tiny_model, tiny_patient, tmp_path):
    edit = edit_of(remove)
    chosen = edit.recipe(tiny_model, slice=6)
    assert chosen.start == 6 and chosen.edit is not None and not chosen.edit.own_neighbours
    job = open_job(chosen)
    assert [w.informed for w in job._given().windows] == [None, 16]
    scan = read_volume(tiny_patient.scan)
    write_volume(scan.with_voxels((scan.voxels * 2).astype(np.int16)), tmp_path / "other.nii.gz")
    other = edit.recipe(tiny_model, informed=tmp_path / "other.nii.gz")
    assert not other.same_patient and other.informed_slice == 18, "at the edit, unless another is named"
    check_confined(edit, ran(other).result())
    assert open_job(other)._intensities.high < scan.voxels.max() * 1.5, "in the units of the edited scan"


def test_two_changes_far_apart_leave_what_is_between_them_alone(edit_of, tiny_model):
    def both_ends(labels: np.ndarray) -> np.ndarray:
        return np.where((ball(5, 17, 21, 2) | ball(24, 17, 21, 2)) & (labels == 4), 3, labels)

    edit = edit_of(both_ends)
    job = ran(edit.recipe(tiny_model))
    check_confined(edit, job.result())
    assert not set(range(10, 19)) & set(job.todo) and {5, 24} < set(job.todo)


def test_an_edit_that_reaches_every_slice_is_generated_from_its_least_changed_one(edit_of, tiny_model):
    def through_all(labels: np.ndarray) -> np.ndarray:
        y, x = np.mgrid[:36, :40]
        return np.where(((y - 17) ** 2 + (x - 21) ** 2 < 4) & (labels == 4), 1, labels)

    edit = edit_of(through_all)
    job = ran(edit.recipe(tiny_model))
    check_confined(edit, job.result())
    assert list(job.todo) == list(range(2, 28))


def test_a_cancelled_edit_keeps_the_scan_elsewhere(edit_of, tiny_model, tmp_path):
    def tall(labels: np.ndarray) -> np.ndarray:
        z, y, x = np.mgrid[:32, :36, :40]
        return np.where(((y - 17) ** 2 + (x - 21) ** 2 < 4) & (z > 5) & (z < 25), 1, labels)

    edit = edit_of(tall)
    recipe = edit.recipe(tiny_model)
    cancel = threading.Event()

    def stop(part) -> None:
        if part.indices and part.progress > 0:
            cancel.set()

    written = run_recipe(recipe, tmp_path / "o.nii.gz", cancel=cancel, progress=stop, keep_partial=True)
    assert written == tmp_path / "o.partial.nii.gz"
    scan, partial, whole = read_volume(edit.image).voxels, read_volume(written).voxels, ran(recipe).result().voxels
    done = (partial != scan).any(axis=(1, 2))
    assert done.any() and not done.all()
    np.testing.assert_array_equal(partial[done], whole[done])
    assert ((whole != scan).any(axis=(1, 2)) & ~done).any()


def test_a_replay_gives_the_same_bytes(edit_of, tiny_model, tmp_path):
    edit = edit_of(add)
    out = run_recipe(edit.recipe(tiny_model), tmp_path / "out" / "edited.nii.gz")
    assert out is not None
    header = nibabel.load(out).header
    assert b"synthetic" in header["descrip"].tobytes()
    told = json.loads(out.with_name("edited.json").read_bytes())
    assert told["task"] == "edit" and told["format_version"] == 1 and told["edit"]["margin_mm"] == MARGIN
    named = [told["edit"]["image"], told["mask"], told["edit"]["edited"]]
    assert [file["path"] for file in named] == [str(edit.image), str(edit.mask), str(edit.edited)]
    again = replay(out.with_name("edited.json"), tmp_path / "again.nii.gz")
    assert again is not None and again.read_bytes() == out.read_bytes()
    for file in (edit.image, edit.edited):
        with pytest.raises(InputError, match="is one of the inputs"):
            run_recipe(Recipe.model_validate(told), file)
    edit.edited.write_bytes(edit.mask.read_bytes())
    with pytest.raises(InputError, match=r"after.nii.gz has changed since"):
        replay(out.with_name("edited.json"))


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_the_soft_weight_falls_from_one_to_exactly_zero(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, 12)] * 3))
    spacing = data.draw(st.tuples(*[st.floats(0.4, 7.0)] * 3))
    margin = data.draw(st.floats(0.3, 15.0))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    changed, within = rng.random(shape) < 0.05, rng.random(shape) < 0.9
    changed[tuple(rng.integers(shape))] = True
    within |= changed
    weight = soft_weight(changed, within, spacing, margin)
    distance = ndimage.distance_transform_edt(~changed, sampling=spacing)
    assert (weight[changed] == 1).all()
    assert not weight[distance >= margin].any() and not weight[~within].any()
    inside = within & (distance < margin * 0.999)
    assert (weight[inside] > 0).all()
    order = np.argsort(distance[within], kind="stable")
    assert (np.diff(weight[within][order]) <= 1e-6).all(), "never rises with the distance"


def test_what_was_read_for_the_recipe_is_read_anew_if_it_has_changed(edit_of, tiny_model):
    edit = edit_of(remove)
    recipe = edit.recipe(tiny_model)
    first, second = open_job(recipe), open_job(recipe)
    assert first.prepared is not second.prepared, "the second job reads for itself"
    np.testing.assert_array_equal(first.prepared.case.labels, second.prepared.case.labels)
    again = edit.recipe(tiny_model)
    scan = read_volume(edit.image)
    write_volume(scan.with_voxels(scan.voxels + 1), edit.image)
    with pytest.raises(InputError, match=r"image.nii.gz has changed since"):
        open_job(again)


def test_the_scan_stays_in_latents_where_nothing_changes(edit_of, tiny_model):
    job = open_job(edit_of(remove).recipe(tiny_model))
    given = job._given()
    for _ in job.run():
        pass
    kept = (given.keep == 1).expand_as(given.latents)
    assert torch.equal(job._propagation.latents[kept], given.latents[kept])
