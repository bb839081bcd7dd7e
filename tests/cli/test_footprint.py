"""What a command leaves on the machine, and whether it talks to anybody, told by Python's own audit events."""

import json
import os
import subprocess
import sys

import pytest

# Runs a command and prints where it wrote and which sockets it used. Hooks stay until the process ends.
WATCHED = """
import json, os, sys
written, sockets = set(), []
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        mode, flags = arguments[1], arguments[2] or 0
        if (mode and set(mode) & set("wax+")) or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            written.add(os.path.realpath(os.fsdecode(arguments[0])))
    elif event in ("os.mkdir", "os.rename"):
        written.add(os.path.realpath(os.fsdecode(arguments[1 if event == "os.rename" else 0])))
    elif event in ("socket.bind", "socket.connect", "socket.getaddrinfo"):
        sockets.append(repr(arguments[1:]))
sys.addaudithook(hook)
from napari_gem3d.cli.main import main
code = main(sys.argv[1:])
print(json.dumps({"code": code, "written": sorted(written), "sockets": sockets}))
"""


@pytest.fixture
def run(tmp_path):
    """A function that runs a command in homes, caches and temp directories of its own; gives what it did."""
    places = {name: tmp_path / name for name in ("home", "cache", "temp", "out")}
    for place in places.values():
        place.mkdir()
    surroundings = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TORCHINDUCTOR")},
        "HOME": str(places["home"]),
        "XDG_CACHE_HOME": str(places["cache"]),
        "TMPDIR": str(places["temp"]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    def command(*words):
        done = subprocess.run(
            [sys.executable, "-c", WATCHED, *map(str, words)],
            env=surroundings,
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout.splitlines()[-1])

    return places, command


def test_commands_write_where_they_are_told_and_talk_to_nobody(run, tiny_patient, tiny_model):
    places, command = run
    out, model = places["out"], ["--model", tiny_model]
    scan, labels = tiny_patient.scan, tiny_patient.labels
    before = sorted(tiny_model.rglob("*"))
    for words in (
        ["generate", "--mask", labels, "--informed", scan, "--seed", "1", *model, "--out", out / "g.nii.gz"],
        ["mask", "--mask", labels, "--remove", *model, "--out", out / "m.nii.gz"],
        ["export", out / "g.nii.gz", "--dicom", out / "series"],
    ):
        told = command(*words)
        # A library asks by a socket of the loopback whether there is IPv6.
        assert told["code"] == 0 and [used for used in told["sockets"] if "'::1'" not in used] == []
        allowed = tuple(os.path.realpath(places[name]) for name in ("cache", "temp", "out"))
        assert [path for path in told["written"] if not path.startswith((*allowed, "/dev/"))] == []
    # PyTorch makes the folder of its compiler when it is imported.
    left = [path for path in places["temp"].iterdir() if not path.name.startswith("torchinductor_")]
    assert left == [] and list(places["home"].iterdir()) == []
    assert {path.name for path in out.iterdir()} == {
        "g.nii.gz",
        "g.json",
        "m.nii.gz",
        "m.json",
        "series",
        "series.json",
    }
    assert sorted(tiny_model.rglob("*")) == before
