"""One spill file: which files are fastlog's, how far they are acknowledged, and what happens when the disk, another
program or the system is in the way."""

import contextlib
import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastlog.client.spill_file import (
    HEADER_BYTES,
    READ_BYTES,
    ForeignFileError,
    LostFileError,
    SpillFile,
    found_files,
)
from fastlog.limits import DATAGRAM_MAX_BYTES
from tests.helpers.small_disk import only_root

LINES = [b'{"sequence":%d,"level":"ERROR","message":"m"}' % n for n in range(10, 20)]


@pytest.fixture
def prefix(tmp_path) -> str:
    return str(tmp_path / "spill")


@pytest.fixture
def create(closing, prefix):
    def make(lines=LINES) -> SpillFile:
        file = closing(SpillFile.create(prefix))
        if lines:
            file.append(lines)
        return file

    return make


@pytest.fixture
def take_over(closing):
    def take(path: str) -> SpillFile | None:
        file = SpillFile.take_over(path)
        return closing(file) if file else None

    return take


def lines_of(file: SpillFile) -> list[bytes]:
    return [piece.line for piece in iter(file.next, None)]


def content(file: SpillFile) -> bytes:
    return Path(file.path).read_bytes()[HEADER_BYTES:]


def test_what_one_program_writes_the_next_one_reads(create, take_over, prefix):
    file = create()
    assert os.stat(file.path).st_mode & 0o777 == 0o600
    assert take_over(file.path) is None  # it is in use
    file.close()
    [found] = found_files(prefix)
    assert found.path == file.path
    heir = take_over(file.path)
    pieces = list(iter(heir.next, None))
    assert [(piece.sequence, piece.line) for piece in pieces] == list(zip(range(10, 20), LINES, strict=True))
    assert heir.is_read
    heir.remove()
    assert list(found_files(prefix)) == []


def test_only_names_of_spill_files_are_found(tmp_path):
    right = ["a[b].*.1-00000000", "a[b].*.1-00000000.aside", "a[b].*.1234567890-abcdef01"]
    wrong = ["a[b].*", "a[b].*.1-0", "a[b].*.1-ABCDEF01", "a[b].*.-00000000", "a[b].*.1-00000000x", "axb.*.1-00000000"]
    for name in right + wrong:
        (tmp_path / name).touch()
    assert sorted(found.path for found in found_files(str(tmp_path / "a[b].*"))) == sorted(
        str(tmp_path / name) for name in right
    )


def test_a_later_program_begins_where_all_before_is_acknowledged(create, take_over):
    file = create()
    pieces = list(iter(file.next, None))
    file.acknowledged(pieces[4].start)
    file.acknowledged(pieces[2].start)  # never back
    file.close()
    heir = take_over(file.path)
    assert heir.position == pieces[4].start
    assert lines_of(heir) == LINES[4:]
    heir.acknowledged(heir.position)
    heir.close()
    assert lines_of(take_over(file.path)) == []


def test_a_header_that_was_written_in_part_means_from_the_beginning(create, take_over):
    file = create()
    old = Path(file.path).read_bytes()[:HEADER_BYTES]
    file.acknowledged([piece.start for piece in iter(file.next, None)][7])
    new = Path(file.path).read_bytes()[:HEADER_BYTES]
    file.close()
    seen = set()
    for cut in range(HEADER_BYTES + 1):
        for header in (new[:cut] + old[cut:], old[:cut] + new[cut:], new[:cut] + bytes(HEADER_BYTES - cut)):
            with open(file.path, "r+b") as opened:
                opened.write(header)
            try:
                heir = take_over(file.path)
            except ForeignFileError:
                assert b"\0" in header
                continue
            found = lines_of(heir)
            heir.close()
            assert found == (LINES[7:] if header == new else LINES)
            seen.add(len(found))
    assert seen == {3, 10}


