"""How damaged files are repaired, wherever the damage is, and which files are searched; what a start remembers."""

import contextlib
import errno
import fcntl
import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastlog import entry
from fastlog.limits import LINE_MAX_BYTES
from fastlog.server import found_files, repair
from fastlog.server.found_files import Found, find, newest_lines
from fastlog.server.logfile import LogFile
from fastlog.server.storage import Storage
from fastlog.server.torn import BUFFER_BYTES, Torn
from tests.helpers.disk import EIO, RecordingStorage
from tests.helpers.small_disk import only_root

INFO = b'{"level":"INFO","message":"m"}'
NESTED = b'{"level":"INFO","message":"{\\"a\\":1}","context":{"b":{"c":[1e400,"{"]}}}'
ENTRY_INSIDE = b'{"level":"INFO","message":"m","context":{"level":"ERROR","message":"inside","sequence":1}}'
LINE = b'{"level":"INFO","message":"%s"}\n' % (b"x" * 53)
PAGE = bytes(4096)
TORN_LINE = LINE[:40] + PAGE + b'x"}\n'  # a page of it is missing
SECOND_NS = 10**9


class QuickStorage(Storage):
    """Without syncs, for tests that make very many repairs."""

    def sync_now(self, files, directory=None):
        pass


class NoRoomStorage(QuickStorage):
    """A disk that takes no new data, but lets blocks that a file has be overwritten."""

    def write(self, fd, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def repair_directory(directory: Path, storage: Storage | None = None) -> int:
    """Repairs the log there; returns the number of torn bytes reported."""
    live = directory / "server.log"
    locked_fd = os.open(live, os.O_RDWR | os.O_CREAT)
    fcntl.flock(locked_fd, fcntl.LOCK_EX)
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return repair.repair_all(storage or QuickStorage(), live, locked_fd, directory_fd)
    finally:
        os.close(directory_fd)
        os.close(locked_fd)


def repaired(directory: Path, content: bytes, storage: Storage | None = None) -> tuple[bytes, bytes, int]:
    """The file after the repair, `.torn`, and the number of torn bytes reported."""
    path = directory / "server.log"
    torn = directory / "server.log.torn"
    torn.unlink(missing_ok=True)
    path.write_bytes(content)
    count = repair_directory(directory, storage)
    return path.read_bytes(), torn.read_bytes() if torn.exists() else b"", count


def expected(content: bytes) -> tuple[bytes, bytes]:
    """The whole lines of the content, and everything else but its zeros."""
    whole, torn = [], []
    *lines, rest = content.split(b"\n")
    for line in lines:
        *before, last = line.split(b"\0")
        torn += before
        (whole if not before or is_entry(last) else torn).append(last + b"\n")
    torn += rest.split(b"\0")
    return b"".join(whole), b"".join(torn)


def is_entry(line: bytes) -> bool:
    pieces = entry.decode(line)
    return len(pieces) == 1 and pieces[0].reason is None and pieces[0].end == len(line)


lines = st.sampled_from([INFO, NESTED, ENTRY_INSIDE])
pieces = st.one_of(
    st.sampled_from([INFO + b"\n", NESTED + b"\n", ENTRY_INSIDE + b"\n", INFO, b"\n", bytes(5), bytes(40)]),
    st.tuples(lines, st.integers(1, 90)).map(lambda cut: cut[0][: cut[1]]),
    st.tuples(lines, st.integers(0, 90)).map(lambda cut: cut[0][cut[1] :] + b"\n"),
)
contents = st.lists(pieces, max_size=12).map(b"".join)
blocks = st.sampled_from([1, 2, 7, 64, 1 << 20])
many_examples = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)


@given(content=contents, block=blocks)
@many_examples
def test_whole_lines_stay_and_all_else_is_kept_beside(tmp_path, content, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repair, "BLOCK_BYTES", block)
        patch.setattr(repair, "BACK_BYTES", min(block, repair.BACK_BYTES))
        left, torn, count = repaired(tmp_path, content)
        whole, unfinished = expected(content)
        assert left == whole
        assert torn == (unfinished + b"\n" if unfinished else b"")
        assert count == len(unfinished)
        assert repaired(tmp_path, left) == (left, b"", 0)


