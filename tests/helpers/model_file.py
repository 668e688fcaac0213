"""A file of the modelled disk: what the disk has for sure, and what was done since.

A sync makes sure what was done before it began. A write-back that fails loses it: the page cache takes it for clean, so
no later sync writes it, and the error is reported once to each descriptor that was open.
"""

from functools import lru_cache
from random import Random

from fastlog.archive import zstd

ZSTD_MAGIC = bytes.fromhex("28b52ffd"), bytes.fromhex("5d2a4d18")  # of an archive with lines, and of one without
PENDING, SURE, LOST = range(3)  # what the disk has of a change: perhaps; for sure; perhaps, and no sync writes it
CUT = None  # in place of a change's data: the file was cut at the offset


class File:
    """`base`: what the disk has for sure; `changes`: what was done since, each [data or CUT, offset, state].
    `attributes`: what the disk has of them for sure; `new_attributes`: those set since, as (name, value)."""

    __slots__ = (
        "attributes",
        "base",
        "changes",
        "error_seen",
        "errors",
        "merged",
        "new_attributes",
        "size",
        "trusted",
    )

    def __init__(self, content: bytes = b"") -> None:
        self.base = bytearray(content)
        self.changes: list[list] = []
        self.attributes: dict[str, str] = {}
        self.new_attributes: list[tuple[str, str]] = []
        self.merged = 0  # changes before those
        self.size = len(content)
        self.errors = 0  # write-backs that failed
        self.error_seen = True  # somebody was told of the last one
        self.trusted: bytes | None = None  # after a failure that the server saw: what was certain before

    def add(self, data: bytes | None, offset: int) -> None:
        self.changes.append([data, offset, PENDING])
        self.size = offset if data is CUT else max(self.size, offset + len(data))

    @property
    def count(self) -> int:
        """How many changes there were."""
        return self.merged + len(self.changes)

    @property
    def has_lost(self) -> bool:
        return any(state == LOST for _, _, state in self.changes)

    def make_sure(self, to: int) -> None:
        """The first changes are on the disk, except those that are lost."""
        for change in self.changes[: max(to - self.merged, 0)]:
            if change[2] == PENDING:
                change[2] = SURE
        done = 0
        for data, offset, state in self.changes:
            if state != SURE:
                break
            _apply(self.base, data, offset)
            done += 1
        self.merged += done
        del self.changes[:done]

    def make_attributes_sure(self) -> None:
        self.attributes.update(self.new_attributes)
        self.new_attributes = []

    def attributes_after_a_cut(self, rng: Random) -> dict[str, str]:
        """What may be found after a power cut."""
        return self.attributes | dict(each for each in self.new_attributes if rng.random() < 0.5)

    def lose(self, to: int) -> None:
        """The write-back of the first changes fails."""
        for change in self.changes[: max(to - self.merged, 0)]:
            if change[2] == PENDING:
                change[2] = LOST
        self.errors += 1
        self.error_seen = False

    def renew(self, content: bytes) -> None:
        """The page cache forgot what the disk does not have."""
        self.base, self.changes, self.merged = bytearray(content), [], self.count

    def note_failure(self) -> None:
        if self.trusted is None:
            self.trusted = self.certain()

    def certain(self) -> bytes:
        """The text that is on the disk whatever happens; zeros stand for what is not certain."""
        return sure_text(self._certain_bytes())

    def _certain_bytes(self) -> bytes:
        content = bytearray(self.base)
        for data, offset, state in self.changes:
            if state == SURE:
                _apply(content, data, offset)
            else:
                end = max(len(content), offset) if data is CUT else offset + len(data)
                _apply(content, bytes(end - offset), offset)
        return bytes(content)

    def holds(self, line: bytes, *, is_new: bool) -> bool:
        """Whether the line is certain. In a file that has failed, only what was certain before counts for a new one."""
        return has_line(self.certain(), line) and (not is_new or self.trusted is None or has_line(self.trusted, line))

    def after_a_cut(self, rng: Random) -> bytes:
        """What may be found after a power cut."""
        content = bytearray(self.base)
        for place, (data, offset, state) in enumerate(self.changes):
            fate = 1.0 if state == SURE else rng.random()
            if data is CUT:
                # What is written behind a cut is on the disk only after it.
                if fate < 0.5 and all(later[2] != SURE for later in self.changes[place:]):
                    break
                del content[offset:]
            elif fate >= 0.6:
                _apply(content, data, offset)
            elif fate >= 0.4:  # a part is missing, at its end or at its beginning
                size = rng.randrange(len(data) + 1)
                if fate >= 0.5:
                    _apply(content, data[:size], offset)
                else:
                    _apply(content, data[size:], offset + size)
            elif fate >= 0.3:  # its room is there
                content += bytes(max(0, offset + len(data) - len(content)))
        return bytes(content)


class Description:
    """An open file. It is told of a failed write-back once."""

    __slots__ = ("file", "told")

    def __init__(self, file: File) -> None:
        self.file = file
        self.told = file.errors if file.error_seen else file.errors - 1

    def error_to_tell(self) -> bool:
        if self.file.errors == self.told:
            return False
        self.told = self.file.errors
        self.file.error_seen = True
        return True


@lru_cache(512)
def text_of(content: bytes) -> bytes:
    """The lines that a file has, compressed or not. Raises ZstdError if it is not whole."""
    return zstd.decompress(content) if content.startswith(ZSTD_MAGIC) else content


def sure_text(content: bytes) -> bytes:
    """The same; empty if it is not whole."""
    try:
        return text_of(content)
    except zstd.ZstdError:
        return b""


def has_line(content: bytes, line: bytes) -> bool:
    """Whether this is a line of the content. Spaces before it may have taken the place of damage; a start finds an
    entry that stands directly behind zeros."""
    at = -1
    while (at := content.find(line + b"\n", at + 1)) >= 0:
        if not at or content[at - 1] in b"\n \0":
            return True
    return False


def _apply(content: bytearray, data: bytes | None, offset: int) -> None:
    if data is CUT:
        del content[offset:]
        return
    if offset > len(content):
        content += bytes(offset - len(content))
    content[offset : offset + len(data)] = data
