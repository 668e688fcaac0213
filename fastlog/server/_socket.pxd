# The C side of the socket: the arena that one recvmmsg call fills, the ACKs that one sendmmsg call sends, and the
# networks that may send.

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
    # What the kernel reports with a slot: the size of each datagram, if they came coalesced.
    cdef Control *controls
    # Slots that the last `receive` filled.
    cdef unsigned int filled

    # Fills slots from the socket. Returns their number, -1 if no datagram waits, or -2 if the call failed (errno).
    cdef int receive(self, int fd) noexcept nogil
    cdef const uint8_t *datagram(self, unsigned int slot) noexcept nogil
    cdef size_t size(self, unsigned int slot) noexcept nogil
    # Bytes of each datagram in the slot, the last of which may be shorter; the slot's size if it holds one datagram.
    cdef size_t segment_size(self, unsigned int slot) noexcept nogil

cdef struct Ack:
    uint64_t sequence
    # The number of the priority entry that it is for (_duplicates.pxd).
    uint64_t number
    Address to
    socklen_t to_size

cdef class Acks:
    # ACKs owed for entries that are not durable yet. Owned by this object.
    cdef Ack *owed
    cdef unsigned int capacity
    cdef readonly unsigned int count
    # ACKs handed to the network; ACKs not sent since there was no room, or the address cannot be reached.
    cdef readonly uint64_t sent, dropped

    cdef bint make_room(self, unsigned int more) noexcept nogil
    # If there is no room, the ACK is dropped, and its sender retransmits.
    cdef void owe(self, uint64_t sequence, uint64_t number, const Address *to, socklen_t to_size) noexcept nogil
    cdef void send_all(self, int fd) noexcept nogil

# A network in its IPv6 form, also for IPv4, so that one comparison serves both.
cdef struct Network:
    uint64_t high, low
    uint64_t high_mask, low_mask

cdef class Admission:
    # The networks that may send; if there are none, everybody may. Owned by this object.
    cdef Network *networks
    cdef unsigned int count

    cdef bint admits(self, const Address *sender) noexcept nogil