@given(content=contents, block=blocks)
@many_examples
def test_without_room_whole_lines_stay_and_the_rest_becomes_spaces(tmp_path, content, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repair, "BLOCK_BYTES", block)
        left, torn, count = repaired(tmp_path, content, NoRoomStorage())
        whole, unfinished = expected(content)
        assert [line.lstrip(b" ") for line in left.splitlines()] == whole.splitlines()
        assert torn == b""
        assert count == len(unfinished)
        assert len(left) <= len(content)
        assert repaired(tmp_path, left) == (left, b"", 0)


@pytest.mark.parametrize("line", [NESTED, ENTRY_INSIDE], ids=["nested", "an entry inside"])
def test_the_end_of_a_line_is_no_whole_line_wherever_it_was_cut(tmp_path, line):
    for cut in range(1, len(line)):
        assert repaired(tmp_path, bytes(10) + line[cut:] + b"\n")[0] == b""


values = st.recursive(
    st.one_of(st.text('{}[]":,\\ n\u00e9', max_size=8), st.integers(), st.none(), st.just(1.5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["level", "message", "{", '"', "\\", ":{"]), inner, max_size=4),
    ),
    max_leaves=8,
)


@given(message=st.text('{}[]":,\\', max_size=12), context=values, spaced=st.booleans())
@settings(max_examples=500, deadline=None)
def test_no_stored_line_has_an_end_that_is_an_entry(message, context, spaced):
    fields = {"level": "ERROR", "context": context, "message": message, "more": {"level": "INFO", "message": message}}
    line = json.dumps(fields, separators=None if spaced else (",", ":")).encode()
    assert repair._is_entry(line)
    assert not [cut for cut in range(1, len(line)) if repair._is_entry(line[cut:])]


def test_an_object_behind_zeros_that_is_no_entry_is_no_whole_line(tmp_path):
    assert repaired(tmp_path, INFO + b"\n" + PAGE + b'{"a":1}\n') == (INFO + b"\n", b'{"a":1}\n\n', 8)


@pytest.mark.parametrize("size", [LINE_MAX_BYTES, LINE_MAX_BYTES - 1, 1 << 16])
def test_a_line_of_the_greatest_length_behind_zeros_is_whole(tmp_path, size):
    line = b'{"level":"ERROR","message":"' + b"x" * (size - 30) + b'"}\n'
    assert len(line) == size + 1
    assert repaired(tmp_path, INFO + b"\n" + PAGE + line) == (INFO + b"\n" + line, b"", 0)


