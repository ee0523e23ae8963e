import errno
import fcntl
import os
from pathlib import Path

import pytest

from sciml.data.writers.atomic import write_atomically


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_writes_and_replaces(tmp_path):
    target = tmp_path / "new" / "folder" / "file.bin"
    write_atomically(target, lambda path: path.write_bytes(b"first"))
    write_atomically(target, lambda path: path.write_bytes(b"second, longer"))
    assert target.read_bytes() == b"second, longer"
    assert names(target.parent) == ["file.bin"]


def fail_with(code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize(("owner", "function"), [(Path, "write_bytes"), (os, "fsync")])
def test_full_disk_leaves_nothing_and_keeps_the_old_file(
    tmp_path, monkeypatch, owner, function
):
    target = tmp_path / "file.bin"
    write_atomically(target, lambda path: path.write_bytes(b"old"))
    with monkeypatch.context() as patch:
        patch.setattr(owner, function, fail_with(errno.ENOSPC))
        with pytest.raises(
            OSError, match=r"file.bin, got No space left on device; .*free space"
        ):
            write_atomically(target, lambda path: path.write_bytes(b"new"))
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["file.bin"]


def test_interrupt_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_atomically(tmp_path / "file.bin", lambda path: path.write_bytes(b"new"))
    assert names(tmp_path) == []


def test_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "occupied").write_text("a file")
    with pytest.raises(OSError, match=r"occupied/file.bin.*choose a folder"):
        write_atomically(
            tmp_path / "occupied" / "file.bin", lambda path: path.write_bytes(b"new")
        )
    # Permissions do not bind root, so a read-only folder is played.
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail_with(errno.EROFS))
        with pytest.raises(
            OSError, match=r"file.bin, got Read-only file system.*choose a folder"
        ):
            write_atomically(tmp_path / "file.bin", lambda path: path.write_bytes(b"new"))


def test_leftovers_of_dead_processes_go_and_files_of_living_ones_stay(tmp_path):
    dead = tmp_path / ".shard.hdf5.0123.part"
    alive = tmp_path / ".shard.hdf5.4567.part"
    dead.write_bytes(b"half")
    with alive.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write_atomically(tmp_path / "other.bin", lambda path: path.write_bytes(b"whole"))
        assert names(tmp_path) == [alive.name, "other.bin"]
    write_atomically(tmp_path / "other.bin", lambda path: path.write_bytes(b"whole"))
    assert names(tmp_path) == ["other.bin"]


def test_a_file_taken_for_a_leftover_before_its_lock_is_made_again(tmp_path, monkeypatch):
    lock = fcntl.flock
    created = []

    def late(descriptor, operation):
        if operation == fcntl.LOCK_EX and not created:
            (partial,) = tmp_path.glob(".*.part")
            created.append(partial)
            partial.unlink()  # what another process's clean-up does in the gap
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    write_atomically(tmp_path / "file.bin", lambda path: path.write_bytes(b"whole"))
    assert created
    assert (tmp_path / "file.bin").read_bytes() == b"whole"
    assert names(tmp_path) == ["file.bin"]
