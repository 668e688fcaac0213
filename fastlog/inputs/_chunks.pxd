# GELF messages in chunks, until their last chunk comes. It knows no sockets, no clock and no Python objects. chunks.py
# says the same in Python.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cimport cython

from fastlog.inputs._unpack cimport MESSAGE_MAX_BYTES

cdef enum:
    # A chunk begins with two bytes that show what it is, the message's id in 8, and the chunk's number and the number
    # of chunks in one each.
    HEADER_BYTES = 12
    # What is known of a sender's address: its words, without the port.
    ADDRESS_WORDS = 3
    # No message.
    NOTHING = -1
    # No message either, but first `release` must make room.
    LATER = -2

cpdef enum:
    # Chunks of a message: GELF's own limit.
    CHUNKS_MAX = 128
    # Messages that wait, in all and of one sender's host: complete messages come within milliseconds, so this is
    # room for several thousand messages a second, or for fifty a second of which a chunk is lost.
    WAITING_MAX = 256
    OF_ONE_SENDER_MAX = 32
    # Their parts are kept in blocks of so many bytes, and there are so many blocks: 8 MiB. So nobody can make a message
    # take more memory than its size, rounded up.
    BLOCK_BYTES = 1024
    BLOCKS = 8192
    # How long after its first chunk a message may be completed, in milliseconds: as in Graylog.
    WAIT_MS = 5000
    # Messages that are remembered when they are over, until their WAIT_MS are: 3,000 a second. 256 KiB.
    OVER_MAX = 1 << 14

cdef enum:
    MESSAGE_BLOCKS_MAX = MESSAGE_MAX_BYTES >> 10
    # Words of a bit for each chunk.
    GOT_WORDS = CHUNKS_MAX >> 6
    # Places of the table of OVER_MAX messages that one of them may have.
    WAYS = 8

cdef enum Outcome:
    # What became of a chunk. BAD: its count is not that of its message, or the message is too large. REPEATED: it came
    # before, or its message is over. WAITS: it is kept. COMPLETE: it was the last one.
    BAD, REPEATED, WAITS, COMPLETE

cdef struct Chunk:
    # Of which message: the words of the sender's address, and the id; and a keyed hash of them, which is never 0.
    uint64_t words[ADDRESS_WORDS + 1]
    uint64_t hash
    # Who shares in what may wait: all that one machine can send from.
    uint64_t host[ADDRESS_WORDS]
    unsigned int number
    unsigned int count
    # Its part of the message, perhaps empty: into the datagram.
    const uint8_t *part
    size_t size

# Where in a message's bytes, which are in the order of their arrival, a part is.
cdef struct Span:
    uint32_t start
    uint32_t size

cdef struct Waiting:
    uint64_t began_ms
    unsigned int count
    unsigned int got_count
    # A bit for each chunk that came, and its part.
    uint64_t got[GOT_WORDS]
    Span parts[CHUNKS_MAX]
    size_t size
    uint16_t blocks[MESSAGE_BLOCKS_MAX]
    unsigned int block_count

# A sender's host, and how many messages and blocks of it wait; `messages` is 0: the place is free.
cdef struct ChunkSender:
    uint64_t host[ADDRESS_WORDS]
    unsigned int messages
    unsigned int blocks

# A message that is over, by its hash, and how long that is remembered.
cdef struct Over:
    uint64_t hash
    uint64_t until_ms

# Whether these bytes begin like a chunk.
cdef inline bint is_chunk(const uint8_t *p, const uint8_t *end) noexcept nogil:
    return end - p >= 2 and p[0] == 0x1e and p[1] == 0x0f


@cython.final
cdef class Chunks:
    # For each place the hash of the message that waits there, or 0; its number in the order in which messages began;
    # and the place of its sender. They are apart from the rest, since all of them are looked at together. All memory is
    # owned by this object.
    cdef uint64_t hashes[WAITING_MAX]
    cdef uint64_t serials[WAITING_MAX]
    cdef uint16_t owners[WAITING_MAX]
    cdef Waiting *messages
    cdef ChunkSender senders[WAITING_MAX]
    cdef uint8_t *memory
    cdef uint8_t *complete
    cdef Over *over
    # Places and blocks that are free; and places that are dropped, which keep their blocks until `release`.
    cdef uint16_t free_places[WAITING_MAX]
    cdef uint16_t free_blocks[BLOCKS]
    cdef uint16_t dropped[WAITING_MAX]
    cdef unsigned int free_place_count, free_block_count, dropped_count
    # Messages and bytes of their parts that wait.
    cdef readonly unsigned int waiting
    cdef readonly size_t waiting_bytes
    # Messages that ever waited; and a time before which none of them is overdue.
    cdef uint64_t begun, next_due_ms
    # Chunks that came, repeated ones among them, and messages that were completed.
    cdef public uint64_t received
    cdef readonly uint64_t repeated, completed
    # Nobody can choose messages with the same hash without knowing this key.
    cdef uint64_t key[2]

    # Reads a datagram that `is_chunk`, from a sender with this address and host. False: it is no valid chunk.
    cdef bint read(
        self, const uint8_t *p, const uint8_t *end, const uint64_t *address, const uint64_t *host, Chunk *chunk
    ) noexcept nogil
    # The place of a message that is to be dropped before this chunk is added: it is overdue, or others need its room.
    # NOTHING: there is none. LATER: `release` comes first.
    cdef int must_go(self, const Chunk *chunk, uint64_t now_ms) noexcept nogil
    # The place of a message that is overdue, or NOTHING.
    cdef int overdue(self, uint64_t now_ms) noexcept nogil
    # Gives up a message. Its bytes, and its place, are good until `release`.
    cdef void drop(self, int place, uint64_t now_ms) noexcept nogil
    cdef void release(self) noexcept nogil
    # Adds a chunk for which nothing must go. If that completes its message, `text` and `size` say where that is: in the
    # datagram, or in memory that is good until the next message is complete. `place` is where it waits if it does.
    cdef Outcome add(
        self, const Chunk *chunk, uint64_t now_ms, const uint8_t **text, size_t *size, int *place
    ) noexcept nogil

    # What came of a message first, as far as it is in one piece: so many bytes of it are.
    cdef inline const uint8_t *beginning(self, int place) noexcept nogil:
        cdef const Waiting *message = &self.messages[place]
        return self.memory + (message.blocks[0] * <size_t>BLOCK_BYTES if message.block_count else 0)

    cdef inline size_t beginning_size(self, int place) noexcept nogil:
        return min(self.messages[place].size, <size_t>BLOCK_BYTES)

    cdef int find(self, uint64_t hash) noexcept nogil
    cdef int find_sender(self, const Chunk *chunk) noexcept nogil
    cdef int oldest_of(self, int sender) noexcept nogil
    cdef int oldest_of_fullest(self, bint by_blocks) noexcept nogil
    cdef int begin(self, const Chunk *chunk, uint64_t now_ms) noexcept nogil
    cdef void append(self, int place, const Chunk *chunk) noexcept nogil
    cdef void gather(self, const Waiting *message) noexcept nogil
    cdef void end(self, int place) noexcept nogil
    cdef void give_back(self, int place) noexcept nogil
    cdef Over *over_place(self, uint64_t hash) noexcept nogil
    cdef bint is_over(self, uint64_t hash, uint64_t now_ms) noexcept nogil
    cdef void remember(self, uint64_t hash, uint64_t until_ms) noexcept nogil
