"""From recipe to file: every slice once, cancelled or not, and back on the label map's own grid."""

import json
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from napari_gem3d import (
    Grid,
    InputError,
    LabelMap,
    Recipe,
    generate,
    make_recipe,
    read_label_map,
    read_volume,
    replay,
    resample,
    run_recipe,
    write_volume,
)
from napari_gem3d.bundle import load_bundle
from napari_gem3d.sampling.generation import open_job
from napari_gem3d.sampling.job import Job, Part


@pytest.fixture
def recipe(tiny_patient, tiny_model) -> Recipe:
    return make_recipe(tiny_patient.labels, tiny_patient.scan, model=tiny_model, seed=3, device="cpu")


@pytest.fixture
def job(recipe) -> Job:
    return open_job(recipe)


def test_every_axial_slice_is_yielded_exactly_once_as_it_is_in_the_result(job):
    parts = list(job.run())
    indices = [i for part in parts for i in part.indices]
    assert sorted(indices) == list(range(job.total)) and job.total == job.grid.shape[0] == 32
    assert parts[0].indices == [0, 1, 28, 29, 30, 31], "slices without body come first"
    volume = resample(job.result(), job.grid)
    for part in parts:
        assert part.voxels.shape == (len(part.indices), *job.grid.shape[1:])
        np.testing.assert_array_equal(volume.voxels[part.indices], np.rint(part.voxels))
    assert job.finished and not job.cancelled


def test_progress_rises_from_none_to_all(job):
    progress = [part.progress for part in job.run()]
    assert progress[0] == 0.0 and progress[-1] == pytest.approx(1.0)
    assert all(a < b for a, b in pairwise(progress))


def test_the_first_slices_are_those_about_the_start(job, recipe):
    first = next(part for part in list(job.run())[1:] if part.indices)
    assert recipe.start in range(first.indices[0], first.indices[0] + 6)


def test_the_result_is_on_the_masks_grid_in_the_scans_units(job, tiny_patient):
    for _ in job.run():
        pass
    result, mask, scan = job.result(), read_label_map(tiny_patient.labels), read_volume(tiny_patient.scan)
    assert result.orientation == "LPS" and result.grid == mask.grid
    assert result.voxels.dtype == scan.voxels.dtype == np.int16
    inside = mask.voxels > 0
    assert not result.voxels[~inside].any(), "outside the body is background"
    assert len(np.unique(result.voxels[inside])) > 50
    assert result.voxels.min() >= 0 and result.voxels.max() <= scan.voxels.max()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_result_has_the_dtype_of_the_informed_scan(tiny_patient, tiny_model, tmp_path, dtype):
    scan = read_volume(tiny_patient.scan)
    write_volume(scan.with_voxels((scan.voxels / 5).astype(dtype)), tmp_path / "scan.nii.gz")
    recipe = make_recipe(tiny_patient.labels, tmp_path / "scan.nii.gz", model=tiny_model, seed=3)
    written = run_recipe(recipe, tmp_path / "out.nii.gz")
    assert written is not None and read_volume(written).voxels.dtype == dtype


def test_thick_slices_get_a_result_of_thick_slices(tiny_patient, tiny_model, tmp_path):
    mask = read_label_map(tiny_patient.labels)
    thick = mask.aligned_to(mask.grid.with_spacing((4.0, 1.3, None)))
    write_volume(thick, tmp_path / "thick.nii.gz")
    job = open_job(make_recipe(tmp_path / "thick.nii.gz", tiny_patient.scan, model=tiny_model, seed=3))
    indices = [i for part in job.run() for i in part.indices]
    assert sorted(indices) == list(range(32)), "parts are on the plan's grid of 1 mm"
    result = job.result()
    assert result.grid == read_label_map(tmp_path / "thick.nii.gz").grid
    assert result.shape == (8, 28, 40) and result.voxels.dtype == np.int16 and result.voxels.any()


def test_an_oblique_mask_keeps_its_affine(tiny_patient, tiny_model, tmp_path):
    mask = read_label_map(tiny_patient.labels)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    oblique = Grid(mask.shape, turn @ mask.affine)
    write_volume(LabelMap(mask.voxels, oblique.affine), tmp_path / "oblique.nii.gz")
    job = open_job(make_recipe(tmp_path / "oblique.nii.gz", tiny_patient.scan, model=tiny_model, seed=3))
    for _ in job.run():
        pass
    assert job.result().grid.same_as(oblique)
    np.testing.assert_array_equal(job.result().voxels > 0, (job.result().voxels > 0) & (mask.voxels > 0))


