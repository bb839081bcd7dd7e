import pytest
import torch

from napari_gem3d.training.loop.forecast import forecast
from napari_gem3d.training.loop.memory import Trial
from napari_gem3d.training.loop.samples import Share
from napari_gem3d.training.loop.state import State


def test_memory_is_the_sum_of_what_is_computed_and_what_was_measured(curve, monkeypatch):
    stage = curve(steps=4000, minutes=63)
    stage.objective.network = torch.nn.Linear(1000, 1000)
    stage.objective.frozen = torch.nn.Linear(1000, 2000).requires_grad_(False)
    lines = forecast(State(stage, Share(4, 1, 0, 2)), Trial(activations=2_500_000_000, seconds=1.05))
    assert lines[0] == "curve: 3.0 M parameters, 1.0 M of them learn; a step takes 4 samples × 2 processes = 8"
    assert lines[1].startswith(
        "curve: memory of each process about 2.5 GB (weights 12.0 MB, gradients 4.0 MB, optimiser 8.0 MB, "
        "moving average 4.0 MB, activations 2.5 GB); "
    )
    assert lines[2] == "curve: about 1 h 10 min for 4,000 steps, or the budget of 63 minutes, about 3,600 steps"


@pytest.mark.parametrize(("step", "text"), [(0, "about 17 min for 1,000 steps"), (900, "about 2 min for 100 steps")])
def test_the_time_is_that_of_the_rest(curve, step, text):
    state = State(curve(steps=1000), Share(4))
    state.step = step
    assert forecast(state, Trial(0, 1.0))[2] == f"curve: {text}"