@pytest.mark.parametrize("cursor", [0, HEADER_BYTES - 1, HEADER_BYTES + 1, 10**18])
def test_a_cursor_that_is_at_no_line_means_from_the_beginning(create, take_over, cursor):
    """The file was cut, or another one was put in its place."""
    file = create()
    file._cursor = -1
    file.acknowledged(cursor)
    file.close()
    assert lines_of(take_over(file.path)) == LINES


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (b"\n", "it does not begin as a spill file does"),
        (b'{"level":"ERROR"}\n' * 10, "it does not begin as a spill file does"),
        (b'{"level":"DEBUG","message":"fastlog spill file, version 2","x":1}\n', "another version of fastlog wrote it"),
    ],
)
def test_another_header_is_not_ours(tmp_path, header, why):
    path = tmp_path / "spill.1-00000000"
    path.write_bytes(header + b"\n".join(LINES))
    path.chmod(0o400)
    with pytest.raises(ForeignFileError, match=why):
        SpillFile.take_over(str(path))


def test_a_file_of_another_kind_is_not_opened(tmp_path, create):
    """Neither is a link followed, nor does a FIFO keep the program."""
    file = create()
    file.close()
    (tmp_path / "link").symlink_to(file.path)
    os.mkfifo(tmp_path / "fifo")
    os.link(file.path, tmp_path / "second name")
    for name in ("link", "fifo", "second name"):
        with pytest.raises(ForeignFileError):
            SpillFile.take_over(str(tmp_path / name))
    assert SpillFile.take_over(str(tmp_path / "missing")) is None


def test_a_file_that_a_program_is_making_belongs_to_it(tmp_path):
    (tmp_path / "spill.1-00000000").touch()
    assert SpillFile.take_over(str(tmp_path / "spill.1-00000000")) is None


def test_a_file_that_was_removed_before_its_lock_is_not_taken(create, take_over, monkeypatch):
    """Another program has sent all of it between our opening and our lock; or it has made a file of the same name."""
    real = fcntl.flock
    for act in (os.unlink, lambda path: os.rename(path + ".other", path)):
        file = create()
        Path(file.path + ".other").write_bytes(Path(file.path).read_bytes())
        file.close()

        def flock(fd, how, act=act, path=file.path):
            act(path)
            real(fd, how)

        monkeypatch.setattr(fcntl, "flock", flock)
        assert take_over(file.path) is None
        monkeypatch.setattr(fcntl, "flock", real)


def test_lines_that_cannot_be_sent_are_told_apart(create):
    too_long = b'{"sequence":5,"x":"%s"}' % (b"x" * DATAGRAM_MAX_BYTES)
    file = create([LINES[0], b"text", too_long, b"", LINES[1], b"y" * READ_BYTES * 3, LINES[2]])
    pieces = list(iter(file.next, None))
    assert [piece.line for piece in pieces if piece.sequence is not None] == LINES[:3]
    assert (
        b"".join(piece.line for piece in pieces if piece.sequence is None) == b"text" + too_long + b"y" * READ_BYTES * 3
    )
    data = content(file)
    for piece in pieces:
        assert data[piece.start - HEADER_BYTES :].startswith(piece.line)


def test_lines_longer_than_a_part_that_is_read_are_found(create):
    lines = [b'{"sequence":%d,"x":"%s"}' % (n, b"x" * (n * 7919 % 60_000)) for n in range(1, 100)]
    assert lines_of(create(lines)) == lines


@only_root
def test_what_a_full_disk_does_not_take_leaves_nothing(small_disk, closing):
    file = closing(SpillFile.create(str(small_disk / "spill")))
    file.append(LINES)
    whole = os.stat(file.path).st_size
    with pytest.raises(OSError, match="No space left"):
        file.append([b"x" * (9 << 20)])
    assert os.stat(file.path).st_size == whole
    file.append(LINES)
    assert content(file) == (b"\n".join(LINES) + b"\n") * 2
    (small_disk / "rest").write_bytes(bytes(os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize))
    with pytest.raises(OSError, match="No space left"):
        SpillFile.create(str(small_disk / "another"))
    assert len(os.listdir(small_disk)) == 2