def test_a_volume_of_fewer_slices_than_a_window(tiny_patient, tiny_model, tmp_path):
    mask = read_label_map(tiny_patient.labels)
    few = resample(mask, mask.grid.box((14, 0, 0), (3, *mask.shape[1:])), order=0)
    write_volume(few, tmp_path / "few.nii.gz")
    job = open_job(make_recipe(tmp_path / "few.nii.gz", tiny_patient.scan, model=tiny_model, seed=3))
    assert sorted(i for part in job.run() for i in part.indices) == [0, 1, 2]
    assert job.result().shape == few.shape


def cancel_after(job: Job, windows: int) -> list[Part]:
    """Run a job and cancel it once so many parts with slices have come, as from another thread."""
    cancel, parts, finished = threading.Event(), [], 0
    for part in job.run(cancel):
        parts.append(part)
        finished += bool(part.indices)
        if finished == windows:
            cancel.set()
    return parts


def test_a_cancelled_job_keeps_the_slices_that_were_finished(recipe):
    whole = open_job(recipe)
    for _ in whole.run():
        pass
    job = open_job(recipe)
    parts = cancel_after(job, 2)
    done = [i for part in parts for i in part.indices]
    assert job.cancelled and not job.finished
    assert list(np.flatnonzero(job.generated)) == sorted(done)
    kept, full = (resample(j.result(), j.grid).voxels for j in (job, whole))
    np.testing.assert_array_equal(kept[done], full[done])
    rest = [i for i in range(job.total) if i not in done]
    assert rest and not kept[rest].any()


def test_cancel_ends_within_one_denoising_step(job):
    cancel = threading.Event()
    run = job.run(cancel)
    next(run), next(run)
    cancel.set()
    assert list(run) == [] and job.cancelled


def test_a_cancelled_job_can_run_again(recipe):
    job = open_job(recipe)
    cancel_after(job, 2)
    again = [part.voxels for part in job.run()]
    fresh = [part.voxels for part in open_job(recipe).run()]
    assert job.finished and not job.cancelled
    for a, b in zip(again, fresh, strict=True):
        np.testing.assert_array_equal(a, b)


def test_one_seed_one_file(recipe, tmp_path):
    first, second, other = (tmp_path / name for name in ("a.nii.gz", "b.nii.gz", "c.nii.gz"))
    run_recipe(recipe, first)
    run_recipe(recipe, second)
    run_recipe(recipe.model_copy(update={"seed": 4}), other)
    assert first.read_bytes() == second.read_bytes() != other.read_bytes()


def test_a_replay_gives_the_same_bytes(recipe, tmp_path):
    first = run_recipe(recipe, tmp_path / "deep" / "folder" / "first.nii.gz")
    assert first is not None
    before = first.read_bytes()
    sidecar = first.with_name("first.json")
    assert replay(sidecar, tmp_path / "second.nii.gz") == tmp_path / "second.nii.gz"
    assert (tmp_path / "second.nii.gz").read_bytes() == before
    assert json.loads((tmp_path / "second.json").read_bytes()) == json.loads(sidecar.read_bytes())
    first.unlink()
    assert replay(sidecar) == first and first.read_bytes() == before


def test_a_replay_finds_files_beside_the_recipe(tiny_patient, tiny_model, tmp_path, monkeypatch):
    (tmp_path / "case").mkdir()
    for path in (tiny_patient.labels, tiny_patient.scan):
        (tmp_path / "case" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "case" / "model").symlink_to(tiny_model)
    monkeypatch.chdir(tmp_path / "case")
    run_recipe(make_recipe("labels.nii.gz", "scan.nii.gz", model="model", seed=1), "out.nii.gz")
    before = Path("out.nii.gz").read_bytes()
    monkeypatch.chdir(tmp_path)
    assert replay("case/out.json") == Path("case/out.nii.gz")
    assert Path("case/out.nii.gz").read_bytes() == before


def test_the_file_is_marked_as_synthetic_and_written_whole(recipe, tmp_path):
    out = tmp_path / "out.nii.gz"
    run_recipe(recipe, out)
    nibabel = pytest.importorskip("nibabel")
    assert b"synthetic" in nibabel.load(out).header["descrip"].tobytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json", "out.nii.gz"]


def test_nothing_is_written_when_cancelled(recipe, tmp_path):
    cancel = threading.Event()
    for keep in (False, True):  # nothing to keep either: only slices without body have come
        cancel.clear()
        stop = {"cancel": cancel, "progress": lambda part: cancel.set(), "keep_partial": keep}
        assert run_recipe(recipe, tmp_path / "out.nii.gz", **stop) is None
        assert list(tmp_path.iterdir()) == []


