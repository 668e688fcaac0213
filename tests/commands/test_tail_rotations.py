"""`fastlog tail -f` beside what rotates and compresses the log while entries come: each is shown once, in order."""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.running import BASE_ENVIRONMENT, FASTLOG, PATIENCE_SEC, Server, eventually, until

ROTATIONS = 4
SENT_IN_A_STEP = 3_000  # entries, about 400 KB: several reads of a follower
PAUSE_AFTER = 300  # entries: so many at least are sent while a step is made

needs_logrotate = pytest.mark.skipif(
    shutil.which("logrotate", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None
    and os.environ.get("CI") != "true",
    reason="no logrotate",
)


def entry(number: int) -> bytes:
    return b'{"sequence":%d,"level":"INFO","message":"%b"}' % (number, b"%d " % (number * 7919) * 12)


class Tail:
    """`fastlog tail -f` of all that is there and comes. It writes to a file, so that nothing holds it up."""

    def __init__(self, directory: Path) -> None:
        self._output = directory / "shown"
        self._errors = directory / "said"
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [*FASTLOG, "tail", "-f", "--json", "-n", "all", "--log-dir", "."],
                cwd=directory, env=BASE_ENVIRONMENT, stdout=output, stderr=errors,
            )  # fmt: skip

    def shown(self) -> bytes:
        return self._output.read_bytes()

    def said(self) -> str:
        return self._errors.read_text()

    def wait_for(self, number: int) -> None:
        """Until the entry is shown."""
        end = entry(number) + b"\n"
        until(lambda: self._end(len(end)) == end, f"entry {number} on the output")

    def _end(self, size: int) -> bytes:
        with self._output.open("rb") as file:
            file.seek(max(os.fstat(file.fileno()).st_size - size, 0))
            return file.read()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        self._process.send_signal(signal.SIGSTOP)
        state = Path(f"/proc/{self._process.pid}/stat")
        until(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", "the stop of the process")
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE_SEC)


class Load:
    """Numbered entries for a server. `sent`: how many there were."""

    def __init__(self, server: Server) -> None:
        self.sent = 0
        self._server = server

    def send(self, count: int) -> None:
        first = self.sent
        self._server.send(self._next() for _ in range(count))
        assert self.sent == first + count

    @contextlib.contextmanager
    def meanwhile(self) -> Iterator[None]:
        """Sends until the block has ended, and some before and after."""
        enough = threading.Event()

        def datagrams() -> Iterator[bytes]:
            while not enough.is_set():
                yield self._next()

        self.send(PAUSE_AFTER)
        thread = threading.Thread(target=lambda: self._server.send(datagrams()))
        thread.start()
        try:
            yield
            first = self.sent
            until(lambda: self.sent >= first + PAUSE_AFTER, "more entries")
        finally:
            enough.set()
            thread.join()

    def _next(self) -> bytes:
        self.sent += 1
        return entry(self.sent)

    def lines(self) -> bytes:
        return b"".join(entry(number) + b"\n" for number in range(1, self.sent + 1))


def check(tail: Tail, load: Load) -> None:
    """All that was sent is shown, and nothing twice, also not later."""
    for _ in range(2):
        load.send(1)
        tail.wait_for(load.sent)
        assert tail.shown() == load.lines()
    assert tail.said() in ("", f"fastlog: waiting for {Path('server.log')}\n")


# Another program rotates and compresses

COMPRESSION = {
    "gzip": ["compress"],
    "zstd": ["compress", "compresscmd zstd", "compressoptions -q --rm", "compressext .zst"],
}
NAMES = {"numbers": [], "dates": ["dateext", "dateformat -%Y%m%d-%s"]}