def test_a_disk_that_also_refuses_to_cut_leaves_no_half_line(create, take_over, monkeypatch):
    """The rest is cut off before the next append, and is not there for others."""
    file = create()
    real = os.pwrite, os.ftruncate

    def refuse(*arguments):
        raise OSError(errno.EIO, "refused")

    def write_half(fd, data, at):
        monkeypatch.setattr(os, "pwrite", refuse)
        return real[0](fd, data[: len(data) // 2], at)

    monkeypatch.setattr(os, "pwrite", write_half)
    monkeypatch.setattr(os, "ftruncate", refuse)
    with pytest.raises(OSError, match="refused"):
        file.append([b"lost " * 1000] * 10)
    with pytest.raises(OSError, match="refused"):
        file.append(LINES)
    monkeypatch.setattr(os, "pwrite", real[0])
    monkeypatch.setattr(os, "ftruncate", real[1])
    file.append(LINES[:1])
    assert content(file).splitlines() == LINES + LINES[:1]


@pytest.mark.parametrize("change", ["remove", "cut", "append", "replace"])
def test_what_another_program_does_to_the_file_is_noticed(create, change):
    file = create()
    if change == "remove":
        os.unlink(file.path)
    elif change == "cut":
        os.truncate(file.path, HEADER_BYTES + 5)
    elif change == "append":
        with open(file.path, "ab") as other:
            other.write(b"text")
    else:
        os.rename(file.path, file.path + ".other")
        Path(file.path).write_text("not ours")
        file.remove()
        assert Path(file.path).read_text() == "not ours"
        return
    with pytest.raises(LostFileError):
        file.append(LINES)


HEIR = """
import sys
from fastlog.client.spill_file import SpillFile
file = SpillFile.take_over(sys.argv[1])
print(flush=True)
sys.stdin.read()
"""
DAEMON = """
import os, subprocess, sys
from fastlog.client.spill_file import LostFileError, SpillFile
file = SpillFile.create(sys.argv[1])
file.append([b"one"])
def close_all():
    os.closerange(3, 100)
    return [os.open(f"{sys.argv[1]}.mine{n}", os.O_RDWR | os.O_CREAT) for n in range(20)]
close_all()
file.append([b"two"])
close_all()
file.acknowledged(file.size)
close_all()
assert [piece.line for piece in iter(file.next, None)] == [b"one", b"two"]
mine = close_all()
if sys.argv[2] == "taken":
    assert SpillFile.take_over(file.path) is None  # another client of this program has it, whatever became of its lock
    heir = subprocess.Popen([sys.executable, "-c", sys.argv[3], file.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    heir.stdout.readline()
    try:
        file.append([b"three"])
    except LostFileError:
        pass
    else:
        sys.exit("written to another's file")
    heir.communicate()
elif sys.argv[2] == "removed":
    file.remove()
file.close()
for fd in mine: os.fstat(fd)
"""


@pytest.mark.parametrize("end", ["closed", "taken", "removed"])
def test_descriptors_that_a_program_has_closed_are_opened_anew(tmp_path, prefix, end):
    """A program closes all descriptors, as daemons do, and opens files of its own under their numbers."""
    subprocess.run([sys.executable, "-c", DAEMON, prefix, end, HEIR], check=True, timeout=30)
    assert [path.stat().st_size for path in tmp_path.glob("*mine*")] == [0] * 20
    left = [found.path for found in found_files(prefix)]
    assert len(left) == (end != "removed")
    for path in left:
        assert Path(path).read_bytes()[HEADER_BYTES:] == b"one\ntwo\n"


@pytest.mark.parametrize("operation", ["getattr", "lookup", "open", "read", "flock", "write", "unlink"])
def test_each_operation_that_fails_leaves_no_descriptor(faulty_disk, operation):
    """The fixture of all tests finds descriptors that are left. Some operations do not fail: the kernel knows the
    answer."""
    prefix = str(faulty_disk.directory / "spill")
    first = SpillFile.create(prefix)
    first.append(LINES)
    first.close()
    faulty_disk.fail(operation, errno.EIO)
    for act in (SpillFile.create, lambda prefix: SpillFile.take_over(first.path)):
        with contextlib.suppress(OSError), contextlib.closing(act(prefix)) as file:
            for step in ("next", "append", "remove"):
                with contextlib.suppress(OSError):
                    getattr(file, step)(*([LINES] if step == "append" else []))
    faulty_disk.mend(operation)
