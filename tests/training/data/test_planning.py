"""What is decided from the fingerprint and the settings, and how patients are split."""

from pathlib import Path

import numpy as np
import pytest

from napari_gem3d.errors import InputError
from napari_gem3d.training.config.settings import DataSettings, TrainingConfig
from napari_gem3d.training.data.dataset import CasePaths, Dataset
from napari_gem3d.training.data.fingerprint import CaseFacts, LabelFacts
from napari_gem3d.training.data.planning import given_modality, guess_meaning, make_plan
from napari_gem3d.training.data.split import held_out, make_split

from .conftest import with_data


def facts(modality: str = "MR", **changes: object) -> CaseFacts:
    """A case of 1 mm with a body of 100 × 150 × 120 mm and one label."""
    measured: dict[str, object] = {
        "source": "x",
        "shape": (120, 200, 180),
        "spacing": (1.0, 1.0, 1.0),
        "modality": modality,
        "percentiles": (-1000, -990, -100, -50, 20, 50, 60, 400, 700) if modality == "CT" else range(1, 10),
        "body_mm": (100.0, 150.0, 120.0),
        "labels_mm": (40.0, 50.0, 60.0),
        "labels": {1: LabelFacts(volume_ml=3.0, percentiles=(1, 2, 3))},
    }
    return CaseFacts.model_validate({**measured, **changes})


def data(channel: str = "FLAIR", patients: str = "abc", **labels: int) -> Dataset:
    cases = tuple(CasePaths(name, name, Path(name), Path(name)) for name in patients)
    return Dataset(Path("data"), cases, channel, labels or {"tumour": 1}, None)


def test_spacing_is_the_median_and_size_holds_the_largest_body(tiny: TrainingConfig) -> None:
    cases = {"a": facts(), "b": facts(spacing=(3.0, 0.5, 0.8), body_mm=(90.0, 160.0, 121.0)), "c": facts()}
    plan = make_plan(tiny, data(), cases)
    assert plan.spacing == (1, 1, 1)
    assert plan.size == (160, 128)
    coarse = make_plan(with_data(tiny, spacing=(5.0, 2.5, 2.5)), data(), cases)
    assert (coarse.spacing, coarse.size) == ((5, 2.5, 2.5), (64, 64))
    assert make_plan(with_data(tiny, size=(100, 200)), data(), cases).size == (128, 224)
    stretched = make_plan(with_data(tiny, framing="stretch"), data(), cases)
    assert (stretched.framing, stretched.size) == ("stretch", (320, 160))
    assert make_plan(with_data(tiny, framing="field"), data(), cases).size == (224, 192)


def test_latents_follow_the_vae(tiny: TrainingConfig) -> None:
    vae = tiny.vae.model_copy(update={"channels": (8, 8, 8, 8), "latent_channels": 5})
    plan = make_plan(tiny.model_copy(update={"vae": vae, "informed": False}), data(), {"a": facts()})
    assert (plan.latents.factor, plan.latents.unshuffle, plan.latents.channels) == (16, 2, 5)
    assert plan.size == (192, 128)
    assert plan.conditioning == "fine"


@pytest.mark.parametrize(
    ("dense", "high"), [((700,), 1000), ((1840,), 1900), ((1000, 1100, 3070), 1100), ((9000, 9000), 3000)]
)
def test_the_window_of_a_ct_keeps_lung_and_bone(tiny: TrainingConfig, dense: tuple[int, ...], high: int) -> None:
    low = (-1000, -990, -100, -50, 20, 50, 60, 400)
    cases = {str(i): facts("CT", percentiles=(*low, value)) for i, value in enumerate(dense)}
    scheme = make_plan(tiny, data("CT"), cases).intensity
    assert (scheme.kind, scheme.low, scheme.high) == ("window", -1000, high)
    chosen = make_plan(with_data(tiny, window_hu=(-160, 240)), data("CT"), cases).intensity
    assert (chosen.low, chosen.high) == (-160, 240)


