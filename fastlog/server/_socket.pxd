# What touches the socket from C: the arena that one recvmmsg call fills, and the ACKs that one sendmmsg call sends.

from libc.stdint cimport uint8_t, uint64_t

from fastlog._linux cimport cmsghdr, iovec, mmsghdr, socklen_t
from fastlog.server._address cimport Address

cdef union Control:
    cmsghdr header  # for its alignment
    uint8_t room[32]

cdef class Arena:
    # One slot for each message of a burst: a datagram, or several of one sender that the kernel hands over coalesced
    # (UDP_GRO). Owned by this object; a slot's bytes are good until the next `receive`.
    cdef uint8_t *slots
    cdef size_t stride, slots_bytes
    cdef unsigned int slot_count
    cdef mmsghdr *messages
    cdef iovec *vectors
    cdef Address *senders
    # What the kernel tells beside a datagram: the size of its parts where it is several that came coalesced.
    cdef Control *controls
    # Slots that the last call filled.
    cdef unsigned int filled

    # Fills slots from the socket: their number, -1 if none was waiting, -2 if the call failed (see errno).
    cdef int receive(self, int fd) noexcept nogil
    cdef const uint8_t *datagram(self, unsigned int slot) noexcept nogil
    cdef size_t size(self, unsigned int slot) noexcept nogil
    # Bytes of each datagram in the slot, the last one may be shorter; the slot's own size where there is just one.
    cdef size_t segment_size(self, unsigned int slot) noexcept nogil

cdef struct Ack:
    uint64_t sequence
    Address to
    socklen_t to_size

cdef class Acks:
    # Acknowledgements owed for entries that are not durable yet. Owned by this object.
    cdef Ack *owed
    cdef unsigned int capacity
    cdef readonly unsigned int count
    # Told to the network, and given up because the send buffer was full or the address would not do.
    cdef readonly uint64_t sent, dropped

    cdef bint make_room(self, unsigned int more) noexcept nogil
    # Where there is no room, the ACK is dropped: its sender asks again.
    cdef void owe(self, uint64_t sequence, const Address *to, socklen_t to_size) noexcept nogil
    cdef void send_all(self, int fd) noexcept nogil

# IPv4 networks have their IPv6 form, so that one comparison serves both.
cdef struct Network:
    uint64_t high, low
    uint64_t high_mask, low_mask

cdef class Admission:
    # The networks that may send; where there are none, everybody may. Owned by this object.
    cdef Network *networks
    cdef unsigned int count

    cdef bint admits(self, const Address *sender) noexcept nogil
