"""Looks for the newest wanted lines of a log, from its end backward, in short steps: what else the process does goes on
between them. Compressed archives are looked into as far as their summaries do not rule them out."""

from collections import deque
from collections.abc import Iterator
from datetime import datetime
from time import monotonic

from fastlog.logs.log_files import ReadError, open_log
from fastlog.logs.open_file import OpenFile
from fastlog.logs.parts import Lines, Part, parts, parts_backward
from fastlog.logs.selected import without_old
from fastlog.view.lines import Newest, last_lines, name_of
from fastlog.view.wanted import Wanted

SEARCH_SEC = 2.0  # longest time: a person waits for the answer
SEARCH_MAX_BYTES = 4 << 30  # looked at: what a fast machine can look at in that time
ANSWER_MAX_BYTES = 1 << 20  # of the lines found: 64 viewers that read slowly keep no more than 64 MiB


class Search:
    """At most `limit` lines. It sees nothing behind the position `until`, nor what is before the position `since`;
    empty: both ends of the log. After `is_done`: `lines`, the newest last; `is_complete`: there are no more of them;
    `oldest`: the time of the oldest line that was looked at; `problem`: why not everything could be read."""

    def __init__(self, wanted: Wanted, limit: int, until: str = "", since: str = "") -> None:
        self.lines: list[bytes] = []
        self.searched_bytes = 0
        self.oldest: datetime | None = None
        self.is_done = False
        self.is_complete = False
        self.problem = ""
        self._wanted = wanted
        self._limit = limit
        self._until = until
        self._since = since
        self._found: deque[bytes] = deque()
        self._found_bytes = 0
        self._files: list[OpenFile] = []
        self._ends_at = monotonic() + SEARCH_SEC
        self._steps = self._work()

    def step(self) -> None:
        """Looks at one part. It takes a few milliseconds, unless the disk is slow."""
        if self.is_done:
            return
        try:
            next(self._steps, None)
            if not self.is_done and (monotonic() > self._ends_at or self.searched_bytes > SEARCH_MAX_BYTES):
                self._finish(is_complete=False)
        except (ReadError, OSError) as error:
            self.problem = str(error)
            self._finish(is_complete=False)

    def close(self) -> None:
        """At any time. It finds nothing more."""
        self.is_done = True
        for file in self._files:
            file.close()
        self._files = []

    def _finish(self, is_complete: bool) -> None:
        failures = [f"cannot read {file.path}: {file.failure}" for file in self._files if file.failure]
        self.problem = self.problem or next(iter(failures), "")
        self.lines = list(self._found)
        self.is_done = True
        self.is_complete = is_complete and all(file.is_whole for file in self._files)
        self.close()

    def _work(self) -> Iterator[None]:
        self._files = without_old(open_log(self._wanted.path), self._wanted.conditions.window)
        yield
        for file in reversed(self._within()):
            is_first = self._since and name_of(file) == self._since.rpartition(":")[0]
            first = int(self._since.rpartition(":")[2]) if is_first else 0
            if file.is_compressed and file.index is None:
                yield from self._forward(file, first)
            else:
                for part in parts_backward(file, self._wanted.conditions):
                    if part.at + part.size <= first:
                        break
                    self._look(part, part.lines(), first)
                    yield
                    if self._is_full():
                        return
            if self._is_full():
                return
            if is_first:
                break
        self._finish(is_complete=True)

    def _within(self) -> list[OpenFile]:
        """The files from `since` to `until`, if the log still has these places."""
        names = [name_of(file) for file in self._files]
        files = self._files
        name, _, offset = self._until.rpartition(":")
        if name in names:
            last = files[names.index(name)]
            if not last.is_compressed:
                last.size = min(last.size, int(offset))
            files = files[: names.index(name) + 1]
        name = self._since.rpartition(":")[0]
        if name not in names:
            self._since = ""
        return files

    def _look(self, part: Part, lines: Lines, first: int) -> None:
        block, start, end = lines
        self.searched_bytes += end - start
        if start < end:
            line = bytes(block[start : block.find(b"\n", start, end)])
            self.oldest = self._wanted.time(line) or self.oldest
        runs = self._wanted.runs(block, start, end)
        for at, line in last_lines(block, runs, self._limit - len(self._found)):
            if (first and part.place(start, at) < first) or self._is_full():
                break
            self._found.appendleft(line)
            self._found_bytes += len(line)

    def _forward(self, file: OpenFile, first: int) -> Iterator[None]:
        """An archive that another program has compressed is read from its beginning. Its newest lines are known at its
        end, so they are found all or not at all."""
        found = Newest(self._limit - len(self._found), ANSWER_MAX_BYTES)
        for part in parts(file, self._wanted.conditions, first):
            block, start, end = lines = part.lines()
            self.searched_bytes += end - start
            runs = self._wanted.runs(*lines)
            found.add([line for _, line in reversed(last_lines(block, runs, self._limit))])
            yield
        for line in reversed(found.lines):
            if self._is_full():
                break
            self._found.appendleft(line)
            self._found_bytes += len(line)

    def _is_full(self) -> bool:
        """Whether no more lines are wanted, or have room."""
        if len(self._found) < self._limit and self._found_bytes < ANSWER_MAX_BYTES:
            return False
        if not self.is_done:
            self._finish(is_complete=False)
        return True
