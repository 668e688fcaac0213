"""Packed datagrams and messages in chunks through a drain: stored, acknowledged, rejected, noted. A real socket."""

import gzip
import math
import socket
import zlib

import pytest

from fastlog.inputs.chunks import OF_ONE_SENDER_MAX, WAIT_MS
from fastlog.limits import MESSAGE_MAX_BYTES
from fastlog.server._drain import ALL_SOCKETS, DRAINED, FULL, TURN_OVER, Intake
from fastlog.server._socket import Admission
from tests.helpers.bombs import bomb
from tests.helpers.chunks import chunk, cut
from tests.helpers.disk import error, info
from tests.helpers.randomness import Random

REJECTED_PIECES_MAX = 4096  # of a message; then the rest of it is one piece
MANY = 10**9  # notes and bytes of them: more than any test makes


class Link:
    """An intake, and a socket on which senders reach it."""

    def __init__(self, **settings) -> None:
        self.intake = Intake(65536, ["ERROR"], Admission([]), **settings)
        self.intake.rejects.allow(MANY, MANY)
        self.server = self._bound("127.0.0.1")
        self.client = self._bound("127.0.0.1")
        self._others: list[socket.socket] = []
        self.notes: list[tuple] = []

    def _bound(self, address: str) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setblocking(False)
        made.bind((address, 0))
        return made

    def from_another(self, address: str) -> socket.socket:
        self._others.append(self._bound(address))
        return self._others[-1]

    def send(self, *datagrams: bytes, sender: socket.socket | None = None) -> None:
        for datagram in datagrams:
            (sender or self.client).sendto(datagram, self.server.getsockname())

    def drain(self) -> int:
        """Drains as the server does; returns how often it had to take notes or lines first."""
        full = 0
        while (status := self.intake.drain(self.server.fileno())) != DRAINED:
            full += status == FULL
            self.notes += self.intake.rejects.take_notes()
        self.notes += self.intake.rejects.take_notes()
        return full

    def take(self, *datagrams: bytes) -> list[bytes]:
        """The lines of these datagrams."""
        together = 16 if sum(map(len, datagrams)) < 64_000 else 1  # as many as any receive buffer holds
        for at in range(0, len(datagrams), together):
            self.send(*datagrams[at : at + together])
            self.drain()
        return self.lines()

    def lines(self) -> list[bytes]:
        lines = bytes(self.intake.lines).splitlines()
        self.intake.lines.forget(self.intake.lines.size, self.intake.lines.entries)
        return lines

    def rejected(self) -> list[tuple[str, bytes]]:
        notes, self.notes = self.notes, []
        return [(reason, kept) for _, reason, _, _, _, kept in notes]

    def close(self) -> None:
        for sock in (self.server, self.client, *self._others):
            sock.close()


@pytest.fixture
def link(closing):
    return closing(Link())


def test_the_sockets_of_a_user_share_what_may_wait_for_chunks(tmp_path, closing):
    intake = Intake(65536, ["ERROR"], Admission([]))
    server, *clients = (closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) for _ in range(3))
    server.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    server.bind(str(tmp_path / "log.sock"))
    intake.listen([server.fileno()])
    intake.is_unix(0, True)
    for number, client in enumerate(clients):
        client.bind(str(tmp_path / str(number)))
        for n in range(OF_ONE_SENDER_MAX):
            client.sendto(chunk(n, 0, 2), server.getsockname())
            assert intake.drain(ALL_SOCKETS) == DRAINED
    assert intake.messages.chunks.waiting == OF_ONE_SENDER_MAX == intake.rejects.counts["incomplete"]


