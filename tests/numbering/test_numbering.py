"""A small head with a lesion, and the conventions by which people number its parts."""

import json
from dataclasses import replace

import numpy as np
import pytest

from napari_gem3d.errors import InputError
from napari_gem3d.io import read_label_map, write_volume
from napari_gem3d.io.label_names import read_names
from napari_gem3d.labels import Label, LabelMap, LabelTable
from napari_gem3d.numbering import MODEL, check_dataset, find_numbering, renumbered

TABLE = LabelTable(
    (
        Label(1, "edema"),
        Label(2, "non-enhancing tumor"),
        Label(3, "enhancing tumor"),
        Label(4, "brain", meaning="body"),
        Label(5, "ventricles", meaning="tissue"),
        Label(6, "csf", meaning="tissue"),
        Label(8, "lesion"),
    )
)
PARTS = {"edema": 1, "core": 2, "enhancing": 3}
# Value by part, as the challenges have it.
NUMBERS = {
    "brats2018": {"core": 1, "edema": 2, "enhancing": 4},
    "brats2023": {"core": 1, "edema": 2, "enhancing": 3},
    "brats2024": {"core": 1, "edema": 2, "enhancing": 3, "cavity": 4},
    "brats-ped": {"enhancing": 1, "core": 2, "cyst": 3, "edema": 4},
}
NAMES = {
    "brats2018": {1: "NCR/NET", 2: "ED", 4: "ET"},
    "brats2023": {1: "NCR", 2: "SNFH", 3: "ET"},
    "brats2024": {1: "NETC", 2: "SNFH", 3: "ET", 4: "RC"},
    "brats-ped": {1: "ET", 2: "NET", 3: "CC", 4: "ED"},
}


def radii(shape=(24, 40, 40), middle=(12, 16, 24)):
    grid = np.meshgrid(*(np.arange(n) - m for n, m in zip(shape, middle, strict=True)), indexing="ij")
    return np.sqrt(sum(axis**2 for axis in grid))


def parts():
    """(Z, Y, X) names of parts: a core in an enhancing rim in edema, with a small cavity or cyst beside the core."""
    found, r = np.full((24, 40, 40), "", object), radii()
    found[r < 8] = "edema"
    found[r < 5] = "enhancing"
    found[r < 3] = "core"
    return found


def lesion(numbers, extra=""):
    """The map by a numbering, a cavity or cyst in its edema where it is asked for."""
    found = parts()
    if extra:
        found[radii(middle=(12, 22, 24)) < 1.5] = extra
    voxels = np.zeros(found.shape, np.uint8)
    for part, value in numbers.items():
        voxels[found == part] = value
    return LabelMap(voxels, np.eye(4))


def head():
    """(Z, Y, X), where the brain is: it encloses the lesion."""
    return radii(middle=(12, 20, 20)) < 17


EXTRA = {"brats2024": "cavity", "brats-ped": "cyst"}


def named(convention):
    labels = lesion(NUMBERS[convention], EXTRA.get(convention, ""))
    return replace(labels, meta={"segments": NAMES[convention]})


def as_model(labels, choice=None, inside=None):
    return renumbered(labels, TABLE, find_numbering(labels, TABLE, choice, inside).values)


@pytest.mark.parametrize("convention", NUMBERS)
@pytest.mark.parametrize("how", ["names", "choice", "pairs"])
def test_every_part_comes_out_as_what_it_is(convention, how):
    labels, choice = named(convention), None
    if how == "choice":
        labels, choice = replace(labels, meta={}), convention
    if how == "pairs":
        names = {"core": "non-enhancing tumor", "enhancing": "enhancing tumor", "cavity": "csf", "cyst": "lesion"}
        labels = replace(labels, meta={})
        choice = ", ".join(f"{names.get(part, part)}={value}" for part, value in NUMBERS[convention].items())
    found, meant = as_model(labels, choice), parts()
    untouched = ~np.isin(labels.voxels, [NUMBERS[convention].get(EXTRA.get(convention, ""), 0), 0])
    for part, value in PARTS.items():
        np.testing.assert_array_equal((found.voxels == value)[untouched], (meant == part)[untouched])


def test_a_cavity_is_fluid_and_a_cyst_part_of_the_core():
    assert find_numbering(named("brats2024"), TABLE).values[4] == 6
    assert find_numbering(named("brats-ped"), TABLE).values[3] == 2


@pytest.mark.parametrize("convention", NUMBERS)
@pytest.mark.parametrize("with_scan", [True, False])
def test_without_names_it_is_refused_and_the_right_convention_proposed(convention, with_scan):
    labels = lesion(NUMBERS[convention], EXTRA.get(convention, ""))
    inside = head() if with_scan else None
    if inside is None:  # an edema can look like a small brain, but does not fill the field of view as one
        labels = LabelMap(np.pad(labels.voxels, 12), np.eye(4))
    with pytest.raises(InputError, match=rf"\b{convention}\b.*--labels"):
        find_numbering(labels, TABLE, None, inside)


