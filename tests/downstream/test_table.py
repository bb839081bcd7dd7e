import pytest

from napari_gem3d.downstream.table import describe, summarise


def scores(wt: float, et: float, hd95: float | None) -> dict:
    """Of two patients with the same figures."""
    return {case: {"WT": {"dice": wt, "hd95": 4.0}, "ET": {"dice": et, "hd95": hd95}} for case in ("a", "b")}


@pytest.fixture
def results():
    found = {
        "segmenter": "stand-in for nnU-Net",
        "seeds": [1, 2],
        "test_cases": ["a", "b"],
        "regions": {"WT": [1, 2, 3], "ET": [3]},
        "labels": {"edema": 1, "enhancing": 3},
        "sets": {
            "real": {
                "scans": 30,
                "runs": {"1": scores(0.8, 0.6, 6.0), "2": scores(0.9, 0.5, 8.0)},
                "own_summary": {"1": {}, "2": {}},
            },
            "re-sampled": {
                "scans": 60,
                "runs": {"1": scores(0.7, 0.5, None), "2": scores(0.7, 0.5, 12.0)},
                "own_summary": {"1": {}, "2": {}},
            },
        },
    }
    return {**found, "summary": summarise(found)}


def test_means_deviations_and_deltas(results):
    real, other = (results["summary"][name] for name in ("real", "re-sampled"))
    assert real["dice"]["WT"] == pytest.approx({"mean": 0.85, "deviation": 0.0707}, abs=1e-4)
    assert real["dice"]["mean"]["mean"] == pytest.approx(0.7)
    assert (real["dice"]["delta"], other["dice"]["delta"]) == (0, pytest.approx(-0.1))
    assert real["hd95"]["mean"]["mean"] == pytest.approx(5.5)
    assert (other["hd95_undefined"], other["hd95_of"]) == (2, 8)


def test_the_table_names_segmenter_scans_and_differences(results):
    text = describe(results)
    rows = [line.split("|") for line in text.splitlines() if line.startswith("|")]
    real, other = ([cell.strip() for cell in row] for row in rows[2:4])
    assert real[1:7] == ["real", "30", "85.0 ± 7.1", "55.0 ± 7.1", "70.0 ± 0.0", ""]
    assert other[1:3] == ["re-sampled", "60"] and other[6] == "-10.0"
    assert "stand-in for nnU-Net" in text and "2 of 8 (re-sampled)" in text
    assert "| a | 85.0 / 55.0 | 70.0 / 50.0 |" in text


def test_a_region_nobody_found_has_no_distance(results):
    for run in results["sets"]["re-sampled"]["runs"].values():
        for case in run.values():
            case["ET"]["hd95"] = None
    summary = summarise(results)
    assert summary["re-sampled"]["hd95"]["ET"]["mean"] is None and summary["re-sampled"]["hd95"]["delta"] is None
    row = [cell.strip() for cell in describe({**results, "summary": summary}).splitlines()[3].split("|")]
    assert row[7:11] == ["4.0 ± 0.0", "–", "–", "–"]


def test_what_nnunet_says_itself_is_told(results):
    assert "own summary" not in describe(results)
    for entry in results["sets"].values():
        entry["own_summary"]["1"] = {"a": {"1": 0.5, "3": None}, "b": {"1": 0.7, "3": None}}
    assert describe(results).endswith("| real | 60.0 | – |\n| re-sampled | 60.0 | – |")
