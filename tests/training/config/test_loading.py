"""Settings: where they come from, what is refused and how, and that what is written is read back."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from napari_gem3d.cli.train import main
from napari_gem3d.errors import InputError
from napari_gem3d.networks import SliceUNet, VolumeUNet
from napari_gem3d.training.config.describe import describe
from napari_gem3d.training.config.geometry import LatentGeometry, latent_geometry, read_geometry, size_step
from napari_gem3d.training.config.loading import differences, flattened, group_of, load_config, save_config
from napari_gem3d.training.config.presets import PRESETS
from napari_gem3d.training.config.settings import TrainingConfig, UNetSettings


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_read_and_come_back_from_the_file_of_a_run(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_without_a_source_it_is_the_laptop() -> None:
    assert load_config() == load_config("laptop")
    assert (load_config().vae.minutes, load_config().slice.batch, load_config().schedule.slice_correlation) == (
        70,
        16,
        0.9,
    )


def test_a_file_may_start_from_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("preset: tiny\nname: 42\nslice: {batch: 3}\n")
    changed = differences(load_config(path), load_config("tiny"))
    assert changed == {"name": "42", "slice.batch": 3}
    path.write_text("slice: {batch: 3}\n")
    assert differences(load_config(path), TrainingConfig()) == {"slice.batch": 3}
    path.write_text("")
    assert load_config(path) == TrainingConfig()


def test_single_settings_go_over_the_rest_in_their_order() -> None:
    texts = ["slice.batch=8", "slice.batch=9", "slice.learning_rate=4e-5", "vae.init=null", "volume.minutes=1.5"]
    config = load_config("laptop", [*texts, "slice.channels=[32, 64]", "slice.attention=[false, true]"])
    assert (config.slice.batch, config.slice.learning_rate, config.vae.init, config.volume.minutes) == (
        9,
        4e-5,
        None,
        1.5,
    )
    assert config.slice.channels == (32, 64)
    assert config.slice.minutes == 63, "others stay"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slice.leraning_rate=1", "There is no setting 'slice.leraning_rate'; did you mean 'slice.learning_rate'?"),
        ("slcie.batch=1", "There is no setting 'slcie'; did you mean 'slice'?"),
        ("batch=1", "did you mean 'vae.batch' or 'slice.batch' or 'volume.batch' or 'position.batch'?"),
        ("slice.zzz=1", "There is no setting 'slice.zzz'; napari-gem3d-train settings lists them all."),
        ("slice.batch=many", "The setting 'slice.batch' cannot be 'many': input should be a valid integer"),
        ("slice.batch=0", "The setting 'slice.batch' cannot be 0: input should be greater than or equal to 1."),
        ("slice=3", "'slice' is a group of settings and cannot be 3"),
        ("slice.channels=3", "The setting 'slice.channels' cannot be 3: input should be a list."),
        (
            "slice.schedule=linear",
            "The setting 'slice.schedule' cannot be 'linear': input should be 'cosine' or 'constant'.",
        ),
        ("slice.attention=[true]", "'slice' do not fit each other (attention has 1 values for 3 channels)"),
        ("slice.channels=[30, 64, 64]", "norm_groups 8 does not divide the 30 channels"),
        ("position.head_channels=24", "head_channels 24 does not divide the 16 channels"),
        ("vae.norm_groups=3", "norm_groups 3 does not divide the 8 channels"),
        ("schedule.prediction_type=epsilon", "zero terminal SNR needs prediction_type 'v_prediction'"),
        ("slice.batch", "The setting 'slice.batch' has no value; write --set KEY=VALUE"),
        ("slice.channels=[1, 2", "The value of 'slice.channels=[1, 2' is not YAML"),
    ],
)
def test_settings_that_cannot_be_used_are_told_in_a_sentence(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError) as caught:
        load_config("tiny", [text])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    (tmp_path / "data").mkdir()
    arguments = [
        "all",
        "--data",
        str(tmp_path / "data"),
        "--out",
        str(tmp_path / "run"),
        "--config",
        "tiny",
        "--set",
        text,
    ]
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"napari-gem3d-train: {caught.value}\n"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("vae: {colour: red}", "There is no setting 'vae.colour'"),
        ("a: [", "is not YAML (line 1)"),
        ("- 1", "holds no settings"),
        ("preset: desktop", "starts from 'desktop'; choose a preset: laptop, tiny, paper."),
    ],
)
def test_files_that_cannot_be_used_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        load_config(path)
    assert message in str(caught.value)


def test_a_file_that_is_not_there_is_told_with_the_presets(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"give a YAML file or a preset: laptop, tiny, paper\."):
        load_config(tmp_path / "none.yaml")


def test_every_setting_says_what_it_means() -> None:
    def silent(model: type, prefix: str = "") -> list[str]:
        found = []
        for name, field in model.model_fields.items():
            group = group_of(field)
            found += [f"{prefix}{name}"] if not field.description else []
            found += silent(group, f"{prefix}{name}.") if group is not None else []
        return found

    assert silent(TrainingConfig) == []


def test_the_settings_are_printed_as_yaml_that_is_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "--config", "paper", "--set", "slice.batch=3"]) == 0
    printed = capsys.readouterr().out
    path = tmp_path / "all.yaml"
    path.write_text(printed)
    assert load_config(path) == load_config("paper", ["slice.batch=3"])
    lines = printed.splitlines()
    assert all(len(line) <= 110 for line in lines)
    assert "  # Slices of a micro step, in each process." in lines
    assert "  batch: 3" in lines
    assert set(flattened(TrainingConfig())) >= {"name", "slice.batch", "schedule.beta_start", "data.spacing"}
    assert yaml.safe_load(describe(TrainingConfig())) == TrainingConfig().model_dump(mode="json")


def test_the_paper_has_the_published_networks() -> None:
    config = load_config("paper")
    sizes = {name: getattr(config.slice, name) for name in UNetSettings.model_fields}
    with torch.device("meta"):
        # Published: 4 noisy channels, 4 of the mask as a picture, 4 of the informed slice.
        slice_unet = SliceUNet.build(12, 4, **sizes)
        volume_unet = VolumeUNet.inflate(slice_unet)
    count = sum(parameter.numel() for parameter in slice_unet.parameters())
    added = sum(parameter.numel() for _, parameter in volume_unet.volumetric_parameters())
    assert count == pytest.approx(274e6, rel=0.002)
    assert added == pytest.approx(94e6, rel=0.005)


def test_the_paper_has_the_published_schedule() -> None:
    config = load_config("paper")
    schedule = config.schedule
    assert (schedule.prediction_type, schedule.beta_schedule, schedule.rescale_betas_zero_snr) == (
        "epsilon",
        "scaled_linear",
        False,
    )
    assert (schedule.beta_start, schedule.beta_end, config.window) == (0.00085, 0.012, 16)
    assert [getattr(config, stage).steps for stage in ("slice", "volume", "position")] == [150_000, 50_000, 150_000]
    for stage in (config.slice, config.volume, config.position):
        assert (stage.learning_rate, stage.schedule, stage.warmup_steps, stage.ema_decay) == (
            4e-5,
            "constant",
            0,
            0.9999,
        )
    assert (config.slice.timestep_weighting, config.volume.timestep_weighting) == ("uniform", "published")
    assert latent_geometry(config) == LatentGeometry(channels=4, factor=8, unshuffle=1)
    assert config.data.size == (512, 512)
    assert 512 % size_step(config) == 0


def test_the_deepest_unet_decides_of_what_the_size_is_a_multiple() -> None:
    assert size_step(load_config("laptop")) == 32
    assert size_step(load_config("paper")) == 64
    shallow = ["slice.channels=[32]", "slice.attention=[true]"]
    assert size_step(load_config("laptop", shallow)) == 32, "the position U-Net halves twice"


@pytest.mark.parametrize(
    ("inputs", "levels", "expected"), [(1, 4, (8, 8, 1)), (3, 3, (8, 4, 1)), (4, 3, (8, 8, 2)), (16, 2, (8, 8, 4))]
)
def test_the_latents_of_a_vae_from_elsewhere_are_known_by_its_configuration(
    tmp_path: Path, inputs: int, levels: int, expected: tuple[int, int, int]
) -> None:
    facts = {"in_channels": inputs, "block_out_channels": [8] * levels, "latent_channels": 8}
    (tmp_path / "config.json").write_text(json.dumps(facts))
    assert read_geometry(tmp_path) == expected
    assert latent_geometry(load_config("tiny", [f"vae.init={tmp_path}"])) == expected


def test_vaes_that_take_no_grey_slice_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"in_channels": 7, "block_out_channels": [8], "latent_channels": 4}')
    with pytest.raises(InputError, match="takes 7 channels, which no grey slice fills"):
        read_geometry(tmp_path)
