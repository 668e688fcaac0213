# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The sending engine of `fastlog loadtest`: one client, its socket, and entries that were prepared ahead.

`run` does all of its work without the GIL, so that clients in threads truly run beside each other. A turn: send what is
due, take the ACKs that came, repeat what was not acknowledged in time, wait for the next of these. Deadlines are
absolute, on CLOCK_MONOTONIC: what a turn is late, the next one makes up for.

Every entry has its own sequence, written into the prepared bytes just before they are sent. A repetition is the same
bytes again, made from the place of the entry and its sequence. It knows no JSON: where the digits are it is told.
"""

import os
from array import array

from libc.errno cimport EAGAIN, ECONNREFUSED, EINTR, ENOBUFS, errno
from libc.stdint cimport UINT64_MAX, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memmove
from posix.time cimport timespec

from fastlog._clock cimport monotonic_ns
from fastlog._linux cimport MSG_DONTWAIT, POLLIN, iovec, mmsghdr, pollfd, ppoll, recvmmsg, sendmmsg

cdef enum:
    # Digits of every sequence: below 2^53, so that programs which take numbers for doubles read them right.
    DIGITS = 16
    # Datagrams of one sendmmsg call: the call itself does not show any more.
    BATCH = 64
    # ACKs of one recvmmsg call.
    ACKS_PER_CALL = 64
    # What every ACK begins with: {"ack":true,"sequence":
    ACK_HEAD_BYTES = 23
    NS_PER_MS = 1_000_000
    # Between two batches of a fast client, ns: short for a receive buffer, long for a processor.
    TICK_NS = 1_000_000
    # Between two looks at what is due again, ns: each of them goes through everything that waits.
    LOOK_NS = 10_000_000
    # Entries sent again in one look: those of a stopped server come back over some time, and others are sent meanwhile.
    REPEATS_PER_LOOK = 256
    # Wait for a send queue that is full, ns.
    FULL_QUEUE_NS = 100_000
    # Entries that wait for their ACKs at once; a client with more of them stops until some come. 10 MiB.
    PENDING_MAX = 1 << 18
    PENDING_FIRST = 1 << 10
    # Latencies kept of one client, the first ones; 16 MiB.
    LATENCIES_MAX = 1 << 22

# Shared with others: fastlog/limits.py.
cpdef enum:
    # Room for an ACK, and for the start of what is not an ACK.
    ACK_ROOM_BYTES = 64
    # An entry is sent again after this time, ms, then after twice as long, and so on up to the longest.
    FIRST_TIMEOUT_MS = 500
    LONGEST_TIMEOUT_MS = 5_000
    # The most by which a time-out is longer, so that many clients do not retransmit in step, in thousandths.
    JITTER_PERMILLE = 200

SEQUENCE_DIGITS = DIGITS
TICK_SEC = TICK_NS / 1e9

cdef const char *ACK_HEAD = b'{"ack":true,"sequence":'

# A prepared entry: where its bytes are, and where in them its sequence goes.
cdef struct Entry:
    char *start
    uint32_t size
    uint32_t digits_at
    bint priority

# An entry that waits for its ACK; times in ns.
cdef struct Pending:
    uint64_t sequence
    uint64_t sent_at
    uint64_t due_at
    uint64_t timeout
    uint32_t entry
    bint done  # acknowledged, or given up


cdef inline void write_digits(char *at, uint64_t sequence) noexcept nogil:
    cdef int i
    for i in range(DIGITS - 1, -1, -1):
        at[i] = <char>(48 + sequence % 10)
        sequence //= 10


cdef class Client:
    """`entries`: (bytes, offset of SEQUENCE_DIGITS digits in them, whether an ACK is expected), at least one; they are
    sent in turn. `fd`: a connected UDP socket, which stays the caller's. `first`: the first sequence. An entry is
    repeated for `give_up_ns`. Counters may be read while `run` is under way in another thread.
    """

    cdef int fd
    cdef char *memory  # the bytes of all entries
    cdef Entry *entries
    cdef uint32_t entry_count
    cdef uint32_t next_entry
    cdef uint64_t give_up
    cdef uint64_t next_sequence
    cdef char digits[DIGITS]  # of next_sequence: counted up in place, which is cheaper than writing them anew

    # In order of their sequences, from head to tail; what is done at the head is passed over.
    cdef Pending *pending
    cdef size_t head, tail, capacity
    cdef uint64_t look_at  # nothing is due again before it

    cdef uint32_t *latencies  # microseconds
    cdef size_t latency_count, latency_room

    cdef mmsghdr messages[BATCH]
    cdef iovec vectors[BATCH]
    cdef mmsghdr ack_messages[ACKS_PER_CALL]
    cdef iovec ack_vectors[ACKS_PER_CALL]
    cdef char ack_texts[ACKS_PER_CALL][ACK_ROOM_BYTES]

    cdef readonly uint64_t sent, repeated, sent_bytes  # datagrams: of entries, again, and the bytes of both
    cdef readonly uint64_t priority_sent, acknowledged, given_up  # entries
    cdef readonly uint64_t refused  # times that the network said nothing listens there
    cdef readonly uint64_t began_ns, ended_ns  # of the first and after the last entry; repetitions come later
    cdef bint stopping
    cdef int failure  # errno that ended the run
    cdef uint32_t jitter

    def __cinit__(self, int fd, list entries not None, uint64_t first, uint64_t give_up_ns):
        cdef size_t total = 0
        cdef size_t i
        cdef bytes content
        cdef char *at
        if not entries:
            raise ValueError("a client needs entries")
        # a batch holds no entry twice, for each has one place for its sequence
        entries = entries * ((BATCH + len(entries) - 1) // len(entries))
        self.fd = fd
        self.next_sequence = first
        write_digits(self.digits, first)
        self.give_up = give_up_ns
        self.jitter = <uint32_t>(first | 1)
        self.look_at = UINT64_MAX
        self.entry_count = len(entries)
        for content, _, _ in entries:
            total += len(content)
        self.memory = <char *>malloc(total)
        self.entries = <Entry *>calloc(self.entry_count, sizeof(Entry))
        self.pending = <Pending *>malloc(PENDING_FIRST * sizeof(Pending))
        self.capacity = PENDING_FIRST
        if self.memory == NULL or self.entries == NULL or self.pending == NULL:
            raise MemoryError
        at = self.memory
        for i, (content, digits_at, priority) in enumerate(entries):
            if digits_at + DIGITS > len(content):
                raise ValueError(f"the digits at {digits_at} end after the entry's {len(content)} bytes")
            memcpy(at, <const char *>content, len(content))
            self.entries[i] = Entry(at, len(content), digits_at, priority)
            at += len(content)
        for i in range(BATCH):
            self.messages[i].msg_hdr.msg_iov = &self.vectors[i]
            self.messages[i].msg_hdr.msg_iovlen = 1
        for i in range(ACKS_PER_CALL):
            self.ack_vectors[i].iov_base = self.ack_texts[i]
            self.ack_vectors[i].iov_len = ACK_ROOM_BYTES
            self.ack_messages[i].msg_hdr.msg_iov = &self.ack_vectors[i]
            self.ack_messages[i].msg_hdr.msg_iovlen = 1

    def __dealloc__(self):
        free(self.latencies)
        free(self.pending)
        free(self.entries)
        free(self.memory)

    def run(self, uint64_t count, double rate, uint64_t begin_ns, uint64_t end_ns):
        """Sends `count` entries, `rate` a second (0: as fast as it goes) from `begin_ns` on, none after `end_ns`, and
        sees to their ACKs. Returns when all are acknowledged or given up. Raises OSError where the socket refuses."""
        with nogil:
            self.send_all(count, rate, begin_ns, end_ns)
            if not self.failure:
                self.finish()
        if self.failure:
            raise OSError(self.failure, os.strerror(self.failure))

    def stop(self):
        """From another thread: `run` returns soon, and waits for no ACK any more."""
        self.stopping = True

    @property
    def latencies_usec(self):
        """Microseconds from the first sending of an entry to its ACK, of the first LATENCIES_MAX, as an array."""
        found = array("I")
        found.frombytes((<const char *>self.latencies)[:self.latency_count * sizeof(uint32_t)])
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
            elif not self.has_room():
                self.wait(now + LOOK_NS, now)  # until ACKs come
            else:
                self.send_batch(<unsigned int>min(due - self.sent, <uint64_t>BATCH), now)
                self.ended_ns = monotonic_ns()
                if self.sent == due:
                    tick_at = now + TICK_NS if rate > 0 else 0
                if self.head != self.tail:
                    self.receive()
            now = monotonic_ns()
            if now >= self.look_at:
                self.repeat(now)

    cdef void finish(self) noexcept nogil:
        cdef uint64_t now = monotonic_ns()
        while self.head != self.tail and not self.stopping and not self.failure:
            self.wait(self.look_at, now)
            now = monotonic_ns()
            if now >= self.look_at:
                self.repeat(now)
        self.receive()  # what the network says of the last entry

    cdef void wait(self, uint64_t until, uint64_t now) noexcept nogil:
        """Until then, until something has to be sent again, or until an ACK has come, which is taken."""
        cdef pollfd source
        cdef timespec timeout
        cdef uint64_t ns
        until = min(until, self.look_at, now + LOOK_NS)  # the last one: so that a stop is seen soon
        ns = until - now if until > now else 0
        timeout.tv_sec = 0
        timeout.tv_nsec = ns
        source.fd = self.fd
        source.events = POLLIN
        source.revents = 0
        if ppoll(&source, 1, &timeout, NULL) > 0:
            self.receive()

    cdef void send_batch(self, unsigned int size, uint64_t now) noexcept nogil:
        cdef unsigned int i, done = 0
        cdef Entry *entry
        cdef int taken
        for i in range(size):
            entry = &self.entries[self.next_entry]
            self.next_entry += 1
            if self.next_entry == self.entry_count:
                self.next_entry = 0
            memcpy(entry.start + entry.digits_at, self.digits, DIGITS)
            self.vectors[i].iov_base = entry.start
            self.vectors[i].iov_len = entry.size
            if entry.priority:
                self.await_ack(<uint32_t>(entry - self.entries), now)
            self.count_up()
        while done < size:
            taken = sendmmsg(self.fd, self.messages + done, size - done, 0)
            if taken > 0:
                for i in range(done, done + taken):
                    self.sent_bytes += self.vectors[i].iov_len
                done += taken
                self.sent += taken
            elif not self.go_on():
                return

    cdef bint go_on(self) noexcept nogil:
        """Whether a datagram that was not sent is to be tried again."""
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

    cdef inline void count_up(self) noexcept nogil:
        cdef int i = DIGITS - 1
        self.next_sequence += 1
        while self.digits[i] == 57:  # 9
            self.digits[i] = 48
            i -= 1
        self.digits[i] += 1

    cdef bint has_room(self) noexcept nogil:
        """Whether a batch of priority entries can be remembered."""
        cdef size_t capacity
        cdef void *moved
        if self.tail + BATCH <= self.capacity:
            return True
        if self.head >= self.capacity // 2:
            memmove(self.pending, self.pending + self.head, (self.tail - self.head) * sizeof(Pending))
            self.tail -= self.head
            self.head = 0
            return True
        capacity = self.capacity * 2
        if capacity > PENDING_MAX:
            return False
        moved = realloc(self.pending, capacity * sizeof(Pending))
        if moved == NULL:
            return False
        self.pending = <Pending *>moved
        self.capacity = capacity
        return True

    cdef void await_ack(self, uint32_t entry, uint64_t now) noexcept nogil:
        cdef Pending *pending = &self.pending[self.tail]
        self.tail += 1
        self.priority_sent += 1
        pending.sequence = self.next_sequence
        pending.sent_at = now
        pending.entry = entry
        pending.done = False
        pending.timeout = FIRST_TIMEOUT_MS * <uint64_t>NS_PER_MS
        self.set_due(pending, now)
        self.look_at = min(self.look_at, pending.due_at)

    cdef void set_due(self, Pending *pending, uint64_t now) noexcept nogil:
        """When the entry is sent again, if no ACK comes: after its time-out, with jitter."""
        self.jitter ^= self.jitter << 13
        self.jitter ^= self.jitter >> 17
        self.jitter ^= self.jitter << 5
        pending.due_at = now + pending.timeout * (1000 + self.jitter % (JITTER_PERMILLE + 1)) // 1000
        pending.due_at = min(pending.due_at, pending.sent_at + self.give_up)
        pending.timeout = min(pending.timeout * 2, LONGEST_TIMEOUT_MS * <uint64_t>NS_PER_MS)

    cdef void repeat(self, uint64_t now) noexcept nogil:
        """Sends again what is due, gives up what has waited for too long, and looks when to look again."""
        cdef Pending *pending
        cdef uint64_t next_at = UINT64_MAX
        cdef unsigned int again = 0
        cdef size_t i
        for i in range(self.head, self.tail):
            pending = &self.pending[i]
            if pending.done:
                continue
            if pending.due_at <= now:
                if now - pending.sent_at >= self.give_up:
                    pending.done = True
                    self.given_up += 1
                    continue
                if again < REPEATS_PER_LOOK:
                    self.send_again(pending)
                    if self.failure or self.stopping:
                        return
                    self.set_due(pending, now)
                    again += 1
            next_at = min(next_at, pending.due_at)
        self.pass_over_done()
        self.look_at = UINT64_MAX if next_at == UINT64_MAX else max(next_at, now + LOOK_NS)

    cdef void send_again(self, const Pending *pending) noexcept nogil:
        cdef Entry *entry = &self.entries[pending.entry]
        write_digits(entry.start + entry.digits_at, pending.sequence)
        self.vectors[0].iov_base = entry.start
        self.vectors[0].iov_len = entry.size
        while sendmmsg(self.fd, self.messages, 1, 0) != 1:
            if not self.go_on():
                return
        self.repeated += 1
        self.sent_bytes += entry.size

    cdef void receive(self) noexcept nogil:
        """Takes every ACK that has come."""
        cdef uint64_t now, sequence = 0
        cdef int got, i
        while True:
            got = recvmmsg(self.fd, self.ack_messages, ACKS_PER_CALL, MSG_DONTWAIT, NULL)
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
                if read_ack(self.ack_texts[i], self.ack_messages[i].msg_len, &sequence):
                    self.acknowledge(sequence, now)
            if got < ACKS_PER_CALL:
                break
        self.pass_over_done()

    cdef void acknowledge(self, uint64_t sequence, uint64_t now) noexcept nogil:
        cdef size_t low = self.head, high = self.tail, middle
        while low < high:
            middle = (low + high) // 2
            if self.pending[middle].sequence < sequence:
                low = middle + 1
            else:
                high = middle
        if low == self.tail or self.pending[low].sequence != sequence or self.pending[low].done:
            return
        self.pending[low].done = True
        self.acknowledged += 1
        self.note_latency(now - self.pending[low].sent_at)

    cdef void note_latency(self, uint64_t ns) noexcept nogil:
        cdef size_t room
        cdef void *moved
        if self.latency_count == self.latency_room:
            room = max(self.latency_room * 2, <size_t>PENDING_FIRST)
            moved = realloc(self.latencies, room * sizeof(uint32_t)) if room <= LATENCIES_MAX else NULL
            if moved == NULL:
                return
            self.latencies = <uint32_t *>moved
            self.latency_room = room
        self.latencies[self.latency_count] = <uint32_t>min(ns // 1000, <uint64_t>0xFFFFFFFF)
        self.latency_count += 1

    cdef void pass_over_done(self) noexcept nogil:
        while self.head != self.tail and self.pending[self.head].done:
            self.head += 1
        if self.head == self.tail:
            self.head = self.tail = 0
            self.look_at = UINT64_MAX


cdef bint read_ack(const char *text, size_t size, uint64_t *sequence) noexcept nogil:
    """The sequence of an ACK as docs/protocol.md has it; what is none is nobody's."""
    cdef size_t i
    if size != ACK_HEAD_BYTES + DIGITS + 1 or memcmp(text, ACK_HEAD, ACK_HEAD_BYTES) != 0:
        return False
    sequence[0] = 0
    for i in range(ACK_HEAD_BYTES, ACK_HEAD_BYTES + DIGITS):
        if not 48 <= text[i] <= 57:
            return False
        sequence[0] = sequence[0] * 10 + <uint64_t>(text[i] - 48)
    return text[ACK_HEAD_BYTES + DIGITS] == 125  # }
