"""Files appear whole or not at all; hashes say what was read."""

import hashlib
import os
import stat

import pytest

from napari_gem3d.errors import InputError
from napari_gem3d.io import replacing, sha256
from napari_gem3d.io.files import private_folder


def test_replaces_in_one_step(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".txt"
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_leaves_nothing_when_writing_fails(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail():
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_says_why_it_cannot_write(tmp_path):
    with pytest.raises(InputError, match="does not exist"), replacing(tmp_path / "none" / "a.txt"):
        pass
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot be written"), replacing(tmp_path / "folder") as temporary:
        temporary.write_text("a file cannot replace a folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_hash_of_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    with pytest.raises(InputError, match="does not exist"):
        sha256(tmp_path / "none")


def test_hash_of_a_folder(tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    for folder, contents in ((first, (b"ab", b"c")), (second, (b"a", b"bc"))):
        folder.mkdir()
        for name, content in zip("xy", contents, strict=True):
            (folder / name).write_bytes(content)
    before = sha256(first)
    assert before != sha256(second)
    (first / ".hidden").write_bytes(b"!")
    assert sha256(first) == before
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no files"):
        sha256(tmp_path / "empty")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_private_folders_are_their_users_alone(tmp_path):
    folder = tmp_path / "cache" / "app" / "sessions"
    assert private_folder(folder) == folder
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder.parent, folder.parents[1])] == [0o700] * 3
    folder.chmod(0o755)
    assert stat.S_IMODE(private_folder(folder).stat().st_mode) == 0o700
