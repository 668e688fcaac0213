"""The seam before the disk: nothing goes past it, and no failure of a sync is lost in it."""

import ast
import contextlib
import errno
import os
import re
import resource
import select
from pathlib import Path
from time import monotonic

import pytest

import fastlog.server
from fastlog.server import storage
from fastlog.server._aio import Aio
from fastlog.server.storage import AsyncStorage, Storage, best_storage
from tests.helpers.running import PATIENCE_SEC

FD_SETSIZE = 1024  # the first descriptor that select(2) cannot watch
SERVER = Path(fastlog.server.__file__).parent
CHANGES = {
    *("write", "writev", "pwrite", "pwritev", "sendfile", "copy_file_range", "splice"),
    *("rename", "renames", "replace", "unlink", "remove", "link", "symlink"),
    *(
        "setxattr",
        "removexattr",
        "mkdir",
        "makedirs",
        "truncate",
        "ftruncate",
        "posix_fallocate",
        "fsync",
        "fdatasync",
        "sync",
        "mkfifo",
        "mknod",
    ),
}  # functions of os
CHANGES_OF_PATHS = {"mkdir", "write_bytes", "write_text", "touch", "unlink", "rename", "hardlink_to", "symlink_to"}
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


# What these change is not of the log: no entry depends on it.
NOT_OF_THE_LOG = {
    "unix_listener.py",  # the path of a socket
    "alerts.py",  # an attribute of the directory, which says what was reported last; written by a thread, which may wait
    "alert_process.py",  # a file of /proc
    "history_file.py",  # the figures of the last days
}


@pytest.mark.parametrize("path", sorted(SERVER.glob("*.py*")), ids=lambda path: path.name)
def test_every_change_of_a_file_goes_through_the_storage(path):
    if path.name in NOT_OF_THE_LOG:
        return
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
        "self.path.parent.mkdir()",
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
        self.full: list[bool] = []  # of each sync
        self._ends = ends
        self._tags: list[tuple[int, int]] = []

    def set_up(self) -> None:
        pass

    def close(self) -> None:
        pass

    def submit(self, fd: int, full: bool, tag: int) -> None:
        self.full.append(full)
        if fd not in self._ends:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        self.under_way += 1
        self._tags.append((tag, self._ends[fd]))

    def ended(self, wait: bool = False) -> list[tuple[int, int]]:
        """One at a time."""
        tags, self._tags = self._tags[:1], self._tags[1:]
        self.under_way -= len(tags)
        return tags


@pytest.fixture
def fake(monkeypatch):
    """An asynchronous storage whose syncs end as the test says."""

    def make(ends: dict[int, int]) -> AsyncStorage:
        monkeypatch.setattr(storage, "Aio", lambda: FakeAio(ends))
        made = AsyncStorage()
        made.why_blocking = None
        return made

    return make


@pytest.fixture
def asynchronous(tmp_path, closing):
    """The real one."""
    made = best_storage(tmp_path)
    if made.why_blocking:
        pytest.skip(f"no asynchronous syncs here: {made.why_blocking}")
    yield made
    made.shut_down()


def end_of_sync(of: Storage, files: list[int], directory: int | None = None) -> int | None:
    """The errno with which a sync ends."""
    ends: list[OSError | None] = []
    of.sync(files, directory, ends.append)
    of.finish()
    [error] = ends
    return error and error.errno


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_sync_fails_if_one_of_its_parts_fails(fake, failing):
    ends: list[OSError | None] = []
    asynchronous = fake({1: 0, 2: 0, 3: 0, failing: errno.EIO})
    asynchronous.sync([1, 2], 3, ends.append)
    asynchronous.on_ready(0.0)
    asynchronous.on_ready(0.0)
    assert ends == []  # not before the last part has ended
    asynchronous.on_ready(0.0)
    assert [error and error.errno for error in ends] == [errno.EIO]


@pytest.mark.parametrize("refused", [1, 2])
def test_a_sync_that_the_kernel_does_not_begin_fails(fake, refused):
    assert end_of_sync(fake({3 - refused: 0}), [1, 2]) == errno.EAGAIN