def test_a_message_of_nothing_but_tiny_pieces_does_not_cost_a_rejection_for_each(link):
    """Packed, more than 100,000 of them fit in a datagram of 300 bytes."""
    tiny, rest = [b"{"] * REJECTED_PIECES_MAX, lines_of(b"{", b"{", info(2))
    assert link.take(zlib.compress(lines_of(*tiny, info(1), rest))) == [info(1)]
    assert link.rejected() == [*(("syntax", piece) for piece in tiny), ("gelf", rest)]
    link.take(b"{\n" * 30_000)
    assert link.intake.rejects.counts["syntax"] == REJECTED_PIECES_MAX + 30_000


def test_a_flood_of_chunks_leaves_a_drain_as_short_as_any(link):
    """Each looks through all messages that wait, several times."""
    link.server.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
    link.intake.rejects.allow(0, 0)
    link.send(*(chunk(n, 0, 2, b"") for n in range(4000)))
    assert link.intake.drain(link.server.fileno()) == TURN_OVER
    assert link.intake.datagrams < 3000


def lines_of(*entries: bytes) -> bytes:
    return b"\n".join(entries)


def with_an_empty_end(chunks: list[bytes]) -> list[bytes]:
    """As Docker makes them when the length is a multiple of a chunk's size."""
    count = bytes([len(chunks) + 1])
    return [*(made[:11] + count + made[12:] for made in chunks), chunks[0][:10] + bytes([len(chunks)]) + count]


WAYS = {
    "zlib": lambda message: [zlib.compress(message)],
    "gzip": lambda message: [gzip.compress(message)],
    "one chunk": lambda message: cut(message, 1),
    "chunks": lambda message: cut(message, 3),
    "chunks of zlib": lambda message: cut(zlib.compress(message), 4),
    "chunks of gzip, the last one empty": lambda message: with_an_empty_end(cut(gzip.compress(message), 4)),
}


@pytest.fixture(params=WAYS)
def way(request):
    return WAYS[request.param]


def test_its_entries_are_stored_as_they_are(link, way):
    assert link.take(*way(lines_of(info(1), b"  " + info(2)))) == [info(1), info(2)]
    assert link.rejected() == []


def test_whitespace_may_come_first(link, way):
    assert link.take(*way(b" \t\r\n" + info(1))) == [info(1)]


def test_a_priority_entry_owes_an_ack_and_a_retransmission_is_a_duplicate(link, way):
    assert link.take(*way(error(7)), zlib.compress(error(7)), error(7)) == [error(7)]
    assert link.intake.priority_waits
    assert link.intake.acks.count == 3
    assert link.intake.duplicates == 2
    link.intake.acks.send(link.server.fileno())
    assert link.client.recv(100) == b'{"ack":true,"sequence":7}'


def test_a_broken_entry_harms_no_other(link, way):
    message = lines_of(info(1), b'{"level":', info(2))
    assert link.take(*way(message)) == [info(1), info(2)]
    assert [note[1:] for note in link.notes] == [("syntax", len(info(1)) + 1, len(message), 9, b'{"level":')]


@pytest.mark.parametrize(
    "inside",
    [
        b"<13>Oct 11 22:14:15 host app: in a packed datagram",
        b"text",
        b"",
        zlib.compress(info(1)),
        gzip.compress(info(1)),
        chunk(2, 0, 1, info(1)),
    ],
    ids=["syslog", "text", "nothing", "zlib", "gzip", "chunk"],
)
def test_there_is_one_layer_and_nothing_but_json_in_it(link, inside):
    assert link.take(zlib.compress(inside)) == []
    assert link.rejected() == [("gelf", inside)]
    if inside[:1] in (b"\x78", b"\x1f"):  # what is packed in a chunk is as usual
        return
    assert link.take(chunk(1, 0, 1, inside)) == []
    assert link.rejected() == [("gelf", inside)]
    assert link.take(*cut(zlib.compress(inside), 2)) == []
    assert link.rejected() == [("gelf", inside)]


def test_whitespace_alone_is_empty(link, way):
    assert link.take(*way(b" \n")) == []
    assert link.rejected() == [("empty", b"")]


