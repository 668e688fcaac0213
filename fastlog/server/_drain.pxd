# One drain of the socket: arena -> scan -> line buffer. This is the map of its state; _drain.pyx has the steps.

from libc.stdint cimport int64_t, uint8_t, uint64_t

cimport cython

from fastlog._parse cimport LEVEL_COUNT, Level, Piece
from fastlog.inputs._receipt cimport Receipt
from fastlog.inputs._stamp cimport Stamping
from fastlog.inputs._syslog cimport ZonePeriods
from fastlog.server._address cimport AddressKey
from fastlog.server._coalesce cimport Coalesce
from fastlog.server._duplicates cimport StoredHashes
from fastlog.server._ledger cimport Ledger
from fastlog.server._lines cimport LineBuffer
from fastlog.server._messages cimport Messages
from fastlog.server._rate_limit cimport Bucket, RateLimit
from fastlog.server._rejects cimport RejectedInput
from fastlog.server._socket cimport Acks, Admission, Arena
from fastlog.server._sockets cimport Sockets

cdef enum:
    # In place of a Kind of line: the entry is stored already, and its line is not kept.
    DUPLICATE = -1

cdef enum Input:
    # The formats, in the order of config.INPUTS.
    JSON, SYSLOG, GELF
    INPUT_COUNT

# Where scanning continues.
cdef struct Position:
    # The slot of the arena, and in it the datagram [start, end); `end` is NULL before the slot's first datagram.
    unsigned int slot
    const uint8_t *start
    const uint8_t *end
    # What is scanned, [text, text_end): the datagram as far as it is taken, or the message that was packed in it, or
    # that it completed.
    const uint8_t *text
    const uint8_t *text_end
    # The next byte to scan; NULL before the datagram's first one.
    const uint8_t *at
    # Whether the text had a piece so far; and how many pieces of a message that was packed or in chunks were rejected.
    bint piece_seen
    unsigned int rejected

# Counters since the start.
cdef struct Received:
    uint64_t datagrams
    uint64_t bytes
    # Valid entries by level, and how many of them were priority entries that came again: they are acknowledged again,
    # and not stored again.
    uint64_t levels[LEVEL_COUNT]
    uint64_t duplicates
    # Of the valid entries, those that came as syslog or GELF.
    uint64_t inputs[INPUT_COUNT]


@cython.final
cdef class Intake:
    # These parts receive, store, reject and keep account; the server asks the readable ones for their figures.
    cdef Sockets sockets
    cdef Arena arena
    cdef Admission admission
    cdef StoredHashes stored
    cdef readonly LineBuffer lines
    cdef readonly Acks acks
    cdef readonly RejectedInput rejects
    cdef readonly Messages messages
    cdef readonly Ledger ledger
    cdef readonly RateLimit limit

    # These are settings: bytes of the largest datagram taken, entries in the line buffer that are to be handed over,
    # and for each level whether its entries are priority entries.
    cdef size_t datagram_max
    cdef uint64_t flush_count
    cdef bint is_priority[LEVEL_COUNT]
    # Which formats are taken, and the time zone of syslog's stamps.
    cdef bint takes[INPUT_COUNT]
    cdef ZonePeriods zone
    # Which entries get words of the server.
    cdef Stamping stamping

    # Whether `limit` limits anything: every entry asks.
    cdef bint is_limited

    # This is where the drain is: `now_ms` of the monotonic clock is read once a burst.
    cdef Position here
    cdef Piece piece
    cdef uint64_t now_ms
    # When the burst came, if that was asked already, and from whom the datagrams of the slot `receipt_slot` did.
    cdef Receipt receipt
    cdef unsigned int receipt_slot
    cdef AddressKey receipt_sender
    # Where lines are made that may be too long for the rest of the line buffer: SCRATCH_BYTES of memory, owned by this
    # object.
    cdef uint8_t *scratch

    # Priority entries came, perhaps duplicates: they are to be written and acknowledged now. `priority_since_ns` is a
    # lower bound for the arrival of the first.
    cdef readonly bint priority_waits
    cdef int64_t priority_since_ns
    # The same for priority entries for which no ACK is owed: they are to be written now, and synced in a while.
    cdef readonly bint unawaited_waits
    cdef int64_t unawaited_since_ns

    cdef Received counted
    # How long it waits for more datagrams.
    cdef Coalesce pace
    # The socket that failed last, by its number, and its errno.
    cdef readonly unsigned int failed
    cdef int failure

    cdef int gather(self, bint receives, int64_t until_ns, int64_t priority_from_ns) noexcept nogil
    cdef int receive_and_scan(self, bint receives) noexcept nogil
    cdef void begin_datagram(self) noexcept nogil
    cdef bint scan_datagram(self, size_t *scanned) noexcept nogil
    cdef bint scan_other(self, size_t *scanned) noexcept nogil
    cdef bint scan_message(self, size_t *scanned) noexcept nogil
    cdef bint scan_pieces(self, size_t *scanned) noexcept nogil
    cdef bint store_entry(self, const Piece *piece) noexcept nogil
    cdef bint store_stamped(self, const Piece *piece, unsigned int words) noexcept nogil
    cdef bint store_converted(self, Input input, const uint8_t *p, const uint8_t *end) noexcept nogil
    cdef bint discard(self, const Piece *piece) noexcept nogil
    cdef void keep(self, const Piece *piece, const uint8_t *line, size_t size) noexcept nogil
    cdef const Receipt *receipt_here(self) noexcept nogil
    cdef int kind_of(self, const Piece *piece, const uint8_t *line, size_t size) noexcept nogil
    cdef bint is_new(self, const Piece *piece, const uint8_t *line, size_t size) noexcept nogil
    cdef void count(self, const Piece *piece) noexcept nogil
    cdef bint reject(self, int reason) noexcept nogil
    cdef Bucket bucket_of(self, Level level) noexcept nogil
    cdef void remember_entry(self, const Piece *piece) noexcept nogil
    cdef void remember_form(self, const uint8_t *form, size_t size) noexcept nogil
    cdef bint reject_whole(self, int reason) noexcept nogil
    cdef bint reject_rest(self) noexcept nogil