@pytest.mark.parametrize("behind", [16 << 20, 40 << 20], ids=["16 MB", "40 MB"])
def test_a_hole_far_from_the_end_of_a_large_file_is_found_and_costs_no_line(tmp_path, behind):
    """It is repaired in one pass: a quadratic one would take minutes."""
    before, behind = LINE * 20_000, LINE * (behind // len(LINE))
    left, _, count = repaired(tmp_path, before + TORN_LINE + behind)
    assert left == before + behind
    assert count == 40 + 4


def test_very_many_holes_are_repaired_in_linear_time(tmp_path):
    piece = TORN_LINE + LINE * 40
    left, torn, _ = repaired(tmp_path, piece * 4_000)
    assert left == LINE * 40 * 4_000
    assert torn == (LINE[:40] + b'x"}\n') * 4_000 + b"\n"


def test_zeros_are_cut_off_however_many_they_are(tmp_path):
    assert repaired(tmp_path, LINE * 10 + bytes(48 << 20)) == (LINE * 10, b"", 0)


def test_a_file_too_large_to_be_replaced_soon_is_repaired_where_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(repair, "REWRITTEN_BYTES", 1 << 20)
    content = LINE * 20_000 + TORN_LINE + LINE * 20_000 + LINE[:50]
    path = tmp_path / "server.log"
    path.write_bytes(content)
    inode = path.stat().st_ino
    assert repair_directory(tmp_path) == 44 + 50
    assert path.stat().st_ino == inode
    assert path.read_bytes() == LINE * 20_000 + b" " * len(TORN_LINE) + LINE * 20_000
    assert (tmp_path / "server.log.torn").read_bytes() == LINE[:40] + b'x"}\n' + LINE[:50] + b"\n"


def test_large_damage_becomes_no_spaces_before_an_entry(tmp_path, monkeypatch):
    """A reader would take a line with so many for broken: without room for a new file, blank lines take the place."""
    content = LINE * 10 + LINE[:40] + bytes(3 << 20) + b'x"}\n' + LINE * 5
    assert repaired(tmp_path, content)[0] == LINE * 15
    monkeypatch.setattr(repair, "REWRITTEN_BYTES", 1)
    for storage in (Storage(), NoRoomStorage()):
        left = repaired(tmp_path, content, storage)[0]
        assert len(left) == len(content)
        assert b"\0" not in left
        assert [line for line in left.splitlines() if line.strip()] == LINE.splitlines() * 15
        assert max(map(len, left.splitlines())) <= repair.SPACES_BYTES


def test_a_link_to_the_log_stays_a_link(tmp_path):
    (tmp_path / "elsewhere").write_bytes(TORN_LINE + LINE)
    (tmp_path / "server.log").symlink_to("elsewhere")
    repair_directory(tmp_path)
    assert (tmp_path / "server.log").is_symlink()
    assert (tmp_path / "elsewhere").read_bytes() == b" " * len(TORN_LINE) + LINE


# Which files are searched.


def test_only_files_of_the_log_are_repaired(tmp_path):
    others = ["server.log.new", "server.log.1.gz", "server.log-20261124.gz", "server.log.old", "server.log-2"]
    ours = ["server.log.12", "server.log.distrusted.12", "server.log-20261124", "server.log-20261124-1700000000"]
    for name in others + ours:
        (tmp_path / name).write_bytes(b"half")
    left, torn, count = repaired(tmp_path, INFO + b"\nhalf")
    assert (left, torn, count) == (INFO + b"\n", b"half\n" * 5, 20)
    assert [(tmp_path / name).read_bytes() for name in others] == [b"half"] * len(others)
    assert [(tmp_path / name).read_bytes() for name in ours] == [b""] * len(ours)


def searched(*files: tuple[int, int]) -> list[int]:
    """How much of each file is searched; each is given with its size and its age in seconds, the live one first."""
    found = [Found(Path(str(n)), size, 10**18 - age * SECOND_NS) for n, (size, age) in enumerate(files)]
    sizes = {each.path: size for each, size in repair.searched(found)}
    return [sizes.get(each.path, 0) for each in found]


MB = 1 << 20


def test_what_was_changed_shortly_before_the_crash_is_searched_however_large_it_is():
    assert searched((900 * MB, 0), (500 * MB, 3), (100 * MB, 100)) == [900 * MB, 500 * MB, 100 * MB]


def test_the_live_file_is_searched_whatever_its_time():
    assert searched((900 * MB, 10**6), (1, 0)) == [900 * MB, 1]


def test_older_files_are_searched_up_to_a_limit():
    """A clock may have been wrong, so a file's time alone does not spare it."""
    assert searched((100 * MB, 0), (100 * MB, 10**5), (100 * MB, 10**5), (1, 10**5)) == [100 * MB, 100 * MB, 56 * MB, 0]


def test_a_new_empty_file_makes_the_others_no_older():
    """The start makes a live file where a crash in a rotation left none."""
    assert searched((0, 0), (500 * MB, 10**6), (500 * MB, 10**6 + 60)) == [0, 500 * MB, 500 * MB]


def test_no_start_searches_more_than_the_limit():
    assert searched((3 << 30, 0), (1, 0)) == [2 << 30, 0]
    assert sum(searched(*[(10 * MB, 0)] * 1_000)) == 2 << 30


def test_a_file_larger_than_the_search_is_searched_from_the_beginning_of_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr(repair, "MOST_BYTES", 5 * len(LINE) + 10)
    content = TORN_LINE + LINE * 10
    assert repaired(tmp_path, content + TORN_LINE + LINE * 2)[0] == content + LINE * 2


def test_zeros_over_the_whole_search_are_cut_off_from_their_beginning(tmp_path, monkeypatch):
    monkeypatch.setattr(repair, "MOST_BYTES", 1000)
    assert repaired(tmp_path, LINE * 10 + LINE[:40] + PAGE) == (LINE * 10, LINE[:40] + b"\n", 40)


def test_files_that_are_not_searched_are_not_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(repair, "ALWAYS_BYTES", 0)
    (tmp_path / "server.log.1").write_bytes(b"half")
    os.utime(tmp_path / "server.log.1", (1, 1))
    opened = []
    monkeypatch.setattr(repair, "opened", lambda path: opened.append(path.name) or found_files.opened(path))
    repaired(tmp_path, LINE)
    assert set(opened) == {"server.log"}


@pytest.mark.parametrize("content", [TORN_LINE + LINE, LINE + LINE[:20]], ids=["replaced", "cut"])
def test_a_repaired_file_keeps_its_time_and_an_archive_is_durable_at_once(tmp_path, content):
    archive = tmp_path / "server.log.1"
    archive.write_bytes(content)
    os.utime(archive, ns=(SECOND_NS, SECOND_NS))
    storage = RecordingStorage()
    repair_directory(tmp_path, storage)
    assert archive.read_bytes() == LINE
    assert archive.stat().st_mtime_ns == SECOND_NS
    changes = [at for at, operation in enumerate(storage.operations) if operation[0] in ("write", "truncate")]
    number = storage.number(archive.stat().st_ino)
    assert any(
        operation[0] == "synced" and operation[1] > changes[-1] and number in operation[2]
        for operation in storage.operations
    )


# What prevents a repair does not prevent the start.


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["directory", "fifo"])
@pytest.mark.parametrize("name", ["server.log.torn", "server.log.repaired", "server.log.3"])
def test_what_took_a_files_place_does_not_end_a_repair(tmp_path, capfd, make, name):
    make(tmp_path / name)
    (tmp_path / "server.log").write_bytes(LINE * 2 + TORN_LINE + LINE)
    (tmp_path / "server.log.1").write_bytes(LINE + LINE[:30])
    assert repair_directory(tmp_path) == 44 + 30
    assert (tmp_path / "server.log.1").read_bytes() == LINE
    assert (tmp_path / "server.log").read_bytes().replace(b" ", b"") == LINE * 3
    said = capfd.readouterr().err
    if name == "server.log.torn":
        assert f"30 bytes are lost, since {tmp_path / name} cannot be written: it is not a file" in said
    elif name == "server.log.3":
        assert f"{tmp_path / name} is not a file: it is left alone" in said


