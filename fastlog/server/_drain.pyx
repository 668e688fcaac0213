# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""One drain of the socket: arena -> scan -> line buffer, with the GIL released and no Python object for an entry.

What an entry leaves behind: its stored form in the line buffer and a tick of its level's counter. An entry of a
priority level also owes an ACK; rejected input leaves a note that points into the arena. All of it is taken over by
the server before the next drain.
"""

import os

from cpython.buffer cimport PyBuffer_FillInfo
from libc.errno cimport errno
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memmove
from posix.time cimport timespec

from fastlog._clock cimport monotonic_ns
from fastlog.server._ledger cimport Ledger
from fastlog._linux cimport POLLIN, pollfd, ppoll, sched_yield
from fastlog.server._address cimport AddressKey, key_of, text_of
from fastlog.server._socket cimport Acks, Admission, Arena
from fastlog.server._coalesce cimport DATAGRAM_OVERHEAD_BYTES, Coalesce, note_woken, should_yield, wait_ns
from fastlog.server._stored cimport StoredHashes
from fastlog._parse cimport (
    ACCEPTED,
    LEVEL_COUNT,
    REASON_COUNT,
    Piece,
    begin,
    next_piece,
    store,
)

from fastlog.entry import LEVELS, REASONS

cdef enum:
    # The line buffer: a flush at full speed is some hundred kilobytes; this is room for ten such bursts, and bounds
    # what an unwritable disk can keep in memory.
    LINES_BYTES = 4 << 20
    # Notes of rejected input kept until the server writes them out.
    NOTES_MAX = 256
    # Priority entries in the line buffer at once: they are written at the end of the drain anyway.
    PRIORITY_LINES_MAX = 4096
    # Work of one drain, in bytes scanned: some milliseconds, so that deadlines hold under any flood.
    DRAIN_BYTES = 2 << 20
    # What receiving a datagram costs, in bytes that could be scanned instead.
    DATAGRAM_COST_BYTES = 256
    # Lines that are worth a flush in any case: larger writes cost the file system no less for each line.
    WRITE_BYTES = 512 << 10
    # How long entries gather on when FLUSH_COUNT is reached, in nanoseconds: too short for anybody who looks at the
    # file, and long enough for a few bursts.
    GATHER_NS = 200_000_000
    # How long a drain waits for the next datagram, in nanoseconds: a longer pause is left to the loop.
    PAUSE_NS = 50_000_000
    # How long priority entries that may be handed over wait for the next burst, in nanoseconds: that wakes us anyway.
    PRIORITY_SLACK_NS = 2_000_000
    # What ends a wait besides the clock: a signal, and a sync that has ended.
    WATCHED_MAX = 4

cpdef enum:
    # In place of a socket's descriptor: only what the arena holds is taken.
    NO_SOCKET = -1

cpdef enum:
    # Why a drain ended: nothing waits in the socket; what was taken must be handed on first; enough for one turn; the
    # socket is broken, which Python sees as an OSError.
    DRAINED, FULL, TURN_OVER, SOCKET_FAILED

cdef enum Woken:
    # What ended a wait: the clock, a datagram, or something that Python has to look at.
    QUIET, CAME, CALLED

cdef enum Rejected:
    # Why input is rejected. The scanner's reasons begin at SCANNED; the others need no look into the datagram.
    EMPTY, TRUNCATED, SCANNED
    DENIED = SCANNED + REASON_COUNT
    REJECTED_COUNT

# The reasons in that order, with what they mean.
REJECTED = {
    "empty": "nothing but whitespace in the datagram",
    "truncated": "the datagram is longer than `BUFFER_SIZE`; all of it is rejected",
    **REASONS,
    "denied": "the sender is not in a network of `ALLOW_FROM`; its datagram is neither scanned nor kept",
}
REJECTED_NAMES = tuple(REJECTED)

cdef double FAR_SEC = 1e9  # of the monotonic clock: never, and still an integer in nanoseconds
globals()["DATAGRAM_OVERHEAD_BYTES"] = DATAGRAM_OVERHEAD_BYTES  # for Python: its .pxd has no module to export it

# Rejected input in the arena.
cdef struct Note:
    const uint8_t *start
    size_t size
    size_t offset
    size_t datagram_size
    int reason
    unsigned int slot

# A priority entry's line in the line buffer.
cdef struct PriorityLine:
    size_t offset
    size_t size


cdef inline int64_t nanoseconds(double seconds) noexcept nogil:
    return <int64_t>(min(seconds, FAR_SEC) * 1e9)


cdef class Intake:
    """Receives, scans and buffers.

    `datagram_max`: bytes of the largest datagram taken. `priority`: the levels that owe an ACK, a subset of
    `entry.LEVELS`. `admission`: who may send; what others send is counted, and neither looked into nor noted.
    `flush_count`: entries buffered that are to be handed over.
    """

    cdef Arena arena
    cdef readonly Acks acks
    # Where scanning goes on: in this slot of the arena, in the datagram [start, end) of it, at this byte; NULL before
    # the datagram's first one.
    cdef unsigned int slot
    cdef const uint8_t *start
    cdef const uint8_t *end
    cdef const uint8_t *at
    cdef bint piece_seen
    cdef size_t datagram_max
    cdef bint took_all  # the arena was not filled: what came later than its datagrams is for the next turn
    cdef Piece piece

    cdef uint8_t *lines
    cdef readonly size_t lines_bytes  # of LINES_BYTES
    cdef readonly uint64_t buffered  # entries in the line buffer
    cdef bint is_priority[LEVEL_COUNT]
    cdef PriorityLine priority_line[PRIORITY_LINES_MAX]
    cdef readonly unsigned int priority_count
    cdef public bint priority_waits  # a priority entry came, perhaps a duplicate: write and acknowledge it
    cdef StoredHashes stored
    cdef readonly uint64_t duplicates  # priority entries that came again: acknowledged again, not stored again

    cdef Note notes[NOTES_MAX]
    cdef readonly unsigned int note_count
    cdef public unsigned int notes_allowed  # rejects beyond them are counted only

    cdef readonly uint64_t datagrams, datagram_bytes
    cdef uint64_t levels[LEVEL_COUNT]
    cdef uint64_t rejected[REJECTED_COUNT]
    cdef readonly uint64_t rejects_not_noted
    cdef int failure  # errno of the socket

    cdef Admission admission
    cdef readonly Ledger ledger
    cdef uint64_t now_ms  # of the monotonic clock, read once a burst

    cdef Coalesce pace
    cdef uint64_t flush_count
    cdef pollfd watched[WATCHED_MAX + 1]  # the first one is for the socket
    cdef unsigned int watched_count
    cdef int64_t priority_since_ns

    def __cinit__(self, size_t datagram_max, priority, Admission admission not None, uint64_t flush_count=1):
        self.datagram_max = datagram_max
        self.flush_count = flush_count
        self.admission = admission
        self.arena = Arena()
        self.acks = Acks()
        self.stored = StoredHashes()
        self.ledger = Ledger(os.urandom(16))
        self.lines = <uint8_t *>malloc(LINES_BYTES)
        if self.lines == NULL:
            raise MemoryError
        for i in range(<unsigned int>WATCHED_MAX + 1):
            self.watched[i].events = POLLIN
        for level in priority:
            self.is_priority[LEVELS.index(level)] = True

    def __dealloc__(self):
        free(self.lines)

    def wait_for_more(self, unsigned int longest_usec, size_t receive_buffer, watched):
        """From now on drains wait up to `longest_usec` for more datagrams, but no longer than the receive buffer's size
        in bytes allows; what becomes readable of `watched` (file descriptors) ends a wait."""
        if len(watched) > WATCHED_MAX:
            raise ValueError(f"{len(watched)} file descriptors to watch instead of {WATCHED_MAX} at the most")
        self.pace.longest_ns = <int64_t>longest_usec * 1000
        self.pace.room_bytes = receive_buffer / 2
        self.watched_count = len(watched) + 1
        for i, fd in enumerate(watched):
            self.watched[i + 1].fd = fd

    def drain(self, int fd, double until=0.0, double priority_from=0.0):
        """Takes datagrams until none waits (DRAINED), what was taken fills its place (FULL), or the turn is over.

        Up to `until` it also waits for more, and goes on until there is enough to hand over: here rather than in
        Python, so that a burst costs no turn of the interpreter. A priority entry ends that, though not before
        `priority_from`, and so does a file descriptor that is watched. Both are seconds of the monotonic clock.
        """
        cdef int status
        with nogil:
            status = self.gather(fd, nanoseconds(until), nanoseconds(priority_from))
        if status == SOCKET_FAILED:
            raise OSError(self.failure, os.strerror(self.failure))
        return status

    @property
    def priority_since(self):
        """A lower bound for the arrival time of the oldest waiting priority entry (seconds, monotonic)."""
        return self.priority_since_ns / 1e9

    cdef int gather(self, int fd, int64_t until_ns, int64_t priority_from_ns) noexcept nogil:
        cdef int64_t now = monotonic_ns(), began, wait = 0
        cdef int64_t end_ns = until_ns  # the latest end
        cdef int64_t due_ns = until_ns  # from here on it ends with the next burst
        cdef uint64_t before
        cdef bint enough = False, waited_before
        cdef int status
        while True:
            began = now
            if wait == 0 and should_yield(&self.pace, now, end_ns):
                sched_yield()
            before, waited_before = self.datagrams, self.priority_waits
            status = self.receive_and_scan(fd)
            now = monotonic_ns()
            if wait == 0:
                note_woken(&self.pace, now, self.datagrams, self.datagram_bytes)
            if self.priority_waits:
                due_ns = min(due_ns, priority_from_ns)
                end_ns = min(end_ns, priority_from_ns + PRIORITY_SLACK_NS)
                if not waited_before:
                    self.priority_since_ns = began
            if self.buffered >= self.flush_count and not enough:
                enough = True
                due_ns = min(due_ns, now + GATHER_NS)
            if status != DRAINED or self.lines_bytes >= WRITE_BYTES or now >= due_ns:
                return status
            wait = wait_ns(&self.pace, now, end_ns, self.datagrams - before) if wait == 0 else 0
            if wait > 0:
                if self.wait(wait, NO_SOCKET) == CALLED:
                    return status
            elif self.wait(min(end_ns - now, <int64_t>PAUSE_NS), fd) != CAME:
                return status
            now = monotonic_ns()

    cdef Woken wait(self, int64_t ns, int fd) noexcept nogil:
        """Until the time is over, a watched file descriptor calls, or a datagram comes to the socket `fd`."""
        cdef timespec time
        cdef int ready
        time.tv_sec, time.tv_nsec = ns // 1_000_000_000, ns % 1_000_000_000
        self.watched[0].fd = fd
        ready = ppoll(self.watched, self.watched_count, &time, NULL)
        if ready == 0:
            return QUIET
        return CAME if ready == 1 and self.watched[0].revents else CALLED

    cdef int receive_and_scan(self, int fd) noexcept nogil:
        cdef size_t scanned = 0
        cdef int got
        while True:
            while self.slot < self.arena.filled:
                if scanned > DRAIN_BYTES:
                    return TURN_OVER
                if self.at == NULL:
                    self.begin_datagram()
                if not self.scan_datagram(&scanned):
                    return FULL
                self.at = NULL
                if self.end == self.arena.datagram(self.slot) + self.arena.size(self.slot):
                    self.slot += 1
                    self.end = NULL
            if self.note_count:  # they point into the arena
                return FULL
            if self.took_all:
                self.took_all = False
                return DRAINED
            if scanned > DRAIN_BYTES:
                return TURN_OVER
            if fd == NO_SOCKET:
                return DRAINED
            got = self.arena.receive(fd)
            if got == -1:
                return DRAINED
            if got < 0:
                self.failure = errno
                return SOCKET_FAILED
            self.slot = 0
            self.took_all = <unsigned int>got < self.arena.slot_count
            self.now_ms = monotonic_ns() // 1_000_000

    cdef inline void begin_datagram(self) noexcept nogil:
        """The next one of the current slot, which holds several where the kernel hands them over coalesced."""
        cdef const uint8_t *slot_start = self.arena.datagram(self.slot)
        cdef size_t size = self.arena.size(self.slot)
        self.start = slot_start if self.end == NULL else self.end
        self.end = self.start + min(self.arena.segment_size(self.slot), <size_t>(slot_start + size - self.start))

    cdef bint scan_datagram(self, size_t *scanned) noexcept nogil:
        """Takes the current datagram, from where it was left. False: no room for its next piece."""
        cdef const uint8_t *start = self.start
        cdef const uint8_t *end = self.end
        cdef size_t size = min(<size_t>(end - start), self.datagram_max)
        cdef Piece *piece = &self.piece
        if self.at == NULL:
            self.at = start
            begin(piece)
            self.piece_seen = False
            self.datagrams += 1
            self.datagram_bytes += size
            scanned[0] += DATAGRAM_COST_BYTES
            if not self.admission.admits(&self.arena.senders[self.slot]):
                self.rejected[<int>DENIED] += 1
                return True
        if size < <size_t>(end - start):
            piece.start, piece.end = start, start + size
            return self.reject(piece, TRUNCATED, start, size)
        while next_piece(self.at, end, piece):
            if piece.reason == ACCEPTED:
                if not self.store_entry(piece):
                    return False
            elif not self.reject(piece, SCANNED + <int>piece.reason, start, size):
                return False
            scanned[0] += piece.next - self.at
            self.at = piece.next
            self.piece_seen = True
        if not self.piece_seen:
            piece.start, piece.end = start, start
            return self.reject(piece, EMPTY, start, size)
        return True

    cdef bint store_entry(self, const Piece *piece) noexcept nogil:
        cdef size_t size = piece.end - piece.start + 1
        cdef uint8_t *line = self.lines + self.lines_bytes
        cdef uint64_t hash
        if self.lines_bytes + size > LINES_BYTES:
            return False
        if not self.is_priority[<int>piece.level]:
            store(piece, line)
        else:
            if self.priority_count == PRIORITY_LINES_MAX:
                return False
            store(piece, line)
            self.priority_waits = True
            if piece.has_sequence:  # without one nobody waits for an ACK, and the same entry again is a new one
                self.acks.owe(
                    piece.sequence,
                    &self.arena.senders[self.slot],
                    self.arena.messages[self.slot].msg_hdr.msg_namelen,
                )
                hash = self.stored.hash(line, size)
                if self.stored.has(hash):
                    self.duplicates += 1
                    self.count(piece)
                    return True
                self.stored.add(hash)
            self.priority_line[self.priority_count] = PriorityLine(self.lines_bytes, size)
            self.priority_count += 1
        self.lines_bytes += size
        self.buffered += 1
        self.count(piece)
        return True

    cdef inline void count(self, const Piece *piece) noexcept nogil:
        self.levels[<int>piece.level] += 1
        self.ledger.saw(&self.arena.senders[self.slot], piece.has_sequence, piece.sequence, self.now_ms)

    cdef bint reject(self, const Piece *piece, int reason, const uint8_t *start, size_t datagram_size) noexcept nogil:
        cdef Note *note = &self.notes[self.note_count]
        if self.notes_allowed == 0:
            self.rejects_not_noted += 1
        elif self.note_count == NOTES_MAX:
            return False
        else:
            note.start = piece.start
            note.size = piece.end - piece.start
            note.offset = piece.start - start
            note.datagram_size = datagram_size
            note.reason = reason
            note.slot = self.slot
            self.note_count += 1
            self.notes_allowed -= 1
        self.rejected[reason] += 1
        return True

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        """The line buffer's content, whole lines; good until `forget_lines` or the next drain."""
        PyBuffer_FillInfo(buffer, self, self.lines, self.lines_bytes, 1, flags)

    def priority_lines(self, size_t size):
        """The priority entries' lines among the first `size` bytes, with their line feeds, in order."""
        cdef unsigned int i
        found = []
        for i in range(self.priority_count):
            if self.priority_line[i].offset < size:
                found.append((<const char *>self.lines + self.priority_line[i].offset)[:self.priority_line[i].size])
        return found

    def forget_lines(self, size_t size, uint64_t entries):
        """The first `size` bytes, which hold that many entries, are in the file or lost."""
        self.lines_bytes -= size
        self.buffered -= entries
        cdef unsigned int i, kept = 0
        memmove(self.lines, self.lines + size, self.lines_bytes)
        for i in range(self.priority_count):
            if self.priority_line[i].offset >= size:
                self.priority_line[kept] = PriorityLine(self.priority_line[i].offset - size, self.priority_line[i].size)
                kept += 1
        self.priority_count = kept

    def take_acks(self, Acks empty not None):
        """The ACKs owed so far; from now on they gather in `empty`."""
        cdef Acks taken = self.acks
        self.acks = empty
        return taken

    def remember(self, const uint8_t[::1] lines not None):
        """Takes the priority entries of whole stored lines for seen: a sender may repeat them."""
        cdef uint8_t nothing = 0  # stands for the bytes of no lines: C allows no arithmetic on NULL
        cdef const uint8_t *p = &lines[0] if lines.shape[0] else &nothing
        cdef const uint8_t *end = p + lines.shape[0]
        cdef Piece piece
        cdef uint64_t hash
        with nogil:
            begin(&piece)
            while p != end and next_piece(p, end, &piece):
                p = piece.next
                if piece.reason != ACCEPTED or piece.end == end:
                    continue
                if self.is_priority[<int>piece.level] and piece.has_sequence:
                    hash = self.stored.hash(piece.start, piece.end - piece.start + 1)
                    if not self.stored.has(hash):
                        self.stored.add(hash)

    def forget_stored(self):
        """Some entries seen are stored nowhere after all: what comes again is stored again."""
        self.stored.clear()

    def take_notes(self):
        """The rejected input of the last drain: (sender, reason, offset in its datagram, datagram's size, bytes)."""
        cdef unsigned int i
        cdef AddressKey sender
        cdef Note *note
        found = []
        for i in range(self.note_count):
            note = &self.notes[i]
            sender = key_of(&self.arena.senders[note.slot])
            found.append((text_of(&sender), REJECTED_NAMES[note.reason], note.offset,
                          note.datagram_size, (<const char *>note.start)[:note.size]))
        self.note_count = 0
        return found

    @property
    def received(self):
        """Valid entries so far, by level."""
        return {name: self.levels[i] for i, name in enumerate(LEVELS)}

    @property
    def total_received(self):
        """Valid entries so far."""
        cdef unsigned int i
        cdef uint64_t total = 0
        for i in range(<unsigned int>LEVEL_COUNT):
            total += self.levels[i]
        return total

    @property
    def rejects(self):
        """Rejected pieces so far, by reason."""
        return {name: self.rejected[i] for i, name in enumerate(REJECTED)}
