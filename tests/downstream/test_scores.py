import numpy as np
import pytest

from napari_gem3d import LabelMap, write_volume
from napari_gem3d.downstream.datasets import read_test_set
from napari_gem3d.downstream.scores import choose_regions, over_patients, over_runs, score, undefined
from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.segmentation import BRATS_REGIONS

from .conftest import LABELS, egg


@pytest.fixture
def predictions(tmp_path):
    """The truth as prediction, and a function that changes one of them."""
    paths = {f"egg{i}": tmp_path / f"egg{i}.nii.gz" for i in (6, 7)}

    def write(name: str, change) -> None:
        labels = egg(int(name[-1]))[1]
        write_volume(LabelMap(change(labels.voxels), labels.affine), paths[name])

    for name in paths:
        write(name, lambda voxels: voxels)
    return paths, write


def test_the_truth_scores_best(eggs, predictions, tmp_path):
    scores = score(read_test_set(eggs), predictions[0], BRATS_REGIONS, tmp_path / "scores.json")
    assert over_patients(scores, "dice") == {"WT": 1, "TC": 1, "ET": 1, "mean": 1}
    assert over_patients(scores, "hd95") == {"WT": 0, "TC": 0, "ET": 0, "mean": 0}


def test_a_shift_of_two_millimetres_is_a_distance_of_two(eggs, predictions, tmp_path):
    paths, write = predictions
    write("egg6", lambda voxels: np.roll(voxels, 2, 0))
    scores = score(read_test_set(eggs), paths, BRATS_REGIONS, tmp_path / "scores.json")
    assert scores["egg6"]["ET"]["hd95"] == pytest.approx(2)
    assert 0.3 < scores["egg6"]["ET"]["dice"] < scores["egg6"]["WT"]["dice"] < 0.9
    assert scores["egg7"]["WT"]["dice"] == 1


def test_what_was_scored_is_scored_again_only_if_it_changed(eggs, predictions, tmp_path, monkeypatch):
    paths, write = predictions
    kept = tmp_path / "scores.json"
    first = score(read_test_set(eggs), paths, BRATS_REGIONS, kept)
    compared = []
    monkeypatch.setattr("napari_gem3d.downstream.scores.compare_regions", lambda *a: compared.append(a) or {"WT": {}})
    assert score(read_test_set(eggs), paths, BRATS_REGIONS, kept) == first and not compared
    write("egg7", lambda voxels: 0 * voxels)
    score(read_test_set(eggs), paths, BRATS_REGIONS, kept)
    assert len(compared) == 1


def test_a_missing_region_has_no_distance_and_is_counted(eggs, predictions, tmp_path):
    paths, write = predictions
    write("egg6", lambda voxels: np.minimum(voxels, 2))
    scores = score(read_test_set(eggs), paths, BRATS_REGIONS, tmp_path / "scores.json")
    assert over_patients(scores, "dice")["ET"] == 0.5
    assert over_patients(scores, "hd95")["ET"] == 0  # of the other patient alone
    assert undefined([scores, scores]) == (2, 12)


def test_runs_have_a_mean_and_a_deviation():
    runs = [{"a": {"WT": {"dice": d}}, "b": {"WT": {"dice": d + 0.2}}} for d in (0.5, 0.7)]
    figure = over_runs(runs, "dice")["WT"]
    assert figure.mean == pytest.approx(0.7)
    assert figure.deviation == pytest.approx(np.std([0.6, 0.8], ddof=1))


def test_regions_are_those_of_brats_only_for_its_labels():
    labels = {name: value for name, value in LABELS.items() if value}
    assert choose_regions(labels) == BRATS_REGIONS
    assert choose_regions({"liver": 1, "tumour": 2}) == {"liver": (1,), "tumour": (2,)}
    assert choose_regions({"necrosis": 1, "edema": 2, "enhancing": 3})["edema"] == (2,)


def test_a_prediction_on_another_grid_is_refused(eggs, predictions, tmp_path):
    paths, _ = predictions
    labels = egg(6)[1]
    write_volume(LabelMap(labels.voxels, np.diag([2.0, 2, 2, 1]) @ labels.affine), paths["egg6"])
    with pytest.raises(InputError, match="does not lie on the grid"):
        score(read_test_set(eggs), paths, BRATS_REGIONS, tmp_path / "scores.json")
