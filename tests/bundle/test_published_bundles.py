"""Bundles of published weights: which parts they hold, how they are stored, how their plan sees labels and scans."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from published_layout import UNET, VAE, Auto, Net, random_tensors, state_dict, unet_shapes

from napari_gem3d import read_volume
from napari_gem3d.bundle import ModelBundle, Plan, load_bundle, save_bundle
from napari_gem3d.bundle.conditioning import Conditions, condition_channels, grey_labels
from napari_gem3d.bundle.preprocessing import fit_intensities, prepare_labels, prepare_scan
from napari_gem3d.bundle.published.bundles import convert
from napari_gem3d.bundle.published.schemes import SCHEMES, read_scheme
from napari_gem3d.cli.main import main
from napari_gem3d.errors import InputError
from napari_gem3d.foreground import foreground
from napari_gem3d.io import read_label_map
from napari_gem3d.labels import LabelMap
from napari_gem3d.volume import Volume

AUTO = Auto(mults=(1, 1, 2))


def write(folder: Path, kind: str, seed: int = 0, vae_seed: int = 0, **more: torch.Tensor) -> Path:
    path = folder / f"{kind}-{seed}-{vae_seed}.ckpt"
    torch.save({"state_dict": state_dict(Net(kind=kind), AUTO, seed, vae_seed) | more}, path)
    return path


def equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    mine, yours = one.state_dict(), other.state_dict()
    return mine.keys() == yours.keys() and all(torch.equal(mine[name], yours[name]) for name in mine)


def stored_and_loaded(bundle: ModelBundle, folder: Path) -> ModelBundle:
    return load_bundle(save_bundle(bundle, folder, torch.float32))


def test_a_volume_checkpoint_brings_the_slice_unet_and_is_stored_as_what_it_adds(tmp_path):
    bundle = convert([write(tmp_path, "volume")]).bundle
    again = stored_and_loaded(bundle, tmp_path / "bundle")
    config = json.loads((tmp_path / "bundle" / "volume_unet" / "config.json").read_text())
    assert config["inflates"] == "slice_unet"
    assert equal(again.volume_unet, bundle.volume_unet) and equal(again.slice_unet, bundle.slice_unet)
    assert again.position_unet is None
    spatial = again.slice_unet.unet.state_dict()
    assert all(torch.equal(again.volume_unet.unet.state_dict()[name], tensor) for name, tensor in spatial.items())


def test_unets_that_differ_are_both_kept_as_they_are(tmp_path):
    paths = [write(tmp_path, kind, seed) for kind, seed in (("position", 3), ("volume", 1), ("slice", 2))]
    bundle = convert(paths).bundle
    again = stored_and_loaded(bundle, tmp_path / "bundle")
    for part in ("vae", "slice_unet", "volume_unet", "position_unet"):
        assert equal(getattr(again, part), getattr(bundle, part))
    assert torch.equal(
        again.slice_unet.unet.conv_in.weight, state_dict(Net(), AUTO, 2)[f"{UNET}input_blocks.0.0.weight"]
    )
    assert not torch.equal(again.slice_unet.unet.conv_in.weight, again.volume_unet.unet.conv_in.weight)


def test_vaes_that_differ_are_told_and_the_volumes_kept(tmp_path, capsys):
    paths = [write(tmp_path, "slice", vae_seed=5), write(tmp_path, "volume", vae_seed=6)]
    assert main(["convert", *map(str, paths), "--out", str(tmp_path / "bundle"), "--half"]) == 0
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and all(str(path) in said for path in paths) and f"that of {paths[1]}" in said
    kept = load_bundle(tmp_path / "bundle").vae.autoencoder.encoder.conv_in.weight
    wanted = state_dict(Net(), AUTO, vae_seed=6)[f"{VAE}encoder.conv_in.weight"]
    assert torch.equal(kept, wanted.half().float())
    assert convert([write(tmp_path, "slice"), write(tmp_path, "volume")]).warnings == ()


def test_two_of_a_kind_are_refused(tmp_path):
    with pytest.raises(InputError, match="both a slice model"):
        convert([write(tmp_path, "slice", 1), write(tmp_path, "slice", 2)])


def test_moving_averages_on_request(tmp_path):
    averages = random_tensors(unet_shapes(Net()), 9)
    more = {"model_ema.diffusion_model" + name.replace(".", ""): tensor for name, tensor in averages.items()}
    path = write(tmp_path, "slice", 0, 0, **more)
    plain, averaged = (convert([path], averaged=which).bundle for which in ((), "all"))
    assert torch.equal(averaged.slice_unet.unet.conv_in.weight, averages["input_blocks.0.0.weight"])
    assert not equal(plain.slice_unet, averaged.slice_unet)
    volume = write(tmp_path, "volume")
    assert convert([path, volume], averaged=["slice"]).bundle.volume_unet is not None
    with pytest.raises(InputError, match=r"no EMA weights: it lacks model_ema.diffusion_modeltime_embed0weight"):
        convert([path, volume], averaged="all")
    del more["model_ema.diffusion_modelout2bias"]
    with pytest.raises(InputError, match=r"lack model_ema.diffusion_modelout2bias \(1 missing"):
        convert([write(tmp_path, "slice", 0, 0, **more)], averaged="all")


def test_schedule_and_scale_are_the_checkpoints(tmp_path):
    betas = (torch.linspace(0.001**0.5, 0.02**0.5, 500, dtype=torch.float64) ** 2).float()
    path = write(tmp_path, "slice", betas=betas, scale_factor=torch.tensor(0.25))
    plan = convert([path]).bundle.plan
    schedule = plan.schedule
    assert (schedule.num_train_timesteps, schedule.beta_start, schedule.beta_end) == (500, 0.001, 0.02)
    assert plan.latents.std == (4.0,) * 4
    with pytest.raises(InputError, match="another noise schedule"):
        convert([path, write(tmp_path, "volume")])
    published = convert([write(tmp_path, "slice", betas=torch.zeros(1000))]).bundle.plan.schedule
    assert (published.beta_start, published.beta_end, published.prediction_type) == (0.00085, 0.012, "epsilon")


def test_heads_that_do_not_divide_the_width_are_refused(tmp_path):
    with pytest.raises(InputError, match="--head-channels"):
        convert([write(tmp_path, "slice")], head_channels=48)


def test_schemes_from_files(tmp_path):
    table = [
        {"value": 7, "name": "cyst"},
        {"value": 3, "name": "body", "meaning": "body"},
        {"value": 5, "name": "scar"},
    ]
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(table))
    plan = Plan(name="x", conditioning="grey", **read_scheme(str(path)))
    assert (plan.modality, plan.grey.codes, plan.grey.highest, plan.grey.outside) == ("MR", (1, 0, 2), 2, -1)
    path.write_text(json.dumps({"modality": "CT", "labels": table, "framing": "stretch"}))
    plan = Plan(name="x", conditioning="grey", **read_scheme(str(path)))
    assert (plan.modality, plan.framing, plan.grey.outside) == ("CT", "stretch", 0)
    for content, message in (
        ("[", "not JSON"),
        ("{}", "no list of labels"),
        ('[{"value": 1, "name": "cyst"}]', "no body label"),
        (json.dumps({"labels": table, "colour": "red"}), "colour"),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=message):
            read_scheme(str(path))
    with pytest.raises(InputError, match="neither a file"):
        read_scheme("knee")


@pytest.mark.parametrize(
    ("name", "values"), [("brain", (-5 / 3, -1, -1 / 3, 1 / 3, 1)), ("abdomen", (-1, -1, -0.5, 0, 0.5, 1))]
)
def test_label_maps_become_grey_pictures(name, values):
    plan = Plan(name=name, conditioning="grey", **SCHEMES[name])
    body = plan.labels.body.value
    labels = np.array([0, body, *(v for v in plan.labels.values if v != body)], np.uint8)
    assert np.allclose(grey_labels(plan, labels[None, None]).numpy().ravel(), values)


def test_conditions_are_the_latents_of_the_map_then_of_the_slice(tmp_path):
    bundle = convert([write(tmp_path, "volume")]).bundle
    labels = np.random.default_rng(0).integers(0, 5, (6, 16, 8)).astype(np.uint8)
    informed = torch.randn(1, 4, 4, 2)
    conditions = Conditions(bundle.plan, labels, torch.device("cpu"), bundle.vae)
    channels = conditions.window(range(2, 5), informed, 3)
    assert channels.shape == (3, condition_channels(bundle.plan), 4, 2)
    pictures = 2 * np.array([-1, 1, 2, 3, 0])[labels[2:5]] / 3 - 1
    posterior = bundle.vae.autoencoder.encode(torch.from_numpy(pictures).float()[:, None].repeat(1, 3, 1, 1))
    assert torch.allclose(channels[:, :4], 0.18215 * posterior.latent_dist.mode(), atol=1e-5)
    assert torch.equal(channels[:, 4:], informed.expand(3, -1, -1, -1))


def test_slices_are_squashed_from_the_box_of_the_body_or_the_whole_field(tiny_patient):
    scan, mask = read_volume(tiny_patient.scan), read_label_map(tiny_patient.labels)
    fields = {"name": "x", "labels": SCHEMES["brain"]["labels"], "size": (64, 32)}
    stretch, field = Plan(framing="stretch", **fields), Plan(framing="field", **fields)
    rows, columns = (np.flatnonzero(mask.voxels.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    case = prepare_labels(stretch, mask)
    assert case.box.shape == (26, 64, 32) and case.grid.shape == scan.grid.shape
    assert np.allclose(
        case.box.spacing, (1, len(range(rows[0], rows[-1] + 1)) / 64, len(range(columns[0], columns[-1] + 1)) / 32)
    )
    assert all((case.labels != 0).any(axis=axes)[end] for axes in ((0, 2), (0, 1)) for end in (0, -1))
    whole = prepare_labels(field, mask)
    assert np.allclose(whole.box.spacing, (1, 36 / 64, 40 / 32)) and whole.slices == case.slices
    assert not (whole.labels != 0).any(axis=(0, 2))[0]


def test_a_model_of_the_whole_field_needs_no_body(tiny_patient):
    mask = read_label_map(tiny_patient.lesions)
    plan = Plan(name="x", conditioning="grey", size=(32, 32), **{**SCHEMES["abdomen"]})
    case = prepare_labels(plan, mask)
    assert case.slices == range(mask.grid.shape[0]) and (case.labels > 0).all()
    brain = Plan(name="x", conditioning="grey", size=(32, 32), **SCHEMES["brain"])
    with pytest.raises(InputError, match="where the brain is"):
        prepare_labels(brain, mask)


def test_intensities_from_lowest_to_highest_and_back(tiny_patient):
    scan = read_volume(tiny_patient.scan)
    inside = foreground(scan)
    plan = Plan(name="x", conditioning="grey", size=(32, 32), **SCHEMES["brain"])
    intensities = fit_intensities(plan, scan, inside)
    assert (intensities.low, intensities.high) == (scan.voxels.min(), scan.voxels.max())
    assert np.allclose(intensities.inverse(intensities.forward(scan.voxels)), scan.voxels, atol=0.01)
    picture = prepare_scan(plan, scan, scan.grid.canonical(), inside)
    mean = scan.voxels[inside].mean()
    assert np.allclose(picture[0], intensities.forward(np.float32(mean)), atol=1e-5)  # no body there
    with pytest.raises(InputError, match="one intensity everywhere"):
        fit_intensities(plan, Volume(np.ones((2, 3, 4), np.int16), np.eye(4)), np.ones((2, 3, 4), bool))


def test_a_plan_needs_a_grey_code_for_each_label():
    for grey in (None, {"codes": [1, 2], "highest": 3}):
        with pytest.raises(ValueError, match="one grey code for each label"):
            Plan(name="x", **{**SCHEMES["brain"], "conditioning": "grey", "grey": grey})


@pytest.mark.parametrize("scheme", ["brain", "abdomen"])
def test_a_converted_model_generates_on_the_grid_of_the_label_map(scheme, tiny_patient, tmp_path):
    out = tmp_path / "bundle"
    assert main(["convert", str(write(tmp_path, "volume")), "--out", str(out), "--labels", scheme]) == 0
    plan = json.loads((out / "model.json").read_text())
    assert plan["size"] == [512, 512]
    (out / "model.json").write_text(json.dumps({**plan, "size": [32, 32], "modality": "MR"}))
    result = tmp_path / "result.nii.gz"
    inputs = ["--mask", str(tiny_patient.labels), "--informed", str(tiny_patient.scan), "--model", str(out)]
    settings = ["--steps", "2", "--seed", "1", "--device", "cpu", "--out", str(result)]
    assert main(["generate", *inputs, *settings]) == 0
    volume, mask = read_volume(result), read_label_map(tiny_patient.labels)
    assert volume.grid.same_as(mask.grid)
    inside = mask.voxels > 0
    assert volume.voxels[inside].std() > 0
    if scheme == "brain":
        assert (volume.voxels[~inside & ~_near(inside)] == 0).all()


def _near(inside: np.ndarray) -> np.ndarray:
    from scipy.ndimage import binary_dilation

    return binary_dilation(inside, iterations=2)


def test_a_size_that_the_unet_cannot_halve_is_refused(tmp_path):
    folder = save_bundle(convert([write(tmp_path, "slice")]).bundle, tmp_path / "bundle")
    plan = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**plan, "size": [36, 32]}))
    with pytest.raises(InputError, match="no multiple of 8"):
        load_bundle(folder)


def test_labels_of_both_kinds_of_plan_are_kept_apart(tmp_path):
    """A bundle whose model.json says another scheme than its U-Nets were trained with does not load."""
    folder = save_bundle(convert([write(tmp_path, "slice")]).bundle, tmp_path / "bundle")
    again = Path(shutil.copytree(folder, tmp_path / "again"))
    plan = json.loads((again / "model.json").read_text())
    (again / "model.json").write_text(json.dumps({**plan, "conditioning": "labels+slice+offset"}))
    with pytest.raises(InputError, match=r"takes 12 channels where its model\.json needs 15"):
        load_bundle(again)


def test_a_label_map_made_in_memory_is_prepared_the_same(tiny_patient):
    mask = read_label_map(tiny_patient.labels)
    plan = Plan(name="x", conditioning="grey", size=(32, 32), **SCHEMES["brain"])
    flipped = LabelMap(mask.voxels[:, ::-1].copy(), mask.affine @ _flip_rows(mask.grid.shape[1]))
    assert np.array_equal(prepare_labels(plan, mask).labels, prepare_labels(plan, flipped).labels)


def _flip_rows(count: int) -> np.ndarray:
    flip = np.diag([1.0, -1, 1, 1])
    flip[1, 3] = count - 1
    return flip
