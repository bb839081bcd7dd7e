import shutil

import pytest

from napari_gem3d.downstream.datasets import check_apart, read_test_set, read_training_sets
from napari_gem3d.errors import InputError


def test_sets_and_test_patients_are_read(eggs):
    (real,) = read_training_sets({"real": eggs})
    assert [case.name for case in real.cases] == [f"egg{i}" for i in range(6)]
    assert [case.name for case in read_test_set(eggs).cases] == ["egg6", "egg7"]
    check_apart([real], read_test_set(eggs))


def test_a_test_patient_in_a_training_set_is_refused_by_name(eggs, more_eggs):
    other = more_eggs("other", range(8, 9))
    for folder, suffix in (("imagesTr", "_0000.nii.gz"), ("labelsTr", ".nii.gz")):
        (other / folder / f"egg8{suffix}").rename(other / folder / f"egg7-v1{suffix}")
    with pytest.raises(InputError, match=r"egg7-v1_0000.nii.gz has the name of the test patient egg7"):
        check_apart(read_training_sets({"real": eggs, "other": other}), read_test_set(eggs))


def test_a_test_patient_in_a_training_set_is_refused_by_content(eggs, more_eggs):
    other = more_eggs("other", range(8, 9))
    shutil.copy(eggs / "imagesTs" / "egg6_0000.nii.gz", other / "imagesTr" / "egg8_0000.nii.gz")
    with pytest.raises(InputError, match=r"The scan of egg8 in .* is that of the test patient egg6; take it out"):
        check_apart(read_training_sets({"other": other}), read_test_set(eggs))


def test_sets_have_the_same_labels(eggs, more_eggs):
    other = more_eggs("other", range(8, 9), labels={"background": 0, "lesion": 1})
    with pytest.raises(InputError, match=r"other has the labels 1 lesion and .*; compare datasets with the same"):
        read_training_sets({"real": eggs, "other": other})


@pytest.mark.parametrize("name", ["", "a/b", "re_sampled", ".."])
def test_a_name_that_cannot_be_a_folder_is_refused(eggs, name):
    with pytest.raises(InputError, match="cannot name a folder; use letters, digits and hyphens"):
        read_training_sets({name: eggs})


def test_a_case_without_label_map_is_refused(more_eggs):
    folder = more_eggs("other", range(8, 10))
    (folder / "labelsTr" / "egg9.nii.gz").unlink()
    with pytest.raises(InputError, match=r"The case egg9 of .* has no label map egg9.nii.gz"):
        read_training_sets({"real": folder})


def test_a_dataset_without_test_patients_is_refused(more_eggs):
    with pytest.raises(InputError, match=r"has no test patients .*; give a dataset that has some with --test"):
        read_test_set(more_eggs("other", range(1)))
