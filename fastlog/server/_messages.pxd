# Datagrams that are packed, and messages in chunks: what of them is scanned, where that is, and until when. It knows
# neither sockets nor entries.

from libc.stdint cimport uint8_t, uint64_t

cimport cython

from fastlog.inputs._chunks cimport WAITING_MAX, Chunks, is_chunk
from fastlog.inputs._unpack cimport Unpacker, is_packed
from fastlog.server._address cimport Address
from fastlog.server._rejects cimport RejectedInput

cdef enum Taken:
    # What became of a chunk or a packed text. NO_ROOM: nothing, since notes must be taken first. DAMAGED: it is to be
    # rejected. KEPT: it waits for other chunks, or came again. READY: it is a text to scan.
    NO_ROOM, DAMAGED, KEPT, READY

# Whether these bytes begin like a message that is packed or in chunks.
cdef inline bint is_message(const uint8_t *p, const uint8_t *end) noexcept nogil:
    return is_chunk(p, end) or is_packed(p, end)


@cython.final
cdef class Messages:
    cdef readonly Chunks chunks
    cdef Unpacker unpacker
    # Where incomplete messages are noted.
    cdef RejectedInput rejects
    # For each message in chunks that waits, who sent the last one.
    cdef Address chunk_senders[WAITING_MAX]
    # A note points into the last message, so its bytes are not overwritten before the notes are taken.
    cdef bint is_noted
    # What the last call of `take_chunk` or `unpack` cost, in bytes that could be scanned instead.
    cdef size_t cost_bytes

    # Whether a text is packed: a datagram, or a message that was in chunks. What came out of it is not.
    cdef inline bint is_to_unpack(self, const uint8_t *text, const uint8_t *end) noexcept nogil:
        return text != self.unpacker.start and is_packed(text, end)

    # Takes the chunk at [text, end). READY: it completes its message, which is there from now on: in the datagram, or
    # in memory that is good until the next message is complete.
    cdef Taken take_chunk(
        self, const Address *sender, uint64_t now_ms, const uint8_t **text, const uint8_t **end
    ) noexcept nogil
    # Unpacks [text, end). READY: what came out is there from now on, until the next call.
    cdef Taken unpack(self, const uint8_t **text, const uint8_t **end) noexcept nogil

    cdef bint give_up(self, int place, uint64_t now_ms) noexcept nogil
    cdef bint may_overwrite(self) noexcept nogil
