"""`kill -9` of the server and of the process that compresses, at random moments over rotations under load: every
acknowledged entry is in exactly one file in force, every archive is whole, and the next start leaves nothing over.

FASTLOG_ARCHIVE_ROUNDS=200 kills 200 times.
"""

import contextlib
import itertools
import os
import re
import signal
from collections import Counter
from collections.abc import Callable
from math import ceil
from pathlib import Path
from time import monotonic, sleep

import pytest

from fastlog.segments import identity_of
from tests.helpers.archives import in_force, names_in, whole_text
from tests.helpers.randomness import Random
from tests.helpers.resending import ResendingClient
from tests.helpers.running import PATIENCE_SEC, Server, eventually, until

ROUNDS = int(os.environ.get("FASTLOG_ARCHIVE_ROUNDS", "6"))
CASES = 2
PROCESS_SEC = 0.1  # about as long as an archive of a test is compressed
NAMES_SEC = 0.003  # about as long as the names change then
LOOK_SEC = 0.001  # time between two looks whether the moment has come
LOOKS = 20  # from one entry to the next one meanwhile
ALL = "9999"  # LOG_BACKUPS
VICTIMS = (("server",), ("server",), ("process", "server"), ("stopped process", "server"))
SETTINGS = {"LOG_COMPRESS": "zstd", "FLUSH_COUNT": "50", "FLUSH_TIMEOUT_SEC": "3600"}
# The size of archives, of what messages are made, and how many entries make about two archives: small ones are
# compressed fast, others have several frames.
SIZES = (("0.05", "x", 400), ("0.05", "xy" * 10, 30), ("1.5", "xyz" * 20, 300))


class Log:
    """The files in a directory. A compressed archive is looked through once."""

    def __init__(self, directory: Path) -> None:
        self.live = directory / "server.log"
        self.new = directory / "server.log.zst.new"
        self._texts: dict[tuple[int, int], bytes] = {}

    @property
    def names(self) -> set[str]:
        return names_in(self.live.parent)

    def has_both(self) -> bool:
        """Whether an archive has both names."""
        names = self.names
        return any(name.endswith(".zst") and name.removesuffix(".zst") in names for name in names)

    def plain_archives(self) -> list[str]:
        return [name for name in self.names if re.fullmatch(r"server\.log\.\d+", name)]

    def lines(self) -> Counter[bytes]:
        """All that is in force, but for an unfinished line at the end of the live file."""
        found: Counter[bytes] = Counter()
        for path in in_force(self.live):
            found.update(self._text(path).split(b"\n")[:-1])
        return found

    def _text(self, path: Path) -> bytes:
        if path.suffix != ".zst":
            return path.read_bytes()
        key = (path.stat().st_ino, path.stat().st_mtime_ns)
        if key not in self._texts:
            self._texts[key] = whole_text(path)
        return self._texts[key]


