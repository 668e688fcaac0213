"""Priority entries on disk while the server does not answer: the files that a client writes, those that programs left
behind, and what the disk refuses.

When all entries of a file are acknowledged, it is removed. The next program with the same path takes over the files of
one that is gone, each when its replay comes. Since the bytes are the same, the server stores nothing twice. What cannot
be delivered is set aside, in a file that no program sends again by itself.
"""

import math
from collections.abc import Callable
from contextlib import suppress
from itertools import accumulate
from time import monotonic

from fastlog.addresses import Address
from fastlog.client.core import Item
from fastlog.client.link import Link
from fastlog.client.replay import Replay, SpillCounts
from fastlog.client.retransmit import Unacknowledged
from fastlog.client.spill_directory import SpillDirectory
from fastlog.client.spill_file import ASIDE, LostFileError, SpillFile

SPILL_MAX_BYTES = 1 << 30  # all files of a path: a day at 12 kB/s of priority entries; more of them wait in memory
ASIDE_MAX_BYTES = 64 << 20  # of them, the files set aside: nobody reads more; further entries are given up
AGAIN_SEC = 1.0  # between two tries of a disk that refuses
FILES_PER_TURN = 16  # finished before other work has its turn


class Spill:
    """The files of one client. Raises nothing: `problem` has the trouble with the disk, and `note` what was set aside.
    `line(item, sequence)` gives an entry as it is sent; `connect` makes a Link. Times are those of time.monotonic."""

    def __init__(
        self, prefix: str, pack: bool, line: Callable[[Item, int], bytes], connect: Callable[[Address], Link]
    ) -> None:
        self.counts = SpillCounts()
        self.replay: Replay | None = None
        self.note = ""
        self._prefix = prefix
        self._pack = pack
        self._line = line
        self._connect = connect
        self._server: Link | None = None  # that of new entries
        self._directory = SpillDirectory(prefix)
        self._written: SpillFile | None = None
        self._aside: SpillFile | None = None
        self._taken: SpillFile | None = None  # left by another program
        self._again_at = -math.inf  # a disk that refused is tried again
        self._problem = ""  # until a write succeeds, or nothing has to be written any more
        self._has_failed = False  # to write, since the last look
        self._has_way = False  # there is a link to the server

    @property
    def problem(self) -> str:
        return self._problem or self._directory.problem

    @property
    def is_empty(self) -> bool:
        return self._directory.is_empty and not (self.replay or self._written or self._taken)

    @property
    def next_at(self) -> float:
        """When `turn` has something to do again, if nothing arrives before."""
        if self.replay:
            return min(self._directory.look_at, self.replay.next_at if self._has_way else math.inf)
        return -math.inf if self._directory.has_left and self._taken is None else self._directory.look_at

    def begin(self, takes_over: bool) -> None:
        """`takes_over`: files that programs have left are looked for, at once and from time to time."""
        self._directory.look_at = -math.inf if takes_over else math.inf

    def add(self, items: list[Item]) -> bool:
        """Writes entries that were never sent. Returns False if the disk takes none of them."""
        if monotonic() < self._again_at:
            return False

        def lines(file: SpillFile) -> list[bytes]:
            return [self._line(item, file.next_sequence + i) for i, item in enumerate(items)]

        if not self._write(lines):
            return False
        if self._written:
            self._written.next_sequence += len(items)
        return True

    def keep(self, lines: list[bytes]) -> bool:
        """Writes entries that were sent, the newest first: their sequences go down, with gaps. A server that has not
        seen this sender counts none before the first one as lost."""
        return self._write(lambda file: lines)

    def set_aside(self, lines: list[bytes]) -> bool:
        """Takes entries that the server does not acknowledge, so that they are sent no more. They go to a file, or are
        given up where that has no room. Returns False if the disk refuses."""
        if monotonic() < self._again_at:
            return False
        room = ASIDE_MAX_BYTES - self._directory.aside_bytes
        ends = accumulate(len(line) + 1 for line in lines)
        fitting = [line for line, end in zip(lines, ends, strict=True) if end <= room]
        counts = self.counts
        try:
            if fitting:
                self._aside = self._aside or SpillFile.create(self._prefix, ASIDE)
                self._aside.append(fitting)
                told = _entries(counts.set_aside + len(fitting))
                self.note = f"{told} not acknowledged, kept in {self._aside.path}"
        except OSError as error:
            self._drop(self._aside)
            self._aside = None
            self._refused(error)
            return False
        size = sum(len(line) + 1 for line in fitting)
        self._directory.aside_bytes += size
        self._directory.bytes += size
        counts.set_aside += len(fitting)
        if len(fitting) < len(lines):
            counts.abandoned += len(lines) - len(fitting)
            self.note = (
                f"{_entries(counts.abandoned)} not acknowledged and lost: {self._prefix}.*{ASIDE} have reached their"
                f" limit of {ASIDE_MAX_BYTES} bytes"
            )
        return True

    def turn(self, now: float, link: Link | None, may_begin: bool, new: Unacknowledged) -> bool:
        """Replays the files that wait, one after the other, to the server of that link, beside new entries. Returns
        True if the server has acknowledged something."""
        if now >= self._directory.look_at:
            self._look(now)
        has_heard = False
        self._has_way = link is not None
        for _ in range(FILES_PER_TURN):
            file = self._next_file()
            if link is None or file is None or not (self.replay or may_begin):
                break
            try:
                replay = self._replay_of(file, link, now)
                is_done = replay.turn(now, may_begin, new)
                has_heard = has_heard or replay.has_heard
                if not is_done:
                    break
                self._finish(file)
            except OSError as error:
                self._leave(file, error)
        return has_heard

    def end(self) -> None:
        """The program ends: what is written now is the last."""
        self._again_at = -math.inf
        if self.replay:
            self.replay.save()

    def close(self) -> None:
        """Leaves the files for the next program, or, in a child after a fork, for the parent. The next turn looks for
        them again."""
        if self.replay:
            self.replay.close()
        for file in (self._written, self._taken, self._aside):
            if file:
                file.close()
        self.replay = self._written = self._taken = self._aside = None
        self._directory.forget()

    def _write(self, lines: Callable[[SpillFile], list[bytes]]) -> bool:
        if self._directory.bytes >= SPILL_MAX_BYTES:
            self._problem = f"{self._prefix}.* have reached their limit of {SPILL_MAX_BYTES} bytes"
            self._has_failed = True
            return False
        for _ in range(2):  # if the file is lost, there is another one
            try:
                file = self._written = self._written or SpillFile.create(self._prefix)
                found = lines(file)
                file.append(found)
            except LostFileError as error:
                self._leave(file, error)
            except OSError as error:
                self._refused(error)
                if self._written and self._written.is_empty and not self.replay:
                    self._drop(self._written)
                    self._written = None
                return False
            else:
                self._directory.bytes += sum(map(len, found)) + len(found)
                self.counts.spilled += len(found)
                self._problem = ""
                return True
        return False

    def _refused(self, error: OSError) -> None:
        self._problem = f"cannot write to {self._prefix}: {error.strerror}"
        self._has_failed = True
        now = monotonic()
        self._again_at = now + AGAIN_SEC
        self._directory.look_soon(now)

    def _drop(self, file: SpillFile | None) -> None:
        """Closes a file, and removes it if it is empty."""
        with suppress(OSError):
            if file and file.is_empty:
                file.remove()
        if file:
            file.close()

    def _look(self, now: float) -> None:
        self._directory.look(now, {file.path for file in (self._written, self._taken, self._aside) if file})
        if self._has_failed:
            self._directory.look_soon(now)
        else:
            self._problem = ""
        self._has_failed = False

    def _next_file(self) -> SpillFile | None:
        """The file to be replayed now: first those that others have left, the oldest first."""
        if self.replay:
            return self.replay.file
        self._taken = self._taken or self._directory.take_over()
        if self._directory.is_unsure:
            self._directory.look_soon(monotonic())
        return self._taken or self._written

    def _replay_of(self, file: SpillFile, link: Link, now: float) -> Replay:
        is_new, self._server = link is not self._server, link  # the address of the server or of this host has changed
        if self.replay is None:
            self.replay = Replay(file, self._connect_to_server, self._pack, self.counts, self.set_aside)
        elif is_new or not self.replay.link.is_ours():
            self.replay.reconnect(now)
        return self.replay

    def _finish(self, file: SpillFile) -> None:
        """All of the file is acknowledged or set aside."""
        self._directory.bytes -= file.size
        self._forget(file)
        try:
            with suppress(OSError):  # so that nothing is sent again if the file cannot be removed
                file.acknowledged(file.size)
            file.remove()
        except (LostFileError, FileNotFoundError):  # somebody else has removed it
            pass
        except OSError as error:
            self._directory.problem = f"cannot remove {file.path}: {error.strerror}"

    def _connect_to_server(self) -> Link:
        assert self._server is not None  # noqa: S101  # there is no replay without it
        return self._connect(self._server.address)

    def _leave(self, file: SpillFile, error: OSError) -> None:
        """Leaves a file that cannot be used. A later look finds it again."""
        self._directory.problem = f"cannot use {file.path}: {error.strerror}"
        self._directory.is_unsure = not isinstance(error, LostFileError)
        self._directory.look_soon(monotonic())
        self._forget(file)
        file.close()

    def _forget(self, file: SpillFile) -> None:
        if self.replay and self.replay.file is file:
            self.replay.close()
            self.replay = None
        if self._written is file:
            self._written = None
        if self._taken is file:
            self._taken = None


def _entries(number: int) -> str:
    return f"{number} {'entry' if number == 1 else 'entries'}"