def test_mr_runs_to_a_percentile(tiny: TrainingConfig) -> None:
    plan = make_plan(with_data(tiny, percentile=99.9), data(), {"a": facts()})
    assert (plan.modality, plan.intensity.kind, plan.intensity.percentile) == ("MR", "percentile", 99.9)
    assert plan.background_outside_body


@pytest.mark.parametrize(
    ("channel", "modality"),
    [("CT", "CT"), ("ct_portal", "CT"), ("CTA", "CT"), ("FLAIR", "MR"), ("CT1", "MR"), ("zscore", ""), ("", "")],
)
def test_the_channels_name_tells_the_modality(channel: str, modality: str) -> None:
    assert given_modality(data(channel), DataSettings()) == modality
    assert given_modality(data(channel), DataSettings(modality="CT")) == "CT"


def test_without_a_name_the_values_tell(tiny: TrainingConfig) -> None:
    assert make_plan(tiny, data(""), {"a": facts("CT"), "b": facts("CT")}).modality == "CT"
    with pytest.raises(InputError, match=r"values of a CT \(a\) and some have not \(b\)"):
        make_plan(tiny, data(""), {"a": facts("CT"), "b": facts()})


@pytest.mark.parametrize(
    "name",
    ["edema", "non-enhancing tumor", "Tumour core", "liver_lesion", "kidney_cyst_left", "metastases", "label 7", "3"],
)
def test_names_of_lesions(name: str) -> None:
    assert guess_meaning(name) == "lesion"


@pytest.mark.parametrize("name", ["liver", "kidney_left", "vertebrae_L1", "hippocampus", "adrenal_gland_right", "PZ"])
def test_names_of_organs(name: str) -> None:
    assert guess_meaning(name) == "organ"


