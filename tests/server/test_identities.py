"""What other programs do to the log of a running server, and `fastlog ship` afterwards: every line is shipped once."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.helpers.entries import lines
from tests.helpers.identities import numbers
from tests.helpers.running import PATIENCE_SEC, Server, until
from tests.helpers.shipping import Recorder, ship_all

needs_logrotate = pytest.mark.skipif(
    shutil.which("logrotate") is None and os.environ.get("CI") != "true", reason="no logrotate"
)


class Log:
    """The log of a server in `directory`, which can be started again, and an engine that gets its lines."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self.directory = directory
        self.path = directory / "server.log"
        self.engine = Recorder()
        self.sent: list[bytes] = []
        self._settings = {"FLUSH_COUNT": "1", **settings}
        self.server = Server(directory, **self._settings)

    def send(self, count: int = 10) -> None:
        """Sends entries, and waits until they are in the file."""
        numbers = range(len(self.sent), len(self.sent) + count)
        new = [b'{"level":"INFO","message":"m","sequence":%d}' % number for number in numbers]
        self.sent += new
        self.server.send(new)
        until(lambda: self.path.exists() and self.path.read_bytes().endswith(lines(new[-1:])), "the last entry")

    def ship(self) -> None:
        """Ships all there is, as `fastlog ship --once` does."""
        ship_all(self.path, self.engine)

    def shipped_once(self) -> bool:
        return self.engine.text == lines(self.sent)

    def end(self, *, kill: bool = False) -> None:
        self.server.signal(signal.SIGKILL if kill else signal.SIGTERM)
        self.server.wait()
        self.server.close()

    def start(self) -> None:
        self.server = Server(self.directory, **self._settings)

    def logrotate(self, options: str) -> None:
        config = self.directory / "logrotate.conf"
        config.write_text(f"{self.path} {{\nrotate 9\nsize 1\n{options}\n}}\n")
        config.chmod(0o644)
        self.directory.chmod(0o755)  # logrotate trusts no directory that others may write to
        command = ["logrotate", "--force", "--state", str(self.directory / "state"), str(config)]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_SEC)

    def reopened(self) -> None:
        """Has the server look at the file's name."""
        self.server.signal(signal.SIGHUP)
        self.server.wait_for_message("log file reopened")

    def close(self) -> None:
        self.server.close()


@pytest.fixture
def log(tmp_path, closing):
    return closing(Log(tmp_path))


@needs_logrotate
@pytest.mark.parametrize("options", ["create", "nocreate", "create\ndateext"])
def test_files_that_logrotate_renames_are_shipped_once(log, options):
    log.send()
    log.ship()
    log.send()
    for _ in range(1 if "dateext" in options else 3):
        log.logrotate(options)
        log.reopened()
        log.send()
    log.ship()
    assert log.shipped_once()
    assert sorted(numbers(log.directory).values()) == list(range(1, len(numbers(log.directory)) + 1))


@needs_logrotate
@pytest.mark.parametrize("runs", [True, False], ids=["while it runs", "while it does not"])
def test_files_that_logrotate_copies_and_cuts_are_shipped_once(log, runs):
    log.send()
    log.ship()
    for number in range(2, 5):
        log.send()
        if runs:
            log.logrotate("copytruncate")
        else:
            log.end()
            log.logrotate("copytruncate")
            log.start()
        log.send()
        assert numbers(log.directory)[""] == number
        log.ship()
        assert log.shipped_once()
    assert numbers(log.directory) == {"": 4, ".1": 3, ".2": 2, ".3": 1}
    log.end()
    log.start()
    assert numbers(log.directory) == {"": 4, ".1": 3, ".2": 2, ".3": 1}


@pytest.mark.parametrize("runs", [True, False], ids=["while it runs", "while it does not"])
def test_a_log_that_is_removed_is_followed_by_the_next_number(log, runs):
    log.send()
    log.ship()
    if not runs:
        log.end()
    log.path.unlink()
    if not runs:
        log.start()
    log.send()
    log.ship()
    assert log.shipped_once()
    if runs:
        assert numbers(log.directory) == {"": 2}


@pytest.mark.parametrize("runs", [True, False], ids=["while it runs", "while it does not"])
@pytest.mark.parametrize("how", ["cp -a", "cp", "mv"])
def test_an_archive_in_the_live_files_place_is_not_shipped_again(log, runs, how):
    log.send()
    log.logrotate("create")
    log.reopened()
    log.send()
    log.ship()
    if not runs:
        log.end()
    subprocess.run([*how.split(), f"{log.path}.1", f"{log.path}.other"], check=True)
    if how != "mv":
        Path(f"{log.path}.1").unlink()
    os.replace(log.path, f"{log.path}-20260101")
    os.replace(f"{log.path}.other", log.path)
    if runs:
        log.reopened()
    else:
        log.start()
    log.send()
    log.ship()
    again = lines(log.sent[:10]) if how == "cp" else b""  # which leaves attributes behind: nothing says what it is
    assert log.engine.text == lines(log.sent[:20]) + again + lines(log.sent[20:])


def test_a_copy_that_is_made_meanwhile_is_not_shipped(log):
    for name in ("server.log.old", "server.log-20260101", "server.log.7"):
        log.send()
        subprocess.run(["cp", "-a", log.path, log.directory / name], check=True)
    log.send()
    log.ship()
    assert log.shipped_once()


def test_an_edited_archive_is_not_shipped_again(log):
    """An editor writes a new file. It has the old one's place among the archives."""
    for _ in range(3):
        log.send()
        log.logrotate("create")
        log.reopened()
    log.ship()
    subprocess.run(["sed", "-i", "s/message/MESSAGE/", f"{log.path}.2"], check=True)
    assert numbers(log.directory)[".2"] is None
    log.end()
    log.start()
    assert numbers(log.directory) == {"": 4, ".1": 3, ".2": 2, ".3": 1}
    log.send()
    log.ship()
    assert log.shipped_once()


def test_files_keep_their_numbers_over_any_end(tmp_path, closing):
    log = closing(Log(tmp_path, MAX_LOG_SIZE_MB="0.002", LOG_BACKUPS="1000"))
    for kill in (True, False, True, True):
        log.send(100)
        before = numbers(tmp_path)
        log.end(kill=kill)
        log.start()
        assert numbers(tmp_path) == before
        assert sorted(before.values()) == list(range(1, before[""] + 1))
    log.ship()
    assert log.shipped_once()


def test_a_log_that_was_copied_with_its_attributes_continues(log, tmp_path, closing):
    """As a backup that is put back: the numbers continue, and shipping does."""
    log.send()
    log.ship()
    log.end()
    subprocess.run(["cp", "-a", tmp_path, f"{tmp_path}-copy"], check=True)
    copy = closing(Log(Path(f"{tmp_path}-copy")))
    copy.engine, copy.sent = log.engine, log.sent
    copy.send()
    copy.ship()
    assert copy.shipped_once()