def test_a_directory_that_cannot_be_listed_does_not_end_a_repair(tmp_path, monkeypatch, capfd):
    def fail(path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "listdir", fail)
    assert repaired(tmp_path, LINE + b"half")[0] == LINE
    assert (
        f"cannot list {tmp_path}: Permission denied; only {tmp_path}/server.log is looked at" in capfd.readouterr().err
    )


def test_a_file_with_more_holes_than_a_crash_leaves_is_left_as_it_is(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(repair, "MOST_DAMAGES", 2)
    content = (LINE + TORN_LINE) * 3 + LINE
    assert repaired(tmp_path, content) == (content, b"", 0)
    assert "it has more holes than a crash can leave; it is left as it is" in capfd.readouterr().err


def test_a_link_to_nothing_does_not_end_a_repair(tmp_path):
    (tmp_path / "server.log.3").symlink_to("nothing")
    assert repaired(tmp_path, LINE + b"half")[0] == LINE


@pytest.mark.parametrize("name", ["server.log", "server.log.2"])
def test_a_file_that_cannot_be_read_is_named_and_left_as_it_is(tmp_path, capfd, monkeypatch, name):
    def failing(read):
        def fail(fd, what, offset):
            if os.path.realpath(f"/proc/self/fd/{fd}") == str(tmp_path / name):
                raise EIO
            return read(fd, what, offset)

        return fail

    monkeypatch.setattr(os, "pread", failing(os.pread))
    monkeypatch.setattr(os, "preadv", failing(os.preadv))
    for each in ("server.log", "server.log.1", "server.log.2"):
        (tmp_path / each).write_bytes(LINE + b"half")
    LogFile(QuickStorage(), tmp_path, "server.log", 10**9, 10).close()
    assert f"cannot repair {tmp_path / name}: Input/output error; it is left as it is" in capfd.readouterr().err
    # An entry that is appended begins on a line of its own, whatever is before it.
    assert (tmp_path / "server.log").read_bytes() == LINE + (b"half\n" if name == "server.log" else b"")
    assert (tmp_path / "server.log.1").read_bytes() == LINE
    assert (tmp_path / "server.log.2").read_bytes() == LINE + (b"half" if name == "server.log.2" else b"")


@pytest.mark.parametrize("content", [LINE[:40], LINE * 2 + LINE[:40], PAGE, LINE + PAGE])
def test_a_live_file_that_cannot_be_cut_ends_with_a_line_feed(tmp_path, content):
    class Storing(QuickStorage):
        def truncate(self, fd, size):
            raise PermissionError(errno.EPERM, "it may only be appended to")

    (tmp_path / "server.log").write_bytes(content)
    log = LogFile(Storing(), tmp_path, "server.log", 10**9, 10)
    log.append(memoryview(LINE), durable=False)
    log.close()
    assert (tmp_path / "server.log").read_bytes() == content + b"\n" + LINE


def test_a_live_file_that_cannot_be_ended_at_the_start_is_ended_before_the_first_entry(tmp_path):
    class Storing(QuickStorage):
        is_full = True

        def truncate(self, fd, size):
            raise PermissionError(errno.EPERM, "it may only be appended to")

        def write(self, fd, data):
            if self.is_full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(fd, data)

    (tmp_path / "server.log").write_bytes(LINE[:40])
    storage = Storing()
    log = LogFile(storage, tmp_path, "server.log", 10**9, 10)
    assert log.append(memoryview(LINE), durable=False) == 0
    storage.is_full = False
    assert log.append(memoryview(LINE), durable=False) == len(LINE)
    log.close()
    assert (tmp_path / "server.log").read_bytes() == LINE[:40] + b"\n" + LINE


def test_what_must_not_be_changed_is_not_copied_at_each_start(tmp_path, capfd):
    class Refusing(QuickStorage):
        def open_to_change(self, path):
            raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "server.log.1").write_bytes(LINE + LINE[:30])
    for _ in range(2):
        assert repair_directory(tmp_path, Refusing()) == 0
    assert not (tmp_path / "server.log.torn").exists()
    assert capfd.readouterr().err.count(f"cannot repair {tmp_path}/server.log.1: Permission denied") == 2


