# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""One drain of the sockets: arena -> scan -> line buffer, with the GIL released and no Python object for an entry.

An entry leaves behind its stored form in the line buffer, and is counted. A priority entry also owes an ACK. Rejected
input leaves a note that points into the arena. The server takes all of it over before the next drain.
"""

import os

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcpy

from fastlog._clock cimport monotonic_ns, nanoseconds
from fastlog._linux cimport AF_UNIX, sched_yield
from fastlog._parse cimport (
    ACCEPTED,
    LEVEL_COUNT,
    SYNTAX,
    Level,
    Piece,
    Reason,
    begin,
    has_timestamp,
    next_piece,
    renamed_room,
    store,
    store_renamed,
    stored_size,
)
from fastlog.inputs._chunks cimport is_chunk
from fastlog.inputs._gelf cimport gelf_line
from fastlog.inputs._receipt cimport Receipt, converted_room, note_time
from fastlog.inputs._stamp cimport (
    LINE_END_BYTES,
    STAMP_NEVER,
    STAMP_ROOM,
    Stamping,
    add_words,
    unstamped_end,
    words_for,
)
from fastlog.inputs._syslog cimport ZonePeriods, is_syslog, syslog_line
from fastlog.inputs._unpack cimport MESSAGE_MAX_BYTES
from fastlog.server._address cimport Address, AddressKey, has_no_address, is_same, key_of, note_source
from fastlog.server._coalesce cimport DATAGRAM_OVERHEAD_BYTES, note_woken, should_yield, wait_ns
from fastlog.server._duplicates cimport StoredEntry, StoredHashes
from fastlog.server._ledger cimport Ledger
from fastlog.server._lines cimport AWAITED, LINE_MAX_BYTES, ORDINARY, UNAWAITED, Kind, LineBuffer
from fastlog.server._messages cimport DAMAGED, KEPT, NO_ROOM, READY, Messages, Taken, is_message
from fastlog.server._rate_limit cimport ORDINARY_ENTRIES, PRIORITY_ENTRIES, Bucket, RateLimit
from fastlog.server._rejects cimport DENIED, EMPTY, RATE, SCANNED, TRUNCATED, RejectedInput
from fastlog.server._rejects cimport GELF as GELF_REASON
from fastlog.server._socket cimport SOCKETS_MAX, Acks, Admission, Arena, LocalAddress
from fastlog.server._sockets cimport CALLED, CAME, Sockets

from fastlog.config import INPUTS, STAMPS
from fastlog.entry import LEVELS

cdef enum:
    # Work of one drain, in bytes scanned: some milliseconds, so that deadlines hold under any flood.
    DRAIN_BYTES = 2 << 20
    # What receiving a datagram costs, in bytes that could be scanned instead.
    DATAGRAM_COST_BYTES = 256
    # To receive bytes that are not scanned costs a quarter of what it costs to scan them.
    COPY_COST_SHIFT = 2
    # Lines that are worth a flush in any case: larger writes cost the file system no less for each line.
    WRITE_BYTES = 512 << 10
    # How long entries still gather when they are enough for a flush, in nanoseconds: too short for a reader of the file
    # to notice, and long enough for a few bursts. The drain ends with the next burst, or PAUSE_NS later at the latest.
    GATHER_NS = 200_000_000
    # How long a drain waits for the next datagram, in nanoseconds: a longer pause is left to the loop.
    PAUSE_NS = 50_000_000
    # Rejected pieces of a message that was packed or in chunks; then the rest of it is one piece. Lines of a message
    # are longer than 64 bytes on average, or it is made to cost much: a datagram of 300 bytes can hold 100,000 pieces.
    REJECTED_PIECES_MAX = 4096
    # In place of a slot: nobody has asked yet who sent its datagrams.
    NO_SLOT = 0xffffffff
    # How long priority entries that may be handed over wait for the next burst, in nanoseconds: that wakes us anyway.
    PRIORITY_SLACK_NS = 2_000_000

cpdef enum:
    # The same bytes without a timestamp, from the same address and port, are a retransmission for so long after they
    # last came, in milliseconds: longer than a sender pauses between two attempts. Later, a program with the same bytes
    # to send has started anew.
    RETRANSMIT_MS = 60_000

cpdef enum:
    # In place of a socket's descriptor: the drain takes only what the arena holds; it takes from all sockets.
    NO_SOCKET = -1
    ALL_SOCKETS = -2

cpdef enum:
    # Why a drain ended: nothing waits in the sockets; what was taken must be handed on first; enough for one turn; a
    # socket is broken, which Python sees as an OSError.
    DRAINED, FULL, TURN_OVER, SOCKET_FAILED

# For Python: a .pxd without a module cannot export its constants.
globals().update(DATAGRAM_OVERHEAD_BYTES=DATAGRAM_OVERHEAD_BYTES, SOCKETS_MAX=SOCKETS_MAX)


cdef class Intake:
    """Receives, scans and buffers.

    `datagram_max`: bytes of the largest datagram taken. `priority`: the levels that owe an ACK, a subset of
    `entry.LEVELS`. `admission`: who may send; what others send is counted, and neither scanned nor noted.
    `flush_count`: entries in the line buffer that are to be handed over. `inputs`: the formats that are taken, a subset
    of `config.INPUTS`. `stamp`: one of `config.STAMPS`. `syslog_zone`: as in SYSLOG_ZONE.
    `limit`: how much of each host is taken; None: all of it.
    """

    def __cinit__(
        self,
        size_t datagram_max,
        priority,
        Admission admission not None,
        uint64_t flush_count=1,
        inputs=INPUTS,
        stamp="never",
        syslog_zone="",
        RateLimit limit=None,
    ):
        self.datagram_max = datagram_max
        self.flush_count = flush_count
        self.admission = admission
        self.arena = Arena()
        self.sockets = Sockets(self.arena)
        self.lines = LineBuffer()
        self.acks = Acks()
        self.acks.arena = self.arena
        self.stored = StoredHashes()
        self.limit = RateLimit() if limit is None else limit
        self.is_limited = self.limit.on
        self.rejects = RejectedInput()
        self.zone = ZonePeriods(syslog_zone)
        self.ledger = Ledger(os.urandom(16))
        self.messages = Messages(self.rejects)
        self.scratch = <uint8_t *>malloc(converted_room(MESSAGE_MAX_BYTES))
        if self.scratch == NULL:
            raise MemoryError
        for level in priority:
            self.is_priority[LEVELS.index(level)] = True
        for name in inputs:
            self.takes[INPUTS.index(name)] = True
        self.stamping = <Stamping><int>STAMPS.index(stamp)

    def __dealloc__(self):
        free(self.scratch)

    def wait_for_more(self, unsigned int longest_usec, size_t receive_buffer, watched):
        """From now on drains wait up to `longest_usec` for more datagrams, and no longer than a receive buffer of that
        many bytes allows. A file descriptor in `watched` that becomes readable ends the wait."""
        self.sockets.watch(watched)
        self.pace.longest_ns = <int64_t>longest_usec * 1000
        self.pace.room_bytes = receive_buffer / 2

    def listen(self, fds):
        """From now on datagrams come from the sockets with these descriptors, which have numbers in this order."""
        self.sockets.listen(fds, self.counted.datagrams)
        self.acks.unix_sockets = 0

    def is_unix(self, unsigned int number, bint hurries):
        """The socket of that number is a unix socket; whether its senders are held up if a drain waits for more."""
        self.sockets.places[number].is_unix, self.sockets.places[number].hurries = True, hurries
        self.acks.unix_sockets |= <uint32_t>1 << number

    def rest(self, unsigned int number, bint rests):
        """Whether the socket of that number is not asked for datagrams for the moment."""
        self.sockets.places[number].rests = rests

    @property
    def datagrams_by_socket(self):
        """Datagrams so far of each socket, in the order of their numbers."""
        self.sockets.begin_burst(self.sockets.now, self.counted.datagrams)
        return [self.sockets.places[i].datagrams for i in range(self.sockets.count)]

    def drain(self, int fd, double until=0.0, double priority_from=0.0):
        """Takes datagrams from the socket `fd`, or from ALL_SOCKETS in turn, until none waits (DRAINED), there is no
        room for more (FULL), or it has scanned enough for a turn (TURN_OVER). Raises OSError if a socket failed, whose
        number is `failed` then.

        Up to `until` it also waits for more datagrams, until there is enough to hand over: FLUSH_COUNT entries, or a
        priority entry for which no ACK is owed. It waits here rather than in Python, so that a burst costs no turn of
        the interpreter. An entry for which an ACK is owed ends that, though not before `priority_from`, and so does a
        watched file descriptor. Both times are seconds of the monotonic clock.
        """
        cdef int status
        if fd >= 0 and not (self.sockets.count == 1 and self.sockets.places[0].fd == fd):
            self.listen([fd])
        with nogil:
            status = self.gather(fd != NO_SOCKET, nanoseconds(until), nanoseconds(priority_from))
        if status == SOCKET_FAILED:
            raise OSError(self.failure, os.strerror(self.failure))
        return status

    def clear_priority(self):
        """The priority entries that wait are handed over."""
        self.priority_waits = self.unawaited_waits = False

    @property
    def priority_since(self):
        """A lower bound for the arrival time of the oldest waiting entry whose ACK is owed (seconds, monotonic)."""
        return self.priority_since_ns / 1e9

    @property
    def unawaited_since(self):
        """The same for the oldest waiting priority entry for which no ACK is owed."""
        return self.unawaited_since_ns / 1e9

    cdef int gather(self, bint receives, int64_t until_ns, int64_t priority_from_ns) noexcept nogil:
        cdef int64_t now = monotonic_ns(), began, wait = 0
        cdef int64_t end_ns = until_ns  # the latest end
        cdef int64_t due_ns = until_ns  # from here on it ends with the next burst
        cdef uint64_t before
        cdef bint enough = False, waited_before, unawaited_before
        cdef int status
        while True:
            began = now
            if wait == 0 and should_yield(&self.pace, now, end_ns):
                sched_yield()
            before = self.counted.datagrams
            waited_before, unawaited_before = self.priority_waits, self.unawaited_waits
            status = self.receive_and_scan(receives)
            now = monotonic_ns()
            if wait == 0:
                note_woken(&self.pace, now, self.counted.datagrams, self.counted.bytes)
            if self.priority_waits:
                due_ns = min(due_ns, priority_from_ns)
                end_ns = min(end_ns, priority_from_ns + PRIORITY_SLACK_NS)
                if not waited_before:
                    self.priority_since_ns = began
            if self.unawaited_waits and not unawaited_before:
                self.unawaited_since_ns = began
            if not enough and (self.unawaited_waits or self.lines.entries >= self.flush_count):
                enough = True
                due_ns = min(due_ns, now + GATHER_NS)
            if status != DRAINED or self.lines.size >= WRITE_BYTES or now >= due_ns or self.limit.has_news:
                return status
            wait = wait_ns(&self.pace, now, end_ns, self.counted.datagrams - before) if wait == 0 else 0
            if wait > 0:
                if self.sockets.wait(wait, False) == CALLED:
                    return status
            elif self.sockets.wait(min(end_ns - now, <int64_t>PAUSE_NS), receives) != CAME:
                return status
            now = monotonic_ns()

    cdef int receive_and_scan(self, bint receives) noexcept nogil:
        cdef size_t scanned = 0
        cdef int got
        while True:
            while self.here.slot < self.arena.filled:
                if scanned > DRAIN_BYTES:
                    return TURN_OVER
                if self.here.at == NULL:
                    self.begin_datagram()
                if not self.scan_datagram(&scanned):
                    return FULL
                if self.is_limited:
                    self.limit.end()
                self.here.at = NULL
                if self.here.end == self.arena.datagram(self.here.slot) + self.arena.size(self.here.slot):
                    self.here.slot += 1
                    self.here.end = NULL
            if self.rejects.note_count:  # they point into the arena
                return FULL
            if self.sockets.took_all:
                self.sockets.took_all = False
                return DRAINED
            if scanned > DRAIN_BYTES:
                return TURN_OVER
            got = self.sockets.receive(self.counted.datagrams) if receives else -1
            if got == -1:
                return DRAINED
            if got < 0:
                self.failure = errno
                self.failed = self.sockets.now
                return SOCKET_FAILED
            self.here.slot = 0
            self.now_ms = monotonic_ns() // 1_000_000
            self.receipt.unix_usec = 0
            self.receipt_slot = NO_SLOT

    cdef inline void begin_datagram(self) noexcept nogil:
        """Finds the next datagram of the slot, which holds several where the kernel hands them over coalesced."""
        cdef const uint8_t *slot_start = self.arena.datagram(self.here.slot)
        cdef size_t size = self.arena.size(self.here.slot)
        self.here.start = slot_start if self.here.end == NULL else self.here.end
        self.here.end = self.here.start + min(
            self.arena.segment_size(self.here.slot), <size_t>(slot_start + size - self.here.start)
        )

    cdef bint scan_datagram(self, size_t *scanned) noexcept nogil:
        """Scans the current datagram from where the last call stopped. False: there is no room for its next piece."""
        cdef const uint8_t *start = self.here.start
        cdef const uint8_t *end = self.here.end
        cdef size_t size = min(<size_t>(end - start), self.datagram_max)
        cdef Piece *piece = &self.piece
        if self.here.at == NULL:
            self.here.at = self.here.text = start
            self.here.text_end = start + size
            begin(piece, self.takes[<int>GELF])
            self.here.piece_seen = False
            self.here.rejected = 0
            self.counted.datagrams += 1
            self.counted.bytes += size
            scanned[0] += DATAGRAM_COST_BYTES
            # First, so that forged addresses of networks that may not send take no place of the limit's.
            if not self.admission.admits(&self.arena.senders[self.here.slot]):
                scanned[0] += size >> COPY_COST_SHIFT
                self.rejects.count(DENIED)
                return True
            if self.is_limited and not self.limit.admits(&self.arena.senders[self.here.slot], size, self.now_ms):
                scanned[0] += size >> COPY_COST_SHIFT
                self.rejects.count(RATE)
                return True
        if size < <size_t>(end - start) or self.arena.is_unclear(self.here.slot):
            return self.reject_whole(TRUNCATED)
        if start != end and start[0] != c'{':
            return self.scan_other(scanned)
        return self.scan_pieces(scanned)

    cdef bint scan_other(self, size_t *scanned) noexcept nogil:
        """Scans a datagram that does not begin like an entry. False: there is no room."""
        cdef const uint8_t *start = self.here.start
        cdef const uint8_t *end = self.here.end
        if self.here.text != start:  # it was packed or in chunks, and there was no room for all of it
            return self.scan_message(scanned)
        if self.takes[<int>SYSLOG] and is_syslog(start, end):
            self.piece.start, self.piece.end = start, end
            scanned[0] += end - start
            return self.store_converted(SYSLOG, start, end)
        if (self.takes[<int>JSON] or self.takes[<int>GELF]) and is_message(start, end):
            return self.scan_message(scanned)
        return self.scan_pieces(scanned)

    cdef bint scan_message(self, size_t *scanned) noexcept nogil:
        """Scans what is packed in the datagram, or the message that it completes: entries and GELF objects, and nothing
        else. False: there is no room for the next one."""
        cdef Position *here = &self.here
        cdef Taken taken
        if here.text == here.start and is_chunk(here.start, here.end):
            taken = self.messages.take_chunk(&self.arena.senders[here.slot], self.now_ms, &here.text, &here.text_end)
            scanned[0] += self.messages.cost_bytes
            if taken == DAMAGED:
                return self.reject_whole(GELF_REASON)
            if taken != READY:
                return taken == KEPT
            here.at = here.text
        if self.messages.is_to_unpack(here.text, here.text_end):
            taken = self.messages.unpack(&here.text, &here.text_end)
            scanned[0] += self.messages.cost_bytes
            if taken == NO_ROOM or taken == DAMAGED and not self.reject_whole(GELF_REASON):
                return False
            if taken == DAMAGED:
                if self.is_limited:  # what was unpacked costs more than what came
                    self.limit.take(ORDINARY_ENTRIES, self.messages.cost_bytes)
                return True
            here.at = here.text
        if here.text == here.text_end or here.text[0] not in (c'{', c' ', c'\t', c'\r', c'\n'):
            return self.reject_whole(GELF_REASON)
        return self.scan_pieces(scanned)

    cdef bint scan_pieces(self, size_t *scanned) noexcept nogil:
        """Scans entries and GELF objects from where the last call stopped. False: there is no room for the next one."""
        cdef const uint8_t *end = self.here.text_end
        cdef Piece *piece = &self.piece
        cdef bint has_room
        while next_piece(self.here.at, end, piece):
            if piece.reason == ACCEPTED:
                has_room = self.store_entry(piece) if self.takes[<int>JSON] else self.reject(SCANNED + <int>SYNTAX)
            elif piece.is_gelf and self.takes[<int>GELF]:
                has_room = self.store_converted(GELF, piece.start, piece.end)
            else:
                if self.here.rejected == REJECTED_PIECES_MAX:
                    return self.reject_rest()
                has_room = self.reject(SCANNED + <int>piece.reason)
                self.here.rejected += has_room and self.here.text != self.here.start
            if not has_room:
                return False
            scanned[0] += piece.next - self.here.at
            self.here.at = piece.next
            self.here.piece_seen = True
        if not self.here.piece_seen:
            piece.start = piece.end = self.here.text
            return self.reject(EMPTY)
        return True

    cdef bint store_converted(self, Input input, const uint8_t *p, const uint8_t *end) noexcept nogil:
        """Stores the entry that a message of another format means. False: there is no room for its line or its note."""
        cdef const Receipt *receipt = self.receipt_here()
        cdef uint8_t *to = self.lines.room(converted_room(end - p), False)
        cdef uint8_t *line
        cdef size_t size
        cdef Level level
        cdef Reason reason
        if to == NULL:
            to = self.scratch
        if input == SYSLOG:
            size = syslog_line(p, end, receipt, &self.zone.zone, to, &level)
        else:
            size = gelf_line(p, end, receipt, to, &level, &reason)
            if size == 0:
                return self.reject(SCANNED + <int>reason)
        if size > LINE_MAX_BYTES + 1:  # with its line feed
            return self.reject(TRUNCATED)
        if self.is_limited and not self.limit.has(self.bucket_of(level)):
            self.rejects.count(RATE)
            return True
        self.piece.level, self.piece.has_sequence = level, False
        line = self.lines.room(size, self.is_priority[<int>level])
        if line == NULL and not self.discard(&self.piece):
            return False
        self.counted.inputs[<int>input] += 1
        if line == NULL:
            return True
        if line != to:
            memcpy(line, to, size)
        self.keep(&self.piece, line, size)
        return True

    cdef bint store_entry(self, const Piece *piece) noexcept nogil:
        """False: there is no room in the line buffer."""
        cdef size_t size
        cdef uint8_t *line
        cdef unsigned int words = words_for(piece, self.stamping)
        cdef bint is_priority = self.is_priority[<int>piece.level]
        if self.is_limited and not self.limit.has(self.bucket_of(piece.level)):
            self.rejects.count(RATE)
            return True
        if words or (piece.has_stamp_key and (is_priority or self.stamping != STAMP_NEVER)):
            return self.store_stamped(piece, words)
        size = stored_size(piece)
        line = self.lines.room(size, is_priority)
        if line == NULL:
            return self.discard(piece)
        store(piece, line)
        self.keep(piece, line, size)
        return True

    cdef bint store_stamped(self, const Piece *piece, unsigned int words) noexcept nogil:
        """Stores an entry that gets words of the server, or has keys that could be taken for them. It is known again by
        its renamed form, without these words: the same whenever it comes, and whatever STAMP is."""
        cdef bint is_priority = self.is_priority[<int>piece.level]
        cdef size_t size = store_renamed(piece, self.scratch) if piece.has_stamp_key else stored_size(piece)
        cdef uint8_t *line
        cdef int kind
        if size + <size_t>STAMP_ROOM > LINE_MAX_BYTES:  # it was packed
            return self.reject(TRUNCATED)
        line = self.lines.room(size + <size_t>STAMP_ROOM, is_priority)
        if line == NULL:
            return self.discard(piece)
        if piece.has_stamp_key:
            memcpy(line, self.scratch, size)
        else:
            store(piece, line)
        self.count(piece)
        kind = self.kind_of(piece, line, size)
        if kind == DUPLICATE:
            return True
        if words:
            size = add_words(line, size, words, self.receipt_here())
        elif self.stamping == STAMP_NEVER:
            size = store(piece, line)  # as it came
        self.lines.keep(size, <Kind>kind)
        return True

    cdef bint discard(self, const Piece *piece) noexcept nogil:
        """There is no room for the line of an entry, which is lost if the disk refuses lines. False: it is not."""
        if self.is_priority[<int>piece.level] or not self.lines.discards:
            return False
        self.count(piece)
        self.lines.discarded += 1
        return True

    cdef inline void keep(self, const Piece *piece, const uint8_t *line, size_t size) noexcept nogil:
        """The entry's line, which was written to the line buffer, stays there unless it is a duplicate."""
        cdef int kind
        self.count(piece)
        kind = self.kind_of(piece, line, size)
        if kind != DUPLICATE:
            self.lines.keep(size, <Kind>kind)

    cdef inline int kind_of(self, const Piece *piece, const uint8_t *line, size_t size) noexcept nogil:
        """What kind of line the entry has, or DUPLICATE."""
        if not self.is_priority[<int>piece.level]:
            return ORDINARY
        if not piece.has_sequence or has_no_address(&self.arena.senders[self.here.slot]):
            self.unawaited_waits = True
            return UNAWAITED
        return AWAITED if self.is_new(piece, line, size) else DUPLICATE

    cdef const Receipt *receipt_here(self) noexcept nogil:
        """When the current datagram came, and from whom: found out when it is asked for first."""
        cdef AddressKey sender
        if self.receipt.unix_usec == 0:
            note_time(&self.receipt)
        if self.receipt_slot != self.here.slot:
            sender = key_of(&self.arena.senders[self.here.slot])
            if self.receipt.source_size == 0 or not is_same(&sender, &self.receipt_sender):
                note_source(&self.receipt, &sender)
                self.receipt_sender = sender
            self.receipt_slot = self.here.slot
        return &self.receipt

    cdef bint is_new(self, const Piece *piece, const uint8_t *line, size_t size) noexcept nogil:
        """Whether a priority entry with a sequence is to be stored; its ACK is owed either way."""
        cdef const Address *sender = &self.arena.senders[self.here.slot]
        cdef AddressKey address
        cdef LocalAddress asked
        cdef StoredEntry *before
        cdef uint64_t hash, number
        self.priority_waits = True
        size -= <size_t>LINE_END_BYTES  # so that a line has the same hash with words of the server at its end
        if has_timestamp(piece):
            hash = self.stored.hash(line, size)
        else:
            address = key_of(sender)
            hash = self.stored.hash_with_sender(line, size, &address)
        before = self.stored.find(hash)
        if before != NULL and not has_timestamp(piece) and self.now_ms - before.seen_ms > RETRANSMIT_MS:
            before = NULL
        if before == NULL:
            number = self.stored.add(hash, self.now_ms)
        else:
            number = self.stored.number_of(before)
            before.seen_ms = self.now_ms
            self.counted.duplicates += 1
        if sender.any.sa_family == AF_UNIX and not self.arena.keep_sender(self.here.slot):
            return before == NULL  # there is no memory for its address
        asked = self.arena.asked(self.here.slot)
        self.acks.owe(piece.sequence, number, sender, &asked, self.sockets.now)
        return before == NULL

    cdef inline void count(self, const Piece *piece) noexcept nogil:
        if self.is_limited:
            self.limit.take(self.bucket_of(piece.level), 0)
        self.counted.levels[<int>piece.level] += 1
        self.ledger.saw(&self.arena.senders[self.here.slot], piece.has_sequence, piece.sequence, self.now_ms)

    cdef bint reject(self, int reason) noexcept nogil:
        """Rejects the current piece. False: there is no room for its note."""
        cdef size_t size = self.here.text_end - self.here.text
        if self.here.text != self.here.start:
            self.messages.is_noted = True
        if self.is_limited and not self.limit.has(ORDINARY_ENTRIES):
            self.rejects.count(RATE)
            return True
        if not self.rejects.add(reason, &self.piece, &self.arena.senders[self.here.slot], self.here.text, size):
            return False
        if self.is_limited:
            self.limit.take(ORDINARY_ENTRIES, self.piece.end - self.piece.start)
        return True

    cdef inline Bucket bucket_of(self, Level level) noexcept nogil:
        return PRIORITY_ENTRIES if self.is_priority[<int>level] else ORDINARY_ENTRIES

    cdef bint reject_whole(self, int reason) noexcept nogil:
        """Rejects all of the text. False: there is no room for its note."""
        self.piece.start, self.piece.end = self.here.text, self.here.text_end
        return self.reject(reason)

    cdef bint reject_rest(self) noexcept nogil:
        """Rejects what is left of the text, from the current piece on. False: there is no room for the note."""
        self.piece.end = self.here.text_end
        return self.reject(GELF_REASON)

    def take_acks(self, Acks empty not None):
        """Returns the ACKs owed so far; from now on they gather in `empty`."""
        cdef Acks taken = self.acks
        empty.arena, empty.unix_sockets = taken.arena, taken.unix_sockets
        self.acks = empty
        return taken

    def remember(self, const uint8_t[::1] lines not None):
        """The priority entries in these whole lines of a log file are stored: retransmissions of those with a timestamp
        are duplicates. Each line is scanned by itself, since another program may have written the one behind it."""
        cdef uint8_t nothing = 0  # stands for the bytes of no lines: C allows no arithmetic on NULL
        cdef const uint8_t *p = &lines[0] if lines.shape[0] else &nothing
        cdef const uint8_t *end = p + lines.shape[0]
        cdef const uint8_t *feed
        cdef Piece piece
        with nogil:
            while True:
                feed = <const uint8_t *>memchr(p, c"\n", end - p)
                if feed == NULL:
                    break
                begin(&piece, False)
                if next_piece(p, feed, &piece) and piece.reason == ACCEPTED and piece.end == feed:
                    if self.is_priority[<int>piece.level] and piece.has_sequence and has_timestamp(&piece):
                        self.remember_entry(&piece)
                p = feed + 1

    cdef void remember_entry(self, const Piece *piece) noexcept nogil:
        """An entry with words of the server is known by what stands before them. But while STAMP is `never`, a sender's
        own keys look the same, so such an entry is also known by its renamed form."""
        cdef const uint8_t *end = unstamped_end(piece.start, piece.end)
        cdef uint8_t *form
        if piece.has_stamp_key:
            form = self.lines.room(renamed_room(piece), True)  # it is empty at the start, and nothing is kept
            if form != NULL:
                self.remember_form(form, store_renamed(piece, form) - <size_t>LINE_END_BYTES)
            if end == piece.end - 1:
                return
        self.remember_form(piece.start, end - piece.start)

    cdef inline void remember_form(self, const uint8_t *form, size_t size) noexcept nogil:
        self.stored.add(self.stored.hash(form, size), self.now_ms)

    def forget(self, uint64_t first, uint64_t count):
        """These priority entries, from number `first` on, are stored nowhere after all. Their ACKs are not owed any
        more, and what comes again is new."""
        self.stored.forget(first, count)
        self.acks.forget(first, count)

    @property
    def priority_entries(self):
        """Priority entries so far that were to be stored and acknowledged: the number of the next one."""
        return self.stored.added

    @property
    def received(self):
        """Valid entries so far, by level."""
        return {name: self.counted.levels[i] for i, name in enumerate(LEVELS)}

    @property
    def received_by_input(self):
        """Valid entries so far, by the format that they came in."""
        cdef uint64_t syslog = self.counted.inputs[<int>SYSLOG], gelf = self.counted.inputs[<int>GELF]
        return {"json": self.total_received - syslog - gelf, "syslog": syslog, "gelf": gelf}

    @property
    def total_received(self):
        """Valid entries so far."""
        cdef unsigned int i
        cdef uint64_t total = 0
        for i in range(<unsigned int>LEVEL_COUNT):
            total += self.counted.levels[i]
        return total

    @property
    def datagrams(self):
        return self.counted.datagrams

    @property
    def datagram_bytes(self):
        return self.counted.bytes

    @property
    def duplicates(self):
        """Priority entries that came again: acknowledged again, and not stored again."""
        return self.counted.duplicates