@pytest.mark.parametrize("is_asynchronous", [True, False])
def test_the_next_sync_of_a_file_covers_an_attribute_that_was_set(fake, tmp_path, monkeypatch, is_asynchronous):
    """fdatasync leaves attributes out."""
    full: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda fd: full.append(True))
    monkeypatch.setattr(os, "fdatasync", lambda fd: full.append(False))
    of: Storage = Storage()
    fd, other = of.open(tmp_path / "file"), of.open(tmp_path / "other")
    if is_asynchronous:
        of = fake({fd: 0, other: 0})
        full = of._aio.full
    of.set_attribute(fd, "user.test", "1")
    for _ in range(2):
        of.sync([other, fd], None, lambda error: None)
        of.finish()
    assert full == [False, True, False, False]
    assert os.getxattr(tmp_path / "file", "user.test") == b"1"
    of.set_attribute(fd, "user.test", "2")
    of.close(fd)
    assert of.open(tmp_path / "another") == fd
    of.sync([fd], None, lambda error: None)
    assert not full[-1]
    of.close(fd)
    of.close(other)


def test_more_syncs_than_the_kernel_has_room_for_all_end(asynchronous, tmp_path):
    fd = asynchronous.open(tmp_path / "file")
    ends: list[OSError | None] = []
    for _ in range(3 * storage.MAX_UNDER_WAY):
        asynchronous.sync([fd, fd], None, ends.append)
    while len(ends) < 3 * storage.MAX_UNDER_WAY:
        assert select.select([asynchronous.source], [], [], PATIENCE_SEC)[0]
        asynchronous.on_ready(0.0)
    asynchronous.close(fd)
    assert ends == [None] * (3 * storage.MAX_UNDER_WAY)


def test_the_kernels_own_verdict_of_a_sync_is_reported(asynchronous, tmp_path):
    """A pipe cannot be synced, and Linux says so when the sync is begun or when it ends."""
    read, write = os.pipe()
    good = asynchronous.open(tmp_path / "file")
    for files in ([write], [good, write], [write, good]):
        assert end_of_sync(asynchronous, files) == errno.EINVAL
    os.close(read)
    os.close(write)
    for files in ([write], [good, write], [write, good]):
        assert end_of_sync(asynchronous, files) == errno.EBADF
    assert end_of_sync(asynchronous, [good], write) == errno.EBADF
    asynchronous.close(good)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_directory_that_knows_no_sync_fails_none(fake, number):
    asynchronous = fake({1: 0, 2: number, 3: errno.EIO})
    assert end_of_sync(asynchronous, [1], 2) is None
    assert asynchronous.no_name_syncs == os.strerror(number)
    assert end_of_sync(asynchronous, [3], 2) == errno.EIO
    assert end_of_sync(asynchronous, [2], 1) == number  # a file that cannot be synced


@pytest.fixture(params=["asynchronous", "blocking"])
def on_faulty_disk(request, faulty_disk):
    """A storage, the faulty disk, and a file and the directory on it."""
    if request.param == "blocking":
        made = Storage()
    else:
        made = best_storage(faulty_disk.directory)
        assert made.why_blocking is None
    fd = made.open(faulty_disk.directory / "file")
    directory = os.open(faulty_disk.directory, os.O_RDONLY)
    made.write(fd, memoryview(b"line\n"))
    yield made, faulty_disk, fd, directory
    os.close(directory)
    made.close(fd)
    made.shut_down()


