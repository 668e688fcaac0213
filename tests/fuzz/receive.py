"""The receive path's target: datagrams over loopback to an Intake, and what the reference decoder says must come out.

An input is three bytes and then the datagrams. The first byte chooses how the server behaves, the second what of the
intake is nearly full before (see `check`), the third how much may be noted.
"""

import select
import socket
from array import array
from ipaddress import ip_network

from fastlog.entry import Piece, decode
from fastlog.inputs import packed
from fastlog.server._drain import DRAINED, FULL, Intake
from fastlog.server._socket import Acks, Admission

JSON_BEGINS = (b"{", b" ", b"\t", b"\r", b"\n")
CHUNK = b"\x1e\x0f"  # such datagrams are left to fuzz_chunks.pyx, since they change what becomes of later ones
BETWEEN = b"\xfe\xff"  # between two datagrams
REJECTED_PIECES_MAX = 4096  # of a packed message
PRIORITY = {"ERROR", "CRITICAL"}
SLOT_BYTES = (512, 65536)  # a small BUFFER_SIZE, so that little is needed to be truncated, and the default
ELSEWHERE = [ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")]
QUEUED_BYTES_MAX = 64 << 10  # in the socket at a time: far less than its buffer
QUEUED_MAX = 64
NOTE_BYTES = 64  # allowed for each note: less than many have, so that some are cut
ACKS_CHECKED_MAX = 64  # of one input: as many as surely fit in the sender's receive buffer


def verdict(datagram: bytes, slot_bytes: int) -> tuple[bytes, list[Piece]]:
    """What is read of a datagram: itself, or what is packed in it; and the pieces of that."""
    if len(datagram) > slot_bytes:
        return whole(datagram[:slot_bytes], "truncated")
    if not packed.is_packed(datagram):
        return datagram, decode(datagram)
    message = packed.unpack(datagram)
    if message is None:
        return whole(datagram, "gelf")
    return (message, bounded(message, decode(message))) if message[:1] in JSON_BEGINS else whole(message, "gelf")


def bounded(message: bytes, pieces: list[Piece]) -> list[Piece]:
    """The pieces of a message that was packed: after so many rejected ones, what follows the next one is part of it."""
    rejected = [number for number, piece in enumerate(pieces) if piece.reason]
    if len(rejected) <= REJECTED_PIECES_MAX:
        return pieces
    last = rejected[REJECTED_PIECES_MAX]
    return [*pieces[:last], Piece("gelf", None, None, pieces[last].start, len(message), None, False)]


def whole(text: bytes, reason: str) -> tuple[bytes, list[Piece]]:
    return text, [Piece(reason, None, None, 0, len(text), None, False)]


def entry_of(line_bytes: int) -> bytes:
    """An entry whose stored form is so long."""
    return b'{"level":"INFO","message":"%s"}' % (b"x" * (line_bytes - 30))


# Datagrams that leave little room, by the second byte of an input.
FILLERS = {
    0xFF: [entry_of(32 << 10)] * 125 + [entry_of((32 << 10) - 40)],  # 40 bytes for ordinary entries in the line buffer
    0xFE: [b'{"level":"ERROR","message":""}\n' * 1023] * 4,  # 4 priority entries
    0xFD: [b"{\n" * 254],  # 2 notes
}
FILLERS_VERDICTS = {datagram: verdict(datagram, 65536) for filler in FILLERS.values() for datagram in filler}


def loopback_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


class Link:
    """An intake, its socket, and a sender's."""

    def __init__(self, slot_bytes: int, *, admitted: bool) -> None:
        self.slot_bytes = slot_bytes
        self.admitted = admitted
        self.intake = Intake(slot_bytes, PRIORITY, Admission([] if admitted else ELSEWHERE), inputs=["json"])
        self.server = loopback_socket()
        self.client = loopback_socket()
        self.client.connect(self.server.getsockname())
        self.name = "{}:{}".format(*self.client.getsockname())

    def close(self) -> None:
        self.server.close()
        self.client.close()


links: dict[tuple[int, bool], Link] = {}


def link_of(slot_bytes: int, *, admitted: bool) -> Link:
    """The link is kept for later inputs, so each input must leave it as it was."""
    if (slot_bytes, admitted) not in links:
        links[slot_bytes, admitted] = Link(slot_bytes, admitted=admitted)
    return links[slot_bytes, admitted]


def batches(datagrams: list[bytes]):
    """The datagrams in parts that the socket's buffer holds."""
    batch, size = [], 0
    for datagram in datagrams:
        if size + len(datagram) > QUEUED_BYTES_MAX or len(batch) == QUEUED_MAX:
            yield batch
            batch, size = [], 0
        batch.append(datagram)
        size += len(datagram)
    yield batch


class Run:
    """One input on its way through the intake: what is expected to come out, and what came out so far."""

    def __init__(self, link: Link, *, keeps_lines: bool, halves: bool, acknowledges: bool) -> None:
        self.link = link
        self.keeps_lines = keeps_lines
        self.halves = halves
        self.acknowledges = acknowledges
        self.lines: list[Piece] = []  # not yet taken from the line buffer
        self.seen: set[bytes] = set()
        self.sequences: list[int] = []  # an ACK is owed for
        self.expected_notes: list[tuple[str, str, int, int, int, bytes]] = []
        self.notes: list[tuple[str, str, int, int, int, bytes]] = []
        self.priority_waits = self.unawaited_waits = False
        self.counts = counts_of(link.intake)  # as they must be

    def expect(self, datagram: bytes, text: bytes, pieces: list[Piece]) -> None:
        size = min(len(datagram), self.link.slot_bytes)
        self.counts["datagrams"] += 1
        self.counts["bytes"] += size
        if not self.link.admitted:
            self.counts["denied"] += 1
            return
        for piece in pieces:
            self.counts[piece.reason or piece.level] += 1
            if piece.reason:
                rejected = text[piece.start : piece.end]
                note = (self.link.name, piece.reason, piece.start, len(text), len(rejected), rejected)
                self.expected_notes.append(note)
                continue
            if piece.level in PRIORITY:
                if piece.sequence is None:
                    self.unawaited_waits = True
                else:
                    self.priority_waits = True
                    self.sequences.append(piece.sequence)
                    if piece.line in self.seen:
                        self.counts["duplicates"] += 1
                        continue
                    self.seen.add(piece.line)
            self.lines.append(piece)

    def drain(self) -> None:
        """Drains as the server does, until all datagrams were received."""
        intake = self.link.intake
        while True:
            status = intake.drain(self.link.server.fileno())
            self.notes += intake.rejects.take_notes()
            if self.acknowledges:
                intake.acks.send(self.link.server.fileno())
            if status == FULL or not self.keeps_lines:
                self.take_lines(halves=self.halves)
            if status == DRAINED and intake.datagrams == self.counts["datagrams"]:
                return
            if status == DRAINED:
                assert select.select([self.link.server], [], [], 5)[0], "a datagram was lost on the way"

    def take_lines(self, *, halves: bool) -> None:
        """Takes the lines buffered, or the first half of them, which must be the ones expected."""
        intake = self.link.intake
        count = intake.lines.entries
        assert count <= len(self.lines)
        if halves and count > 1:
            count //= 2
        taken, self.lines = self.lines[:count], self.lines[count:]
        lines = b"".join(piece.line for piece in taken)
        with memoryview(intake.lines) as view:
            assert len(view) == intake.lines.size
            assert bytes(view[: len(lines)]) == lines  # a view compares item by item
        priority = [piece for piece in taken if piece.level in PRIORITY]
        awaited = [piece for piece in priority if piece.sequence is not None]
        others = [piece for piece in priority if piece.sequence is None]
        for kind, pieces in ((None, priority), (True, awaited), (False, others)):
            expected = b"".join(piece.line for piece in pieces), len(pieces)
            assert intake.lines.priority_lines(len(lines), kind) == expected
        intake.lines.forget(len(lines), count)


def counts_of(intake: Intake) -> dict[str, int]:
    """All counters of the intake."""
    return {
        "datagrams": intake.datagrams,
        "bytes": intake.datagram_bytes,
        "duplicates": intake.duplicates,
        **intake.received,
        **intake.rejects.counts,
    }


def check(data: bytes) -> None:
    """Bits of the first byte: 1 large slots, 2 lines stay in the buffer, 4 lines are taken by halves, 8 ACKs are sent,
    16 the sender is not admitted."""
    how, filler, notes_allowed = data[:3].ljust(3, b"\0")
    datagrams = [datagram for datagram in data[3:].split(BETWEEN) if not datagram.startswith(CHUNK)]
    link = link_of(SLOT_BYTES[how & 1], admitted=not how & 16)
    intake = link.intake
    intake.forget(0, intake.priority_entries)
    intake.clear_priority()
    notes_allowed *= 6  # for the one sender, who gets three quarters
    intake.rejects.allow(notes_allowed // 3 * 4, notes_allowed // 3 * 4 * NOTE_BYTES)
    not_noted, sent, dropped = intake.rejects.not_noted, intake.acks.sent, intake.acks.dropped
    verdicts = FILLERS_VERDICTS | {datagram: verdict(datagram, link.slot_bytes) for datagram in datagrams}
    if how & 1:
        datagrams = FILLERS.get(filler, []) + datagrams
    run = Run(link, keeps_lines=bool(how & 2), halves=bool(how & 4), acknowledges=bool(how & 8))
    for batch in batches(datagrams):
        for datagram in batch:
            run.expect(datagram, *verdicts[datagram])
            link.client.send(datagram)
        run.drain()
    run.take_lines(halves=False)

    assert (intake.lines.size, intake.lines.entries, intake.lines.priority_count, len(run.lines)) == (0, 0, 0, 0)
    assert counts_of(intake) == run.counts
    assert (intake.priority_waits, intake.unawaited_waits) == (run.priority_waits, run.unawaited_waits)
    assert run.notes == list(allowed(run.expected_notes, notes_allowed, notes_allowed * NOTE_BYTES))
    assert intake.rejects.not_noted - not_noted == len(run.expected_notes) - len(run.notes)
    acks = list(received_acks(link.client))
    if run.acknowledges:
        assert intake.acks.sent - sent + intake.acks.dropped - dropped == len(run.sequences)
        if len(run.sequences) <= ACKS_CHECKED_MAX:
            assert acks == [b'{"ack":true,"sequence":%d}' % sequence for sequence in run.sequences]
    else:
        taken = intake.take_acks(Acks())
        assert intake.acks.count == 0
        intake.acks.absorb(taken)
        assert intake.acks.count == len(run.sequences)
        intake.acks.forget(0, intake.priority_entries)
    intake.remember(array("B", list(data[3:])))  # as if a file held it; made of a list, an array has no byte to spare


def allowed(notes, count: int, size: int):
    """Those that may be noted: so many, with so many bytes of their pieces."""
    for *about, piece in notes:
        if count and (size or not piece):
            yield (*about, piece[:size])
            count, size = count - 1, max(0, size - len(piece))


def received_acks(client: socket.socket):
    while True:
        try:
            yield client.recv(100)
        except BlockingIOError:
            return