class Life:
    """Of one server, under load, until it is killed."""

    def __init__(self, log: Log, server: Server, client: ResendingClient, entries: int, rng: Random) -> None:
        self._log = log
        self._entries = entries  # for about two archives
        self._server = server
        self._client = client
        self._rng = rng

    def run(self, victims: tuple[str, ...]) -> None:
        self._client.send(self._entries, self._server)
        if "process" in victims[0]:
            self._hit_process(signal.SIGKILL if victims[0] == "process" else signal.SIGSTOP)
        else:
            self._rng.choice((self._wait_until_begun, self._wait_until_named, self._wait_for_some))()
        process = self._process()
        self._server.process.kill()
        self._server.process.wait(PATIENCE_SEC)
        self._server.close()
        if process:
            until(lambda: not is_alive(process), "the end of the process, when its parent has ended")

    def _hit_process(self, number: signal.Signals) -> None:
        self._wait_until_begun()
        process = self._process()
        if not process:  # it was faster
            return
        os.kill(process, number)
        self._client.send(self._rng.randrange(self._entries), self._server)
        if number == signal.SIGKILL:
            until(lambda: not self._log.new.exists() and not self._log.has_both(), "the end of the new file")

    def _wait_until_begun(self) -> None:
        """Until some moment while an archive is compressed, mostly after rotations meanwhile."""
        self._wait_for(self._log.new.exists)
        if self._rng.random() < 0.7:
            self._client.send(self._rng.randrange(self._entries), self._server)
        sleep(self._rng.uniform(0, PROCESS_SEC))

    def _wait_until_named(self) -> None:
        """Until the new file has its name, or a moment later: then that is made durable, and the original goes."""
        self._wait_for(self._log.new.exists)
        while self._log.new.exists():
            assert self._server.process.poll() is None
            sleep(NAMES_SEC / 10)
        sleep(self._rng.choice((0, self._rng.uniform(0, NAMES_SEC))))

    def _wait_for_some(self) -> None:
        """Until two archives are compressed, which may be gone by then."""
        self._wait_for(lambda: self._server.stats()["archives"]["compressed_files"] > 1)

    def _wait_for(self, has_come: Callable[[], bool]) -> None:
        """Under load."""
        until_sec = monotonic() + PATIENCE_SEC
        for look in itertools.count():
            if has_come():
                break
            assert monotonic() < until_sec, f"nothing was compressed: {self._server.stats()['archives']}"
            if look % LOOKS == 0:
                self._client.send(1, self._server)
            sleep(LOOK_SEC)

    def _process(self) -> int | None:
        """The pid of the process that compresses, if there is one."""
        own = self._server.process.pid
        with contextlib.suppress(FileNotFoundError):
            children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
            return int(children[0]) if children else None
        return None


def is_alive(pid: int) -> bool:
    """A process that has ended and that nobody has waited for is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("backups", [ALL, "4"], ids=["all archives stay", "the oldest go"])
def test_killed_at_random_moments_every_acknowledged_entry_is_in_one_file(tmp_path, closing, rng, backups):
    log = Log(tmp_path)
    client = closing(ResendingClient(rng))
    settings = {**SETTINGS, "LOG_BACKUPS": backups}
    port = "0"
    victims: list[tuple[str, ...]] = []
    for _ in range(ceil(ROUNDS / CASES)):
        victims = victims or rng.sample(VICTIMS, len(VICTIMS))
        size, client.filler, entries = rng.choice(SIZES)
        server = closing(Server(tmp_path, SERVER_PORT=port, MAX_LOG_SIZE_MB=size, **settings))
        port = str(server.port)
        assert not {name for name in log.names if name.endswith(".new")}
        assert not log.has_both()
        client.connect(server.port)
        Life(log, server, client, entries, rng).run(victims.pop())
        check_entries(log, client, all_stay=backups == ALL)
    server = closing(Server(tmp_path, SERVER_PORT=port, MAX_LOG_SIZE_MB="100", **settings))
    client.connect(server.port)
    client.settle()
    while left := log.plain_archives():  # each of them takes its time
        eventually(log.plain_archives, lambda now: len(now) < len(left))  # called at once
    assert server.stop() == 0

    assert client.acknowledged == {sequence for sequence, entry in client.sent.items() if b'"ERROR"' in entry}
    check_entries(log, client, all_stay=backups == ALL)
    # Lines that a kill has cut are kept beside the log.
    of_log = re.compile(r"server\.log(\.\d+\.zst|\.torn)?|rejects\.jsonl")
    assert not {name for name in log.names if not of_log.fullmatch(name)}
    segments = [identity_of(path).segment for path in in_force(log.live)]
    assert segments == sorted(set(segments))
    assert backups == ALL or len(segments) <= 1 + int(backups)


def check_entries(log: Log, client: ResendingClient, *, all_stay: bool) -> None:
    """Unless all archives stay, entries may be gone with the oldest ones. Ordinary entries are sent once, and stored in
    that order: so all that was sent after one that is there must be there, if it was acknowledged."""
    found = log.lines()
    assert set(found) <= set(client.sent.values()), "a line that nobody sent"
    assert max(found.values()) == 1, "an entry is stored twice"
    ordinary = (sequence for sequence, entry in client.sent.items() if b'"INFO"' in entry and entry in found)
    oldest = 0 if all_stay else min(ordinary)
    wanted = {client.sent[sequence] for sequence in client.acknowledged if sequence > oldest}
    assert wanted <= set(found), "acknowledged and lost"
