"""The process that compresses an archive: what it leaves, how it fails, and how little it takes."""

import os
import subprocess
import sys

import pytest

from tests.helpers.running import BASE_ENVIRONMENT, PATIENCE_SEC

COMMAND = [sys.executable, "-m", "fastlog.archive.process"]


@pytest.fixture
def files(tmp_path):
    """Opens an archive of the log with this text, and the file that it is to be compressed into."""
    opened = []

    def make(text: bytes) -> tuple[int, int]:
        path = tmp_path / "server.log.1"
        path.write_bytes(text)
        opened.append(os.open(path, os.O_RDWR))
        opened.append(os.open(f"{path}.zst.new", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600))
        return opened[-2], opened[-1]

    yield make
    for fd in opened:
        os.close(fd)


def run(source: int, target: int, parent: int | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*COMMAND, str(source), str(target), str(parent or os.getpid())],
        pass_fds=(source, target),
        env=BASE_ENVIRONMENT,
        capture_output=True,
        timeout=PATIENCE_SEC,
        check=False,
    )


def unpacked(fd: int) -> bytes:
    from fastlog.archive.frames import read_frame
    from fastlog.archive.index import read_index

    return b"".join(read_frame(fd, frame) for frame in read_index(fd).frames)


def test_the_archive_has_the_text_mode_time_and_identity(files):
    text = b'{"level":"INFO","message":"m"}\n' * 1000
    source, target = files(text)
    os.fchmod(source, 0o640)
    os.setxattr(source, "user.fastlog", b"0123456789ab:7")
    os.setxattr(source, "user.fastlog.durable", b"100")
    os.setxattr(source, "user.other", b"x")
    os.utime(source, ns=(1, 1_700_000_000_123_456_789))
    done = run(source, target)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert unpacked(target) == text
    status = os.fstat(target)
    assert (status.st_mode & 0o7777, status.st_mtime_ns) == (0o640, 1_700_000_000_123_456_789)
    assert {name: os.getxattr(target, name) for name in os.listxattr(target)} == {
        "user.fastlog": b"0123456789ab:7",
        "user.fastlog.durable": b"100",
    }


def test_it_ends_if_its_parent_is_gone_when_it_starts(files):
    done = run(*files(b"x\n"), parent=os.getpid() + 1)
    assert (done.returncode, done.stderr) == (1, b"the server has ended\n")


def test_a_failure_is_one_line(files):
    source, _ = files(b"x\n" * 1000)
    full = os.open("/dev/full", os.O_RDWR)
    try:
        done = run(source, full)
        assert (done.returncode, done.stderr) == (1, b"No space left on device\n")
    finally:
        os.close(full)