@pytest.mark.parametrize(
    "datagram",
    [
        zlib.compress(info(1))[:-1],
        zlib.compress(info(1)) + b"\n",
        gzip.compress(info(1)) * 2,
        b"x ray is text that passes for zlib",
        b"\x1e\x0f",
        chunk(1, 3, 3, info(1)),
    ],
)
def test_what_is_damaged_is_rejected_as_it_came(link, datagram):
    assert link.take(datagram, info(1)) == [info(1)]
    assert link.rejected() == [("gelf", datagram)]
    assert link.intake.rejects.counts["gelf"] == 1


def test_a_bomb_is_rejected_and_costs_no_entry(link):
    assert link.take(info(1), bomb(), info(2), *cut(bomb(), 5), info(3)) == [info(1), info(2), info(3)]
    assert [reason for reason, _ in link.rejected()] == ["gelf", "gelf"]


@pytest.mark.parametrize("excess", [0, 1])
def test_the_largest_message(link, excess):
    entry = b'{"level":"INFO","message":"%s"}' % (b"x" * (MESSAGE_MAX_BYTES - 29 + excess))
    assert len(entry) == MESSAGE_MAX_BYTES + excess
    for datagrams in ([zlib.compress(entry)], cut(entry, 5)):
        assert link.take(*datagrams) == ([] if excess else [entry])
        assert [reason for reason, _ in link.rejected()] == (["gelf"] if excess else [])


@pytest.mark.parametrize("inputs", [["json"], ["json", "syslog"]])
def test_they_are_taken_while_json_is(closing, inputs):
    link = closing(Link(inputs=inputs))
    assert link.take(zlib.compress(info(1)), *cut(info(2), 2)) == [info(1), info(2)]


def test_without_json_and_gelf_they_are_no_known_format(closing):
    link = closing(Link(inputs=["syslog"]))
    assert link.take(zlib.compress(info(1)), *cut(info(2), 2)) == []
    assert [reason for reason, _ in link.rejected()] == ["syntax"] * 3
    assert link.intake.messages.chunks.received == 0


def test_a_message_is_complete_with_whichever_chunk_comes_last_and_among_others(link):
    parts = cut(info(1), 3)
    assert link.take(parts[2], info(2), parts[0], info(3), parts[1]) == [info(2), info(3), info(1)]


def test_a_message_that_is_overdue_is_incomplete_once(link):
    parts = cut(info(1), 3)
    link.take(*parts[:2])
    due = link.intake.messages.chunks.due_ms / 1000
    assert not link.intake.messages.give_up_overdue(due - 0.001)
    assert link.intake.messages.chunks.waiting == 1
    assert not link.intake.messages.give_up_overdue(due)
    notes = link.intake.rejects.take_notes()
    so_far = parts[0][12:] + parts[1][12:]
    name = "{}:{}".format(*link.client.getsockname())
    assert notes == [(name, "incomplete", 0, len(so_far), len(so_far), so_far)]
    assert link.intake.rejects.counts["incomplete"] == 1
    assert (link.intake.messages.chunks.waiting, link.intake.messages.chunks.waiting_bytes) == (0, 0)
    assert link.take(parts[2]) == []
    assert link.intake.rejects.counts["incomplete"] == 1


def test_another_host_can_neither_complete_nor_spoil_a_message(link):
    parts = cut(info(1), 2)
    link.send(parts[0])
    link.send(chunk(1, 1, 2, b"forged"), chunk(1, 1, 9, b"forged"), sender=link.from_another("127.0.0.2"))
    link.drain()
    assert link.take(parts[1]) == [info(1)]


def test_a_sender_may_change_its_port(link):
    parts = cut(info(1), 2)
    link.send(parts[0])
    link.send(parts[1], sender=link.from_another("127.0.0.1"))
    link.drain()
    assert link.lines() == [info(1)]


