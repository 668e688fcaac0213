# The ledger of what never arrived: for each sender, its run of sequences and the gaps in it. It knows addresses and
# sequences, but no sockets, no clock and no Python objects.

from libc.stdint cimport uint32_t, uint64_t

from fastlog.server._address cimport Address, AddressKey
from fastlog.server._sequence_runs cimport Filled, SequenceRun

# The part of a sender that every entry touches: 64 bytes, one cache line.
cdef struct Sender:
    AddressKey key
    # The newest sequence of the current run. `Record.run.newest` is behind it while entries come in order.
    uint64_t newest
    uint64_t received
    uint64_t last_seen_ms
    # The next sender in the same bucket, or the next free place. Here and below, 0 is none.
    uint32_t next
    # Neighbours in the list of all senders by when they were last seen. Place 0 holds the ends of the list: its `older`
    # is the sender seen last, its `newer` the one not seen for longest.
    uint32_t newer, older
    # The flags are in _ledger.pyx.
    uint32_t state

# The part of a sender that only gaps, repeated sequences and restarts touch.
cdef struct Record:
    # Gaps in all runs of this sender that left the window.
    uint64_t lost
    SequenceRun run
    # A run set aside; or the run before this one. The flags say which.
    SequenceRun other
    # While the old run may continue: gaps of this run that left the window, which are lost only if it does not.
    uint64_t doubtful
    # How often the two runs have taken turns.
    uint64_t turns

cdef class Ledger:
    # The senders and their records, place by place; owned by this object. Place 0 holds no sender.
    cdef Sender *senders
    cdef Record *records
    # First sender of each bucket of the hash table.
    cdef uint32_t *buckets
    # The key of the hash table, which strangers do not know.
    cdef uint64_t secret[2]
    # How many places were ever used; the first place given back; the place of the last call.
    cdef uint32_t used, free, last
    # Senders kept now, and senders retired so far. A retired sender that comes again is a new one.
    cdef uint32_t present
    cdef uint64_t retired
    # Totals of all senders, including retired ones.
    cdef uint64_t received, lost, missing, repeated, late, restarts

    # Notes one valid entry. `now_ms` never decreases.
    cdef void saw(self, const Address *sender, bint has_sequence, uint64_t sequence, uint64_t now_ms) noexcept nogil

    cdef uint32_t find(self, const AddressKey *key, uint64_t now_ms) noexcept nogil
    cdef uint32_t add(self, const AddressKey *key, uint64_t bucket, uint64_t now_ms) noexcept nogil
    cdef void forget(self, uint32_t place) noexcept nogil
    cdef void seen_now(self, uint32_t place, uint64_t now_ms) noexcept nogil
    cdef void link_newest(self, uint32_t place) noexcept nogil
    cdef void unlink(self, uint32_t place) noexcept nogil

    cdef void account(self, Sender *at, Record *record, uint64_t sequence) noexcept nogil
    cdef void extend(self, Sender *at, Record *record, uint64_t sequence) noexcept nogil
    cdef void fill_gap(self, Sender *at, Record *record, uint64_t sequence) noexcept nogil
    cdef void count(self, Filled filled) noexcept nogil
    cdef void set_aside(self, Sender *at, Record *record, uint64_t sequence) noexcept nogil
    cdef void dismiss(self, Sender *at, Record *record) noexcept nogil
    cdef void change_runs(self, Sender *at, Record *record) noexcept nogil
    cdef void resume_old_run(self, Sender *at, Record *record) noexcept nogil
    cdef void end_old_run(self, Sender *at, Record *record) noexcept nogil
    cdef void open_window(self, Sender *at, Record *record) noexcept nogil
    cdef void lose(self, Sender *at, Record *record, uint64_t count) noexcept nogil

    cdef uint64_t gaps(self, uint32_t place) noexcept nogil
    cdef list ranked(self, size_t count, uint64_t now_ms, bint by_lost)
