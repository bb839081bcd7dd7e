"""What differs between cases: measured against what is known of made-up scans, and closed forms."""

import numpy as np
import pytest
from scipy.stats import norm

from napari_gem3d import InputError, Volume
from napari_gem3d.cohorts.harmonise_measure import PERCENTILES, Measurement, Part, Scan, measure_scan
from napari_gem3d.cohorts.harmonise_page import change
from napari_gem3d.cohorts.harmonise_plots import distribution_plot, mean_plot, spread_plot
from napari_gem3d.cohorts.harmonise_sources import find_sources
from napari_gem3d.cohorts.harmonise_spread import MEASURES, part_names, spread, spreads, summary


def head(scale: float = 1.0, modality="MR") -> tuple[Volume, np.ndarray, np.ndarray]:
    """Three tissues in equal shares, 100, 300 and 500 (times `scale`), a lesion of 800, and nothing around."""
    voxels = np.zeros((12, 20, 20))
    voxels[2:5, 4:16, 4:16], voxels[5:8, 4:16, 4:16], voxels[8:11, 4:16, 4:16] = 100, 300, 500
    labels = np.zeros(voxels.shape, np.uint8)
    labels[4:7, 8:12, 8:12] = 1
    inside = voxels > 0
    voxels += np.random.default_rng(0).normal(0, 8, voxels.shape)
    voxels[labels == 1] = 800
    voxels[~inside] = 0
    return Volume(np.rint(voxels * scale).astype(np.int16), np.eye(4), modality), inside, labels


def test_classes_and_labels_are_told_apart():
    scan, inside, labels = head()
    found = measure_scan(scan, inside, labels, {"lesion": 1, "not there": 2})
    assert list(found.parts) == ["body", "dark", "middle", "bright", "lesion"]
    for name, level in (("dark", 100), ("middle", 300), ("bright", 500), ("lesion", 800)):
        assert found.parts[name].mean == pytest.approx(level, abs=2)
    assert found.parts["dark"].deviation == pytest.approx(8, rel=0.15)
    assert found.parts["lesion"].voxels == (labels == 1).sum()
    healthy = (inside & (labels == 0)).sum()
    assert sum(found.parts[name].voxels for name in ("dark", "middle", "bright")) == healthy
    assert found.parts["body"].voxels == inside.sum() and found.reference == 800
    for part in found.parts.values():
        assert sum(part.histogram) == pytest.approx(1, abs=1e-4) and len(part.quantiles) == 100


def test_a_label_may_be_called_as_a_class():
    scan, inside, labels = head()
    assert list(measure_scan(scan, inside, labels, {"bright": 1}).parts)[-1] == "bright (label 1)"


def test_a_single_voxel_at_the_end_of_the_range_changes_nothing():
    scan, inside, labels = head()
    spoiled = scan.with_voxels(scan.voxels.copy())
    spoiled.voxels[3, 5, 5] = 32767
    clean, bad = (measure_scan(one, inside, labels, {}) for one in (scan, spoiled))
    for name in ("dark", "middle", "bright"):
        assert bad.parts[name].mean == pytest.approx(clean.parts[name].mean, rel=0.02)


def test_scans_that_show_nothing_are_refused():
    scan, inside, labels = head()
    with pytest.raises(InputError, match="fewer than three intensities"):
        measure_scan(scan.with_voxels(np.full(scan.shape, 7, np.int16)), inside, labels, {})
    with pytest.raises(InputError, match="no body without label"):
        measure_scan(scan, inside, np.ones_like(labels), {"all": 1})


def part(mean: float, width: float = 1.0) -> tuple[Part, float]:
    """A normal distribution, by its exact quantiles."""
    quantiles = norm.ppf(np.array(PERCENTILES) / 100, mean, width)
    edges = float(quantiles[0]), float(quantiles[-1])
    return Part(
        voxels=9, mean=mean, deviation=width, quantiles=tuple(quantiles), edges=edges, histogram=(0.5, 0.5)
    ), 1.0


def test_the_spread_of_known_distributions():
    parts = {"a": part(10), "b": part(14), "c": part(24)}
    found = spread(parts, {"a": "x", "b": "x", "c": "y"}, relative=False)
    assert (found["cases"], found["sources"], found["mean"]) == (3, 2, 16)
    assert found["between_cases"] == pytest.approx(np.std([10, 14, 24], ddof=1))
    assert found["between_sources"] == pytest.approx(np.std([12, 24], ddof=1))
    # Distributions of one shape are as far from each other as their means.
    assert found["distance_cases"] == pytest.approx(np.mean([4, 14, 10]))
    assert found["distance_sources"] == pytest.approx(12, rel=1e-6)
    shares = spread(parts, {"a": "x", "b": "x", "c": "y"}, relative=True)
    assert all(shares[name] == pytest.approx(found[name] / 16) for name in MEASURES)


