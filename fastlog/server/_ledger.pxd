# The ledger of what never arrived: for each sender, its run of sequences and the gaps in it. It knows addresses and
# sequences, but no sockets, no clock and no Python objects.

from libc.stdint cimport uint32_t, uint64_t

from fastlog.server._address cimport Address, AddressKey
from fastlog.server._senders cimport Sender, Senders
from fastlog.server._sequence_runs cimport Filled, SequenceRun

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
    # This sender's sequences that came again, and how often they began again.
    uint64_t repeated, restarts

cdef class Ledger:
    # The senders, and for each place a record; owned by this object.
    cdef Senders table
    cdef Record *records
    # The place of the last call; 0: none.
    cdef uint32_t last
    # Senders retired so far, and those of them that had to give up their place. A retired sender that comes again is a
    # new one.
    cdef uint64_t retired, pushed_out
    # Totals of all senders, including retired ones.
    cdef uint64_t received, lost, missing, repeated, late, restarts

    # Notes one valid entry. `now_ms` never decreases.
    cdef void saw(self, const Address *sender, bint has_sequence, uint64_t sequence, uint64_t now_ms) noexcept nogil

    cdef uint32_t place_of(self, const AddressKey *key, uint64_t now_ms) noexcept nogil
    cdef uint32_t begin(self, const AddressKey *key, uint64_t now_ms) noexcept nogil
    cdef void seen_now(self, uint32_t place, uint64_t now_ms) noexcept nogil
    cdef void push_out(self, uint32_t place) noexcept nogil
    cdef void forget(self, uint32_t place) noexcept nogil

    cdef void account(self, Sender *at, Record *record, uint64_t sequence) noexcept nogil
    cdef void extend(self, Sender *at, Record *record, uint64_t sequence) noexcept nogil
    cdef void fill_gap(self, Sender *at, Record *record, uint64_t sequence) noexcept nogil
    cdef void count(self, Record *record, Filled filled) noexcept nogil
    cdef void repeat(self, Record *record) noexcept nogil
    cdef void set_aside(self, Sender *at, Record *record, uint64_t sequence) noexcept nogil
    cdef void dismiss(self, Sender *at, Record *record) noexcept nogil
    cdef void change_runs(self, Sender *at, Record *record) noexcept nogil
    cdef void resume_old_run(self, Sender *at, Record *record) noexcept nogil
    cdef void end_old_run(self, Sender *at, Record *record) noexcept nogil
    cdef void open_window(self, Sender *at, Record *record) noexcept nogil
    cdef void lose(self, Sender *at, Record *record, uint64_t count) noexcept nogil

    cdef uint64_t gaps(self, uint32_t place) noexcept nogil
    cdef list ranked(self, size_t count, uint64_t now_ms, bint by_lost)
