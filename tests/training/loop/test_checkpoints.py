import pytest
import torch

from napari_gem3d.errors import InputError
from napari_gem3d.training.loop import checkpoints as module
from napari_gem3d.training.loop.checkpoints import Checkpoints
from napari_gem3d.training.loop.loop import train_stage


def quiet(message):
    pass


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_only_the_newest_are_kept_and_nothing_else_lies_about(tmp_path):
    kept = Checkpoints(tmp_path, keep=3)
    for step in (5, 10, 100, 1000, 10_000_000):
        kept.write({"step": step}, step)
    assert names(tmp_path) == ["checkpoint-0000100.pt", "checkpoint-0001000.pt", "checkpoint-10000000.pt"]
    found = kept.newest(quiet)
    assert found is not None and found.content == {"step": 10_000_000}


def test_a_run_anew_replaces_the_checkpoints_of_the_one_before_with_its_first(tmp_path):
    for step in (5, 500):
        Checkpoints(tmp_path, keep=2).write({}, step)
    anew = Checkpoints(tmp_path, keep=2, anew=True)
    assert len(anew.paths()) == 2
    anew.write({}, 7)
    assert names(tmp_path) == ["checkpoint-0000007.pt"]
    anew.write({}, 8)
    assert names(tmp_path) == ["checkpoint-0000007.pt", "checkpoint-0000008.pt"]


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_an_unreadable_checkpoint_falls_back_to_the_one_before_and_says_so(curve, tmp_path, damage):
    whole = curve()
    train_stage(whole, tmp_path, seed=1, say=quiet)
    newest, before = Checkpoints(tmp_path, 2).paths()
    content = newest.read_bytes()
    newest.write_bytes(content[: len(content) // 2] if damage is None else damage)
    said = []
    again = curve()
    assert train_stage(again, tmp_path, seed=1, resume=True, say=said.append)
    assert said[0].startswith(f"{newest} cannot be read (") and said[0].endswith("looking for the one before.")
    assert said[1] == f"curve: resumed at step 11 from {before}"
    assert torch.equal(again.weights()["0.weight"], whole.weights()["0.weight"])


def test_if_none_can_be_read_nothing_is_trained_over(curve, tmp_path):
    train_stage(curve(), tmp_path, seed=1, say=quiet)
    for path in Checkpoints(tmp_path, 2).paths():
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"No checkpoint in .* can be read; start the stage anew"):
        train_stage(curve(), tmp_path, seed=1, resume=True, say=quiet)


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    torch.save({"step": Evil()}, tmp_path / "checkpoint-0000001.pt")
    with pytest.raises(InputError, match="can be read"):
        Checkpoints(tmp_path, 2).newest(quiet)


def test_a_checkpoint_of_other_settings_is_refused(curve, tmp_path):
    train_stage(curve(), tmp_path, seed=1, say=quiet)
    with pytest.raises(InputError, match="was made with other settings; use another --out or remove it"):
        train_stage(curve(judged=True), tmp_path, seed=1, resume=True, say=quiet)
    other = curve()
    other.name = "volume"
    with pytest.raises(InputError, match="was made with other settings"):
        train_stage(other, tmp_path, seed=1, resume=True, say=quiet)


def test_a_checkpoint_that_builds_on_other_frozen_weights_is_refused(curve, tmp_path):
    train_stage(curve(), tmp_path, seed=1, say=quiet)
    other = curve()
    with torch.no_grad():
        other.objective.frozen.weight += 1e-6
    with pytest.raises(InputError, match="builds on other frozen weights than there are now"):
        train_stage(other, tmp_path, seed=1, resume=True, say=quiet)


def test_a_full_disk_leaves_the_checkpoints_before(tmp_path, monkeypatch):
    kept = Checkpoints(tmp_path, keep=2)
    kept.write({"step": 1}, 1)

    def fail(content, file):
        file.write(b"half")
        raise RuntimeError("unexpected pos 64 vs 128")

    monkeypatch.setattr(module.torch, "save", fail)
    with pytest.raises(InputError, match=r"checkpoint-0000002\.pt cannot be written .*; make room"):
        kept.write({"step": 2}, 2)
    assert names(tmp_path) == ["checkpoint-0000001.pt"]


def test_what_a_killed_process_was_writing_is_swept(tmp_path):
    (tmp_path / ".123-checkpoint-0000009.pt").write_bytes(b"half")
    assert Checkpoints(tmp_path, 2).newest(quiet) is None
    assert names(tmp_path) == []


def test_a_changed_batch_is_said(curve, tmp_path):
    train_stage(curve(steps=5), tmp_path, seed=1, say=quiet)
    said = []
    train_stage(curve(steps=6, batch=8), tmp_path, seed=1, resume=True, say=said.append)
    assert said[1] == "curve: a step now has 8 samples, before it had 4; other samples follow."
