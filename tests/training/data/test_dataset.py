"""Which cases a dataset has and what its labels are called, in all the layouts people keep."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_gem3d import read_volume
from napari_gem3d.errors import InputError
from napari_gem3d.training.config.loading import load_config
from napari_gem3d.training.config.settings import DataSettings
from napari_gem3d.training.data.dataset import read_dataset
from napari_gem3d.training.data.fingerprint import read_pair
from napari_gem3d.training.data.prepare import prepare

from .conftest import describe

DEFAULT = DataSettings()


def table(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_nnunet_raw_version_2(dataset: Path) -> None:
    found = read_dataset(dataset, DEFAULT)
    assert [case.name for case in found.cases] == ["egg0", "egg1", "egg2"] == list(found.patients)
    assert found.cases[1].image == dataset / "imagesTr" / "egg1_0000.nii.gz"
    assert found.cases[1].labels == dataset / "labelsTr" / "egg1.nii.gz"
    assert (found.channel, found.labels, found.ignore) == ("FLAIR", {"yolk": 1}, None)


def test_version_1_names_labels_by_value(own: Path) -> None:
    facts = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver", "2": "tumour"}}
    (own / "dataset.json").write_text(json.dumps(facts))
    found = read_dataset(own, DEFAULT)
    assert (found.channel, found.labels) == ("CT", {"liver": 1, "tumour": 2})
    assert len(found.cases) == 3


def test_a_decathlon_dataset_has_no_channel_numbers(own: Path) -> None:
    for index in range(3):
        (own / "imagesTr" / f"egg{index}_0000.nii.gz").rename(own / "imagesTr" / f"egg{index}.nii.gz")
    listed = [{"image": f"./imagesTr/egg{i}.nii.gz", "label": f"./labelsTr/egg{i}.nii.gz"} for i in (2, 0)]
    describe(own, training=listed)
    found = read_dataset(own, DEFAULT)
    assert [case.name for case in found.cases] == ["egg0", "egg2"]
    assert all(case.image.is_file() and case.labels.is_file() for case in found.cases)


@pytest.mark.parametrize("listed", [True, False])
def test_a_decathlon_dataset_of_several_volumes_a_file(own: Path, tmp_path: Path, listed: bool) -> None:
    """Files of two volumes: the channel that dataset.json names, the one that was asked for, or a sentence."""
    for index in range(3):
        path = own / "imagesTr" / f"egg{index}_0000.nii.gz"
        image = nib.load(path)
        voxels = np.asarray(image.dataobj)
        several = nib.Nifti1Image(np.stack([voxels, voxels * 2], axis=3), image.affine)
        nib.save(several, own / "imagesTr" / f"egg{index}.nii.gz")
        path.unlink()
    facts = json.loads((own / "dataset.json").read_bytes())
    training = [{"image": f"./imagesTr/egg{i}.nii.gz", "label": f"./labelsTr/egg{i}.nii.gz"} for i in range(3)]
    facts = {"labels": facts["labels"]} | ({"training": training} if listed else {})
    names = {"modality": {"0": "FLAIR", "1": "T1w"}}
    (own / "dataset.json").write_text(json.dumps({**facts, **names}))
    for channel, name in ((0, "FLAIR"), (1, "T1w")):
        found = read_dataset(own, DEFAULT if channel == 0 else DataSettings(channel=channel))
        assert [case.name for case in found.cases] == ["egg0", "egg1", "egg2"]
        assert (found.channel, found.volume) == (name, channel)
        scan, _ = read_pair(found.cases[0], "MR")
        np.testing.assert_array_equal(scan.voxels, read_volume(found.cases[0].image, channel=channel).voxels)
    (own / "dataset.json").write_text(json.dumps(facts))
    assert read_dataset(own, DEFAULT).volume is None
    with pytest.raises(InputError, match=r"holds 2 volumes \(4D\).* --set data.channel=0 to 1"):
        prepare(own, tmp_path / "run", load_config("tiny"), say=lambda _: None)
    assert read_dataset(own, DataSettings(channel=0)).volume == 0


def test_dataset_json_may_list_the_files_itself(own: Path) -> None:
    files = {"images": ["a/0.nii.gz", "a/1.nii.gz"], "label": "a/l.nii.gz"}
    describe(own, dataset={"case_a": files})
    (case,) = read_dataset(own, DataSettings(channel=1)).cases
    assert (case.image, case.labels) == (own / "a" / "1.nii.gz", own / "a" / "l.nii.gz")
    with pytest.raises(InputError, match="case_a without an image of channel 2"):
        read_dataset(own, DataSettings(channel=2))


def test_other_endings_and_channels(own: Path) -> None:
    for file in own.glob("*Tr/*.nii.gz"):
        file.rename(file.with_name(file.name.replace("_0000", "_0002").replace(".nii.gz", ".nrrd")))
    describe(own, file_ending=".nrrd", channel_names={"2": "T1"})
    found = read_dataset(own, DataSettings(channel=2))
    assert (len(found.cases), found.channel) == (3, "T1")
    with pytest.raises(InputError, match=r"no image of channel 0, but of 2; choose one with --set data\.channel=2"):
        read_dataset(own, DEFAULT)


def test_a_case_without_image_or_label_map_is_still_a_case(own: Path) -> None:
    (own / "imagesTr" / "egg0_0000.nii.gz").unlink()
    (own / "labelsTr" / "egg1.nii.gz").unlink()
    (own / "imagesTr" / "._egg2_0000.nii.gz").write_bytes(b"macOS")
    assert [case.name for case in read_dataset(own, DEFAULT).cases] == ["egg0", "egg1", "egg2"]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_csv_lists_scans_and_patients(tmp_path: Path, separator: str) -> None:
    lines = [
        "Image,labels,case,patient",
        "scans/a.nii.gz,maps/a.nii.gz,first,p1",
        f"{tmp_path}/b.nrrd,b.nii.gz,,p1",
        "",
    ]
    found = read_dataset(table(tmp_path / "in" / "cases.csv", "\n".join(lines).replace(",", separator)), DEFAULT)
    assert [(case.name, case.patient) for case in found.cases] == [("b", "p1"), ("first", "p1")]
    assert found.cases[0].image == tmp_path / "b.nrrd"
    assert found.cases[1].image == tmp_path / "in" / "scans" / "a.nii.gz"
    assert (found.patients, found.labels) == (("p1",), {})


def test_a_csv_takes_names_from_folders_where_files_have_one_name(tmp_path: Path) -> None:
    path = table(tmp_path / "c.csv", "image,labels\np1/flair.nii.gz,p1/seg.nii\np2/flair.nii.gz,p2/seg.nii\n")
    assert [case.name for case in read_dataset(path, DEFAULT).cases] == ["p1_flair", "p2_flair"]


def test_names_beside_a_csv_and_in_the_settings(tmp_path: Path) -> None:
    path = table(tmp_path / "c.csv", "\ufeffimage,labels\na.nii.gz,b.nii.gz\n")
    table(tmp_path / "dataset.json", '{"channel_names": {"0": "CT"}, "labels": {"background": 0, "cyst": 3}}')
    assert (read_dataset(path, DEFAULT).channel, read_dataset(path, DEFAULT).labels) == ("CT", {"cyst": 3})
    assert read_dataset(path, DataSettings(labels={"liver": 1})).labels == {"liver": 1}


def test_an_ignore_label_is_kept_apart(own: Path) -> None:
    describe(own, labels={"background": 0, "yolk": 1, "ignore": 2})
    found = read_dataset(own, DEFAULT)
    assert (found.labels, found.ignore) == ({"yolk": 1}, 2)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"labels": {"background": 0, "whole": [1, 2]}}, r"defines the region 'whole'.*setting data\.labels"),
        ({"labels": {"background": 0, "yolk": "many"}}, "'yolk' .* has no number but 'many'"),
        ({"labels": {"background": 0, "yolk": 255}}, "yolk of .* has the value 255; renumber labels to 1 up to 249"),
        ({"labels": {"yolk": 1, "white": 1}}, "Two labels of .* have the value 1"),
        ({"labels": ["yolk"]}, "labels of .* are no object"),
        ({"file_ending": ".mha"}, r"has no images named imagesTr/CASE_0000\.mha"),
    ],
)
def test_descriptions_that_cannot_be_used(own: Path, facts: dict[str, object], message: str) -> None:
    describe(own, **facts)
    with pytest.raises(InputError, match=message):
        read_dataset(own, DEFAULT)


def test_a_folder_that_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dataset\.json cannot be read .*nnU-Net's raw layout or a \.csv"):
        read_dataset(tmp_path, DEFAULT)
    table(tmp_path / "dataset.json", "{")
    with pytest.raises(InputError, match="is not JSON"):
        read_dataset(tmp_path, DEFAULT)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scan,labels\na,b\n", r"no column 'image' \(it has: scan, labels\)"),
        ("image,labels\n", "lists no scans"),
        ("", r"no column 'image' \(it has: nothing\)"),
        ("image,labels\na.nii,\n", "Line 2 of .* lacks the image or the labels"),
        ("image,labels,case\na.nii,b.nii,x\nc.nii,d.nii,X\n", "two cases called 'x'"),
        ("image,labels,case\na.nii,b.nii,../x\n", "'../x' of .* cannot name a folder"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_dataset(table(tmp_path / "cases.csv", text), DEFAULT)


def test_a_csv_that_is_none(tmp_path: Path, dataset: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_dataset(tmp_path / "none.csv", DEFAULT)
    shutil.copy(next(dataset.glob("imagesTr/*")), tmp_path / "scan.csv")
    with pytest.raises(InputError, match="cannot be read as text"):
        read_dataset(tmp_path / "scan.csv", DEFAULT)