def test_distributions_of_one_mean_may_still_differ():
    found = spread({"a": part(10, 1), "b": part(10, 3)}, {"a": "a", "b": "b"}, relative=False)
    assert found["between_cases"] == pytest.approx(0, abs=1e-9)
    # Of two normal distributions of one mean: the difference of their widths times the mean of |N(0, 1)|.
    assert found["distance_cases"] == pytest.approx(2 * np.sqrt(2 / np.pi), rel=0.03)


def test_there_is_no_spread_of_one_nor_between_sources_of_one_case_each():
    alone = spread({"a": part(10)}, {"a": "x"}, relative=True)
    assert [alone[name] for name in MEASURES] == [None] * 4 and alone["mean"] == 10
    each = spread({"a": part(10), "b": part(12)}, {"a": "x", "b": "y"}, relative=True)
    assert each["between_cases"] and each["between_sources"] is each["distance_sources"] is None
    assert spread({}, {}, relative=True)["mean"] is None


def measured(scales: dict[str, float], modality="MR") -> dict[str, Measurement]:
    """Cases that differ in brightness before, and not after."""

    def of(scale: float) -> Scan:
        scan, inside, labels = head(scale, modality)
        return measure_scan(scan, inside, labels, {"lesion": 1})

    return {
        case: Measurement(files={}, modality=modality, before=of(scale), after=of(2)) for case, scale in scales.items()
    }


def test_the_scale_of_a_file_is_no_difference_once_scans_are_scaled():
    cases = measured({"a": 1, "b": 4, "c": 20})
    found = spreads(cases, {"a": "x", "b": "x", "c": "y"})
    assert found["stored"]["before"]["middle"]["between_cases"] > 1
    assert found["scaled"]["before"]["middle"]["between_cases"] < 0.01
    assert found["stored"]["after"]["middle"]["between_cases"] == 0
    told = summary(found)
    assert told["stored"]["labels"]["before"] == {name: found["stored"]["before"]["lesion"][name] for name in MEASURES}
    assert change(1.234, 0.05, {"modality": "MR"}) == "123.4 % → 5.0 %" and change(None, 1, {"modality": "MR"}) == "–"


def test_ct_is_measured_in_hounsfield_units_not_in_shares_of_a_mean_of_about_0():
    cases = measured({"a": 1, "b": 2}, "CT")
    found = spreads(cases, {"a": "a", "b": "b"})
    assert list(found) == ["stored"]
    assert found["stored"]["before"]["middle"]["between_cases"] == pytest.approx(300 / np.sqrt(2), abs=3)
    assert change(12.34, 5, {"modality": "CT"}) == "12.3 HU → 5.0 HU"


@pytest.mark.parametrize("modality", ["MR", "CT"])
def test_plots_are_drawn_of_many_cases_and_of_names_that_are_no_formulas(modality):
    pytest.importorskip("matplotlib")
    cases = measured({"a": 1, "b": 2}, modality)
    many = {f"{name}{number}": one for number in range(35) for name, one in cases.items()}
    for sources in ({case: case for case in many}, {case: f"site $_{case[0]}$" for case in many}):
        for draw in (distribution_plot, mean_plot):
            svg = draw(many, sources)
            assert svg.startswith(b"<?xml") and len(svg) < 800_000
    plotted = spread_plot(spreads(many, sources), {"between_cases": "means"}, "stored", "HU")
    assert plotted.startswith(b"<?xml") and part_names(many.values())[-1] == "lesion"


def test_sources_by_pattern_by_table_or_each_case_its_own(tmp_path):
    names = ["B_2013_1", "B_CBICA_2"]
    assert find_sources(names) == {name: name for name in names}
    assert find_sources(names, pattern="_(2013|CBICA)_") == {"B_2013_1": "2013", "B_CBICA_2": "CBICA"}
    table = tmp_path / "sources.csv"
    table.write_text("\ufeffcase,source\nB_2013_1,site 1\nB_CBICA_2, site 2\nother,x\n", encoding="utf-8")
    assert find_sources(names, table) == {"B_2013_1": "site 1", "B_CBICA_2": "site 2"}
    for wrong, match in (
        ({"pattern": "(2013"}, "no regular expression"),
        ({"pattern": "2013"}, "has 0 groups"),
        ({"pattern": "_(2013)_"}, "finds no source in the name B_CBICA_2"),
        ({"pattern": "(x)", "table": table}, "one of the two"),
        ({"table": tmp_path / "none.csv"}, "cannot be read"),
    ):
        with pytest.raises(InputError, match=match):
            find_sources(names, **wrong)
    for text, match in (
        ("case,source\nB_2013_1,x\n", "does not say where B_CBICA_2 is from"),
        ("case,source\nB_2013_1,x\nB_2013_1,y\n", "twice"),
        ("name,site\nB_2013_1,x\n", "two columns"),
    ):
        table.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=match):
            find_sources(names, table)
