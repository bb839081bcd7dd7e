"""How often the window is asked to show something new."""

import time

from napari_gem3d.viewer.pace import Pace


def test_many_questions_are_one_call_and_calls_have_rests_between(qapp, qtbot) -> None:
    called = []
    pace = Pace(lambda: called.append(time.perf_counter()), 100)
    for _ in range(5):
        pace.ask()
    assert called == []
    qtbot.waitUntil(lambda: len(called) == 1)
    for _ in range(5):
        pace.ask()
    qtbot.waitUntil(lambda: len(called) == 2)
    assert called[1] - called[0] >= 0.09
    pace.ask()
    pace.now()
    assert len(called) == 3
    pace.ask()
    pace.stop()
    qtbot.wait(250)
    assert len(called) == 3


def test_slow_work_rests_longer(qapp, qtbot) -> None:
    begun, ended = [], []

    def work() -> None:
        begun.append(time.perf_counter())
        time.sleep(0.15)
        ended.append(time.perf_counter())

    pace = Pace(work, 100)
    pace.ask()
    qtbot.waitUntil(lambda: len(ended) == 1)
    pace.ask()
    qtbot.waitUntil(lambda: len(ended) == 2)
    pace.stop()
    assert begun[1] - ended[0] >= 0.25
