# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Puts GELF messages together from their chunks, in memory that is bounded whatever is sent.

Everything is allocated once, and takes memory when it is first used. Who needs room takes it from the sender that has
most, so a flood from one machine costs others nothing.
"""

from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy

cdef extern from "_siphash.h" nogil:
    uint64_t fl_siphash13(const uint64_t *key, const uint64_t *words, size_t count)

cdef enum:
    ADDRESS_BYTES = ADDRESS_WORDS * 8

OUTCOMES = ("bad", "repeated", "waits", "complete")


cdef inline unsigned int blocks_for(size_t size) noexcept nogil:
    return <unsigned int>((size + BLOCK_BYTES - 1) // BLOCK_BYTES)


cdef inline bint has(const Waiting *message, unsigned int number) noexcept nogil:
    return message.got[number // 64] >> (number % 64) & 1


cdef class Chunks:
    """`secret`: 16 random bytes, the key of the hash."""

    def __cinit__(self, bytes secret not None):
        cdef unsigned int i
        if len(secret) != sizeof(self.key):
            raise ValueError(f"a secret of {len(secret)} bytes instead of {sizeof(self.key)}")
        memcpy(self.key, <const char *>secret, sizeof(self.key))
        self.messages = <Waiting *>malloc(WAITING_MAX * sizeof(Waiting))
        self.memory = <uint8_t *>malloc(BLOCKS * <size_t>BLOCK_BYTES)
        self.complete = <uint8_t *>malloc(MESSAGE_MAX_BYTES)
        self.over = <Over *>calloc(OVER_MAX, sizeof(Over))
        if self.messages == NULL or self.memory == NULL or self.complete == NULL or self.over == NULL:
            raise MemoryError
        for i in range(<unsigned int>WAITING_MAX):  # the first ones are used first, so the others take no memory
            self.free_places[i] = WAITING_MAX - 1 - i
        for i in range(<unsigned int>BLOCKS):
            self.free_blocks[i] = BLOCKS - 1 - i
        self.free_place_count, self.free_block_count = WAITING_MAX, BLOCKS

    def __dealloc__(self):
        free(self.over)
        free(self.complete)
        free(self.memory)
        free(self.messages)

    cdef bint read(
        self, const uint8_t *p, const uint8_t *end, const uint64_t *address, const uint64_t *host, Chunk *chunk
    ) noexcept nogil:
        if end - p < HEADER_BYTES:
            return False
        memcpy(chunk.words, address, ADDRESS_BYTES)
        memcpy(chunk.host, host, ADDRESS_BYTES)
        memcpy(&chunk.words[ADDRESS_WORDS], p + 2, sizeof(uint64_t))
        chunk.number, chunk.count = p[10], p[11]
        chunk.part, chunk.size = p + HEADER_BYTES, end - p - HEADER_BYTES
        chunk.hash = fl_siphash13(self.key, chunk.words, ADDRESS_WORDS + 1)
        if chunk.hash == 0:
            chunk.hash = 1
        return chunk.number < chunk.count <= CHUNKS_MAX

    cdef int must_go(self, const Chunk *chunk, uint64_t now_ms) noexcept nogil:
        cdef const Waiting *message
        cdef unsigned int needed
        cdef int place = self.overdue(now_ms), sender
        if place != NOTHING:
            return place
        if self.is_over(chunk.hash, now_ms):
            return NOTHING
        place = self.find(chunk.hash)
        if place != NOTHING:
            message = &self.messages[place]
            if message.count != chunk.count or has(message, chunk.number):
                return NOTHING
            if message.size + chunk.size > MESSAGE_MAX_BYTES:
                return NOTHING
            needed = blocks_for(message.size + chunk.size) - message.block_count
        elif chunk.count == 1:
            return NOTHING
        else:
            sender = self.find_sender(chunk)
            if sender != NOTHING and self.senders[sender].messages == OF_ONE_SENDER_MAX:
                return self.oldest_of(sender)
            if self.waiting == WAITING_MAX:
                return self.oldest_of_fullest(False)
            if self.free_place_count == 0:
                return LATER
            needed = blocks_for(chunk.size)
        if needed <= self.free_block_count:
            return NOTHING
        return LATER if self.dropped_count else self.oldest_of_fullest(True)

    cdef int overdue(self, uint64_t now_ms) noexcept nogil:
        cdef int place
        if self.waiting == 0 or now_ms < self.next_due_ms:
            return NOTHING
        place = self.oldest_of(NOTHING)
        self.next_due_ms = self.messages[place].began_ms + WAIT_MS
        return place if now_ms >= self.next_due_ms else NOTHING

    cdef void drop(self, int place, uint64_t now_ms) noexcept nogil:
        # A chunk of an overdue message that comes still later must not begin it anew.
        cdef uint64_t until_ms = self.messages[place].began_ms + WAIT_MS
        self.remember(self.hashes[place], until_ms if now_ms < until_ms else now_ms + WAIT_MS)
        self.end(place)
        self.dropped[self.dropped_count] = <uint16_t>place
        self.dropped_count += 1

    cdef void release(self) noexcept nogil:
        while self.dropped_count:
            self.dropped_count -= 1
            self.give_back(self.dropped[self.dropped_count])

    cdef Outcome add(
        self, const Chunk *chunk, uint64_t now_ms, const uint8_t **text, size_t *size, int *place
    ) noexcept nogil:
        cdef Waiting *message
        self.received += 1
        place[0] = NOTHING
        if self.is_over(chunk.hash, now_ms):
            self.repeated += 1
            return REPEATED
        place[0] = self.find(chunk.hash)
        if place[0] == NOTHING:
            if chunk.count == 1:
                self.remember(chunk.hash, now_ms + WAIT_MS)
                self.completed += 1
                text[0], size[0] = chunk.part, chunk.size
                return COMPLETE
            place[0] = self.begin(chunk, now_ms)
        message = &self.messages[place[0]]
        if message.count != chunk.count:
            return BAD
        if has(message, chunk.number):
            self.repeated += 1
            return REPEATED
        if message.size + chunk.size > MESSAGE_MAX_BYTES:
            self.drop(place[0], now_ms)
            return BAD
        self.append(place[0], chunk)
        if message.got_count < message.count:
            return WAITS
        self.gather(message)
        text[0], size[0] = self.complete, message.size
        self.remember(chunk.hash, message.began_ms + WAIT_MS)
        self.end(place[0])
        self.give_back(place[0])
        self.completed += 1
        return COMPLETE

    cdef int find(self, uint64_t hash) noexcept nogil:
        cdef int i
        for i in range(WAITING_MAX):
            if self.hashes[i] == hash:
                return i
        return NOTHING

    cdef int find_sender(self, const Chunk *chunk) noexcept nogil:
        cdef int i
        for i in range(WAITING_MAX):
            if self.senders[i].messages and memcmp(self.senders[i].host, chunk.host, ADDRESS_BYTES) == 0:
                return i
        return NOTHING

    cdef int oldest_of(self, int sender) noexcept nogil:
        """The place of the oldest message of that sender, or of any for NOTHING."""
        cdef int i, oldest = NOTHING
        for i in range(WAITING_MAX):
            if self.hashes[i] and (sender == NOTHING or self.owners[i] == sender):
                if oldest == NOTHING or self.serials[i] < self.serials[oldest]:
                    oldest = i
        return oldest

    cdef int oldest_of_fullest(self, bint by_blocks) noexcept nogil:
        """The place of the oldest message of the senders that have most messages or blocks."""
        cdef const ChunkSender *sender
        cdef unsigned int most = 0, number
        cdef int i, oldest = NOTHING
        for i in range(WAITING_MAX):
            sender = &self.senders[i]
            if sender.messages:
                most = max(most, sender.blocks if by_blocks else sender.messages)
        for i in range(WAITING_MAX):
            if self.hashes[i]:
                sender = &self.senders[self.owners[i]]
                number = sender.blocks if by_blocks else sender.messages
                if number == most and (oldest == NOTHING or self.serials[i] < self.serials[oldest]):
                    oldest = i
        return oldest

    cdef int begin(self, const Chunk *chunk, uint64_t now_ms) noexcept nogil:
        cdef int place, sender = self.find_sender(chunk)
        cdef Waiting *message
        if sender == NOTHING:
            sender = 0
            while self.senders[sender].messages:  # a sender without messages has no place, so one of them is free
                sender += 1
            memcpy(self.senders[sender].host, chunk.host, ADDRESS_BYTES)
            self.senders[sender].blocks = 0
        self.senders[sender].messages += 1
        self.free_place_count -= 1
        place = self.free_places[self.free_place_count]
        message = &self.messages[place]
        message.began_ms, message.count, message.got_count = now_ms, chunk.count, 0
        message.got[0] = message.got[1] = 0
        message.size, message.block_count = 0, 0
        if self.waiting == 0:
            self.next_due_ms = now_ms + WAIT_MS
        self.hashes[place], self.serials[place], self.owners[place] = chunk.hash, self.begun, <uint16_t>sender
        self.begun += 1
        self.waiting += 1
        return place

    cdef void append(self, int place, const Chunk *chunk) noexcept nogil:
        cdef Waiting *message = &self.messages[place]
        cdef const uint8_t *p = chunk.part
        cdef size_t left = chunk.size, at, more
        message.got[chunk.number // 64] |= <uint64_t>1 << (chunk.number % 64)
        message.got_count += 1
        message.parts[chunk.number] = Span(<uint32_t>message.size, <uint32_t>chunk.size)
        while left:
            at = message.size % BLOCK_BYTES
            if at == 0:
                self.free_block_count -= 1
                message.blocks[message.block_count] = self.free_blocks[self.free_block_count]
                message.block_count += 1
                self.senders[self.owners[place]].blocks += 1
            more = min(left, BLOCK_BYTES - at)
            memcpy(self.memory + message.blocks[message.block_count - 1] * <size_t>BLOCK_BYTES + at, p, more)
            message.size += more
            self.waiting_bytes += more
            p += more
            left -= more

    cdef void gather(self, const Waiting *message) noexcept nogil:
        """Copies the parts in the order of their numbers."""
        cdef uint8_t *to = self.complete
        cdef unsigned int i
        cdef size_t at, left, more
        for i in range(message.count):
            at, left = message.parts[i].start, message.parts[i].size
            while left:
                more = min(left, BLOCK_BYTES - at % BLOCK_BYTES)
                memcpy(
                    to, self.memory + message.blocks[at // BLOCK_BYTES] * <size_t>BLOCK_BYTES + at % BLOCK_BYTES, more
                )
                to += more
                at += more
                left -= more

    cdef void end(self, int place) noexcept nogil:
        """The message waits no more; it still has its place and its blocks."""
        cdef Waiting *message = &self.messages[place]
        self.senders[self.owners[place]].messages -= 1
        self.senders[self.owners[place]].blocks -= message.block_count
        self.hashes[place] = 0
        self.waiting -= 1
        self.waiting_bytes -= message.size

    cdef void give_back(self, int place) noexcept nogil:
        cdef Waiting *message = &self.messages[place]
        while message.block_count:
            message.block_count -= 1
            self.free_blocks[self.free_block_count] = message.blocks[message.block_count]
            self.free_block_count += 1
        self.free_places[self.free_place_count] = <uint16_t>place
        self.free_place_count += 1

    cdef Over *over_place(self, uint64_t hash) noexcept nogil:
        """The place of that hash, or else the one that is to be overwritten: its memory ends first."""
        cdef Over *ways = &self.over[hash % (OVER_MAX // WAYS) * WAYS]
        cdef Over *first = ways
        cdef unsigned int i
        for i in range(<unsigned int>WAYS):
            if ways[i].hash == hash:
                return &ways[i]
            if ways[i].until_ms < first.until_ms:
                first = &ways[i]
        return first

    cdef bint is_over(self, uint64_t hash, uint64_t now_ms) noexcept nogil:
        cdef const Over *found = self.over_place(hash)
        return found.hash == hash and now_ms < found.until_ms

    cdef void remember(self, uint64_t hash, uint64_t until_ms) noexcept nogil:
        self.over_place(hash)[0] = Over(hash, until_ms)

    @property
    def due_ms(self):
        """When the oldest message that waits is overdue, in milliseconds; None: none waits."""
        cdef int place = self.oldest_of(NOTHING)
        return None if place == NOTHING else self.messages[place].began_ms + WAIT_MS

    def take(self, address, const uint8_t[::1] datagram not None, uint64_t now_ms, host=None):
        """Takes a datagram as a drain does; `host` is the address unless it is given. Returns what became of it
        (OUTCOMES), the message that it completed or None, and of each message that it made give up the beginning. The
        server does not call it."""
        cdef uint64_t words[ADDRESS_WORDS]
        cdef uint64_t host_words[ADDRESS_WORDS]
        cdef uint8_t nothing = 0  # stands for the bytes of an empty datagram: C allows no arithmetic on NULL
        cdef const uint8_t *p = &datagram[0] if datagram.shape[0] else &nothing
        cdef const uint8_t *text = NULL
        cdef size_t size = 0
        cdef int place
        cdef Chunk chunk
        cdef Outcome outcome
        given_up = []
        words[0], words[1], words[2] = address
        host_words[0], host_words[1], host_words[2] = host or address
        if not is_chunk(p, p + datagram.shape[0]) or not self.read(
            p, p + datagram.shape[0], words, host_words, &chunk
        ):
            self.received += 1
            return OUTCOMES[<int>BAD], None, given_up
        while True:
            place = self.must_go(&chunk, now_ms)
            if place == NOTHING:
                break
            given_up.append((<const char *>self.beginning(place))[:self.beginning_size(place)])
            self.drop(place, now_ms)
            self.release()
        outcome = self.add(&chunk, now_ms, &text, &size, &place)
        self.release()
        return OUTCOMES[<int>outcome], (<const char *>text)[:size] if outcome == COMPLETE else None, given_up
