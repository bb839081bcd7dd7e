"""Rows of a comparison: names, folders, and which belong together."""

import pytest

from benchmarks.regimes import BASELINE, OURS, REGIMES, Method, comparisons, methods
from napari_gem3d.errors import InputError
from napari_gem3d.sampling.recipe import make_recipe


def test_without_a_regime_names_are_those_of_the_paper() -> None:
    assert [method.name for method in methods([OURS, BASELINE], [])] == [OURS, BASELINE]
    assert Method(OURS).how == {} and Method(OURS).folder == OURS
    assert comparisons([OURS]) == {"": (OURS, None)} and comparisons([BASELINE]) == {}


def test_every_regime_has_its_rows_and_folders() -> None:
    rows = methods([BASELINE, OURS], ["none", "scan"])
    assert [row.anatomy for row in rows] == ["none", "none", "scan", "scan"]
    assert len({row.folder for row in rows} | {row.name for row in rows}) == 8
    assert comparisons(row.name for row in rows) == {
        ", anatomy from the scan": (f"{OURS}, anatomy from the scan", f"{BASELINE}, anatomy from the scan"),
        ", lesion and brain alone": (f"{OURS}, lesion and brain alone", f"{BASELINE}, lesion and brain alone"),
    }


def test_regimes_are_those_of_recipes(tiny_patient, tiny_model) -> None:
    where = {"body": tiny_patient.scan, "position": 0.5, "model": tiny_model, "seed": 1}
    for anatomy in REGIMES:
        recipe = make_recipe(tiny_patient.labels, tiny_patient.scan, **where, **Method(OURS, anatomy).how)
        assert recipe.anatomy == anatomy
    with pytest.raises(InputError, match="nowhere"):
        make_recipe(tiny_patient.labels, tiny_patient.scan, **where, anatomy="nowhere")
