import os
import signal

import pytest
import torch

from napari_gem3d.training.loop import stopping
from napari_gem3d.training.loop.loop import train_stage


def quiet(message):
    pass


def signalled(stage, number, wanted=6, times=1):
    """The process gets a signal in the middle of a step."""

    def strike(batch, step):
        if step == wanted:
            for _ in range(times):
                os.kill(os.getpid(), number)

    stage.objective.before = strike
    return stage


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_saves_and_is_gone_on_from_exactly(curve, tmp_path, number):
    handler = signal.getsignal(number)
    whole, stopped, again = (curve(dropout=0.3, checkpoint_minutes=10) for _ in range(3))
    assert train_stage(whole, tmp_path / "whole", seed=1, say=quiet)
    assert not train_stage(signalled(stopped, number), tmp_path / "parted", seed=1, say=quiet)
    assert [path.name for path in (tmp_path / "parted").glob("checkpoint-*")] == ["checkpoint-0000007.pt"]
    assert (tmp_path / "parted" / "history.json").is_file()
    assert signal.getsignal(number) == handler
    assert train_stage(again, tmp_path / "parted", seed=1, resume=True, say=quiet)
    for name, value in whole.weights().items():
        assert torch.equal(again.weights()[name], value)


def test_a_second_ctrl_c_ends_at_once(curve, tmp_path, monkeypatch):
    monkeypatch.setattr(stopping, "_ECHO_S", -1.0)
    stage = signalled(curve(checkpoint_minutes=10), signal.SIGINT, times=2)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train_stage(stage, tmp_path, seed=1, say=quiet)
    assert list(tmp_path.glob("checkpoint-*")) == []
    assert signal.getsignal(signal.SIGINT) == handler


def test_one_ctrl_c_that_arrives_twice_is_one(curve, tmp_path):
    """From the terminal and from the launcher; a SIGTERM beside it is no second Ctrl-C either."""
    assert not train_stage(signalled(curve(), signal.SIGINT, times=2), tmp_path, seed=1, say=quiet)
    with stopping.StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        stop._since -= 60
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wanted
