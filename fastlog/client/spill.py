"""Priority entries on disk while the server does not answer: the files that a client writes, those that programs left
behind, and what the disk refuses.

When all entries of a file are acknowledged, it is removed. The next program with the same path takes over the files of
one that is gone, each when its replay comes. Since the bytes are the same, the server stores nothing twice. What cannot
be delivered is set aside, in a file that no program sends again by itself.
"""

import math
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from fastlog.addresses import Address
from fastlog.client._outbox import Item
from fastlog.client.link import Link
from fastlog.client.replay import Replay, SpillCounts
from fastlog.client.spill_file import ASIDE, ForeignFileError, LostFileError, SpillFile, found_files

SPILL_MAX_BYTES = 1 << 30  # all files of a path: a day at 12 kB/s of priority entries; more of them wait in memory
ASIDE_MAX_BYTES = 64 << 20  # of them, the files set aside: nobody reads more; further entries are given up
LOOK_SEC = 60.0  # between two looks for files whose program has ended
LOOK_TROUBLE_SEC = 5.0  # the same while the directory or the disk refuses
AGAIN_SEC = 1.0  # between two tries of a disk that refuses
FILES_PER_TURN = 16  # opened or finished, before other work has its turn


class Spill:
    """The files of one client. Raises nothing: `problem` has the trouble with the disk. `line(item, sequence)` gives an
    entry as it is sent; `connect` makes a Link. Times are those of time.monotonic."""

    def __init__(self, prefix: str, line: Callable[[Item, int], bytes], connect: Callable[[Address], Link]) -> None:
        self.counts = SpillCounts()
        self.replay: Replay | None = None
        self._prefix = prefix
        self._line = line
        self._connect = connect
        self._written: SpillFile | None = None
        self._aside: SpillFile | None = None
        self._taken: SpillFile | None = None  # left by another program
        self._left: deque[str] = deque()  # paths of files that other programs may have left, the oldest first
        self._foreign: set[str] = set()  # paths of which it was told that they are left alone
        self._others_bytes = 0  # of all files but the written one
        self._aside_bytes = 0
        self._look_at = -math.inf
        self._again_at = -math.inf  # a disk that refused is tried again
        self._write_problem = ""  # until a write succeeds
        self._look_problem = ""  # until the next look
        self._aside_problem = ""
        self._has_failed = False  # to write, since the last look

    @property
    def problem(self) -> str:
        return self._write_problem or self._look_problem or self._aside_problem

    @property
    def is_empty(self) -> bool:
        has_looked = self._look_at > -math.inf
        return has_looked and not (self.replay or self._written or self._taken or self._left)

    @property
    def next_at(self) -> float:
        """When `turn` has something to do again, if nothing arrives before."""
        if self._left and self._taken is None:
            return -math.inf
        return min(self._look_at, self.replay.unacknowledged.next_at if self.replay else math.inf)

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

    def set_aside(self, lines: list[bytes], why: str = "never acknowledged") -> bool:
        """Takes entries that the server does not acknowledge, so that they are sent no more. They go to a file, or are
        given up where that has no room. Returns False if the disk refuses."""
        room = ASIDE_MAX_BYTES - self._aside_bytes
        fitting = []
        for line in lines:
            room -= len(line) + 1
            if room < 0:
                break
            fitting.append(line)
        try:
            if fitting:
                self._aside = self._aside or SpillFile.create(self._prefix, ASIDE)
                self._aside.append(fitting)
                self._aside_problem = (
                    f"{_entries(self.counts.set_aside + len(fitting))} set aside in {self._aside.path}: {why}"
                )
        except OSError as error:
            self._drop(self._aside)
            self._aside = None
            self._refused(error)
            return False
        size = sum(len(line) + 1 for line in fitting)
        self._aside_bytes += size
        self._others_bytes += size
        self.counts.set_aside += len(fitting)
        if len(fitting) < len(lines):
            self.counts.given_up += len(lines) - len(fitting)
            self._aside_problem = (
                f"{_entries(self.counts.given_up)} given up: {why}, and {self._prefix}.*{ASIDE} have reached"
                f" their limit of {ASIDE_MAX_BYTES} bytes"
            )
        return True

    def turn(self, now: float, address: Address | None, may_begin: bool) -> None:
        """Replays the files that wait, one after the other, to the server at that address."""
        if now >= self._look_at:
            self._look(now)
        for _ in range(FILES_PER_TURN):
            file = self._next_file()
            if address is None or file is None or not (self.replay or may_begin):
                break
            try:
                if not self._replay(file, address, now, may_begin):
                    break
            except OSError as error:
                self._leave(file, error)

    def end(self) -> None:
        """The program ends: what is written now is the last."""
        self._again_at = -math.inf
        if self.replay:
            try:
                self.replay.save()
            except OSError as error:
                self._leave(self.replay.file, error)

    def close(self) -> None:
        """Leaves the files for the next program, or, in a child after a fork, for the parent. The next turn looks for
        them again."""
        if self.replay:
            self.replay.close()
        for file in (self._written, self._taken, self._aside):
            if file:
                file.close()
        self.replay = self._written = self._taken = self._aside = None
        self._left.clear()
        self._look_at = -math.inf

    def _write(self, lines: Callable[[SpillFile], list[bytes]]) -> bool:
        if self._others_bytes + (self._written.size if self._written else 0) >= SPILL_MAX_BYTES:
            self._write_problem = f"{self._prefix}.* have reached their limit of {SPILL_MAX_BYTES} bytes"
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
                self.counts.spilled += len(found)
                self._write_problem = ""
                return True
        return False

    def _refused(self, error: OSError) -> None:
        self._write_problem = f"cannot write to {self._prefix}: {error.strerror}"
        self._has_failed = True
        self._again_at = monotonic() + AGAIN_SEC
        self._look_at = min(self._look_at, monotonic() + LOOK_TROUBLE_SEC)

    def _drop(self, file: SpillFile | None) -> None:
        """Closes a file, and removes it if it is empty."""
        with suppress(OSError):
            if file and file.is_empty:
                file.remove()
        if file:
            file.close()

    def _look(self, now: float) -> None:
        """Looks for files that programs have left behind, how large all are, and whether the directory takes new
        ones."""
        own = {file.path for file in (self._written, self._taken, self._aside) if file}
        directory = os.path.dirname(self._prefix)
        self._look_problem = ""
        if not self._has_failed:
            self._write_problem = ""
        self._has_failed = False
        try:
            found = sorted(found_files(self._prefix))
            if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
                self._look_problem = f"cannot write to {self._prefix}: {directory} is not writable"
        except OSError as error:
            self._look_problem = f"cannot write to {self._prefix}: {error.strerror}"
            found = []
        written = self._written.path if self._written else ""
        self._others_bytes = sum(file.size for file in found if file.path != written)
        self._aside_bytes = sum(file.size for file in found if file.path.endswith(ASIDE))
        self._left = deque(file.path for file in found if not file.path.endswith(ASIDE) and file.path not in own)
        self._foreign &= {file.path for file in found}
        self._look_at = now + (LOOK_TROUBLE_SEC if self.problem else LOOK_SEC)

    def _next_file(self) -> SpillFile | None:
        """The file to be replayed now: first those that others have left, the oldest first."""
        if self.replay:
            return self.replay.file
        while self._taken is None and self._left:
            path = self._left.popleft()
            try:
                self._taken = SpillFile.take_over(path)
            except ForeignFileError as error:
                if path not in self._foreign:
                    self._foreign.add(path)
                    self._look_problem = f"{path} is left alone: {error}"
            except OSError as error:
                self._look_problem = f"cannot take over {path}: {error.strerror}"
        return self._taken or self._written

    def _replay(self, file: SpillFile, address: Address, now: float, may_begin: bool) -> bool:
        """Returns True if all of the file is acknowledged."""
        replay = self.replay
        if replay is None:
            replay = self.replay = Replay(file, self._connect(address), self.counts, self._set_line_aside)
        elif replay.link.address != address:
            replay.reconnect(address, self._connect, now)
        if not replay.turn(now, may_begin):
            return False
        self._others_bytes -= 0 if file is self._written else file.size
        self._forget(file)
        try:
            file.remove()
        except LostFileError:  # somebody else has removed it
            pass
        except OSError as error:
            self._look_problem = f"cannot remove {file.path}: {error.strerror}"
        return True

    def _set_line_aside(self, lines: list[bytes]) -> bool:
        return self.set_aside(lines, "not whole")

    def _leave(self, file: SpillFile, error: OSError) -> None:
        """Leaves a file that cannot be used. A later look finds it again."""
        self._look_problem = f"cannot use {file.path}: {error.strerror}"
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
