"""Lines taken out of a block, and the place of a line in the log."""

from collections import deque

from fastlog.logs.open_file import OpenFile
from fastlog.view.wanted import Block, Runs


class Newest:
    """The newest lines, at most so many of them and so many bytes, without their line feeds; always one, if it came."""

    def __init__(self, count_max: int, bytes_max: int) -> None:
        self.lines: deque[bytes] = deque()
        self._bytes = 0
        self._count_max = count_max
        self._bytes_max = bytes_max

    def add(self, lines: list[bytes]) -> None:
        self.lines += lines
        self._bytes += sum(map(len, lines))
        while len(self.lines) > self._count_max or (self._bytes > self._bytes_max and len(self.lines) > 1):
            self._bytes -= len(self.lines.popleft())

    def clear(self) -> None:
        self.lines.clear()
        self._bytes = 0


def count_lines(block: Block, runs: Runs) -> int:
    return sum(block.count(b"\n", start, end) for start, end in runs)


def last_lines(block: Block, runs: Runs, count: int) -> list[tuple[int, bytes]]:
    """The last `count` lines in these runs, the newest first, each with its place in the block."""
    found: list[tuple[int, bytes]] = []
    for start, end in reversed(runs):
        behind = end
        while behind > start:
            if len(found) == count:
                return found
            begin = block.rfind(b"\n", start, behind - 1) + 1 or start
            found.append((begin, bytes(block[begin : behind - 1])))
            behind = begin
    return found


def position(file: OpenFile, offset: int) -> str:
    """Where a line begins or ends in the log, as text. It holds across rotations and restarts of the server."""
    return f"{name_of(file)}:{offset}"


def name_of(file: OpenFile) -> str:
    """What a file is known by: its identity, or else its inode."""
    if file.identity:
        return str(file.identity)
    return "{}:{}".format(*file.inode)
