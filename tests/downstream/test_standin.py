from collections.abc import Mapping

import numpy as np
import pytest

from napari_gem3d.downstream.comparison import compare, read_results
from napari_gem3d.downstream.standin import StandIn, StandInSettings
from napari_gem3d.errors import InputError

pytest.importorskip("monai", reason="the stand-in is a network of MONAI: extra downstream")

SMALL = StandInSettings(spacing=1.0, patch=(24, 24, 24), channels=(8, 16, 32), steps=60, learning_rate=5e-3)
FEW = StandInSettings(spacing=2.0, patch=(16, 16, 16), channels=(4, 8), steps=3)


def weights(folder) -> Mapping[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(folder / "network.safetensors")


def test_it_learns_where_lesions_are(eggs, tmp_path):
    results = compare({"real": eggs}, eggs, tmp_path, StandIn(SMALL, "cpu"))
    assert results["summary"]["real"]["dice"]["WT"]["mean"] > 0.8
    assert results["summary"]["real"]["hd95"]["WT"]["mean"] < 4
    assert "stand-in for nnU-Net" in (tmp_path / "table.md").read_text(encoding="utf-8")


def test_a_comparison_that_is_given_again_adds_only_what_is_new(eggs, more_eggs, tmp_path, monkeypatch):
    trained = []
    real = StandIn._train
    monkeypatch.setattr(StandIn, "_train", lambda *a: trained.append(a[3]) or real(*a))
    sets = {"real": eggs, "other": more_eggs("other", range(8, 10))}
    first = compare({"real": eggs}, eggs, tmp_path / "out", StandIn(FEW, "cpu"))
    assert trained == [1]
    both = compare(sets, eggs, tmp_path / "out", StandIn(FEW, "cpu"), seeds=(1, 2))
    assert trained == [1, 1, 2, 2]
    assert both["sets"]["real"]["runs"]["1"] == first["sets"]["real"]["runs"]["1"]
    assert read_results(tmp_path / "out")["summary"].keys() == {"real", "other"}
    (tmp_path / "out" / "stand-in" / "real" / "run-2" / "network.safetensors").unlink()
    assert compare(sets, eggs, tmp_path / "out", StandIn(FEW, "cpu"), seeds=(1, 2)) == both
    assert trained == [1, 1, 2, 2, 2]


def test_a_training_depends_on_seed_settings_and_data_alone(eggs, more_eggs, tmp_path):
    def train(name, seed=1, data=eggs, settings=FEW):
        compare({"real": data}, eggs, tmp_path / name, StandIn(settings, "cpu"), seeds=(seed,))
        return weights(tmp_path / name / "stand-in" / "real" / f"run-{seed}")

    def same(one, other):
        return all(np.array_equal(one[name], other[name]) for name in one)

    first = train("first")
    assert same(first, train("again"))
    assert not same(first, train("seed", seed=2))
    # In the same folder: what is there belongs to another training, and is made anew.
    assert not same(first, train("first", data=more_eggs("other", range(8, 10))))
    steps = StandInSettings(spacing=2.0, patch=(16, 16, 16), channels=(4, 8), steps=4)
    assert not same(first, train("first", settings=steps))


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"patch .* does not fit 5 levels; .* multiples of 16 from 32 on"):
        StandInSettings(patch=(20, 24, 24))
    with pytest.raises(InputError, match="above 0"):
        StandInSettings(steps=0)


def test_seeds_are_given_once_each(eggs, tmp_path):
    with pytest.raises(InputError, match="seed of its own"):
        compare({"real": eggs}, eggs, tmp_path, StandIn(FEW, "cpu"), seeds=(1, 1))
