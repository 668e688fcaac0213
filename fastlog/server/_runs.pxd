# One run of sequences and the gaps in it. It knows no sender. Sequences are compared by their differences, so that
# nothing overflows up to 2^64 - 1.

from libc.stdint cimport UINT64_MAX, uint64_t
from libc.string cimport memset

cdef extern from *:
    # The compiler's own.
    int __builtin_popcountll(unsigned long long bits) nogil

cdef enum:
    # How far behind its sender's newest sequence an entry may come and still fill its gap, in sequences: as many as
    # fastlog's own sender leaves unacknowledged, and 10 ms of a sender of 100,000 entries a second, which no network's
    # reordering exceeds. A power of two, so that a sequence's bit is found by its lowest bits.
    WINDOW = 1024
    WINDOW_WORDS = 16

# A run: sequences that count up by one from where they were first seen.
cdef struct Run:
    uint64_t first
    uint64_t newest
    # Gaps: those that left the window, and those that are still in it. Never before `first`.
    uint64_t lost
    uint64_t missing
    # Different sequences that arrived. Only kept of a run that is not the sender's beyond doubt.
    uint64_t arrived
    # A bit for each of the last WINDOW sequences, at its lowest bits: it arrived.
    uint64_t bits[WINDOW_WORDS]

cdef inline void begin(Run *run, uint64_t sequence) noexcept nogil:
    memset(run, 0, sizeof(Run))
    run.first = run.newest = sequence
    run.arrived = 1
    mark(run, sequence)

cdef inline bint near(const Run *run, uint64_t sequence) noexcept nogil:
    """Within a window of the newest, behind or ahead."""
    if sequence > run.newest:
        return sequence - run.newest <= WINDOW
    return run.newest - sequence < WINDOW

cdef inline bint arrived(const Run *run, uint64_t sequence) noexcept nogil:
    return run.bits[(sequence >> 6) % WINDOW_WORDS] >> (sequence & 63) & 1

cdef inline void mark(Run *run, uint64_t sequence) noexcept nogil:
    run.bits[(sequence >> 6) % WINDOW_WORDS] |= <uint64_t>1 << (sequence & 63)

cdef inline uint64_t part(uint64_t start, uint64_t count, uint64_t *mask) noexcept nogil:
    """Of `count` sequences from `start`, those in the first word of the bits: their number and their mask."""
    cdef uint64_t size = min(64 - (start & 63), count)
    mask[0] = UINT64_MAX >> (64 - size) << (start & 63)
    return size

cdef inline uint64_t gaps(const Run *run, uint64_t start, uint64_t count) noexcept nogil:
    """How many of `count` sequences from `start` did not arrive; all of them in the window."""
    cdef uint64_t found = 0, size, mask = 0
    while count:
        size = part(start, count, &mask)
        found += __builtin_popcountll(~run.bits[(start >> 6) % WINDOW_WORDS] & mask)
        start += size
        count -= size
    return found

cdef inline void mark_all(Run *run, uint64_t start, uint64_t count, bint here) noexcept nogil:
    """Marks `count` sequences from `start` as arrived, or as not."""
    cdef uint64_t size, mask = 0
    while count:
        size = part(start, count, &mask)
        if here:
            run.bits[(start >> 6) % WINDOW_WORDS] |= mask
        else:
            run.bits[(start >> 6) % WINDOW_WORDS] &= ~mask
        start += size
        count -= size

cdef inline void mark_window(Run *run) noexcept nogil:
    """Sets the bits of a run of which everything in the window arrived."""
    cdef uint64_t back = min(run.newest - run.first, <uint64_t>WINDOW - 1)
    memset(run.bits, 0, sizeof(run.bits))
    mark_all(run, run.newest - back, back + 1, True)

cdef inline uint64_t advance(Run *run, uint64_t sequence) noexcept nogil:
    """Moves the window up to a newer sequence. Returns how many gaps it left behind, which are lost."""
    cdef uint64_t step = sequence - run.newest
    cdef uint64_t behind = 0
    if step >= WINDOW:
        behind = run.missing + (step - WINDOW)
        run.missing = WINDOW - 1
        memset(run.bits, 0, sizeof(run.bits))
    else:
        if run.newest - run.first >= WINDOW - 1:
            behind = gaps(run, run.newest - (WINDOW - 1), step)
        elif sequence - run.first >= WINDOW:
            behind = gaps(run, run.first, sequence - run.first - (WINDOW - 1))
        run.missing += step - 1 - behind
        mark_all(run, run.newest + 1, step, False)
    mark(run, sequence)
    run.arrived += 1
    run.newest = sequence
    return behind

cdef inline bint fill(Run *run, uint64_t sequence, uint64_t *total) noexcept nogil:
    """Marks a sequence in the window as arrived; False if it was. One less is missing then, also in `total`."""
    if arrived(run, sequence):
        return False
    mark(run, sequence)
    run.arrived += 1
    if sequence >= run.first:
        run.missing -= 1
        total[0] -= 1
    return True

cdef inline uint64_t in_a_row(const Run *run, uint64_t sequence, uint64_t most) noexcept nogil:
    """Sequences around this one that arrived without a gap; counted no further than `most` to either side."""
    cdef uint64_t down = 0, up = 0
    while down < most and down < sequence and run.newest - sequence + down + 1 < WINDOW:
        if not arrived(run, sequence - down - 1):
            break
        down += 1
    while up < most and up < run.newest - sequence and arrived(run, sequence + up + 1):
        up += 1
    return 1 + down + up
