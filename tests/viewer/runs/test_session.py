"""Folders of sessions: what is written down, what is offered after a crash, what is deleted."""

import logging
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from napari_gem3d.io import read_label_map
from napari_gem3d.labels import LabelMap
from napari_gem3d.viewer.session import (
    Journal,
    SavedMask,
    Session,
    claim,
    clean_sessions,
    discard_session,
    end_session,
    lost_session,
    read_journal,
    start_log,
)

MASK = LabelMap(np.eye(4, dtype=np.uint8)[None].repeat(3, 0), np.eye(4))


def journal_of(session: Session, **changes) -> Journal:
    mask = SavedMask(name="anna", file=session.folder / "painted-001-anna.nii.gz", patient=Path("/scans/anna.nii.gz"))
    return session.journal().model_copy(update={"masks": (mask,), **changes})


def lose(session: Session, **changes) -> None:
    """Leave it as a process does that was killed: something is written, the lock is free."""
    session.write(journal_of(session, **changes))
    session.leave()


@pytest.fixture
def session(tmp_path) -> Session:
    return Session(tmp_path)


def test_masks_are_kept_under_names_of_their_own(session):
    first, second = session.save_mask(MASK), session.save_mask(MASK)
    assert [path.name for path in (first, second)] == ["mask-001.nii.gz", "mask-002.nii.gz"]
    np.testing.assert_array_equal(read_label_map(second).voxels, MASK.voxels)
    assert session.new_file("run").name == "run-001.nii.gz"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_sessions_and_logs_are_their_users_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("napari_gem3d.viewer.session.user_log_path", lambda app: tmp_path / "state" / "log")
    monkeypatch.setattr(logging.getLogger("napari_gem3d"), "handlers", [])  # a log that was begun before is kept
    session = Session(tmp_path / "sessions")
    session.write(session.journal())
    folders = (session.root, session.folder, start_log().parent)
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in folders] == [0o700] * 3


def test_a_running_session_is_not_offered(session, tmp_path):
    session.write(journal_of(session))
    assert lost_session(tmp_path) is None


def test_a_lock_decides_and_no_clock(session, tmp_path):
    session.write(journal_of(session, born=1.0))  # as if the clock had been set
    assert lost_session(tmp_path) is None
    assert clean_sessions(tmp_path, keep=tmp_path / "other", days=0, size=0) == []
    session.leave()
    lose(session)  # the number is that of a process that lives
    assert lost_session(tmp_path) is not None


def test_two_panels_after_a_crash_are_not_offered_the_same(session, tmp_path):
    lose(session)
    folder, _ = lost_session(tmp_path)
    first = claim(folder)
    assert first is not None and claim(folder) is None and lost_session(tmp_path) is None
    second = Session(tmp_path)
    second.adopt(folder, first)
    assert lost_session(tmp_path) is None
    second.leave()
    assert lost_session(tmp_path) is not None


def test_a_session_that_ended_is_not_offered(session, tmp_path):
    lose(session)
    assert lost_session(tmp_path) is not None
    session.end()
    assert lost_session(tmp_path) is None
    session.write(journal_of(session))  # a write that was still waiting comes too late
    assert lost_session(tmp_path) is None


def test_a_killed_process_is_offered(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from napari_gem3d.viewer.session import SavedMask, Session\n"
        "session = Session(Path(sys.argv[1]))\n"
        "mask = SavedMask(name='m', file=Path('m.nii.gz'), patient=Path('p.nii.gz'))\n"
        "session.write(session.journal().model_copy(update={'masks': (mask,)}))\nprint('written', flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "written\n"
        assert lost_session(tmp_path) is None  # it is at work
        process.send_signal(signal.SIGKILL)
        process.wait()
    folder, journal = lost_session(tmp_path)
    assert journal.masks[0].name == "m" and folder.parent == tmp_path


def test_nothing_to_restore_is_not_offered(session, tmp_path):
    lose(session, masks=())
    assert lost_session(tmp_path) is None


def test_the_latest_lost_session_is_offered(tmp_path):
    for name in ("2026-01-01-100000-1", "2026-03-01-090000-2", "2026-02-01-100000-3"):
        session = Session(tmp_path)
        session.folder = tmp_path / name
        lose(session)
    assert lost_session(tmp_path)[0].name == "2026-03-01-090000-2"
    discard_session(tmp_path / "2026-03-01-090000-2")
    assert lost_session(tmp_path)[0].name == "2026-02-01-100000-3"
    end_session(tmp_path / "2026-02-01-100000-3")
    assert lost_session(tmp_path)[0].name == "2026-01-01-100000-1"


@pytest.mark.parametrize("content", [b"", b"{", b'{"format": "other"}', b"\xff"])
def test_a_damaged_journal_is_passed_over(session, tmp_path, content):
    lose(session)
    (session.folder / "session.json").write_bytes(content)
    assert read_journal(session.folder) is None and lost_session(tmp_path) is None
    session.end()


def folder_of(root: Path, name: str, days: float, size: int = 10, **changes) -> Path:
    session = Session(root)
    session.folder = root / name
    lose(session, **{"ended": True, **changes})
    (session.folder / "run-001-x.nii.gz").write_bytes(b"x" * size)
    then = time.time() - days * 86400
    for path in (*session.folder.iterdir(), session.folder):
        os.utime(path, (then, then))
    return session.folder


def test_old_sessions_are_deleted(tmp_path):
    old, lost_and_old = (
        folder_of(tmp_path, "2026-01-01-0-1", 20),
        folder_of(tmp_path, "2026-01-02-0-1", 15, ended=False),
    )
    young, own = folder_of(tmp_path, "2026-01-03-0-1", 13), folder_of(tmp_path, "2026-01-04-0-1", 99)
    other = tmp_path / "letters"
    other.mkdir()
    running = Session(tmp_path)
    running.write(journal_of(running))
    assert set(clean_sessions(tmp_path, keep=own)) == {old, lost_and_old}
    assert young.is_dir() and own.is_dir() and other.is_dir() and running.folder.is_dir()
    assert not old.exists()


def test_the_oldest_go_when_all_take_too_much(tmp_path):
    first, second = folder_of(tmp_path, "2026-01-01-0-1", 9, 50_000), folder_of(tmp_path, "2026-01-02-0-1", 8, 50_000)
    lost = folder_of(tmp_path, "2026-01-01-5-1", 10, 50_000, ended=False)
    own = folder_of(tmp_path, "2026-01-04-0-1", 0)
    assert clean_sessions(tmp_path, keep=own, size=120_000) == [first]  # the lost one is older, but offered
    assert lost.is_dir() and second.is_dir()
    assert clean_sessions(tmp_path / "nowhere", keep=own) == []