def test_a_partial_result_is_kept_if_asked_for(recipe, tmp_path):
    cancel = threading.Event()

    def stop(part: Part) -> None:
        if recipe.start in part.indices:
            cancel.set()

    written = run_recipe(recipe, tmp_path / "out.nii.gz", cancel=cancel, progress=stop, keep_partial=True)
    assert written == tmp_path / "out.partial.nii.gz"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"out.partial{end}" for end in (".json", ".nii.gz", ".safetensors")
    ]
    shown = np.flatnonzero(read_volume(written).voxels.any(axis=(1, 2)))
    assert recipe.start in shown and len(shown) <= 6


def test_generate_opens_at_once_and_yields_the_parts(recipe):
    assert sum(len(part.indices) for part in generate(recipe)) == 32
    with pytest.raises(InputError, match="not the one that the recipe was made with"):
        generate(recipe.model_copy(update={"model": recipe.model.model_copy(update={"sha256": "0" * 64})}))


def test_a_loaded_bundle_is_used_if_it_is_the_recipes(recipe, tiny_model):
    bundle = load_bundle(tiny_model)
    assert open_job(recipe, bundle=bundle).total == 32
    bundle.sha256 = "0" * 64
    with pytest.raises(InputError, match="not the one"):
        open_job(recipe, bundle=bundle)


def test_inputs_that_changed_are_refused(tiny_patient, tiny_model, tmp_path):
    labels = tmp_path / "labels.nii.gz"
    labels.write_bytes(tiny_patient.labels.read_bytes())
    recipe = make_recipe(labels, tiny_patient.scan, model=tiny_model, seed=1)
    labels.write_bytes(tiny_patient.lesions.read_bytes())
    with pytest.raises(InputError, match=r"labels.nii.gz has changed since the recipe was made"):
        open_job(recipe)
    labels.unlink()
    with pytest.raises(InputError, match=r"labels.nii.gz does not exist"):
        open_job(recipe)


def test_the_informed_picture_is_in_the_scans_units(job, tiny_patient):
    scan = read_volume(tiny_patient.scan)
    assert job.informed_picture.shape == (32, 32)
    assert 500 < job.informed_picture.max() <= scan.voxels.max()


def test_a_start_without_body_is_refused(recipe):
    with pytest.raises(InputError, match="starts at slice 0, which holds no body"):
        open_job(recipe.model_copy(update={"start": 0}))


def test_a_bundle_without_a_vae_is_refused(recipe, tiny_model):
    bundle = load_bundle(tiny_model)
    bundle.vae = None
    with pytest.raises(InputError, match="tiny has no VAE"):
        open_job(recipe, bundle=bundle)


def test_results_never_replace_inputs_or_files_of_others(tiny_patient, tiny_model, tmp_path):
    scan = tmp_path / "scan.nii.gz"
    scan.write_bytes(tiny_patient.scan.read_bytes())
    recipe = make_recipe(tiny_patient.labels, scan, model=tiny_model, seed=1)
    with pytest.raises(InputError, match=r"scan.nii.gz is one of the inputs"):
        run_recipe(recipe, scan)
    (tmp_path / "sub-01.json").write_text('{"RepetitionTime": 2.0}')
    with pytest.raises(InputError, match=r"sub-01.json exists and is no record of napari-gem3d"):
        run_recipe(recipe, tmp_path / "sub-01.nii.gz")
    with pytest.raises(InputError, match=r"does not end in .nii or .nii.gz"):
        run_recipe(recipe, tmp_path / "out.mha")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        run_recipe(recipe, tmp_path / "file" / "out.nii.gz")
    assert scan.read_bytes() == tiny_patient.scan.read_bytes()


@pytest.mark.parametrize("scale", [1e38, 1e6])
def test_a_decoder_that_overflows_is_refused_and_nothing_is_written(
    tiny_patient, steady_model, tmp_path: Path, scale: float
) -> None:
    model = steady_model(name="loud")
    weights = model / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = {name: tensor.float() for name, tensor in load_file(weights).items()}
    tensors["decoder.conv_out.weight"] = tensors["decoder.conv_out.weight"].clamp(-1, 1) * scale
    save_file(tensors, weights)
    recipe = make_recipe(tiny_patient.labels, tiny_patient.scan, model=model, seed=3, device="cpu")
    with pytest.raises(InputError, match="draws no slices"):
        run_recipe(recipe, tmp_path / "out.nii.gz")
    assert list(tmp_path.glob("*out*")) == []
