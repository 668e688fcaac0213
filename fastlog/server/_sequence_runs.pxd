# A run of one sender's sequences, and the gaps in it. Sequences are compared by their differences, so nothing overflows
# up to 2^64 - 1.

from libc.stdint cimport UINT64_MAX, uint64_t
from libc.string cimport memset

cdef extern from *:
    # Built into the compiler.
    int __builtin_popcountll(unsigned long long bits) nogil

cdef enum:
    # Sequences: how far behind the newest one an entry may arrive and still fill its gap. Equal to what fastlog's
    # client leaves unacknowledged (limits.py), and 10 ms of 100,000 entries a second, which no network's reordering
    # exceeds. A power of two, so that the low bits of a sequence are the index of its bit.
    WINDOW = 1024
    WINDOW_WORDS = 16
    # Sequences in a row that prove a run: retransmitted priority entries seldom have consecutive sequences. A sender
    # that restarted or was cut off soon has, even when every other entry is lost.
    PROOF_ROW = 8

cdef enum Filled:
    # What an entry did whose sequence is older than the newest one: nothing, since it had arrived before; it filled a
    # gap; it came before the first sequence of the run, where there are no gaps.
    NOTHING, GAP, BEFORE_FIRST

# Sequences that count up by one from the first one seen.
cdef struct SequenceRun:
    uint64_t first
    uint64_t newest
    # Gaps that left the window, and gaps that are still in it. There are none before `first`.
    uint64_t lost
    uint64_t missing
    # Different sequences that arrived. This is counted only while it is in doubt whether this is the sender's run.
    uint64_t arrived
    # A bit for each of the last WINDOW sequences, indexed by its low bits: whether it arrived.
    uint64_t bits[WINDOW_WORDS]

cdef inline void begin_run(SequenceRun *run, uint64_t sequence) noexcept nogil:
    memset(run, 0, sizeof(SequenceRun))
    run.first = run.newest = sequence
    run.arrived = 1
    set_arrived(run, sequence)

cdef inline bint is_near(const SequenceRun *run, uint64_t sequence) noexcept nogil:
    """Within a window of the newest, behind or ahead."""
    if sequence > run.newest:
        return sequence - run.newest <= WINDOW
    return run.newest - sequence < WINDOW

cdef inline uint64_t distance(uint64_t a, uint64_t b) noexcept nogil:
    return a - b if a > b else b - a

cdef inline bint has_arrived(const SequenceRun *run, uint64_t sequence) noexcept nogil:
    return run.bits[(sequence >> 6) % WINDOW_WORDS] >> (sequence & 63) & 1

cdef inline void set_arrived(SequenceRun *run, uint64_t sequence) noexcept nogil:
    run.bits[(sequence >> 6) % WINDOW_WORDS] |= <uint64_t>1 << (sequence & 63)

cdef inline uint64_t in_first_word(uint64_t start, uint64_t count, uint64_t *mask) noexcept nogil:
    """How many of `count` sequences from `start` have their bits in the first word, and the mask of these bits."""
    cdef uint64_t size = min(64 - (start & 63), count)
    mask[0] = UINT64_MAX >> (64 - size) << (start & 63)
    return size

cdef inline uint64_t count_gaps(const SequenceRun *run, uint64_t start, uint64_t count) noexcept nogil:
    """How many of `count` sequences from `start`, all of them in the window, did not arrive."""
    cdef uint64_t found = 0, size, mask = 0
    while count:
        size = in_first_word(start, count, &mask)
        found += __builtin_popcountll(~run.bits[(start >> 6) % WINDOW_WORDS] & mask)
        start += size
        count -= size
    return found

cdef inline void set_all(SequenceRun *run, uint64_t start, uint64_t count, bint here) noexcept nogil:
    """Sets whether `count` sequences from `start` have arrived."""
    cdef uint64_t size, mask = 0
    while count:
        size = in_first_word(start, count, &mask)
        if here:
            run.bits[(start >> 6) % WINDOW_WORDS] |= mask
        else:
            run.bits[(start >> 6) % WINDOW_WORDS] &= ~mask
        start += size
        count -= size

cdef inline void set_window(SequenceRun *run) noexcept nogil:
    """Sets the bits of a run whose window has no gap."""
    cdef uint64_t back = min(run.newest - run.first, <uint64_t>WINDOW - 1)
    memset(run.bits, 0, sizeof(run.bits))
    set_all(run, run.newest - back, back + 1, True)

cdef inline uint64_t advance(SequenceRun *run, uint64_t sequence) noexcept nogil:
    """Moves the window up to a newer sequence. Returns the number of gaps that it left behind: they are lost."""
    cdef uint64_t step = sequence - run.newest
    cdef uint64_t behind = 0
    if step >= WINDOW:
        behind = run.missing + (step - WINDOW)
        run.missing = WINDOW - 1
        memset(run.bits, 0, sizeof(run.bits))
    else:
        if run.newest - run.first >= WINDOW - 1:
            behind = count_gaps(run, run.newest - (WINDOW - 1), step)
        elif sequence - run.first >= WINDOW:
            behind = count_gaps(run, run.first, sequence - run.first - (WINDOW - 1))
        run.missing += step - 1 - behind
        set_all(run, run.newest + 1, step, False)
    set_arrived(run, sequence)
    run.arrived += 1
    run.newest = sequence
    return behind

cdef inline Filled fill(SequenceRun *run, uint64_t sequence) noexcept nogil:
    """A sequence in the window, behind the newest one, has arrived."""
    if has_arrived(run, sequence):
        return NOTHING
    set_arrived(run, sequence)
    run.arrived += 1
    if sequence < run.first:
        return BEFORE_FIRST
    run.missing -= 1
    return GAP

cdef inline uint64_t in_a_row(const SequenceRun *run, uint64_t sequence, uint64_t most) noexcept nogil:
    """How many sequences around this one arrived without a gap, counting no further than `most` to either side."""
    cdef uint64_t down = 0, up = 0
    while down < most and down < sequence and run.newest - sequence + down + 1 < WINDOW:
        if not has_arrived(run, sequence - down - 1):
            break
        down += 1
    while up < most and up < run.newest - sequence and has_arrived(run, sequence + up + 1):
        up += 1
    return 1 + down + up

cdef inline bint is_proven(const SequenceRun *run, uint64_t sequence) noexcept nogil:
    """Whether a run set aside, which this sequence has just joined, is the run of a sender: PROOF_ROW came in a row and
    at least half of all, or a window's worth, whatever was lost between."""
    if run.arrived >= WINDOW:
        return True
    return run.newest - run.first < 2 * run.arrived and in_a_row(run, sequence, PROOF_ROW) >= PROOF_ROW

cdef inline void reach_back(SequenceRun *run, uint64_t first) noexcept nogil:
    """From now on the run begins at an earlier sequence, more than a window before its newest: all between are gaps."""
    run.first = first
    run.missing = count_gaps(run, run.newest - (WINDOW - 1), WINDOW)
    run.lost = run.newest - first + 1 - run.arrived - run.missing
