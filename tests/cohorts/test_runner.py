"""Many tasks: what goes wrong with one is told, and changes nothing for the others."""

import http.client
import os
import socket
import ssl
import urllib.error
import urllib.request

import psutil
import pytest
from chores import Chore, do, tries

from napari_gem3d.cohorts.cluster import cluster, shares
from napari_gem3d.cohorts.runner import run_tasks
from napari_gem3d.errors import InputError

KINDS = ("", "bad", "empty", "broken", "shaky", "")


def chores(folder, kinds=KINDS):
    return [Chore(f"case{number}", folder, how) for number, how in enumerate(kinds)]


def statuses(outcomes):
    return [outcome.status for outcome in outcomes]


def test_one_bad_task_stops_nothing(tmp_path):
    lines = []
    outcomes = run_tasks(chores(tmp_path), do, say=lines.append)
    assert statuses(outcomes) == ["made", "failed", "left out", "failed", "made", "made"]
    assert [outcome.attempts for outcome in outcomes] == [1, 1, 1, 3, 3, 1]
    assert outcomes[1].reason == "The scan is empty; give another." and not outcomes[1].details
    assert outcomes[3].reason == "RuntimeError: the disk is full" and "second line" in outcomes[3].details
    assert lines[1] == "[2/6] case1: failed: The scan is empty; give another."


def test_what_is_there_is_not_done_again(tmp_path):
    run_tasks(chores(tmp_path), do)
    again = run_tasks(chores(tmp_path, [""] * 6), do)
    assert statuses(again) == ["there", "made", "made", "made", "there", "there"]


def test_an_interrupt_ends_with_what_has_ended(tmp_path):
    outcomes = run_tasks(chores(tmp_path, ["", "bad", "interrupted", ""]), do)
    assert statuses(outcomes) == ["made", "failed"]
    assert not (tmp_path / "case3.txt").exists()


def test_two_tasks_of_one_name_are_refused(tmp_path):
    with pytest.raises(InputError, match="'case0'"):
        run_tasks([*chores(tmp_path), *chores(tmp_path)], do)


def test_workers_and_scheduler_are_refused_together(tmp_path):
    with pytest.raises(InputError, match="not both"):
        run_tasks(chores(tmp_path), do, workers=2, scheduler="tcp://10.0.0.1:8786")


def test_no_tasks_is_no_work(tmp_path):
    assert run_tasks([], do, workers=2) == []


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_lost_workers_and_their_tasks(tmp_path):
    pytest.importorskip("distributed")
    pytest.importorskip("cryptography")
    kinds = ["", "killed", "bad", "shaky", "deadly", "", ""]
    outcomes = run_tasks(chores(tmp_path, kinds), do, workers=2, retries=2)
    # A result that a lost worker had not handed over yet is asked for again: then its file is there.
    done = ["made" if status == "there" else status for status in statuses(outcomes)]
    assert done == ["made", "made", "failed", "made", "failed", "made", "made"]
    assert tries(chores(tmp_path, kinds)[1]) >= 2
    assert "3 workers were lost" in outcomes[4].reason
    # Attempts whose outcomes were lost with a worker are made again, and not counted.
    assert tries(chores(tmp_path, kinds)[3]) >= 3 and outcomes[3].worker.startswith("tls://127.0.0.1:")


@pytest.fixture(scope="module")
def local_cluster():
    """A scheduler and two workers as `run_tasks` starts them, and the addresses that their processes listen on."""
    pytest.importorskip("distributed")
    pytest.importorskip("cryptography")
    me = psutil.Process()
    before = {(c.laddr.ip, c.laddr.port) for c in me.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    with cluster(2, None, "cpu", 1) as (client, _):
        client.wait_for_workers(2)
        connections = [c for process in (me, *me.children(recursive=True)) for c in process.net_connections("inet")]
        listening = {(c.laddr.ip, c.laddr.port) for c in connections if c.status == psutil.CONN_LISTEN} - before
        yield client, listening


def test_nothing_listens_beyond_the_loopback(local_cluster):
    _, listening = local_cluster
    assert len(listening) >= 3
    assert {ip for ip, _ in listening} == {"127.0.0.1"}


def test_a_stranger_is_refused(local_cluster):
    client, listening = local_cluster
    addresses = [client.scheduler.address, *client.scheduler_info(n_workers=-1)["workers"]]
    assert all(address.startswith("tls://127.0.0.1:") for address in addresses)
    spoken = {int(address.rpartition(":")[2]) for address in addresses}
    assert spoken < {port for _, port in listening}
    for _, port in listening:
        assert not _answers(port, encrypted=False) and not _answers(port, encrypted=True)
        if port not in spoken:
            for page in ("", "info/main/workers.html", "json/counts.json", "metrics", "status", "api/v1"):
                with pytest.raises((urllib.error.HTTPError, ConnectionError, TimeoutError, http.client.HTTPException)):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=2)


def _answers(port: int, encrypted: bool) -> bool:
    """Whether a client without a certificate gets as much as a greeting of Dask's protocol."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=1) as plain,
            context.wrap_socket(plain) if encrypted else plain as stream,
        ):
            said = stream.recv(1 << 16)
            return b"pickle" in said or b"compression" in said
    except OSError:  # also what ssl raises
        return False


def test_a_scheduler_that_is_not_there(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("napari_gem3d.cohorts.cluster._TIMEOUT", 0.5)
    with pytest.raises(InputError, match="does not answer"):
        run_tasks(chores(tmp_path), do, scheduler="tcp://127.0.0.1:1")


def test_the_workers_of_a_scheduler_that_exists(tmp_path):
    distributed = pytest.importorskip("distributed")
    settings = {"processes": False, "dashboard_address": None, "n_workers": 2, "threads_per_worker": 1}
    with distributed.LocalCluster(**settings, resources={"GPU": 1}) as there:
        scheduler = tmp_path / "scheduler.json"
        with distributed.Client(there) as client:
            client.write_scheduler_file(str(scheduler))
        for name, where in (("address", there.scheduler_address), ("file", str(scheduler))):
            folder = tmp_path / name
            folder.mkdir()
            outcomes = run_tasks(chores(folder), do, scheduler=where, device="cuda")
            assert statuses(outcomes) == ["made", "failed", "left out", "failed", "made", "made"]
            assert {outcome.worker for outcome in outcomes} <= set(there.scheduler_info["workers"])


@pytest.mark.parametrize(
    ("device", "visible", "taken"),
    [("cuda", ["0", "1", "0"], 1), ("auto", ["0", "1", "0"], 1), ("cuda:1", [None] * 3, 1), ("cpu", [None] * 3, 0)],
)
def test_workers_share_the_graphics_cards_or_take_the_one_that_is_named(monkeypatch, device, visible, taken):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    found = shares(3, device)
    assert [share["env"].get("CUDA_VISIBLE_DEVICES") for share in found] == visible
    assert all(share["resources"] == ({"GPU": 1} if taken else {}) for share in found)
    assert all(int(share["env"]["OMP_NUM_THREADS"]) >= 1 for share in found)
