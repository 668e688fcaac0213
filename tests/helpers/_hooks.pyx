# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""C functions for tests and benchmarks. They are built in place only: no installation has them."""

import socket

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from fastlog._linux cimport AF_INET, AF_INET6, htonl, htons, ntohl
from fastlog._parse cimport ACCEPTED, Piece, begin, next_piece, store
from fastlog.client cimport _native
from fastlog.inputs._moment cimport read_moment, write_moment
from fastlog.inputs._receipt cimport TIME_BYTES
from fastlog.server._address cimport Address
from fastlog.server._drain cimport Intake
from fastlog.server._duplicates cimport StoredHashes
from fastlog.server._ledger cimport Ledger
from fastlog.server._rate_limit cimport ORDINARY_ENTRIES, PRIORITY_ENTRIES, Bucket, RateLimit
from fastlog.server._rejects cimport EMPTY, RejectedInput
from fastlog.server._senders cimport ESTABLISHED, FEW, KINDS, NEW, SENDERS_MAX, Senders
from fastlog.server._socket cimport Acks, LocalAddress

from fastlog.server._duplicates import STORED_MAX

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


def owe(Acks acks not None, uint64_t sequence, str address not None, uint16_t port, str source=None, uint64_t number=0):
    """An ACK is owed to that IPv4 address for the entry of that number, and is to leave from `source`, which need not
    be an address of this host."""
    cdef Address to = parsed(address, port)
    cdef LocalAddress local
    cdef bytes raw = b"" if source is None else socket.inet_pton(socket.AF_INET6, f"::ffff:{source}")
    memset(&local, 0, sizeof(local))
    memcpy(local.ipv6, <const char *>raw, len(raw))
    acks.owe(sequence, number, &to, &local)


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
    """`fastlog.inputs.moment.read_moment` in C."""
    cdef const uint8_t *p = text
    cdef int64_t usec
    return usec if read_moment(p, p + len(text), &usec) else None


def c_moment_text(int64_t usec):
    """`fastlog.inputs.moment.moment_text` in C."""
    cdef char text[TIME_BYTES]
    write_moment(usec, text)
    return text[:TIME_BYTES].decode()
