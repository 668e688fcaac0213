"""Finds and removes the damage that a crash of the system left in the log files, before anything is written to them.

After a power cut, writes that no sync covered may be missing. At the end of a file that leaves a line without its line
feed; before the end it leaves zeros. Stored lines hold no zeros, so a zero shows where something is missing, and every
line without one is whole. What stands between the last zero of a line and its line feed may be a whole line, too, and
acknowledged; it is taken for one if the scanner takes it for one entry. That is proof, since no stored line has a
shorter end that is an entry: cut outside of its strings, such an end closes more brackets than it opens; cut inside
one, it takes strings for what is between them, and ends inside a string, or has a backslash outside of one. The notes
in `rejects.jsonl` are no entries, so one that stands directly behind zeros is taken out.

Which files are searched. The kernel writes to the disk what is half a minute old, so only files that were changed
shortly before the crash can be damaged. A file's time reaches the disk with its size, so a file that is damaged has a
time shortly before the newest of the log. But clocks are set, so the newest ALWAYS_BYTES of the log are searched
whatever their time. Nothing notes whether a server ended well: a search is cheap, and a note could be wrong. A repair
leaves a file's time as it was, for the start after a power cut that ends the repair.

How a file is repaired. A damaged end is cut off. A file with damage before its end is replaced by a new one without
it. If that would take too long, or there is no room, the damage is overwritten with spaces: the next line begins with
them then, and is an entry still. Large damage becomes blank lines.

A power cut may end a repair, too. What is taken away is durable elsewhere before, if that can be written at all. Until
the new file has replaced the damaged one, or the damaged end is cut off, the next start finds the same damage and
repairs it anew. Overwriting leaves zeros in each damaged line until nothing else is left of it.
"""

import contextlib
import errno
import itertools
import os
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

from fastlog._parse import scan
from fastlog.errors import say
from fastlog.limits import LINE_MAX_BYTES
from fastlog.segments import ATTRIBUTE, DURABLE_ATTRIBUTE, attribute_of
from fastlog.server.found_files import Found, find, opened
from fastlog.server.storage import Storage
from fastlog.server.torn import Torn

DIRTY_NS = 120 * 10**9  # Linux begins to write data when it is 30 s old; four times that, for a disk that is behind
ALWAYS_BYTES = 256 << 20  # searched whatever the files' times are: 0.05 s from the page cache, 1.3 s from a slow disk
MOST_BYTES = 2 << 30  # searched at most: what half a minute brings at 400,000 entries/s
REWRITTEN_BYTES = 256 << 20  # of files that are replaced in one start: some 2 s on a slow disk, which receives nothing
SPACES_BYTES = 1 << 16  # in a line, where damage was: readers may take a line for broken that is far longer
MOST_DAMAGES = MOST_BYTES // 512  # in a file, each 16 bytes of memory: a crash takes blocks, of 512 bytes at least
BLOCK_BYTES = 1 << 20  # read or written at once
BACK_BYTES = 1 << 12  # read at first to find the beginning of a line

