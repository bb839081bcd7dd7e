import pytest

from napari_gem3d.training.config.settings import StageSettings
from napari_gem3d.training.loop.schedule import last_step, learning_rate, progress


def settings(**changes) -> StageSettings:
    return StageSettings(
        **({"steps": 100, "learning_rate": 1.0, "warmup_steps": 9, "final_learning_rate": 0.1} | changes)
    )


def test_warm_up_rises_in_equal_parts_and_the_cosine_falls_to_its_end():
    rates = [learning_rate(settings(schedule="constant"), step, 0) for step in range(12)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1, 1])
    falling = [learning_rate(settings(warmup_steps=0), step, 0) for step in range(101)]
    assert falling == sorted(falling, reverse=True)
    assert falling[0] == 1.0 and falling[50] == pytest.approx(0.55) and falling[100] == pytest.approx(0.1)


def test_the_budget_is_what_is_spent_first():
    assert progress(settings(), 25, 1e9) == 0.25
    assert progress(settings(minutes=10), 25, 60) == 0.25
    assert progress(settings(minutes=10), 25, 300) == 0.5
    assert progress(settings(minutes=10), 25, 6000) == 1.0
    assert learning_rate(settings(minutes=10, warmup_steps=0), 25, 300) == pytest.approx(0.55)


def test_the_last_step_is_where_the_budget_will_end():
    assert last_step(settings(), 10, 0, 5.0) == 100
    assert last_step(settings(minutes=1), 10, 30, 2.0) == 25
    assert last_step(settings(minutes=1), 10, 30, 0.01) == 100
    assert last_step(settings(minutes=1), 10, 90, 2.0) == 10
