"""The lasting thread and the way back to the GUI thread."""

import threading

from napari_gem3d.viewer.worker import Worker


def test_results_come_back_on_the_gui_thread(qtbot) -> None:
    worker = Worker()
    got: list[tuple[str, int]] = []
    for name in ("a", "b"):
        worker.submit(lambda name=name: (name, threading.get_ident()), got.append)
    here: list[int] = []
    worker.submit(lambda: None, lambda _: here.append(threading.get_ident()))
    qtbot.waitUntil(lambda: len(here) == 1)
    assert [name for name, _ in got] == ["a", "b"]
    assert got[0][1] == got[1][1] != threading.get_ident()
    assert here == [threading.get_ident()]
    worker.close()


def test_an_error_is_handed_over_and_the_thread_lives_on(qtbot) -> None:
    worker = Worker()
    errors: list[BaseException] = []
    got: list[int] = []
    worker.submit(lambda: 1 / 0, got.append, errors.append)
    worker.submit(lambda: 5, got.append, errors.append)
    qtbot.waitUntil(lambda: got == [5])
    assert [type(error) for error in errors] == [ZeroDivisionError]
    worker.close()


def test_an_error_in_showing_a_result_is_handed_over(qtbot) -> None:
    worker = Worker()
    errors: list[BaseException] = []
    worker.submit(lambda: 0, lambda value: 1 / value, errors.append)
    qtbot.waitUntil(lambda: len(errors) == 1)
    worker.close()


def test_after_closing_nothing_is_delivered(qtbot) -> None:
    worker = Worker()
    got: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def work() -> int:
        begun.set()
        go_on.wait(5)
        return 1

    worker.submit(work, got.append)
    worker.submit(lambda: 2, got.append)
    assert begun.wait(5)
    go_on.set()
    worker.close()
    qtbot.wait(50)
    assert got == []