FEED = ord("\n")
_BLANK_LINES = (b" " * (SPACES_BYTES - 1) + b"\n") * (BLOCK_BYTES // SPACES_BYTES)  # shorter damage: spaces alone
_ONLY_FEEDS = bytes(byte if byte == FEED else 0 for byte in range(256))  # a table for `translate`


def repair_all(storage: Storage, live: Path, locked_fd: int, directory_fd: int) -> int:
    """Repairs the live file, which the caller has locked, its archives and the files set aside: a rotation does not
    sync, so any may be damaged.

    Unfinished lines are appended to `<live>.torn`; returns how many bytes they have. A file that cannot be repaired is
    left as it is, with a message. The live file's changes and new names are durable after their next sync. Raises
    BlockingIOError if another server has one of the damaged files open.
    """
    torn_bytes = 0
    budget = REWRITTEN_BYTES
    # An archive was whole before it was compressed.
    for found, size in searched([each for each in find(live, say) if not each.ending]):
        try:
            with opened(found.path) as fd:
                repair = _FileRepair(storage, found, fd, live)
                repair.search(found.size - size)
                if repair.is_needed:
                    _lock(storage, fd, found.path, locked_fd)
                    torn = Torn(storage, Path(f"{live}.torn"), directory_fd)
                    repair.run(torn, budget)
                    torn_bytes += torn.bytes
                budget -= repair.rewritten_bytes
        except BlockingIOError:
            raise
        except OSError as error:
            say(f"cannot repair {found.path}: {error.strerror}; it is left as it is")
    return torn_bytes


def searched(files: Sequence[Found]) -> Iterator[tuple[Found, int]]:
    """Of the files, the live one first, those that may be damaged, and how many bytes at their ends to search."""
    newest_ns = max((found.modified_ns for found in files if found.size), default=0)
    done = 0
    for number, found in enumerate(files):
        is_recent = number == 0 or newest_ns - found.modified_ns <= DIRTY_NS
        size = min(found.size, (MOST_BYTES if is_recent else ALWAYS_BYTES) - done)
        if size > 0:
            done += size
            yield found, size


def damages(fd: int, start: int) -> Iterator[tuple[int, int]]:
    """Everything that is not whole lines, from an offset on at which a line begins: each from the beginning of a line
    to the beginning of the next whole one, or to the end of the file. Between two there are whole lines."""
    found = None
    for begin, end in _damaged_lines(fd, start):
        if found and found[1] == begin:
            found = found[0], end
        else:
            if found:
                yield found
            found = begin, end
    if found:
        yield found


def _damaged_lines(fd: int, at: int) -> Iterator[tuple[int, int]]:
    finder = _Finder(fd)
    while (zero := finder.find(0, at)) < finder.size:
        feed = finder.find(FEED, zero)
        begin = _line_start(fd, zero, at)
        at = _next_whole(fd, zero, feed) if feed < finder.size else finder.size
        yield begin, at
    begin = _line_start(fd, finder.size, at)
    if begin < finder.size:
        yield begin, finder.size


def _next_whole(fd: int, zero: int, feed: int) -> int:
    """Where the first whole line begins behind a zero; `feed` is where the zero's line ends."""
    start = max(zero, feed - LINE_MAX_BYTES - 1)
    end_of_line = os.pread(fd, feed - start, start)
    last_zero = end_of_line.rfind(0)
    if last_zero >= 0 and _is_entry(end_of_line[last_zero + 1 :]):
        return start + last_zero + 1
    return feed + 1


def _is_entry(line: bytes) -> bool:
    """Whether a line, without its line feed, is one entry; spaces before it do not matter."""
    reason, _, _, _, end, *_ = scan(line)[0]
    return reason is None and end == len(line)


class _Finder:
    """Finds bytes in a file, and reads each block once if it is asked from the beginning to the end."""

    def __init__(self, fd: int) -> None:
        self.size = os.fstat(fd).st_size
        self._fd = fd
        self._block = bytearray(BLOCK_BYTES)
        self._at = 0  # where the block is in the file
        self._filled = 0  # bytes of the block

    def find(self, byte: int, at: int) -> int:
        """Where the byte is next, from an offset on; the file's size if nowhere."""
        while at < self.size:
            if not self._at <= at < self._at + self._filled:
                self._at, self._filled = at, os.preadv(self._fd, [self._block], at)
                if not self._filled:  # somebody cut the file
                    break
            place = self._block.find(byte, at - self._at, self._filled)
            if place >= 0:
                return min(self._at + place, self.size)
            at = self._at + self._filled
        return self.size


class _FileRepair:
    """The repair of one file, which is open for reading. `rewritten_bytes`: written to a new file."""

    def __init__(self, storage: Storage, found: Found, fd: int, live: Path) -> None:
        self.rewritten_bytes = 0
        self._storage = storage
        self._found = found
        self._fd = fd
        self._is_live = found.path == live
        self._new = Path(f"{live}.repaired")
        self._size = os.fstat(fd).st_size
        self._offsets = array("Q")  # where each damage begins and ends

    @property
    def is_needed(self) -> bool:
        return len(self._offsets) > 0

    def search(self, start: int) -> None:
        """Notes the damage from an offset on. Raises OSError."""
        for damage in damages(self._fd, _line_start(self._fd, start, 0)):
            if len(self._offsets) >= 2 * MOST_DAMAGES:
                raise OSError(errno.EFBIG, "it has more holes than a crash can leave")
            self._offsets.extend(damage)

    def run(self, torn: Torn, budget: int) -> None:
        """Removes the damage. `budget`: bytes that may be rewritten. Raises OSError."""
        begin, end = self._offsets[:2]
        is_at_end = end == self._size
        # First of all: of a file that must not be changed, nothing is kept elsewhere, or each start would do so again.
        fd = self._storage.open_to_change(self._found.path)
        try:
            self._keep(torn)
            if is_at_end:
                self._storage.truncate(fd, begin)
                self._finish(fd)
            elif not (self._may_rewrite(budget) and self._rewrite()):
                self._overwrite(fd)
                self._finish(fd)
        finally:
            self._storage.close(fd)
        what = "ended in an incomplete line" if is_at_end and torn.bytes else "held zeros in place of lost lines"
        say(f"{self._found.path} {what}; {torn.outcome}")

    def _finish(self, fd: int) -> None:
        """The file's time is as it was afterwards. What was changed is durable; the live file is synced later."""
        self._storage.set_time(fd, self._found.modified_ns)
        if not self._is_live:
            self._storage.sync_now([fd])

    def _damages(self) -> Iterator[tuple[int, int]]:
        return zip(self._offsets[::2], self._offsets[1::2], strict=True)

    def _keep(self, torn: Torn) -> None:
        try:
            for begin, end in self._damages():
                for _, block in _blocks(self._fd, begin, end):
                    torn.keep(block.translate(None, b"\0"))
        finally:
            torn.finish()

    def _may_rewrite(self, budget: int) -> bool:
        """Whether the file is replaced, if there is room: not if it takes long, nor a link."""
        size = self._size - sum(end - begin for begin, end in self._damages())
        return size <= budget and not self._found.path.is_symlink()

    def _rewrite(self) -> bool:
        """A new file, with everything but the damage, replaces the damaged one. Returns whether that worked."""
        try:
            fd = self._storage.create(self._new)
            try:
                begins = itertools.chain([0], self._offsets[1::2])
                ends = itertools.chain(self._offsets[::2], [self._size])
                for begin, end in zip(begins, ends, strict=True):
                    for _, block in _blocks(self._fd, begin, end):
                        self._storage.write_all(fd, block)
                        self.rewritten_bytes += len(block)
                self._storage.set_time(fd, self._found.modified_ns)
                self._carry_attributes(fd)
                self._storage.sync_now([fd])
            finally:
                self._storage.close(fd)
            self._storage.rename(self._new, self._found.path)
        except OSError:
            with contextlib.suppress(OSError):
                self._storage.unlink(self._new)
            return False
        return True

    def _carry_attributes(self, fd: int) -> None:
        """The new file is the same one for `fastlog ship`: no sync had covered what is not in it. Raises OSError."""
        for name in (ATTRIBUTE, DURABLE_ATTRIBUTE):
            value = ""
            with contextlib.suppress(OSError):  # there are none here
                value = attribute_of(self._fd, name)
            if value:
                self._storage.set_attribute(fd, name, value)

    def _overwrite(self, fd: int) -> None:
        """Overwrites damage with spaces, and cuts off damage at the end.

        Zeros come before, and are durable before: until the last of them is overwritten, the next start finds the
        damage. Line feeds stay until then, so that nothing else comes to stand behind zeros.
        """
        if self._offsets[-1] == self._size:
            self._storage.truncate(fd, self._offsets[-2])
            del self._offsets[-2:]
        for begin, end in self._damages():
            for offset, block in _blocks(self._fd, begin, end):
                zeros = block.translate(_ONLY_FEEDS)
                if zeros != block:
                    self._storage.overwrite(fd, zeros, offset)
        self._storage.sync_now([fd])
        for begin, end in self._damages():
            for offset, block in _blocks(self._fd, begin, end):
                self._storage.overwrite(fd, _BLANK_LINES[: len(block)], offset)
            if end - begin > SPACES_BYTES:
                self._storage.overwrite(fd, b"\n", end - 1)


def _lock(storage: Storage, fd: int, path: Path, locked_fd: int) -> None:
    """Locks a damaged file, unless it is the one that is locked already. Raises BlockingIOError if another server has
    the file open: it may be about to finish a line."""
    if os.path.samestat(os.fstat(fd), os.fstat(locked_fd)):
        return
    try:
        storage.lock(fd)
    except BlockingIOError as error:
        error.filename = str(path)
        raise
    except OSError:
        pass  # some file systems lock only files that may be written to


def _line_start(fd: int, offset: int, least: int) -> int:
    """Where the line begins that reaches to or over the offset, or `least`, if that is more."""
    step = BACK_BYTES
    while offset > least:
        until, offset = offset, max(offset - step, least)
        feed = os.pread(fd, until - offset, offset).rfind(b"\n")
        if feed >= 0:
            return offset + feed + 1
        step = min(2 * step, BLOCK_BYTES)
    return least


def _blocks(fd: int, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """The bytes of a file from one offset to another, in blocks, each with its offset."""
    while start < end and (block := os.pread(fd, min(BLOCK_BYTES, end - start), start)):
        yield start, block
        start += len(block)
