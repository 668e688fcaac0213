# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""C functions for tests and benchmarks. They are built in place only: no installation has them."""

import socket

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from fastlog._linux cimport AF_INET, AF_INET6, htonl, htons, ntohl
from fastlog._parse cimport ACCEPTED, Level, Piece, Reason, begin, next_piece, renamed_room, store, store_renamed
from fastlog.client cimport _native
from fastlog.inputs._gelf cimport gelf_line
from fastlog._moment cimport read_moment, write_moment
from fastlog.inputs._receipt cimport TIME_BYTES, Receipt, converted_room, note_time
from fastlog.inputs._stamp cimport STAMP_NEVER, STAMP_ROOM, Stamping, add_words, unstamped_end, words_for
from fastlog.inputs._syslog cimport ZonePeriods, is_syslog, syslog_line
from fastlog.server._address cimport Address
from fastlog.server._drain cimport Intake
from fastlog.server._duplicates cimport StoredHashes
from fastlog.server._ledger cimport Ledger
from fastlog.server._lines cimport AWAITED, ORDINARY, UNAWAITED, Kind, LineBuffer
from fastlog.server._rate_limit cimport ORDINARY_ENTRIES, PRIORITY_ENTRIES, Bucket, RateLimit
from fastlog.server._rejects cimport EMPTY, RejectedInput
from fastlog.server._senders cimport ESTABLISHED, FEW, KINDS, NEW, SENDERS_MAX, Senders
from fastlog.server._socket cimport Acks, LocalAddress

from fastlog._parse import REASON_NAMES
from fastlog.config import STAMPS
from fastlog.entry import LEVELS
from fastlog.server._duplicates import STORED_MAX

NO_ZONE = ZonePeriods("")

cdef extern from "_siphash.h" nogil:
    uint64_t fl_siphash24(const uint64_t *key, const uint8_t *p, size_t size)

cdef enum:
    # Room for the stored form of any entry that benchmarks make.
    SCRATCH_BYTES = 65536


def siphash24(bytes key not None, bytes data not None):
    """SipHash-2-4 under a key of 16 bytes."""
    cdef uint64_t words[2]
    memcpy(words, <const char *>key, 16)
    return fl_siphash24(words, data, len(data))


def seen_before(lines):
    """Adds each line that is not stored yet; returns for each line whether it was."""
    cdef StoredHashes stored = StoredHashes()
    cdef bytes line
    cdef uint64_t hash
    cdef bint was_there
    found = []
    for line in lines:
        hash = stored.hash(line, len(line))
        was_there = stored.find(hash) != NULL
        found.append(was_there)
        if not was_there:
            stored.add(hash, 0)
    return found


def stamped(bytes datagram not None, stamp, bytes received not None, bytes source not None):
    """What is stored of each entry of a datagram, as the drain does it."""
    cdef Stamping stamping = <Stamping><int>STAMPS.index(stamp)
    cdef const uint8_t *p = datagram
    cdef const uint8_t *end = p + len(datagram)
    cdef bytearray line
    cdef Receipt receipt
    cdef Piece piece
    cdef size_t size
    memcpy(receipt.time, <const char *>received, TIME_BYTES)
    receipt.source_size = len(source)
    memcpy(receipt.source, <const char *>source, len(source))
    found = []
    begin(&piece, False)
    while p != end and next_piece(p, end, &piece):
        p = piece.next
        if piece.reason == ACCEPTED:
            line = bytearray(renamed_room(&piece) + STAMP_ROOM)
            if piece.has_stamp_key and stamping != STAMP_NEVER:
                size = store_renamed(&piece, line)
                assert size <= renamed_room(&piece)
            else:
                size = store(&piece, line)
            size = add_words(line, size, words_for(&piece, stamping), &receipt)
            found.append(bytes(line[:size]))
    return found


def unstamped(bytes line not None):
    """A stored line without words of the server at its end."""
    cdef const uint8_t *start = line
    return line[: unstamped_end(start, start + len(line) - 1) - start] + b"}\n"


def count_fork():
    """To clients, this process is the child of a fork from now on."""
    _native.forks += 1