@pytest.mark.parametrize("operation", ["fsync", "fsyncdir"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_an_error_of_a_real_sync_is_reported(on_faulty_disk, operation, number):
    made, disk, fd, directory = on_faulty_disk
    disk.fail(operation, number)
    assert end_of_sync(made, [fd], directory) == number
    disk.mend(operation)
    assert end_of_sync(made, [fd], directory) is None


def test_an_error_of_one_of_several_files_is_reported(on_faulty_disk):
    made, disk, fd, directory = on_faulty_disk
    other = made.open(disk.directory / "other")
    disk.fail("fsync", errno.EIO, "other")
    for files in ([other, fd], [fd, other]):
        assert end_of_sync(made, files, directory) == errno.EIO
    made.close(other)


def test_names_are_as_durable_as_they_are_where_directories_know_no_sync(on_faulty_disk):
    made, disk, fd, directory = on_faulty_disk
    assert made.no_name_syncs is None
    disk.fail("fsyncdir", errno.EINVAL)
    assert end_of_sync(made, [fd], directory) is None
    assert made.no_name_syncs == "Invalid argument"
    disk.fail("fsync", errno.EINVAL)
    assert end_of_sync(made, [fd], directory) == errno.EINVAL


@pytest.mark.parametrize("number", sorted(storage.NO_LOCKS))
def test_a_file_that_cannot_be_locked_is_used_without(on_faulty_disk, number):
    made, disk, fd, _ = on_faulty_disk
    made.lock(fd)
    assert made.no_locks is None
    disk.fail("flock", number)
    made.lock(fd)
    assert made.no_locks == os.strerror(number)
    disk.fail("flock", errno.EAGAIN)
    with pytest.raises(BlockingIOError):
        made.lock(fd)


def test_syncs_are_asynchronous_also_where_nothing_new_has_room(faulty_disk):
    for operation in ("create", "mknod"):
        faulty_disk.fail(operation, errno.ENOSPC)
    made = best_storage(faulty_disk.directory)
    assert made.why_blocking is None
    made.shut_down()
    assert {operation for operation, _ in faulty_disk.calls()} == {"fsyncdir"}


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO])
def test_syncs_are_asynchronous_also_where_the_directory_cannot_be_synced(faulty_disk, number):
    faulty_disk.fail("fsyncdir", number)
    made = best_storage(faulty_disk.directory)
    assert made.why_blocking is None
    made.shut_down()


def test_syncs_block_until_the_kernel_has_room_for_asynchronous_ones(monkeypatch, tmp_path):
    class UsedUp(Aio):
        times = 2

        def set_up(self):
            self.times -= 1
            if self.times >= 0:
                raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
            super().set_up()

    monkeypatch.setattr(storage, "Aio", UsedUp)
    made = best_storage(tmp_path)
    source = made.source
    with open(tmp_path / "file", "wb") as file:
        for mode in ("fdatasync, blocking", "fdatasync, blocking", "fdatasync, asynchronous"):
            assert made.mode == mode
            assert (made.why_blocking is None) == ("asynchronous" in mode)
            assert made.why_blocking is None or "fs.aio-max-nr" in made.why_blocking
            ends: list[OSError | None] = []
            made.sync([file.fileno()], None, ends.append)
            assert ends == ([] if "asynchronous" in mode else [None])
            made.finish()
            assert ends == [None]
            made.begin(tmp_path)
    assert made.source == source
    made.shut_down()


def test_a_kernel_without_asynchronous_syncs_is_noticed(monkeypatch, tmp_path):
    monkeypatch.setattr(storage, "Aio", lambda: FakeAio({}))
    assert best_storage(tmp_path).why_blocking == "Resource temporarily unavailable"


def test_each_directory_that_is_made_has_its_name_synced(faulty_disk):
    made = Storage()
    made.make_directory(faulty_disk.directory / "logs" / "of" / "today")
    assert [call for call in faulty_disk.calls() if call[0] in ("mkdir", "fsyncdir")] == [
        *(["mkdir", "/"], ["fsyncdir", "/"]),
        *(["mkdir", "logs"], ["fsyncdir", "logs"]),
        *(["mkdir", "of"], ["fsyncdir", "of"]),
    ]
    made.make_directory(faulty_disk.directory / "logs" / "of" / "today")
    assert len(faulty_disk.calls()) == 6
    faulty_disk.fail("fsyncdir", errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        made.make_directory(faulty_disk.directory / "others")


def test_a_file_in_a_directorys_place_is_an_error(tmp_path):
    (tmp_path / "logs").touch()
    with pytest.raises(NotADirectoryError):
        Storage().make_directory(tmp_path / "logs")


def test_the_end_waits_for_a_sync_whatever_descriptor_reports_it(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(2000, hard), hard))
    try:
        with contextlib.ExitStack() as opened, open(tmp_path / "file", "wb") as file:
            while opened.enter_context(open(os.devnull)).fileno() < FD_SETSIZE:
                pass
            made = best_storage(tmp_path)
            assert made.source > FD_SETSIZE
            made.give_up_at = monotonic() + PATIENCE_SEC
            ends: list[OSError | None] = []
            made.sync([file.fileno()], None, ends.append)
            made.finish()
            assert ends == [None]
            made.shut_down()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
