"""GELF messages in chunks: the reference of `_chunks.pyx`, which must agree with it.

A chunk is `1e 0f`, the message's id (8 bytes), the chunk's number, the number of chunks, and a part of the message. A
message is complete when all of its parts are there. It waits for them 5 s at most, and less if others need its room.
"""

import collections
from collections.abc import Hashable, Iterator

import msgspec

from fastlog.limits import MESSAGE_MAX_BYTES

BEGINNING = b"\x1e\x0f"
HEADER_BYTES = 12
CHUNKS_MAX = 128
WAITING_MAX = 256  # messages
OF_ONE_SENDER_MAX = 32  # messages
BLOCK_BYTES = 1024  # a message takes whole blocks
BLOCKS = 8192
WAIT_MS = 5000


class Chunk(msgspec.Struct, frozen=True):
    id: bytes
    number: int
    count: int
    part: bytes


class Taken(msgspec.Struct, frozen=True):
    """What became of a chunk: `outcome` is one of `_chunks.OUTCOMES`. `message`: the one that it completed.
    `given_up`: the beginnings of messages that were overdue, or in its way."""

    outcome: str
    message: bytes | None
    given_up: list[bytes]


class _Waiting(msgspec.Struct):
    count: int
    began_ms: int
    parts: dict[int, bytes] = {}  # by their numbers, in the order of their arrival

    @property
    def size(self) -> int:
        return sum(map(len, self.parts.values()))


# What one machine can send from; and the sender's address without the port, with the message's id.
Key = tuple[Hashable, tuple[Hashable, bytes]]


def read_chunk(datagram: bytes) -> Chunk | None:
    """None: it is no valid chunk."""
    if not datagram.startswith(BEGINNING) or len(datagram) < HEADER_BYTES:
        return None
    number, count = datagram[10], datagram[11]
    return Chunk(datagram[2:10], number, count, datagram[HEADER_BYTES:]) if number < count <= CHUNKS_MAX else None


class Chunks:
    def __init__(self) -> None:
        self._waiting: dict[Key, _Waiting] = {}  # in the order in which they began
        self._over: dict[Key, int] = {}  # messages whose chunks are ignored until then, in milliseconds

    def take(self, address: Hashable, datagram: bytes, now_ms: int, host: Hashable = None) -> Taken:
        """`host`: the address unless it is given."""
        chunk = read_chunk(datagram)
        if chunk is None:
            return Taken("bad", None, [])
        key = host or address, (address, chunk.id)
        given_up = [self._give_up(other, now_ms) for other in self._must_go(key, chunk, now_ms)]
        return Taken(*self._add(key, chunk, now_ms), given_up)

    @property
    def due_ms(self) -> int | None:
        """When the oldest message that waits is overdue; None: none waits."""
        return next((message.began_ms + WAIT_MS for message in self._waiting.values()), None)

    def _must_go(self, key: Key, chunk: Chunk, now_ms: int) -> Iterator[Key]:
        """Which messages are given up before the chunk is added, one after the other."""
        while self.due_ms is not None and self.due_ms <= now_ms:
            yield next(iter(self._waiting))
        message = self._waiting.get(key)
        if self._is_over(key, now_ms) or (message and self._is_refused(message, chunk)):
            return
        if message is None and chunk.count == 1:
            return
        if message is None:
            if self._messages_of(key[0]) == OF_ONE_SENDER_MAX:
                yield next(other for other in self._waiting if other[0] == key[0])
            if len(self._waiting) == WAITING_MAX:
                yield self._oldest_of_fullest(by_blocks=False)
        while not self._is_over(key, now_ms) and self._blocks_with(key, chunk) > BLOCKS:
            yield self._oldest_of_fullest(by_blocks=True)

    def _add(self, key: Key, chunk: Chunk, now_ms: int) -> tuple[str, bytes | None]:
        if self._is_over(key, now_ms):
            return "repeated", None
        if key not in self._waiting:
            self._waiting[key] = _Waiting(chunk.count, now_ms)
        message = self._waiting[key]
        if self._is_refused(message, chunk):
            if message.count == chunk.count and chunk.number in message.parts:
                return "repeated", None
            if message.count == chunk.count:  # too large
                self._give_up(key, now_ms)
            return "bad", None
        message.parts[chunk.number] = chunk.part
        if len(message.parts) < message.count:
            return "waits", None
        self._give_up(key, now_ms)
        return "complete", b"".join(message.parts[number] for number in range(message.count))

    def _is_over(self, key: Key, now_ms: int) -> bool:
        return now_ms < self._over.get(key, now_ms)

    def _is_refused(self, message: _Waiting, chunk: Chunk) -> bool:
        is_too_large = message.size + len(chunk.part) > MESSAGE_MAX_BYTES
        return message.count != chunk.count or chunk.number in message.parts or is_too_large

    def _give_up(self, key: Key, now_ms: int) -> bytes:
        """Forgets a message, but for its key; returns the beginning of what came of it."""
        message = self._waiting.pop(key)
        until_ms = message.began_ms + WAIT_MS
        # A chunk of an overdue message that comes still later must not begin it anew.
        self._over[key] = until_ms if now_ms < until_ms else now_ms + WAIT_MS
        return b"".join(message.parts.values())[:BLOCK_BYTES]

    def _messages_of(self, host: Hashable) -> int:
        return sum(other == host for other, _ in self._waiting)

    def _blocks_with(self, key: Key, chunk: Chunk) -> int:
        """The blocks that all messages take with this chunk."""
        sizes = collections.Counter({other: message.size for other, message in self._waiting.items()})
        sizes[key] += len(chunk.part)
        return sum(map(_blocks, sizes.values()))

    def _oldest_of_fullest(self, *, by_blocks: bool) -> Key:
        """The oldest message of the senders that have most messages or blocks."""
        fullness: collections.Counter[Hashable] = collections.Counter()
        for (host, _), message in self._waiting.items():
            fullness[host] += _blocks(message.size) if by_blocks else 1
        most = max(fullness.values())
        return next(key for key in self._waiting if fullness[key[0]] == most)


def _blocks(size: int) -> int:
    return -(-size // BLOCK_BYTES)