def let_pass(Intake intake not None, uint64_t ms):
    """So much time passes for what the intake knows of stored entries."""
    cdef uint64_t i
    for i in range(min(intake.stored.added, <uint64_t>STORED_MAX)):
        intake.stored.entries[i].seen_ms -= ms


def saw(Ledger ledger not None, str address not None, uint16_t port, sequence, uint64_t now_ms):
    """The ledger sees an entry of the sender; `sequence`: None for an entry without one. Raises OSError for a text that
    is not an address."""
    cdef Address sender = parsed(address, port)
    ledger.saw(&sender, sequence is not None, 0 if sequence is None else sequence, now_ms)


def saw_many(
    Ledger ledger not None, uint32_t senders, uint32_t stride, uint64_t first, uint32_t rounds, uint32_t lose_every=0
):
    """The ledger sees one entry of each of that many senders a round, `stride` senders apart, at 400 entries a
    millisecond; one entry in `lose_every` does not come. Returns the sequence for the next call."""
    cdef Address sender = parsed("10.0.0.0", 5000)
    cdef uint32_t network = ntohl(sender.v4.sin_addr.s_addr)
    cdef uint64_t sequence, count = first * senders
    cdef uint32_t i
    with nogil:
        for sequence in range(first, first + rounds):
            for i in range(senders):
                count += 1
                sender.v4.sin_addr.s_addr = htonl(network + <uint32_t>(<uint64_t>i * stride % senders))
                if lose_every == 0 or (count * 0x9e3779b97f4a7c15ULL >> 32) % lose_every != 0:
                    ledger.saw(&sender, True, sequence, count // 400)
    return first + rounds


def check_senders(Ledger ledger not None):
    """Checks that the table of senders is whole: everything in it agrees with everything else. Returns how many senders
    are new, and how many are established."""
    cdef Senders *table = &ledger.table
    cdef uint32_t place, host, senders, hosts, size, listed = 0
    cdef int kind
    present = [0, 0]
    for place in range(1, table.used + 1):
        if table.places[place].received:
            present[table.places[place].kind] += 1
    for kind in range(KINDS):
        assert table.count[kind] == present[kind]
        assert table.largest[kind] == FEW or table.rings[kind][table.largest[kind]]
        senders = 0
        for size in range(SENDERS_MAX + 1):
            hosts = 0
            host = table.rings[kind][size]
            while host and (hosts == 0 or host != table.rings[kind][size]):
                assert max(table.hosts[host].senders, <uint32_t>FEW) == size <= table.largest[kind]
                assert table.hosts[host].key.scope_and_port == <uint64_t>kind
                senders += ring_size(table, host, kind)
                hosts += 1
                host = table.host_links[host].after
            listed += hosts
        assert senders == present[kind]
    host = table.free_host
    while host:
        listed += 1
        host = table.hosts[host].next
    assert listed == table.hosts_used
    assert present[NEW] + present[ESTABLISHED] <= SENDERS_MAX
    return tuple(present)


cdef uint32_t ring_size(Senders *table, uint32_t host, int kind) except? 0:
    """How many senders the host has, all of which must be its own."""
    cdef uint32_t place = table.hosts[host].first, count = 0
    while count == 0 or place != table.hosts[host].first:
        assert table.places[place].host == host and table.places[place].kind == <uint32_t>kind
        assert table.places[place].received
        assert table.links[table.links[place].after].before == place
        count += 1
        place = table.links[place].after
    assert count == table.hosts[host].senders
    return count


def scan_many(list datagrams not None):
    """Scans the datagrams and stores their entries to a scratch buffer; returns how many were accepted."""
    cdef uint8_t scratch[SCRATCH_BYTES]
    cdef const uint8_t *p
    cdef const uint8_t *end
    cdef Piece piece
    cdef Py_ssize_t accepted = 0
    cdef bytes datagram
    for datagram in datagrams:
        p = datagram
        end = p + len(datagram)
        with nogil:
            begin(&piece, False)
            while p != end and next_piece(p, end, &piece):
                p = piece.next
                if piece.reason == ACCEPTED and piece.end - piece.start < SCRATCH_BYTES:
                    store(&piece, scratch)
                    accepted += 1
    return accepted


def convert_syslog_many(list datagrams not None):
    """Converts syslog messages to a scratch buffer; returns how many bytes their lines have."""
    cdef uint8_t *scratch = <uint8_t *>malloc(converted_room(SCRATCH_BYTES))
    cdef const uint8_t *p
    cdef size_t size, written = 0
    cdef bytes datagram
    cdef Receipt receipt
    cdef Level level
    cdef ZonePeriods zone = ZonePeriods("")
    receipt.second.second = -1
    note_time(&receipt)
    memcpy(receipt.source, <const char *>b"192.0.2.17:40312", 16)
    receipt.source_size, receipt.host_at, receipt.host_size = 16, 0, 10
    for datagram in datagrams:
        p = datagram
        size = len(datagram)
        if size <= SCRATCH_BYTES:
            with nogil:
                if is_syslog(p, p + size):
                    written += syslog_line(p, p + size, &receipt, &zone.zone, scratch, &level)
    free(scratch)
    return written


def owe(
    Acks acks not None, uint64_t sequence, str address not None, uint16_t port, str source=None, uint64_t number=0,
    uint32_t by=0,
):
    """An ACK is owed to that IPv4 address for the entry of that number, and is to leave by the socket of the number
    `by`, from `source`, which need not be an address of this host."""
    cdef Address to = parsed(address, port)
    cdef LocalAddress local
    cdef bytes raw = b"" if source is None else socket.inet_pton(socket.AF_INET6, f"::ffff:{source}")
    memset(&local, 0, sizeof(local))
    memcpy(local.ipv6, <const char *>raw, len(raw))
    acks.owe(sequence, number, &to, &local, by)


def limit_reports(Intake intake not None, size_t size):
    """What the kernel reports with a datagram has room for so many bytes. To be called before the first drain, and for
    that one only."""
    cdef unsigned int i
    for i in range(intake.arena.slot_count):
        intake.arena.messages[i].msg_hdr.msg_controllen = size


def noted(RejectedInput rejected not None, addresses, size_t size):
    """A piece of that many bytes is rejected for each sender; returns how many are noted."""
    cdef uint8_t bytes_of_it[SCRATCH_BYTES]
    cdef Address sender
    cdef Piece piece
    cdef unsigned int found
    piece.start, piece.end = bytes_of_it, bytes_of_it + size
    for address in addresses:
        sender = parsed(address, 5000)
        rejected.add(EMPTY, &piece, &sender, bytes_of_it, size)
    found, rejected.note_count = rejected.note_count, 0  # they point into this function
    return found


def limited(RateLimit limit not None, str address not None, uint64_t now_ms, size_t size, pieces):
    """A datagram of that size comes from the address. Each piece is whether it is a priority entry, and the bytes for
    which it takes more tokens. Returns for each piece whether it was taken; None: the datagram was refused."""
    cdef Address sender = parsed(address, 5000)
    cdef Bucket bucket
    taken = None
    if limit.admits(&sender, size, now_ms):
        taken = []
        for is_priority, rejected_bytes in pieces:
            bucket = PRIORITY_ENTRIES if is_priority else ORDINARY_ENTRIES
            has = limit.has(bucket)
            if has:
                limit.take(bucket, rejected_bytes)
            taken.append(has)
    limit.end()
    return taken


cdef Address parsed(str text, uint16_t port) except *:
    cdef Address address
    cdef bytes raw
    memset(&address, 0, sizeof(address))
    text, _, scope = text.partition("%")
    if ":" in text:
        raw = socket.inet_pton(socket.AF_INET6, text)
        address.v6.sin6_scope_id = int(scope or 0)
        address.v6.sin6_family = AF_INET6
        address.v6.sin6_port = htons(port)
        memcpy(&address.v6.sin6_addr, <const char *>raw, 16)
    else:
        raw = socket.inet_pton(socket.AF_INET, text)
        address.v4.sin_family = AF_INET
        address.v4.sin_port = htons(port)
        memcpy(&address.v4.sin_addr, <const char *>raw, 4)
    return address


def c_read_moment(bytes text not None):
    """`fastlog.moment.read_moment` in C."""
    cdef const uint8_t *p = text
    cdef int64_t usec
    return usec if read_moment(p, p + len(text), &usec) else None


def c_moment_text(int64_t usec):
    """`fastlog.moment.moment_text` in C."""
    cdef char text[TIME_BYTES]
    write_moment(usec, text)
    return text[:TIME_BYTES].decode()


def is_c_syslog(bytes datagram not None):
    """`fastlog.inputs.syslog.is_syslog` in C."""
    cdef const uint8_t *p = datagram
    return bool(is_syslog(p, p + len(datagram)))


def c_syslog(bytes datagram not None, receipt not None, ZonePeriods zone=NO_ZONE):
    """`fastlog.inputs.syslog.decode` in C, in no more than the room that a line may need."""
    cdef Receipt noted
    cdef const uint8_t *p = datagram
    cdef size_t size = len(datagram)
    cdef uint8_t *line
    cdef Level level
    fill_receipt(&noted, receipt)
    if not is_syslog(p, p + size):
        raise ValueError(datagram)
    line = <uint8_t *>malloc(converted_room(size))
    try:
        with nogil:
            size = syslog_line(p, p + size, &noted, &zone.zone, line, &level)
        return LEVELS[<int>level], line[:size]
    finally:
        free(line)


def c_gelf(bytes data not None, receipt not None):
    """`fastlog.inputs.gelf.decode` in C, in no more than the room that a line may need."""
    cdef Receipt noted
    cdef const uint8_t *p = data
    cdef const uint8_t *end = p + len(data)
    cdef size_t room = converted_room(len(data)), size
    cdef uint8_t *line
    cdef Level level
    cdef Reason reason
    fill_receipt(&noted, receipt)
    line = <uint8_t *>malloc(room)
    try:
        with nogil:
            size = gelf_line(p, end, &noted, line, &level, &reason)
        return (LEVELS[<int>level], line[:size]) if size else REASON_NAMES[<int>reason]
    finally:
        free(line)


def c_gelf_many(list objects not None, receipt not None):
    """Converts the objects to a scratch buffer; returns the sum of the lines' sizes."""
    cdef uint8_t scratch[SCRATCH_BYTES]
    cdef Receipt noted
    cdef const uint8_t *p
    cdef const uint8_t *end
    cdef Level level
    cdef Reason reason
    cdef size_t total = 0
    cdef bytes data
    fill_receipt(&noted, receipt)
    for data in objects:
        p = data
        end = p + len(data)
        if converted_room(end - p) <= SCRATCH_BYTES:
            with nogil:
                total += gelf_line(p, end, &noted, scratch, &level, &reason)
    return total


cdef int fill_receipt(Receipt *noted, receipt) except -1:
    cdef bytes time = receipt.received.encode(), source = receipt.source.encode()
    memcpy(noted.time, <const char *>time, TIME_BYTES)
    if not read_moment(<const uint8_t *>noted.time, <const uint8_t *>noted.time + TIME_BYTES, &noted.unix_usec):
        raise ValueError(receipt.received)
    noted.source_size = len(source)
    memcpy(noted.source, <const char *>source, len(source))
    noted.host_size = len(receipt.host or "")
    noted.host_at = receipt.source.index(receipt.host or "")
    return 0


def put_line(LineBuffer lines not None, bytes line not None, str kind not None):
    """Puts a line with its line feed into the buffer, as a drain does; `kind`: ordinary, unawaited or awaited. Returns
    whether there was room."""
    cdef Kind of_kind = AWAITED if kind == "awaited" else UNAWAITED if kind == "unawaited" else ORDINARY
    cdef uint8_t *to = lines.room(len(line), of_kind != ORDINARY)
    if to == NULL:
        return False
    memcpy(to, <const char *>line, len(line))
    lines.keep(len(line), of_kind)
    return True