def test_the_body_is_the_foreground_or_a_label(tiny: TrainingConfig) -> None:
    cases = {"a": facts(constant_background=True)}
    named = data(liver=3, tumour=1)
    table = make_plan(tiny, named, cases).labels
    assert [(label.value, label.name, label.meaning) for label in table] == [
        (1, "tumour", "lesion"),
        (3, "liver", "organ"),
        (4, "brain", "body"),
        (5, "ventricles", "tissue"),
        (6, "csf", "tissue"),
        (7, "grey matter", "tissue"),
    ]
    tiny = with_data(tiny, anatomy=False)
    assert make_plan(tiny, named, cases).labels.tissues == ()
    by_setting = make_plan(with_data(tiny, body_label="liver", meanings={"tumour": "organ"}), named, cases)
    assert [(label.name, label.meaning) for label in by_setting.labels] == [("tumour", "organ"), ("liver", "body")]
    assert make_plan(with_data(tiny, meanings={"liver": "body"}), named, cases).labels.body is not None
    # The labels span 50 × 60 mm, the foreground 150 × 120.
    assert by_setting.size == (64, 64)
    body = make_plan(with_data(tiny, body_name="abdomen"), named, cases).labels.body
    assert body is not None and body.name == "abdomen"
    taken = make_plan(tiny, data(Body=1), {"a": facts()}).labels.body
    assert taken is not None and taken.name == "foreground"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"body_label": "skin"}, r"data\.body_label speaks of the label 'skin', but the dataset has: tumour"),
        ({"meanings": {"skin": "organ"}}, r"data\.meanings speaks of the label 'skin'"),
        (
            {"body_name": "tumour"},
            r"has a label 'tumour' already; take it as the body with --set data\.body_label=tumour",
        ),
    ],
)
def test_settings_about_labels_that_do_not_fit(tiny: TrainingConfig, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_plan(with_data(tiny, **changes), data(), {"a": facts()})


def test_labels_without_names_are_those_that_occur(tiny: TrainingConfig) -> None:
    unnamed = Dataset(Path("x.csv"), (), "", {}, None)
    table = make_plan(tiny, unnamed, {"a": facts(), "b": facts(labels={9: LabelFacts(volume_ml=1, percentiles=())})})
    assert [(label.value, label.name, label.meaning) for label in table.labels] == [
        (1, "label 1", "lesion"),
        (9, "label 9", "lesion"),
        (10, "body", "body"),
        (11, "lesion", "lesion"),
    ]


def test_tissue_labels_follow_what_the_scans_show(tiny: TrainingConfig) -> None:
    def tissues(channel: str, **changes: object) -> list[str]:
        return [label.name for label in make_plan(tiny, data(channel), {"a": facts(**changes)}).labels.tissues]

    assert tissues("FLAIR") == [], "heads with their skulls"
    assert tissues("FLAIR", constant_background=True) == ["ventricles", "csf", "grey matter"]
    assert tissues("CT", modality="CT") == ["bone", "fat", "air"]
    named = data(csf=1, tumour=2)
    table = make_plan(tiny, named, {"a": facts(constant_background=True)}).labels
    assert table.by_name("csf").value == 1, "a label of the dataset stays what it is"
    assert [label.name for label in table.tissues] == ["csf", "ventricles", "grey matter"]


@pytest.mark.parametrize(
    ("patients", "wanted", "number"), [(2, None, 1), (5, None, 1), (6, None, 2), (4, 3, 3), (1, 0, 0)]
)
def test_how_many_are_held_out(patients: int, wanted: int | None, number: int) -> None:
    dataset = data(patients="abcdefgh"[:patients])
    assert held_out(dataset, list(dataset.cases), wanted) == number


def test_one_patient_cannot_be_split() -> None:
    cases = [CasePaths(f"scan{i}", "anna", Path("i"), Path("l")) for i in range(3)]
    dataset = Dataset(Path("data"), tuple(cases), "", {}, None)
    with pytest.raises(
        InputError,
        match=r"data has one patient \(anna\).*at least two patients are needed; .*--set data\.validation_cases=0",
    ):
        held_out(dataset, cases, None)
    with pytest.raises(InputError, match=r"has 3 patients, which cannot spare 3 .* at most 2"):
        held_out(data(), list(data().cases), 3)
    with pytest.raises(InputError, match="no usable case"):
        held_out(data(), [], 0)


def test_scans_of_a_patient_stay_together(tmp_path: Path) -> None:
    cases = [CasePaths(f"s{i}", f"p{i // 3}", Path("i"), Path("l")) for i in range(12)]
    for seed in range(8):
        folder = tmp_path / str(seed)
        folder.mkdir()
        split = make_split(folder, cases, 2, seed)
        sides = [{case.patient for case in cases if case.name in split[side]} for side in ("train", "validation")]
        assert not sides[0] & sides[1]
        assert [len(side) for side in sides] == [2, 2]
        assert len(split["train"]) + len(split["validation"]) == 12
    splits = {(tmp_path / str(seed) / "split.json").read_text() for seed in range(8)}
    assert len(splits) > 1


def test_a_stored_split_stays_when_cases_come_and_go(tmp_path: Path) -> None:
    cases = [CasePaths(f"s{i}", f"p{i}", Path("i"), Path("l")) for i in range(6)]
    first = make_split(tmp_path, cases, 2, 0)
    assert make_split(tmp_path, cases, 3, 99) == first
    again = CasePaths("z", next(c.patient for c in cases if c.name == first["validation"][0]), Path("i"), Path("l"))
    come = [
        *(case for case in cases if case.name != first["train"][0]),
        CasePaths("n", "n", Path("i"), Path("l")),
        again,
    ]
    second = make_split(tmp_path, come, 2, 0)
    assert second["validation"] == sorted([*first["validation"], "z"])
    assert second["train"] == sorted([*first["train"][1:], "n"])


@pytest.mark.parametrize("text", ["{", "[]", '{"train": 3, "validation": []}', '{"train": []}'])
def test_a_split_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(InputError, match="is no split into train and validation; correct it, or delete it"):
        make_split(tmp_path, list(data().cases), 1, 0)
    assert (tmp_path / "split.json").read_text() == text


def test_percentiles_are_where_planning_looks_for_them() -> None:
    from napari_gem3d.training.data.fingerprint import PERCENTILES

    assert list(np.sort(PERCENTILES)) == list(PERCENTILES) and (PERCENTILES[4], PERCENTILES[7]) == (50, 99.5)
