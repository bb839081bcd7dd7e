"""Arrays in, arrays out: the same voxels as by files, however the generation is asked."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import napari_gem3d as gem
from napari_gem3d import InputError, LabelMap, Volume, read_label_map, read_volume, write_volume
from napari_gem3d.bundle import load_bundle
from napari_gem3d.networks.volume_unet import InflatedConv2d
from napari_gem3d.volume import resample


@pytest.fixture(scope="module")
def bundle(tiny_model):
    return load_bundle(tiny_model)


@pytest.fixture
def arrays(tiny_patient) -> gem.Inputs:
    """The tiny patient without any file to it."""
    scan, labels = read_volume(tiny_patient.scan), read_label_map(tiny_patient.lesions)
    volume = Volume(scan.voxels, scan.affine)
    return gem.Inputs(LabelMap(labels.voxels, labels.affine), informed=volume, body=volume)


def test_arrays_give_the_voxels_that_files_give(bundle, arrays, tiny_patient, tiny_model, tmp_path):
    result = gem.generate(bundle, arrays, gem.Settings(seed=3, slice=12, device="cpu")).result()
    recipe = gem.make_recipe(
        tiny_patient.lesions,
        tiny_patient.scan,
        body=tiny_patient.scan,
        slice=12,
        model=tiny_model,
        seed=3,
        device="cpu",
    )
    written = gem.run_recipe(recipe, tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(result.voxels, read_volume(written).voxels)
    np.testing.assert_allclose(result.affine, arrays.mask.affine)
    np.testing.assert_array_equal(np.asarray(gem.generate(recipe)), result.voxels)


def test_an_edit_of_arrays_gives_the_voxels_of_an_edit_of_files(bundle, tiny_patient, tiny_model, tmp_path):
    scan, labels = read_volume(tiny_patient.scan), read_label_map(tiny_patient.labels)
    healed = labels.with_voxels(np.where(labels.voxels == 1, 4, labels.voxels).astype(np.uint8))
    settings = gem.Settings(seed=3, margin_mm=4, device="cpu")
    result = gem.edit(bundle, gem.EditInputs(scan, labels, healed), settings).result()
    write_volume(healed, tmp_path / "healed.nii.gz")
    recipe = gem.make_edit_recipe(
        tiny_patient.scan, tiny_patient.labels, tmp_path / "healed.nii.gz", model=tiny_model, **settings.model_dump()
    )
    written = gem.run_recipe(recipe, tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(result.voxels, read_volume(written).voxels)
    assert (result.voxels != scan.voxels).any()


def test_slices_come_as_they_are_finished_and_a_cancel_stops_them(bundle, arrays):
    cancel = threading.Event()
    generation = gem.generate(bundle, arrays, gem.Settings(seed=3), cancel=cancel)
    finished = []
    for part in generation:
        finished += part.indices
        if part.progress > 0 and part.indices:
            cancel.set()
    assert 0 < len(finished) < generation.job.total and not generation.job.finished
    assert generation.result().voxels.any(), "what was finished is there"


def test_a_recipe_of_arrays_names_their_content_and_cannot_be_replayed(bundle, arrays):
    recipe = gem.generate(bundle, arrays, gem.Settings(seed=3)).recipe
    assert [file.path for file in recipe.files] == ["", "", ""] and recipe.same_patient
    other = arrays.mask.with_voxels(arrays.mask.voxels * 3)
    changed = gem.generate(bundle, gem.Inputs(other, arrays.informed, arrays.body), gem.Settings(seed=3)).recipe
    assert changed.mask.sha256 != recipe.mask.sha256 and changed.informed == recipe.informed
    with pytest.raises(InputError, match="arrays in memory, not files"):
        gem.generate(recipe)


def test_nothing_to_generate_is_said(bundle):
    with pytest.raises(InputError, match="Nothing says what to generate"):
        gem.generate(bundle)


def test_two_threads_may_generate_with_one_bundle(bundle, tiny_patient, monkeypatch):
    """Windows of other lengths, and a cancel of one, leave the other as it is."""
    scan, labels = read_volume(tiny_patient.scan), read_label_map(tiny_patient.labels)
    slab = resample(labels, labels.grid.box((12, 0, 0), (4, *labels.shape[1:])), order=0)
    jobs = [gem.Inputs(labels, informed=scan), gem.Inputs(slab, informed=scan)]
    settings = gem.Settings(seed=1, steps=3, device="cpu")
    wanted = [gem.generate(bundle, inputs, settings).result().voxels for inputs in jobs]
    cancel = threading.Event()
    cancel.set()
    convolve = InflatedConv2d.forward

    def slowly(layer, x):
        time.sleep(1e-4)  # the other thread's turn
        return convolve(layer, x)

    monkeypatch.setattr(InflatedConv2d, "forward", slowly)
    for _ in range(2):
        with ThreadPoolExecutor(3) as pool:
            stopped = pool.submit(lambda: list(gem.generate(bundle, jobs[0], settings, cancel=cancel)))
            found = list(pool.map(lambda inputs: gem.generate(bundle, inputs, settings).result().voxels, jobs))
        assert stopped.result() is not None
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one, other)