def test_a_flood_from_one_host_costs_another_nothing_and_every_message_is_accounted_for(link):
    parts = cut(info(1), 2)
    link.take(parts[0])
    stranger = link.from_another("127.0.0.2")
    count = 2_000
    for at in range(0, count, 50):
        link.send(*(chunk(n, 0, 2, b"x" * 100) for n in range(at, at + 50)), sender=stranger)
        link.drain()
    assert link.intake.messages.chunks.waiting == 1 + OF_ONE_SENDER_MAX
    assert link.intake.rejects.counts["incomplete"] == count - OF_ONE_SENDER_MAX
    assert {(reason, kept) for reason, kept in link.rejected()} == {("incomplete", b"x" * 100)}
    assert link.take(parts[1]) == [info(1)]


def test_notes_of_many_messages_stay_right_until_they_are_taken(link):
    """What they point into is not overwritten before, whatever comes in the same burst."""
    rng = Random()
    expected = []
    for n in range(300):
        bad = b'{"n":%d,"text":"%s"' % (n, rng.randbytes(rng.randrange(300)).hex().encode())
        expected.append(("syntax", bad))
        link.send(*rng.choice(list(WAYS.values()))(bad))
        if n % 10 == 9:
            link.drain()
    assert link.rejected() == expected


def test_a_message_is_scanned_on_where_there_was_no_room_for_its_next_line(link):
    """FULL in the middle of a message, again and again."""
    entry = b'{"level":"INFO","message":"%s"}' % (b"x" * 1000)
    message = lines_of(*[entry] * 200)
    link.intake.rejects.allow(0, 0)
    got, sent = 0, 0
    while sent < 4000:
        link.send(zlib.compress(message))
        sent += 200
        while link.intake.drain(link.server.fileno()) == FULL:
            got += len(link.lines())
    assert got + len(link.lines()) == sent


def test_at_the_end_what_waits_is_incomplete(link):
    for n in range(3):
        link.take(chunk(n, 0, 2))
    assert not link.intake.messages.give_up_overdue(math.inf)
    assert link.intake.rejects.counts["incomplete"] == 3


def test_no_more_is_given_up_than_may_be_noted(link):
    """There is room for 256 notes."""
    senders = [link.from_another(f"127.0.0.{n}") for n in range(2, 10)]
    for n in range(256):
        link.send(chunk(n, 0, 2), sender=senders[n % 8])
        link.drain()
    assert link.intake.messages.chunks.waiting == 256
    link.take(b"x")
    link.send(b"x")
    link.intake.drain(link.server.fileno())
    assert link.intake.messages.give_up_overdue(link.intake.messages.chunks.due_ms / 1000 + WAIT_MS)
    assert len(link.intake.rejects.take_notes()) == 256
    assert not link.intake.messages.give_up_overdue(link.intake.messages.chunks.due_ms / 1000 + WAIT_MS)
    assert [note[1] for note in link.intake.rejects.take_notes()] == ["incomplete"]


def test_the_account_balances_on_any_input(link):
    """Every message in chunks is complete or incomplete, and every chunk belongs to one or is a repeated one."""
    rng = Random()
    datagrams, messages, distinct = 0, set(), set()
    for _ in range(60):
        message = rng.choice([info(1), error(2), b"{", lines_of(info(1), info(2))])
        parts = rng.choice(list(WAYS.values()))(message)
        if len(parts) > 1 and rng.random() < 0.3:
            parts.remove(rng.choice(parts))
        parts += rng.choices(parts, k=rng.randrange(2))
        rng.shuffle(parts)
        datagrams += len(parts)
        messages |= {part[2:10] for part in parts if part[0] == 0x1E}
        distinct |= {part for part in parts if part[0] == 0x1E}
        link.take(*parts)
    chunks = link.intake.messages.chunks
    assert link.intake.datagrams == datagrams
    link.intake.messages.give_up_overdue(math.inf)
    counts = link.intake.rejects.counts
    assert chunks.waiting == 0
    assert len(messages) == chunks.completed + counts["incomplete"]
    assert len(distinct) == chunks.received - chunks.repeated
