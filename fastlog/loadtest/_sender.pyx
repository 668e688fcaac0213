# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The sending engine of `fastlog loadtest`: one client, its socket, and its prepared entries.

`run` does all of its work without the GIL, so that the clients' threads run in parallel. Each turn sends the entries
that are due, takes the ACKs that have arrived, retransmits what was not acknowledged in time, and waits for the next of
these events. Deadlines are absolute, on CLOCK_MONOTONIC: if one turn is late, the next turn catches up.

Every entry has its own sequence, and if it has a timestamp, the time at which it is sent: both are written into the
prepared bytes just before. A retransmission is the same bytes again, rebuilt from the prepared entry, its sequence and
the time of its first sending. The engine knows no JSON: its caller says at which offsets the two are.
"""

import os
from array import array

from libc.errno cimport EAGAIN, ECONNREFUSED, EINTR, ENOBUFS, errno
from libc.stdint cimport UINT64_MAX, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

from fastlog._clock cimport SECOND_BYTES, SECOND_ROOM, monotonic_ns, write_second
from fastlog._linux cimport MSG_DONTWAIT, POLLIN, iovec, mmsghdr, pollfd, ppoll, recvmmsg, sendmmsg
from fastlog.loadtest cimport _pending
from fastlog.loadtest._pending cimport (
    Pending, PendingEntry, acknowledge, add_pending, free_pending, make_room, open_pending, pass_over_done, set_due,
)

cdef enum:
    MICROSECOND_DIGITS = 6
    # Datagrams of one sendmmsg call. With more of them the cost of the call itself no longer shows.
    BATCH = 64
    # ACKs of one recvmmsg call.
    ACKS_PER_CALL = 64
    # What every ACK begins with: {"ack":true,"sequence":
    ACK_HEAD_BYTES = 23
    # Time between two batches of a fast client, ns: short for a receive buffer, long for a processor.
    TICK_NS = 1_000_000
    # Time between two passes over the pending entries, ns. A pass looks at all of them.
    PASS_NS = 10_000_000
    # Retransmissions of one pass. The entries of a stopped server come again over some time, so that new ones are sent
    # meanwhile.
    RETRANSMISSIONS_PER_PASS = 256
    # Pause when the send queue is full, ns.
    FULL_QUEUE_NS = 100_000

cpdef enum:
    # Digits of every sequence: below 2^53, so that programs which read numbers as doubles read them exactly.
    SEQUENCE_DIGITS = 16
    # A timestamp up to its last digit: `2026-11-24T07:00:00.` and microseconds.
    TIMESTAMP_BYTES = SECOND_BYTES + MICROSECOND_DIGITS
    # Room for an ACK (see fastlog/limits.py), and for the start of what is not an ACK.
    ACK_ROOM_BYTES = 64

FIRST_TIMEOUT_MS = _pending.FIRST_TIMEOUT_MS
LONGEST_TIMEOUT_MS = _pending.LONGEST_TIMEOUT_MS
JITTER_PERMILLE = _pending.JITTER_PERMILLE

TICK_SEC = TICK_NS / 1e9

cdef const char *ACK_HEAD = b'{"ack":true,"sequence":'

# A prepared entry: where its bytes are, and where in them its sequence and its timestamp go.
cdef struct Entry:
    char *start
    char *digits
    char *timestamp  # NULL: the entry has no timestamp, or keeps the one that it has
    uint32_t size
    bint priority

# A moment as the text of a timestamp.
cdef struct Timestamp:
    uint64_t clocks_apart  # CLOCK_REALTIME less CLOCK_MONOTONIC, ns; fixed, so that a moment always has the same text
    uint64_t second
    char text[SECOND_ROOM]

# One sendmmsg call.
cdef struct Outgoing:
    mmsghdr messages[BATCH]
    iovec vectors[BATCH]

# One recvmmsg call.
cdef struct Incoming:
    mmsghdr messages[ACKS_PER_CALL]
    iovec vectors[ACKS_PER_CALL]
    char texts[ACKS_PER_CALL][ACK_ROOM_BYTES]


cdef inline void write_digits(char *at, int count, uint64_t number) noexcept nogil:
    cdef int i
    for i in range(count - 1, -1, -1):
        at[i] = <char>(48 + number % 10)
        number //= 10


cdef inline void count_up(char *digits) noexcept nogil:
    """To the next sequence: cheaper than writing all of its digits anew."""
    cdef int i = SEQUENCE_DIGITS - 1
    while digits[i] == 57:  # 9
        digits[i] = 48
        i -= 1
    digits[i] += 1


cdef uint64_t realtime_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    return <uint64_t>now.tv_sec * 1_000_000_000 + now.tv_nsec


cdef inline void set_timestamp(Timestamp *timestamp, uint64_t monotonic) noexcept nogil:
    cdef uint64_t ns = monotonic + timestamp.clocks_apart
    cdef uint64_t second = ns // 1_000_000_000
    if second != timestamp.second:
        write_second(second, timestamp.text)
        timestamp.second = second
    write_digits(timestamp.text + SECOND_BYTES, MICROSECOND_DIGITS, ns % 1_000_000_000 // 1000)


cdef class Sender:
    """`entries` has at least one (bytes, offset of SEQUENCE_DIGITS digits for the sequence, offset of TIMESTAMP_BYTES
    for the time or 0, whether an ACK is expected). They are sent in turn. `fd` is a connected UDP socket, which the
    caller closes. `first` is the first sequence. An entry is retransmitted for `give_up_ns` at most. Counters may be
    read while `run` is at work in another thread.
    """

    cdef int fd

    # The prepared entries, all their bytes in one piece of memory, and the next one to send.
    cdef char *memory
    cdef Entry *entries
    cdef uint32_t entry_count
    cdef uint32_t next_entry

    # The next sequence, as a number and as text.
    cdef uint64_t next_sequence
    cdef char digits[SEQUENCE_DIGITS]

    # When the batch or the retransmission at hand is sent, or was sent first.
    cdef Timestamp timestamp

    cdef Pending pending
    cdef Outgoing outgoing
    cdef Incoming incoming

    # Datagrams: of new entries, of retransmissions, and the bytes of both.
    cdef readonly uint64_t sent, retransmissions, sent_bytes
    # How often the network said that nothing listens there.
    cdef readonly uint64_t refused
    # Before the first new entry and after the last one; retransmissions may come later.
    cdef readonly uint64_t began_ns, ended_ns
    # `stop` was called.
    cdef bint stopping
    # The errno that ended the run, or 0.
    cdef int failure

    def __cinit__(self, int fd, list entries not None, uint64_t first, uint64_t give_up_ns):
        if not entries:
            raise ValueError("a sender needs entries")
        self.fd = fd
        self.next_sequence = first
        write_digits(self.digits, SEQUENCE_DIGITS, first)
        self.timestamp.clocks_apart = realtime_ns() - <uint64_t>monotonic_ns()
        if not open_pending(&self.pending, give_up_ns, <uint32_t>first):
            raise MemoryError
        # A batch must not hold an entry twice, since each entry has one place for its sequence.
        self._copy_entries(entries * ((BATCH + len(entries) - 1) // len(entries)))
        self._prepare_messages()

    cdef int _copy_entries(self, list entries) except -1:
        cdef size_t total = 0
        cdef size_t i
        cdef bytes content
        cdef char *at
        for content, _, _, _ in entries:
            total += len(content)
        self.entry_count = len(entries)
        self.memory = <char *>malloc(total)
        self.entries = <Entry *>calloc(self.entry_count, sizeof(Entry))
        if self.memory == NULL or self.entries == NULL:
            raise MemoryError
        at = self.memory
        for i, (content, digits_at, timestamp_at, priority) in enumerate(entries):
            if digits_at + SEQUENCE_DIGITS > len(content) or timestamp_at + TIMESTAMP_BYTES > len(content):
                raise ValueError(f"the sequence or the timestamp ends after the entry's {len(content)} bytes")
            memcpy(at, <const char *>content, len(content))
            self.entries[i].start = at
            self.entries[i].digits = at + <size_t>digits_at
            self.entries[i].timestamp = at + <size_t>timestamp_at if timestamp_at else NULL
            self.entries[i].size = len(content)
            self.entries[i].priority = priority
            at += len(content)
        return 0

    cdef void _prepare_messages(self) noexcept:
        cdef size_t i
        for i in range(<size_t>BATCH):
            self.outgoing.messages[i].msg_hdr.msg_iov = &self.outgoing.vectors[i]
            self.outgoing.messages[i].msg_hdr.msg_iovlen = 1
        for i in range(<size_t>ACKS_PER_CALL):
            self.incoming.vectors[i].iov_base = self.incoming.texts[i]
            self.incoming.vectors[i].iov_len = ACK_ROOM_BYTES
            self.incoming.messages[i].msg_hdr.msg_iov = &self.incoming.vectors[i]
            self.incoming.messages[i].msg_hdr.msg_iovlen = 1

    def __dealloc__(self):
        free_pending(&self.pending)
        free(self.entries)
        free(self.memory)

    def run(self, uint64_t count, double rate, uint64_t begin_ns, uint64_t end_ns):
        """Sends `count` entries and sees to their ACKs; returns when all are acknowledged or given up.

        It sends `rate` entries a second (0: as fast as it can), from `begin_ns` on and none after `end_ns`. Raises
        OSError if the socket refuses."""
        with nogil:
            self.send_all(count, rate, begin_ns, end_ns)
            if not self.failure:
                self.finish()
        if self.failure:
            raise OSError(self.failure, os.strerror(self.failure))

    def stop(self):
        """Called from another thread: `run` returns soon, and no longer waits for ACKs."""
        self.stopping = True

    @property
    def priority_sent(self):
        """Priority entries sent, each counted once."""
        return self.pending.added

    @property
    def acknowledged(self):
        """Priority entries acknowledged."""
        return self.pending.acknowledged

    @property
    def given_up(self):
        """Priority entries that were not acknowledged within `give_up_ns`."""
        return self.pending.given_up

    @property
    def latencies_usec(self):
        """Microseconds from the first sending of an entry to its ACK, as an array in the order of the ACKs."""
        found = array("I")
        found.frombytes((<const char *>self.pending.latencies)[:self.pending.latency_count * sizeof(uint32_t)])
        return found

    cdef void send_all(self, uint64_t count, double rate, uint64_t begin, uint64_t end) noexcept nogil:
        cdef uint64_t now, due, tick_at = 0
        while not self.stopping and <uint64_t>monotonic_ns() < begin:
            self.wait(begin, monotonic_ns())
        self.began_ns = now = monotonic_ns()
        while self.sent < count and now < end and not self.stopping and not self.failure:
            due = count
            if rate > 0:
                due = min(count, <uint64_t>((now - begin) * rate / 1e9) + 1)
            if self.sent == due or now < tick_at:
                self.wait(max(begin + <uint64_t>(self.sent * 1e9 / rate), tick_at), now)
            elif not make_room(&self.pending, BATCH):
                self.wait(now + PASS_NS, now)  # until ACKs come
            else:
                self.send_batch(<unsigned int>min(due - self.sent, <uint64_t>BATCH), now)
                self.ended_ns = monotonic_ns()
                if self.sent == due:
                    tick_at = now + TICK_NS if rate > 0 else 0
                if self.pending.head != self.pending.tail:
                    self.receive()
            now = monotonic_ns()
            if now >= self.pending.next_due:
                self.retransmit(now)

    cdef void finish(self) noexcept nogil:
        cdef uint64_t now = monotonic_ns()
        while self.pending.head != self.pending.tail and not self.stopping and not self.failure:
            self.wait(self.pending.next_due, now)
            now = monotonic_ns()
            if now >= self.pending.next_due:
                self.retransmit(now)
        self.receive()  # the network may still refuse the last entry

    cdef void wait(self, uint64_t until, uint64_t now) noexcept nogil:
        """Waits until that time, until a retransmission is due, or until an ACK arrives, which it takes."""
        cdef pollfd source
        cdef timespec timeout
        cdef uint64_t ns
        until = min(until, self.pending.next_due, now + PASS_NS)  # the last one, so that a stop is seen soon
        ns = until - now if until > now else 0
        timeout.tv_sec = 0
        timeout.tv_nsec = ns
        source.fd = self.fd
        source.events = POLLIN
        source.revents = 0
        if ppoll(&source, 1, &timeout, NULL) > 0:
            self.receive()

    cdef void send_batch(self, unsigned int size, uint64_t now) noexcept nogil:
        # Local, for the bytes that are written below could be anybody's as far as the compiler knows.
        cdef Entry *entry = self.entries + self.next_entry
        cdef Entry *end = self.entries + self.entry_count
        cdef iovec *vector = self.outgoing.vectors
        cdef uint64_t size_bytes = 0
        cdef unsigned int i
        set_timestamp(&self.timestamp, now)
        for i in range(size):
            memcpy(entry.digits, self.digits, SEQUENCE_DIGITS)
            if entry.timestamp != NULL:
                memcpy(entry.timestamp, self.timestamp.text, TIMESTAMP_BYTES)
            vector.iov_base = entry.start
            vector.iov_len = entry.size
            size_bytes += entry.size
            if entry.priority:
                add_pending(&self.pending, <uint32_t>(entry - self.entries), self.next_sequence + i, now)
            count_up(self.digits)
            vector += 1
            entry += 1
            if entry == end:
                entry = self.entries
        self.next_entry = <uint32_t>(entry - self.entries)
        self.next_sequence += size
        self.sent_bytes += size_bytes
        self.send(size)

    cdef void send(self, unsigned int size) noexcept nogil:
        """Hands the outgoing messages to the kernel."""
        cdef unsigned int i, done = 0
        cdef int taken
        while done < size:
            taken = sendmmsg(self.fd, self.outgoing.messages + done, size - done, 0)
            if taken > 0:
                done += taken
                self.sent += taken
            elif not self.may_try_again():
                for i in range(done, size):
                    self.sent_bytes -= self.outgoing.vectors[i].iov_len
                return

    cdef bint may_try_again(self) noexcept nogil:
        """Whether to try again after a datagram was not sent (see errno). Pauses if the send queue is full."""
        cdef timespec pause
        if errno == EINTR:
            return True
        if errno == ECONNREFUSED:  # the answer to an earlier datagram
            self.refused += 1
            return True
        if errno == ENOBUFS or errno == EAGAIN:
            pause.tv_sec = 0
            pause.tv_nsec = FULL_QUEUE_NS
            ppoll(NULL, 0, &pause, NULL)
            return not self.stopping
        self.failure = errno
        return False

    cdef void retransmit(self, uint64_t now) noexcept nogil:
        """A pass over the pending entries: sends those that are due again, gives up those that have waited too long,
        and finds out when the next one is due."""
        cdef PendingEntry *pending
        cdef uint64_t next_due = UINT64_MAX
        cdef unsigned int again = 0
        cdef size_t i
        for i in range(self.pending.head, self.pending.tail):
            pending = &self.pending.entries[i]
            if pending.done:
                continue
            if pending.due_at <= now:
                if now - pending.sent_at >= self.pending.give_up:
                    pending.done = True
                    self.pending.given_up += 1
                    continue
                if again < RETRANSMISSIONS_PER_PASS:
                    self.send_again(pending)
                    if self.failure or self.stopping:
                        return
                    set_due(&self.pending, pending, now)
                    again += 1
            next_due = min(next_due, pending.due_at)
        pass_over_done(&self.pending)
        self.pending.next_due = UINT64_MAX if next_due == UINT64_MAX else max(next_due, now + PASS_NS)

    cdef void send_again(self, const PendingEntry *pending) noexcept nogil:
        cdef Entry *entry = &self.entries[pending.entry]
        write_digits(entry.digits, SEQUENCE_DIGITS, pending.sequence)
        if entry.timestamp != NULL:
            set_timestamp(&self.timestamp, pending.sent_at)
            memcpy(entry.timestamp, self.timestamp.text, TIMESTAMP_BYTES)
        self.outgoing.vectors[0].iov_base = entry.start
        self.outgoing.vectors[0].iov_len = entry.size
        while sendmmsg(self.fd, self.outgoing.messages, 1, 0) != 1:
            if not self.may_try_again():
                return
        self.retransmissions += 1
        self.sent_bytes += entry.size

    cdef void receive(self) noexcept nogil:
        """Takes every ACK that has arrived."""
        cdef uint64_t now, sequence = 0
        cdef int got, i
        while True:
            got = recvmmsg(self.fd, self.incoming.messages, ACKS_PER_CALL, MSG_DONTWAIT, NULL)
            if got < 0:
                if errno == ECONNREFUSED:
                    self.refused += 1
                    continue
                if errno == EINTR:
                    continue
                if errno != EAGAIN:
                    self.failure = errno
                break
            now = monotonic_ns()
            for i in range(got):
                if read_ack(self.incoming.texts[i], self.incoming.messages[i].msg_len, &sequence):
                    acknowledge(&self.pending, sequence, now)
            if got < ACKS_PER_CALL:
                break
        pass_over_done(&self.pending)


cdef bint read_ack(const char *text, size_t size, uint64_t *sequence) noexcept nogil:
    """Reads the sequence of an ACK, in the form of docs/protocol.md. False if the text is not an ACK for a sequence of
    SEQUENCE_DIGITS digits."""
    cdef size_t i
    if size != ACK_HEAD_BYTES + SEQUENCE_DIGITS + 1 or memcmp(text, ACK_HEAD, ACK_HEAD_BYTES) != 0:
        return False
    sequence[0] = 0
    for i in range(<size_t>ACK_HEAD_BYTES, <size_t>(ACK_HEAD_BYTES + SEQUENCE_DIGITS)):
        if not 48 <= text[i] <= 57:
            return False
        sequence[0] = sequence[0] * 10 + <uint64_t>(text[i] - 48)
    return text[ACK_HEAD_BYTES + SEQUENCE_DIGITS] == 125  # }