def test_torn_bytes_that_found_no_room_leave_nothing_behind(tmp_path, capfd):
    class HalfStorage(QuickStorage):
        def write(self, fd, data):
            if len(data) == 1:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(fd, data[:-1])

    left, torn, count = repaired(tmp_path, LINE + LINE[:30], HalfStorage())
    assert (left, torn, count) == (LINE, b"", 30)
    assert "30 bytes are lost, since" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["server.log.1", "server.log"])
def test_a_file_that_another_server_writes_is_not_repaired(tmp_path, name):
    """Of two servers that start at once, one may have locked a file that a rotation of the other then replaced."""
    damaged = tmp_path / name
    damaged.write_bytes(LINE + LINE[:30])
    with open(damaged, "rb") as file, open(tmp_path / "replaced", "wb") as replaced:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError) as failure:
            repair.repair_all(QuickStorage(), tmp_path / "server.log", replaced.fileno(), -1)
    assert failure.value.filename == str(damaged)
    assert damaged.read_bytes() == LINE + LINE[:30]


@only_root
@pytest.mark.parametrize("content", [LINE * 100 + LINE[:40], LINE * 100 + TORN_LINE + LINE * 2, LINE + PAGE])
def test_a_full_disk_ends_no_start(small_disk, content):
    (small_disk / "server.log").write_bytes(content)
    fill(small_disk)
    repair_directory(small_disk, Storage())
    left = (small_disk / "server.log").read_bytes()
    assert [line.lstrip(b" ") for line in left.splitlines()] == expected(content)[0].splitlines()
    assert left.endswith(b"\n")
    assert not (small_disk / "server.log.repaired").exists()


def fill(directory: Path) -> None:
    with contextlib.suppress(OSError), open(directory / "fill", "wb", buffering=0) as file:
        while file.write(PAGE):
            pass


# What a start remembers.


def remembered(directory: Path, most_bytes: int = 1 << 20, storage: Storage | None = None) -> list[bytes]:
    return [bytes(lines) for lines in newest_lines(storage or QuickStorage(), directory / "server.log", most_bytes)]


def put(directory: Path, name: str, content: bytes, age_sec: int) -> None:
    path = directory / name
    path.write_bytes(content)
    at = int(time.time()) - age_sec
    os.utime(path, (at, at))


def test_the_newest_files_are_remembered_whoever_named_them(tmp_path):
    put(tmp_path, "server.log-20261124", b"1\n", 50)
    put(tmp_path, "server.log.2", b"2\n", 40)
    put(tmp_path, "server.log.distrusted.7", b"3\n", 30)
    put(tmp_path, "server.log.1", b"4\n", 20)
    put(tmp_path, "server.log.1.gz", b"no\n", 20)
    put(tmp_path, "server.log", b"5\n", 60)
    assert remembered(tmp_path) == [b"1\n", b"2\n", b"3\n", b"4\n", b"5\n"]
    assert remembered(tmp_path, 6) == [b"3\n", b"4\n", b"5\n"]


