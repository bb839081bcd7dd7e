"""Names, seeds and donors: functions of the seed and the names, of nothing else."""

from pathlib import Path

from napari_gem3d.cohorts.variants import How, derived, list_variants
from napari_gem3d.training.data.dataset import CasePaths


def cases(names, patients=None):
    patients = patients or names
    return [
        CasePaths(name, patient, Path(f"images/{name}.nii.gz"), Path(f"labels/{name}.nii.gz"))
        for name, patient in zip(names, patients, strict=True)
    ]


def listed(some, **changes):
    settings = {"seed": 1, "kind": "IC", "variants": 2, "edits": 0, "real": False, **changes}
    return {variant.name: variant for variant in list_variants(some, Path("/out"), How("tiny"), **settings)}


def test_no_case_informs_itself_nor_another_scan_of_its_patient():
    some = cases([f"c{i}" for i in range(20)], [f"p{i // 2}" for i in range(20)])
    patients = {case.name: case.patient for case in some}
    made = listed(some, variants=30)
    assert len(made) == 600
    for variant in made.values():
        assert variant.donors and all(patients[name] != patients[variant.case] for name, _ in variant.donors)


def test_variants_of_a_case_have_different_donors_as_far_as_there_are_some():
    made = listed(cases("abcd"), variants=4)
    first = [made[f"a-v{number}"].donors[0][0] for number in (1, 2, 3, 4)]
    assert sorted(first[:3]) == ["b", "c", "d"] and first[3] == first[0]


def test_neither_order_nor_number_matter():
    some = cases("abcdef")
    made = listed(some)
    assert listed(list(reversed(some))) == made
    more = listed(some, variants=3, edits=1, real=True)
    assert {name: more[name] for name in made} == made
    assert listed(some, seed=2)["a-v1"].seed != made["a-v1"].seed


def test_a_case_that_is_added_becomes_the_donor_of_a_few_and_changes_nothing_else():
    names = [f"c{i}" for i in range(40)]
    before, after = listed(cases(names), variants=1), listed(cases([*names, "new"]), variants=1)
    changed = [name for name in before if before[name].donors[0] != after[name].donors[0]]
    assert all(after[name].donors[0][0] == "new" for name in changed) and len(changed) < 6
    assert all(before[name].seed == after[name].seed for name in before)


def test_seeds_are_spread_and_lasting():
    seeds = {derived(0, f"c{i}-v1", "volume") for i in range(1000)}
    assert len(seeds) == 1000 and max(seeds) < 2**32
    assert derived(7, "case-v1", "volume") == 859572410
