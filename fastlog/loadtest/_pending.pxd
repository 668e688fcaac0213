# The priority entries of one sender that wait for their ACKs, what became of the others, and how long their ACKs took.
# It knows no socket and no bytes: an entry is a number in the sender's list. Times are nanoseconds of CLOCK_MONOTONIC.

from libc.stdint cimport UINT64_MAX, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memmove, memset

cdef enum:
    # Shared with fastlog's client (fastlog/limits.py): the first time-out of an entry, and the longest one, ms. Each
    # time-out is twice as long as the one before.
    FIRST_TIMEOUT_MS = 500
    LONGEST_TIMEOUT_MS = 5_000
    # A time-out is longer by a random part of this, in thousandths, so that many senders do not retransmit in step.
    JITTER_PERMILLE = 200
    NS_PER_MS = 1_000_000
    # Entries that wait at once, at most: a sender with more of them pauses until ACKs come. 10 MiB. A power of two
    # times FIRST_ROOM, with which the table begins.
    PENDING_MAX = 1 << 18
    FIRST_ROOM = 1 << 10
    # Latencies kept, of the first entries that were acknowledged. 16 MiB.
    LATENCIES_MAX = 1 << 22

cdef struct PendingEntry:
    uint64_t sequence
    uint64_t sent_at  # for the first time
    uint64_t due_at  # when it is retransmitted or given up
    uint64_t timeout  # from the next retransmission to the one after it
    uint32_t entry
    bint done  # acknowledged or given up

cdef struct Pending:
    # A queue in the order of the sequences, from head to tail. Entries at the head that are done are passed over.
    PendingEntry *entries
    size_t head, tail, capacity
    # An entry is given up when it has waited for this long.
    uint64_t give_up
    # No entry is due before this time.
    uint64_t next_due
    uint32_t random
    # Counts of entries.
    uint64_t added, acknowledged, given_up
    # Microseconds from the first sending of an entry to its ACK.
    uint32_t *latencies
    size_t latency_count, latency_room

cdef inline bint open_pending(Pending *table, uint64_t give_up, uint32_t seed) noexcept nogil:
    """False if there is no memory. `free_pending` is needed in any case."""
    memset(table, 0, sizeof(Pending))
    table.entries = <PendingEntry *>malloc(FIRST_ROOM * sizeof(PendingEntry))
    table.capacity = FIRST_ROOM
    table.give_up = give_up
    table.next_due = UINT64_MAX
    table.random = seed | 1
    return table.entries != NULL

cdef inline void free_pending(Pending *table) noexcept nogil:
    free(table.entries)
    free(table.latencies)

cdef inline bint make_room(Pending *table, size_t count) noexcept nogil:
    """Whether that many entries can be added now; `count` is below FIRST_ROOM / 2."""
    cdef size_t capacity
    cdef void *moved
    if table.tail + count <= table.capacity:
        return True
    if table.head >= table.capacity // 2:
        memmove(table.entries, table.entries + table.head, (table.tail - table.head) * sizeof(PendingEntry))
        table.tail -= table.head
        table.head = 0
        return True
    capacity = table.capacity * 2
    if capacity > PENDING_MAX:
        return False
    moved = realloc(table.entries, capacity * sizeof(PendingEntry))
    if moved == NULL:
        return False
    table.entries = <PendingEntry *>moved
    table.capacity = capacity
    return True

cdef inline void set_due(Pending *table, PendingEntry *pending, uint64_t now) noexcept nogil:
    """Starts the next time-out of an entry that was sent just now."""
    table.random ^= table.random << 13
    table.random ^= table.random >> 17
    table.random ^= table.random << 5
    pending.due_at = now + pending.timeout * (1000 + table.random % (JITTER_PERMILLE + 1)) // 1000
    pending.due_at = min(pending.due_at, pending.sent_at + table.give_up)
    pending.timeout = min(pending.timeout * 2, <uint64_t>LONGEST_TIMEOUT_MS * NS_PER_MS)

cdef inline void add_pending(Pending *table, uint32_t entry, uint64_t sequence, uint64_t now) noexcept nogil:
    """Only after `make_room`; `sequence` is above all those before it."""
    cdef PendingEntry *pending = &table.entries[table.tail]
    table.tail += 1
    table.added += 1
    pending.sequence = sequence
    pending.sent_at = now
    pending.entry = entry
    pending.done = False
    pending.timeout = <uint64_t>FIRST_TIMEOUT_MS * NS_PER_MS
    set_due(table, pending, now)
    table.next_due = min(table.next_due, pending.due_at)

cdef inline void pass_over_done(Pending *table) noexcept nogil:
    while table.head != table.tail and table.entries[table.head].done:
        table.head += 1
    if table.head == table.tail:
        table.head = table.tail = 0
        table.next_due = UINT64_MAX

cdef inline void add_latency(Pending *table, uint64_t ns) noexcept nogil:
    cdef size_t room
    cdef void *moved
    if table.latency_count == table.latency_room:
        room = max(table.latency_room * 2, <size_t>FIRST_ROOM)
        moved = realloc(table.latencies, room * sizeof(uint32_t)) if room <= LATENCIES_MAX else NULL
        if moved == NULL:
            return
        table.latencies = <uint32_t *>moved
        table.latency_room = room
    table.latencies[table.latency_count] = <uint32_t>min(ns // 1000, <uint64_t>0xFFFFFFFF)
    table.latency_count += 1

cdef inline void acknowledge(Pending *table, uint64_t sequence, uint64_t now) noexcept nogil:
    """Ignores a sequence that does not wait. `pass_over_done` is the caller's, after the last ACK of a burst."""
    cdef size_t low = table.head, high = table.tail, middle
    while low < high:
        middle = (low + high) // 2
        if table.entries[middle].sequence < sequence:
            low = middle + 1
        else:
            high = middle
    if low == table.tail or table.entries[low].sequence != sequence or table.entries[low].done:
        return
    table.entries[low].done = True
    table.acknowledged += 1
    add_latency(table, now - table.entries[low].sent_at)