def test_no_more_is_remembered_than_wanted_and_only_whole_lines(tmp_path):
    put(tmp_path, "server.log.1", LINE * 10, 10)
    put(tmp_path, "server.log", LINE * 2, 0)
    assert remembered(tmp_path, 4 * len(LINE) + 5) == [LINE * 2, LINE * 2]


def test_what_is_remembered_is_synced_before(tmp_path):
    synced = []

    class Noting(Storage):
        def sync_now(self, files, directory=None):
            synced.extend(os.path.realpath(f"/proc/self/fd/{fd}") for fd in files)

    put(tmp_path, "server.log.1", LINE, 10)
    put(tmp_path, "server.log", LINE, 0)
    for number, _ in enumerate(newest_lines(Noting(), tmp_path / "server.log", 1 << 20), 1):
        assert len(synced) == number
    assert synced == [str(tmp_path / "server.log.1"), str(tmp_path / "server.log")]


def test_of_a_file_set_aside_what_the_disk_holds_is_remembered(tmp_path, monkeypatch):
    """After its failed sync the page cache may hold what the disk does not."""
    dropped = []
    monkeypatch.setattr(
        os,
        "posix_fadvise",
        lambda fd, start, size, advice: (
            dropped.append(os.path.realpath(f"/proc/self/fd/{fd}"))
            if (start, size, advice) == (0, 0, os.POSIX_FADV_DONTNEED)
            else None
        ),
    )
    put(tmp_path, "server.log.distrusted.1", LINE, 20)
    put(tmp_path, "server.log.1", LINE, 10)
    put(tmp_path, "server.log", LINE, 0)
    assert remembered(tmp_path) == [LINE] * 3
    assert dropped == [str(tmp_path / "server.log.distrusted.1")]


def test_what_cannot_be_synced_or_read_is_not_remembered(tmp_path, capfd):
    class Failing(Storage):
        def sync_now(self, files, directory=None):
            if os.path.realpath(f"/proc/self/fd/{files[0]}").endswith(".1"):
                raise EIO

    put(tmp_path, "server.log.1", LINE * 2, 10)
    put(tmp_path, "server.log", LINE, 0)
    os.mkfifo(tmp_path / "server.log.2")
    assert remembered(tmp_path, storage=Failing()) == [LINE]
    assert f"cannot read {tmp_path}/server.log.1: Input/output error" in capfd.readouterr().err


def test_a_file_that_vanishes_or_becomes_something_else_meanwhile_is_left_out(tmp_path, monkeypatch):
    put(tmp_path, "server.log", LINE, 0)
    put(tmp_path, "server.log.1", LINE, 10)
    put(tmp_path, "server.log.2", LINE, 20)
    before = find(tmp_path / "server.log")
    (tmp_path / "server.log.1").unlink()
    (tmp_path / "server.log.2").unlink()
    os.mkfifo(tmp_path / "server.log.2")
    monkeypatch.setattr(found_files, "find", lambda live: before)
    monkeypatch.setattr(repair, "find", lambda live, report: before)
    assert remembered(tmp_path) == [LINE]
    assert repair_directory(tmp_path) == 0


def test_of_a_file_set_aside_only_what_the_disk_holds_is_remembered(faulty_disk):
    """After a failed sync the kernel still has in memory what the disk did not take."""
    live, aside = (faulty_disk.directory / name for name in ("server.log", "server.log.distrusted.1"))
    for path in (live, aside):
        path.write_bytes(b'{"message":"%s"}\n' % path.name.encode())
        path.read_bytes()
    faulty_disk.lose(aside.name)
    lines = b"".join(bytes(view) for view in newest_lines(Storage(), live, 1 << 20))
    assert live.read_bytes() in lines
    assert b"distrusted" not in lines


def test_all_bytes_that_are_lost_are_counted(tmp_path):
    torn = Torn(Storage(), tmp_path, 0)  # a directory, which takes nothing
    for _ in range(3):
        torn.keep(bytes(BUFFER_BYTES))
    torn.finish()
    assert torn.bytes == 3 * BUFFER_BYTES
    assert torn.outcome.startswith(f"{3 * BUFFER_BYTES} bytes are lost")
