import builtins
import json

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from napari_gem3d.training.loop.history import History, draw_history
from napari_gem3d.training.loop.loop import train_stage
from napari_gem3d.training.loop.reports import duration, line


def quiet(message):
    pass


def test_entries_are_means_over_their_steps():
    history = History()
    for step in range(1, 121):
        history.add(step, step * 6.0, 0.1, {"loss": float(step), "seconds_per_step": 0.5, "data_seconds": 0.01 * step})
        if step == 70:
            history.validated({"loss": 3.0})
    assert [(entry["step"], entry["steps"]) for entry in history.entries] == [(50, 50), (70, 20), (120, 50)]
    assert [entry["loss"] for entry in history.entries] == pytest.approx([25.5, 60.5, 95.5])
    assert history.entries[1]["validation_loss"] == 3.0 and "validation_loss" not in history.entries[0]
    assert history.entries[0]["minutes"] == 5.0
    assert history.entries[0]["data_share"] == pytest.approx(0.51)
    assert history.data_share() == pytest.approx(0.01 * 60.5 / 0.5)


def test_the_line_of_a_validation_has_what_matters():
    history = History()
    history.add(500, 90.0, 0.1, {"loss": 0.25, "seconds_per_step": 0.2, "data_seconds": 0.004})
    history.validated({"loss": 0.000123})
    assert line("slice", history).split(" ", 1)[1] == (
        "slice step 500 (1.5 min): loss 0.25  validation_loss 0.000123  data 2.0% of the time"
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (89, "89 s"), (91, "2 min"), (4210, "1 h 10 min"), (6000, "1 h 40 min"), (273600, "3 days 4 h")],
)
def test_durations_are_for_people(seconds, words):
    assert duration(seconds) == words


def test_curves_are_drawn_with_both_losses_and_the_learning_rate(tmp_path):
    entries = [{"step": step, "loss": 1 / step, "learning_rate": 1e-3 / step} for step in range(1, 200)]
    entries[99]["validation_loss"] = entries[-1]["validation_loss"] = 0.02
    path = tmp_path / "history.png"
    draw_history(entries[:1], path)
    assert not path.exists()
    draw_history(entries, path)
    picture = np.asarray(Image.open(path).convert("RGB"))
    assert picture.shape[0] > 400 and picture.shape[1] > 800
    for colour in ((0, 114, 178), (213, 94, 0), (0, 158, 115)):
        assert (picture == colour).all(axis=2).sum() > 50
    assert [p.name for p in tmp_path.iterdir()] == ["history.png"]


def test_tensorboard_has_the_terms_of_the_loss_and_pictures(curve, tmp_path, drawn):
    def paint(path):
        Image.fromarray(np.zeros((8, 12, 3), np.uint8)).save(path)

    stage = curve(judged=True, volume_every=2)
    stage.picture = stage.planes = paint
    train_stage(stage, tmp_path, seed=1, say=quiet)
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    scalars = ("loss", "squared", "discriminator", "gradient_norm", "learning_rate", "data_share", "seconds_per_step")
    assert {f"training/{name}" for name in scalars} | {"validation/loss"} == set(board.Tags()["scalars"])
    history = json.loads((tmp_path / "history.json").read_text())
    for tag, key in (("training/loss", "loss"), ("validation/loss", "validation_loss")):
        events = board.Scalars(tag)
        assert [event.step for event in events] == [5, 10, 12]
        assert [event.value for event in events] == pytest.approx([entry[key] for entry in history])
    assert [event.step for event in board.Images("samples")] == [5, 10, 12]
    assert [event.step for event in board.Images("volume")] == [10]
    assert drawn == [tmp_path / "history.png"] * 3


def test_without_tensorboard_a_run_says_so_once_and_goes_on(curve, tmp_path, monkeypatch):
    load = builtins.__import__

    def absent(name, *rest):
        if name.startswith("torch.utils.tensorboard"):
            raise ImportError(name)
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    said = []
    assert train_stage(curve(), tmp_path, seed=1, say=said.append)
    assert sum("TensorBoard is not installed" in text for text in said) == 1
    assert not (tmp_path / "tensorboard").exists()


def test_before_the_first_step_the_cost_is_told(curve, tmp_path):
    said = []
    train_stage(curve(accumulation=2, minutes=60), tmp_path, seed=1, say=said.append)
    # 16 + 16 + 16 + 1 numbers learn, the frozen layer has 2.
    assert said[0] == "curve: 51 parameters, 49 of them learn; a step takes 4 samples × 2 micro steps = 8"
    assert said[1].startswith("curve: memory about ")
    for part in ("weights", "gradients", "optimiser", "moving average", "activations"):
        assert f"{part} " in said[1]
    assert said[2] == "curve: about 0 s for 12 steps"
    assert said[-1].startswith("curve: 12 steps in ") and said[-1].endswith("waiting for data")