def test_the_models_own_numbers_need_no_word():
    for with_body in (False, True):
        labels = lesion(PARTS)
        if with_body:
            labels = labels.with_voxels(np.where(head() & (labels.voxels == 0), np.uint8(4), labels.voxels))
        assert not find_numbering(labels, TABLE, None, head()).changes
    for only in (1, 2, 3):
        labels = LabelMap(np.where(parts() == "core", np.uint8(only), np.uint8(0)), np.eye(4))
        assert not find_numbering(labels, TABLE).changes
    # Painted by hand, without edema around it.
    assert not find_numbering(lesion({"edema": 3, "core": 1}), TABLE).changes


def test_a_body_that_is_none_is_refused():
    small = np.where(parts() == "edema", np.uint8(4), np.uint8(0))
    with pytest.raises(InputError, match=r"value 4, which would be the brain, but covers \d+% of what the scan shows"):
        find_numbering(LabelMap(small, np.eye(4)), TABLE, None, head())
    assert find_numbering(LabelMap(small, np.eye(4)), TABLE, MODEL, head()).values == {4: 4}


def test_names_are_understood_as_people_write_them():
    table = LabelTable((*TABLE, Label(9, "liver", meaning="organ")))
    for name, value in {
        "Peritumoural Oedema": 1,
        "ED": 1,
        "surrounding non-enhancing FLAIR hyperintensity": 1,
        "Necrosis": 2,
        "NCR & NET": 2,
        "tumor core": 2,
        "GD-enhancing tumour": 3,
        "AT": 3,
        "Whole tumor": 8,
        "Brain": 4,
        "Liver": 9,
    }.items():
        labels = LabelMap(np.full((2, 2, 2), 7, np.uint8), np.eye(4), meta={"segments": {7: name}})
        assert find_numbering(labels, table).values == {7: value}, name


def test_a_name_without_counterpart_is_refused_and_numbers_are_no_names():
    labels = LabelMap(np.ones((2, 2, 2), np.uint8), np.eye(4), meta={"segments": {1: "hippocampus"}})
    with pytest.raises(InputError, match=r"value 1 hippocampus .* --labels NAME=VALUE"):
        find_numbering(labels, TABLE)
    assert not find_numbering(replace(labels, meta={"segments": {1: "Segment_1"}}), TABLE).changes


@pytest.mark.parametrize(
    "choice, message",
    [
        ("brats1999", "'brats1999' says nothing of labels; choose brats2018"),
        ("edema=two", "'edema=two' gives no value"),
        ("liver=1", "no label 'liver'"),
        ("edema=1", "value 2, 3 of the label map"),
    ],
)
def test_what_cannot_be_is_one_sentence(choice, message):
    with pytest.raises(InputError, match=message):
        find_numbering(lesion(PARTS), TABLE, choice)


def test_files_name_labels(tmp_path):
    regions = {"labels": {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]}}
    forms = {
        "nnunet.json": json.dumps({"labels": {"background": 0, "NCR": 1, "ED": 2, "ET": 4}}),
        "decathlon.json": json.dumps({"labels": {"0": "background", "1": "NCR", "2": "ED", "4": "ET"}}),
        "snap.label": '# ITK-SnAP\n0 0 0 0 0 0 0 "Clear Label"\n1 255 0 0 1 1 1 "NCR"\n2 0 255 0 1 1 1 "ED"\n'
        '4 0 0 255 0.5 1 1 "ET"\n',
        "regions.json": json.dumps(regions),
    }
    for name, text in forms.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    for name in list(forms)[:3]:
        assert read_names(tmp_path / name) == {1: "NCR", 2: "ED", 4: "ET"}
        found = as_model(lesion(NUMBERS["brats2018"]), str(tmp_path / name))
        np.testing.assert_array_equal(found.voxels, lesion(PARTS).voxels)
    in_regions = lesion({"edema": 1, "core": 2, "enhancing": 3})
    assert find_numbering(in_regions, TABLE, str(tmp_path / "regions.json")).values == {1: 1, 2: 2, 3: 3}


def test_a_map_of_a_dataset_has_the_names_of_the_dataset(tmp_path):
    (tmp_path / "labelsTr").mkdir()
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"NCR": 1, "ED": 2, "ET": 4}}), encoding="utf-8")
    write_volume(lesion(NUMBERS["brats2018"]), tmp_path / "labelsTr" / "a.nii.gz", description="")
    labels = read_label_map(tmp_path / "labelsTr" / "a.nii.gz")
    np.testing.assert_array_equal(as_model(labels).voxels, lesion(PARTS).voxels)


def test_a_dataset_of_other_names_is_refused_with_what_to_say():
    with pytest.raises(InputError, match=r"names its labels 1 NCR, 2 ED, 4 ET, but .* --labels 'brats2018'"):
        check_dataset({1: "NCR", 2: "ED", 4: "ET"}, TABLE, "D")
    with pytest.raises(InputError, match=r"--labels 'edema=5,enhancing tumor=1'"):
        check_dataset({5: "edema", 1: "enhancing"}, TABLE, "D")
    check_dataset({1: "oedema", 2: "NCR", 3: "ET"}, TABLE, "D")
    check_dataset({1: "label 1", 2: "label 2"}, TABLE, "D")
