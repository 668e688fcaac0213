"""The seam before the disk: nothing goes past it, and no failure of a sync is lost in it."""

import ast
import errno
import os
import re
from pathlib import Path

import pytest

import fastlog.server
from fastlog.server import storage
from fastlog.server.storage import PROBE_NAME, AsyncStorage, Storage, best_storage

SERVER = Path(fastlog.server.__file__).parent
CHANGES = {
    *("write", "writev", "pwrite", "pwritev", "sendfile", "copy_file_range", "splice"),
    *("rename", "renames", "replace", "unlink", "remove", "link", "symlink"),
    *("truncate", "ftruncate", "posix_fallocate", "fsync", "fdatasync", "sync", "mkfifo", "mknod"),
}  # functions of os
CHANGES_OF_PATHS = {"write_bytes", "write_text", "touch", "unlink", "rename", "hardlink_to", "symlink_to"}
WRITES = {"O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND", "O_TRUNC"}


def changes_of_files(source: str) -> list[str]:
    """The calls in a program that change a file without a storage."""
    found = []
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        text = ast.unparse(call)
        match call.func:
            case ast.Attribute(value=ast.Name("os"), attr=name):
                if name in CHANGES or (name == "open" and any(flag in text for flag in WRITES)):
                    found.append(text)
            case ast.Name("open") | ast.Attribute(value=ast.Name("io"), attr="open"):
                mode = next((key.value for key in call.keywords if key.arg == "mode"), (*call.args, None, None)[1])
                if mode is not None and not (isinstance(mode, ast.Constant) and set(mode.value) <= set("rbt")):
                    found.append(text)
            case ast.Attribute(value=target, attr=name) if name in CHANGES_OF_PATHS:
                if "storage" not in ast.unparse(target):
                    found.append(text)
    return found


@pytest.mark.parametrize("path", sorted(SERVER.glob("*.py*")), ids=lambda path: path.name)
def test_every_change_of_a_file_goes_through_the_storage(path):
    if path.suffix == ".py" and path.name != "storage.py":
        assert changes_of_files(path.read_text()) == []
    elif path.suffix == ".pyx" and path.name != "_aio.pyx":
        assert not re.search(r"\b(fsync|fdatasync|ftruncate|pwrite|renameat|unlinkat|creat)\b", path.read_text())


@pytest.mark.parametrize(
    "call",
    [
        "os.fdatasync(fd)",
        "os.replace(a, b)",
        "open(path, 'wb')",
        "open(path, mode='r+')",
        "os.open(path, os.O_RDONLY | os.O_CREAT)",
        "path.write_bytes(b'')",
        "self.path.unlink()",
    ],
)
def test_a_change_past_the_storage_is_found(call):
    assert changes_of_files(call) == [call]


def test_reading_and_the_storage_itself_are_no_changes_past_it():
    source = (
        "open(p); open(p, 'rb'); os.open(p, os.O_RDONLY | os.O_DIRECTORY); self._storage.unlink(p); s.replace('a', 'b')"
    )
    assert changes_of_files(source) == []


class FakeAio:
    """Syncs end as the test says: with an errno for each descriptor."""

    def __init__(self, ends: dict[int, int]) -> None:
        self.eventfd = -1
        self.under_way = 0
        self._ends = ends
        self._tags: list[tuple[int, int]] = []

    def submit(self, fd: int, directory: bool, tag: int) -> None:
        if fd not in self._ends:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        self.under_way += 1
        self._tags.append((tag, self._ends[fd]))

    def ended(self, wait: bool = False) -> list[tuple[int, int]]:
        """One at a time."""
        tags, self._tags = self._tags[:1], self._tags[1:]
        self.under_way -= len(tags)
        return tags


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_sync_fails_if_one_of_its_parts_fails(monkeypatch, failing):
    monkeypatch.setattr(storage, "Aio", lambda: FakeAio({1: 0, 2: 0, 3: 0, failing: errno.EIO}))
    ends: list[OSError | None] = []
    asynchronous = AsyncStorage()
    asynchronous.sync([1, 2], 3, ends.append)
    asynchronous.on_ready(0.0)
    asynchronous.on_ready(0.0)
    assert ends == []  # not before the last part has ended
    asynchronous.on_ready(0.0)
    assert [error and error.errno for error in ends] == [errno.EIO]


def test_a_sync_that_the_kernel_does_not_begin_fails(monkeypatch):
    monkeypatch.setattr(storage, "Aio", lambda: FakeAio({1: 0}))
    ends: list[OSError | None] = []
    asynchronous = AsyncStorage()
    asynchronous.sync([1, 2], None, ends.append)
    asynchronous.finish()
    assert [error and error.errno for error in ends] == [errno.EAGAIN]


def test_more_syncs_than_the_kernel_has_room_for_all_end(tmp_path):
    asynchronous, reason = best_storage(tmp_path)
    if reason:
        pytest.skip(f"no asynchronous syncs here: {reason}")
    fd = asynchronous.open(tmp_path / "file")
    ends: list[OSError | None] = []
    for _ in range(3 * storage.MAX_UNDER_WAY):
        asynchronous.sync([fd, fd], None, ends.append)
    asynchronous.finish()
    assert ends == [None] * (3 * storage.MAX_UNDER_WAY)
    asynchronous.close(fd)
    asynchronous.shut_down()


def test_the_kernels_own_verdict_of_a_sync_is_reported(tmp_path):
    """A pipe cannot be synced, and Linux says so when the sync is begun or when it ends."""
    asynchronous, reason = best_storage(tmp_path)
    if reason:
        pytest.skip(f"no asynchronous syncs here: {reason}")
    read, write = os.pipe()
    ends: list[OSError | None] = []
    asynchronous.sync([write], None, ends.append)
    asynchronous.finish()
    assert [error and error.errno for error in ends] == [errno.EINVAL]
    os.close(read)
    os.close(write)
    asynchronous.shut_down()


def test_a_directory_that_takes_no_probe_is_synced_by_blocking_calls(tmp_path):
    (tmp_path / PROBE_NAME).mkdir()
    found, reason = best_storage(tmp_path)
    assert type(found) is Storage
    assert "Is a directory" in reason