class Logrotate:
    """The real one. Its archives are called by number or by the second."""

    def __init__(self, server: Server, statements: list[str]) -> None:
        self._directory = server.directory
        self._config = self._directory / "logrotate.conf"
        log = self._directory / "server.log"
        # Where it compresses at once, it has to wait until the server has left the file: entries come all the time.
        reopened = f"kill -HUP {server.process.pid}; while [ ! -s {log} ]; do sleep 0.01; done"
        own = "\n".join(statements)
        self._config.write_text(f"{log} {{\nrotate 1000\ncreate\n{own}\npostrotate\n{reopened}\nendscript\n}}\n")
        self._config.chmod(0o644)
        self._directory.chmod(0o755)  # logrotate trusts no directory that others may write to

    def rotate(self) -> None:
        before = self._archives()
        until(lambda: self._rotated() and self._archives() > before, "a rotation")  # by date there is one a second

    def _archives(self) -> int:
        return len(list(self._directory.glob("server.log[.-][0-9]*")))

    def _rotated(self) -> bool:
        done = subprocess.run(
            ["logrotate", "--force", "--state", str(self._directory / "state"), str(self._config)],
            env=BASE_ENVIRONMENT | {"PATH": f"{BASE_ENVIRONMENT['PATH']}:/usr/sbin"},
            capture_output=True,
            timeout=PATIENCE_SEC,
            check=False,
        )
        return done.returncode == 0


@pytest.fixture
def rotated_by(start, closing, tmp_path):
    """A server under logrotate, what sends to it, and who follows its log."""

    def make(statements: list[str]) -> tuple[Logrotate, Load, Tail]:
        server = start(MAX_LOG_SIZE_MB="1000000", FLUSH_COUNT="1")
        return Logrotate(server, statements), Load(server), closing(Tail(tmp_path))

    return make


@needs_logrotate
@pytest.mark.parametrize("delay", [["delaycompress"], []], ids=["delayed", "at-once"])
@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("compression", COMPRESSION)
def test_every_entry_is_shown_once_while_logrotate_compresses(rotated_by, tmp_path, compression, names, delay):
    logrotate, load, tail = rotated_by([*COMPRESSION[compression], *NAMES[names], *delay])
    for _ in range(ROTATIONS):
        with load.meanwhile():
            logrotate.rotate()
    check(tail, load)
    suffix = {"gzip": ".gz", "zstd": ".zst"}[compression]
    assert len(list(tmp_path.glob(f"server.log*{suffix}"))) == ROTATIONS - len(delay)


@needs_logrotate
@pytest.mark.parametrize("compression", COMPRESSION)
@pytest.mark.parametrize("delay", [["delaycompress"], []], ids=["delayed", "at-once"])
def test_a_follower_that_stood_still_reads_what_logrotate_compressed_meanwhile(rotated_by, compression, delay):
    logrotate, load, tail = rotated_by([*COMPRESSION[compression], *delay])
    load.send(SENT_IN_A_STEP)
    tail.wait_for(load.sent)
    for _ in range(2):
        with tail.stopped():
            for _ in range(3):
                load.send(SENT_IN_A_STEP)
                with load.meanwhile():
                    logrotate.rotate()
        tail.wait_for(load.sent)
    check(tail, load)


# The server rotates and compresses

OWN = {"LOG_COMPRESS": "zstd", "MAX_LOG_SIZE_MB": "0.15", "LOG_BACKUPS": "1000", "FLUSH_COUNT": "1"}


def archives(directory: Path) -> list[str]:
    """The endings of their names."""
    return [path.suffix for path in directory.glob("server.log.[0-9]*")]


def test_every_entry_is_shown_once_while_the_server_compresses(start, closing, tmp_path):
    server = start(**OWN)
    tail, load = closing(Tail(tmp_path)), Load(server)
    for rotations in (2, 4):
        with load.meanwhile():
            eventually(lambda: archives(tmp_path).count(".zst"), rotations.__le__)
    check(tail, load)


def test_a_follower_that_stood_still_reads_what_the_server_compressed_meanwhile(start, closing, tmp_path):
    server = start(**OWN)
    tail, load = closing(Tail(tmp_path)), Load(server)
    load.send(SENT_IN_A_STEP)
    tail.wait_for(load.sent)
    for _ in range(2):
        with tail.stopped():
            before = len(archives(tmp_path))
            load.send(2 * SENT_IN_A_STEP)
            assert len(archives(tmp_path)) > before + 2
            until(lambda: set(archives(tmp_path)) == {".zst"}, "the end of compression")
        tail.wait_for(load.sent)
    check(tail, load)
