"""The informed slice, all ways: another patient's, the own, a picture, drawn; its place chosen or random."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from napari_gem3d import InputError, make_recipe, read_volume, resample, run_recipe, write_volume
from napari_gem3d.bundle import load_bundle, save_bundle
from napari_gem3d.networks import PositionUNet
from napari_gem3d.sampling.donors import choose_donor, is_pool, patient
from napari_gem3d.sampling.generation import open_job
from napari_gem3d.sampling.informed import draw_slice
from napari_gem3d.sampling.settings import Drawing

SAMPLING = Drawing(solver="dpmsolver++", steps=3, seed=3, device="cpu", precision="float32")


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch):
    """Fifty denoising steps a drawn slice are for slices that people look at."""
    monkeypatch.setattr("napari_gem3d.sampling.informed.DRAWING_STEPS", 4)


@pytest.fixture(scope="module")
def drawing_model(tiny_model, tmp_path_factory) -> Path:
    """The tiny model with a position U-Net."""
    bundle = load_bundle(tiny_model)
    torch.manual_seed(1)
    bundle.position_unet = PositionUNet.build(4, (8, 16), (True, True), head_channels=8, norm_groups=8)
    return save_bundle(bundle, tmp_path_factory.mktemp("models") / "drawing")


@pytest.fixture
def pool(tiny_patient, tmp_path) -> Path:
    """A dataset's folder: the target's own scan under its own name, copied under another, and two other patients."""
    folder = tmp_path / "imagesTr"
    folder.mkdir()
    scan = read_volume(tiny_patient.scan)
    for name in ("labels_0000", "copy_0000"):
        (folder / f"{name}.nii.gz").write_bytes(tiny_patient.scan.read_bytes())
    for number, name in enumerate(("b_0000", "b_0001", "c_0000")):
        write_volume(scan.with_voxels(scan.voxels // (number + 2)), folder / f"{name}.nii.gz")
    (folder / "notes.txt").write_text("no scan")
    return folder


def test_a_patient_is_the_name_without_suffix_and_channel():
    assert patient(Path("x/Brats18_1_0000.nii.gz")) == "Brats18_1" == patient(Path("Brats18_1.nii.gz"))


def test_another_patient_is_chosen_by_the_seed_never_the_target(pool, tiny_patient):
    drawn = {
        choose_donor(pool, tiny_patient.labels, tiny_patient.scan, np.random.default_rng(seed)).name
        for seed in range(20)
    }
    assert drawn == {"b_0000.nii.gz", "c_0000.nii.gz"}, "own name, own content, second channel left out"


def test_the_target_itself_only_when_asked(pool, tiny_patient):
    drawn = {
        choose_donor(pool, tiny_patient.labels, tiny_patient.scan, np.random.default_rng(seed), allow_own=True).name
        for seed in range(40)
    }
    assert "labels_0000.nii.gz" in drawn and "b_0001.nii.gz" not in drawn


def test_a_folder_without_another_patient_is_refused(tiny_patient, tmp_path):
    (tmp_path / "same.nii.gz").write_bytes(tiny_patient.scan.read_bytes())
    assert is_pool(tmp_path) and not is_pool(tiny_patient.scan)
    with pytest.raises(InputError, match="no scan of another patient"):
        choose_donor(tmp_path, tiny_patient.labels, tiny_patient.scan, np.random.default_rng(0))


def test_a_recipe_from_a_folder_names_the_scan_it_chose(pool, tiny_patient, tiny_model):
    recipes = [
        make_recipe(tiny_patient.labels, pool, body=tiny_patient.scan, model=tiny_model, seed=4, device="cpu")
        for _ in range(2)
    ]
    assert recipes[0].informed == recipes[1].informed
    assert Path(recipes[0].informed.path).parent == pool and not recipes[0].same_patient
    assert open_job(recipes[0]).informed_picture.shape == (32, 32)


def test_a_random_position_is_the_seeds_and_shows_body(tiny_patient, tiny_model):
    def drawn(seed: int) -> tuple[int, int]:
        recipe = make_recipe(
            tiny_patient.labels, tiny_patient.scan, position="random", model=tiny_model, seed=seed, device="cpu"
        )
        return recipe.informed_slice, recipe.start

    places = [drawn(seed) for seed in range(12)]
    assert drawn(0) == places[0] and len(set(places)) > 4
    assert all(2 <= index < 28 and start == index for index, start in places)


def test_the_model_draws_the_slice_for_its_position(tiny_patient, drawing_model, tmp_path):
    recipe = make_recipe(tiny_patient.labels, "generated", position=0.5, model=drawing_model, seed=5, device="cpu")
    assert recipe.informed is None and recipe.start == 16
    written = run_recipe(recipe, tmp_path / "drawn.nii.gz")
    result = read_volume(written)
    assert result.voxels.dtype == np.int16 and result.shape == read_volume(tiny_patient.scan).shape
    assert result.voxels.min() >= 0 and result.voxels.max() <= 1000
    first = written.read_bytes()
    run_recipe(recipe, tmp_path / "again.nii.gz")
    assert (tmp_path / "again.nii.gz").read_bytes() == first


def test_a_drawn_slice_takes_the_intensities_of_the_bodys_scan(tiny_patient, drawing_model):
    recipe = make_recipe(
        tiny_patient.lesions, "generated", body=tiny_patient.scan, model=drawing_model, seed=5, device="cpu"
    )
    job = open_job(recipe)
    voxels = read_volume(tiny_patient.scan).voxels
    assert job.informed_picture.max() <= np.percentile(voxels[voxels != 0], 99.5)
    assert job.result().voxels.dtype == voxels.dtype


def test_seed_and_position_decide_what_is_drawn(drawing_model):
    bundle = load_bundle(drawing_model)

    def drawn(position: float, seed: int) -> torch.Tensor:
        return draw_slice(bundle, position, (32, 32), SAMPLING.model_copy(update={"seed": seed}))

    assert drawn(0.3, 1).shape == (1, 4, 4, 4)
    assert torch.equal(drawn(0.3, 1), drawn(0.3, 1))
    assert not torch.equal(drawn(0.3, 1), drawn(0.9, 1))
    assert not torch.equal(drawn(0.3, 1), drawn(0.3, 2))


def test_a_drawn_slice_may_have_a_seed_of_its_own(tiny_patient, drawing_model):
    def drawn(seed: int, informed_seed: int | None) -> np.ndarray:
        recipe = make_recipe(
            tiny_patient.labels, "generated", model=drawing_model, seed=seed, informed_seed=informed_seed, device="cpu"
        )
        return open_job(recipe).informed_picture

    np.testing.assert_array_equal(drawn(1, 7), drawn(2, 7))
    np.testing.assert_array_equal(drawn(7, None), drawn(2, 7))
    assert not np.array_equal(drawn(1, None), drawn(1, 7))
    with pytest.raises(InputError, match="not drawn"):
        make_recipe(tiny_patient.labels, tiny_patient.scan, model=drawing_model, informed_seed=7)
    with pytest.raises(InputError, match="seed -1"):
        drawn(1, -1)


def test_a_model_without_position_unet_refuses(tiny_patient, tiny_model):
    with pytest.raises(InputError, match="no position model"):
        make_recipe(tiny_patient.labels, "generated", model=tiny_model)
    with pytest.raises(InputError, match="no position U-Net"):
        draw_slice(load_bundle(tiny_model), 0.5, (32, 32), SAMPLING)


def test_a_slice_that_comes_from_no_volume_has_no_number(tiny_patient, drawing_model):
    with pytest.raises(InputError, match="has no number"):
        make_recipe(tiny_patient.labels, "generated", slice=4, model=drawing_model)


@pytest.fixture
def picture(tiny_patient, tmp_path) -> Path:
    """The patient's axial slice 16 as radiologists see it, at half the pixels, without any spacing."""
    scan = read_volume(tiny_patient.scan)
    canonical = resample(scan, scan.grid.canonical()).voxels[16]
    grey = np.clip(canonical / canonical.max() * 255, 0, 255).astype(np.uint8)
    Image.fromarray(np.kron(grey[::-1, ::-1], np.ones((2, 2), np.uint8))).save(tmp_path / "slice.png")
    return tmp_path / "slice.png"


def test_a_picture_is_fitted_to_the_body_where_it_stands(picture, tiny_patient, tiny_model, tmp_path):
    own = make_recipe(tiny_patient.labels, tiny_patient.scan, slice=16, model=tiny_model, seed=2, device="cpu")
    recipe = make_recipe(tiny_patient.labels, picture, position=16 / 31, model=tiny_model, seed=2, device="cpu")
    assert recipe.pixel_mm == pytest.approx(0.5, abs=0.02)
    assert recipe.start == own.start == 16
    theirs, ours = open_job(recipe).informed_picture, open_job(own).informed_picture
    assert np.corrcoef(theirs.ravel(), ours.ravel())[0, 1] > 0.97
    assert run_recipe(recipe, tmp_path / "out.nii.gz").exists()


def test_the_size_of_a_pixel_can_be_given_for_pictures_only(picture, tiny_patient, tiny_model):
    recipe = make_recipe(tiny_patient.labels, picture, pixel_mm=0.4, model=tiny_model)
    assert recipe.pixel_mm == pytest.approx(0.4)
    with pytest.raises(InputError, match="is a volume"):
        make_recipe(tiny_patient.labels, tiny_patient.scan, pixel_mm=0.4, model=tiny_model)
