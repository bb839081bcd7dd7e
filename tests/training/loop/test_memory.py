import pytest
import torch

from napari_gem3d.errors import InputError
from napari_gem3d.training.loop.loop import train_stage
from napari_gem3d.training.loop.memory import find_share
from napari_gem3d.training.loop.samples import Samples, Share


def quiet(message):
    pass


def fitting(stage, most, steps=range(1000)):
    """Memory runs out for more samples at once than `most`, at these steps."""

    def check(batch, step):
        if len(batch.x) > most and step in steps:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    stage.objective.before = check
    return stage


@pytest.mark.parametrize("steps", [range(1000), range(4, 1000)], ids=["in the trial", "later"])
def test_smaller_micro_steps_give_the_same_result(curve, tmp_path, steps):
    plain, short = curve(batch=12, judged=True), fitting(curve(batch=12, judged=True), 3, steps)
    train_stage(plain, tmp_path / "plain", seed=1, say=quiet)
    said = []
    assert train_stage(short, tmp_path / "short", seed=1, say=said.append)
    halvings = [line for line in said if "memory ran out" in line]
    assert halvings == [
        "curve: memory ran out; continuing with micro steps of 6 instead of 12, 2 a step, which gives the same result.",
        "curve: memory ran out; continuing with micro steps of 3 instead of 6, 4 a step, which gives the same result.",
    ]
    for name, value in plain.weights().items():
        torch.testing.assert_close(short.weights()[name], value, rtol=1e-5, atol=1e-6)


def test_a_resumed_run_goes_on_in_the_smaller_micro_steps(curve, tmp_path):
    train_stage(fitting(curve(batch=12, steps=5), 3), tmp_path, seed=1, say=quiet)
    seen = []
    stage = curve(batch=12, steps=7)
    stage.objective.before = lambda batch, step: seen.append(len(batch.x))
    train_stage(stage, tmp_path, seed=1, resume=True, say=quiet)
    assert set(seen) == {3}


def test_when_not_one_sample_fits_the_user_is_told_what_to_do(curve, tmp_path):
    with pytest.raises(InputError, match=r"too little memory for stage curve even with one sample .* take a smaller"):
        train_stage(fitting(curve(), 0), tmp_path, seed=1, say=quiet)
    assert list(tmp_path.glob("checkpoint-*")) == []


def test_other_errors_are_not_hidden(curve, tmp_path):
    stage = curve()

    def fail(batch, step):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    stage.objective.before = fail
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        train_stage(stage, tmp_path, seed=1, say=quiet)


def test_the_trial_leaves_no_trace(curve):
    stage = curve(dropout=0.5, judged=True)
    before = {name: value.clone() for name, value in stage.objective.state_dict().items()}
    state = torch.get_rng_state()
    share, trial = find_share(stage, Samples(stage.source, 1, "curve"), Share(4), 0, quiet)
    assert share == Share(4)
    assert trial.seconds > 0
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in stage.objective.state_dict().items())
    assert all(p.grad is None for module in (stage.objective, stage.adversary) for p in module.parameters())


def test_activations_are_what_autograd_keeps(curve):
    """Of twice the samples twice as much, and none of it the weights."""
    stage = curve()
    sizes = [
        find_share(stage, Samples(stage.source, 1, "curve"), Share(batch), 0, quiet)[1].activations
        for batch in (64, 128, 256)
    ]
    assert sizes[2] - sizes[1] == pytest.approx(2 * (sizes[1] - sizes[0]), rel=0.05)
    # At least the inputs, the 16 hidden values and the errors of every sample, float32.
    assert 256 * (1 + 16 + 1) * 4 <= sizes[2] <= 256 * (1 + 16 + 1) * 4 * 4
