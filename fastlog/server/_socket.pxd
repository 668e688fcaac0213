# The C side of the socket: the arena that one recvmmsg call fills, the ACKs that one sendmmsg call sends, and the
# networks that may send.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cimport cython

from fastlog._linux cimport MSG_CTRUNC, MSG_TRUNC, cmsghdr, iovec, mmsghdr, msghdr
from fastlog.server._address cimport Address
from fastlog.server._unix cimport UnixName, UnixNames

cdef enum:
    # Room for what Linux reports with a datagram. What any socket may ask for comes first (at most 200 bytes: time
    # stamps, drops, mark, priority), then the size of coalesced datagrams (24), then the address that was asked (40 of
    # IPv6, 32 of IPv4). So nothing that is needed is cut, whatever the options of a socket that was handed over.
    CONTROL_ROOM_BYTES = 320

cdef union Control:
    cmsghdr header  # for its alignment
    uint8_t room[CONTROL_ROOM_BYTES]

# An address of this host, or none. An IPv4 address has its IPv6 form, none is all zeros, and `interface` is 0 unless
# the address is link-local.
cdef struct LocalAddress:
    uint8_t ipv6[16]
    uint32_t interface

cdef inline bint is_none(const LocalAddress *local) noexcept nogil:
    cdef unsigned int i
    for i in range(16):
        if local.ipv6[i]:
            return False
    return True


@cython.final
cdef class Arena:
    # One slot for each message of a burst: a datagram, or several of one sender that the kernel hands over coalesced
    # (UDP_GRO). Owned by this object; a slot's bytes are good until the next `receive`.
    cdef uint8_t *slots
    cdef size_t stride, slots_bytes
    cdef unsigned int slot_count
    cdef mmsghdr *messages
    cdef iovec *vectors
    cdef Address *senders
    # The addresses of senders at a unix socket, if they have one, as the kernel writes them; and those kept for ACKs.
    cdef UnixName *names
    cdef UnixNames kept
    # Whether the slots are prepared for a unix socket.
    cdef bint is_for_unix
    # What the kernel reports with a slot: the size of each datagram, if they came coalesced; the address that they were
    # sent to, if the socket is bound to none; and whatever else the socket's options ask for.
    cdef Control *controls
    # Slots that the last `receive` filled.
    cdef unsigned int filled

    # Fills slots from the socket, which is a unix socket or one of UDP. Returns their number, -1 if no datagram waits,
    # or -2 if the call failed (errno).
    cdef int receive(self, int fd, bint is_unix) noexcept nogil
    cdef void prepare(self, bint is_unix) noexcept nogil
    # Makes the sender of what the kernel reports with a slot of a unix socket.
    cdef void note_unix_sender(self, unsigned int slot) noexcept nogil
    # Keeps the address of the slot's sender for ACKs. False: it has none.
    cdef bint keep_sender(self, unsigned int slot) noexcept nogil
    cdef const uint8_t *datagram(self, unsigned int slot) noexcept nogil
    cdef size_t size(self, unsigned int slot) noexcept nogil
    # Bytes of each datagram in the slot by the kernel's report; 0 if there is none.
    cdef size_t reported_segment_size(self, unsigned int slot) noexcept nogil
    # The address of this host that the slot's datagrams were sent to. If they were sent to many hosts (multicast,
    # broadcast), the one to answer from, or none; none also if it is not known. Then an ACK may leave from any.
    cdef LocalAddress asked(self, unsigned int slot) noexcept nogil

    # Bytes of each datagram in the slot, the last of which may be shorter; the slot's size if it holds one datagram.
    cdef inline size_t segment_size(self, unsigned int slot) noexcept nogil:
        cdef size_t reported = self.reported_segment_size(slot) if self.messages[slot].msg_hdr.msg_controllen else 0
        return reported if reported else self.messages[slot].msg_len

    # Whether nobody can say what the datagram was: the slot is shorter, or may hold several, which the kernel had no
    # room to report.
    cdef inline bint is_unclear(self, unsigned int slot) noexcept nogil:
        cdef int flags = self.messages[slot].msg_hdr.msg_flags & (MSG_CTRUNC | MSG_TRUNC)
        return flags and (flags & MSG_TRUNC or self.reported_segment_size(slot) == 0)

cdef enum:
    # Sockets that the server receives from, at the most: sets of them are bits of 32 (limits.SOCKETS_MAX).
    SOCKETS_MAX = 32

cdef struct Ack:
    uint64_t sequence
    # The number of the priority entry that it is for (_duplicates.pxd).
    uint64_t number
    Address to
    LocalAddress source
    # The number of the socket that the entry came to, which its ACK leaves by.
    uint32_t socket

cdef class Acks:
    # ACKs owed for entries that are not durable yet. Owned by this object.
    cdef Ack *owed
    # The sockets that they leave by, a bit for each; and which of them are unix sockets.
    cdef uint32_t sockets
    cdef uint32_t unix_sockets
    # The arena that keeps the addresses of senders at those.
    cdef Arena arena
    cdef unsigned int capacity
    cdef readonly unsigned int count
    # ACKs handed to the network; ACKs not sent since there was no room, or the address cannot be reached.
    cdef readonly uint64_t sent, dropped

    cdef bint make_room(self, unsigned int more) noexcept nogil
    # If there is no room, the ACK is dropped, and its sender retransmits. It leaves by the socket of that number, and
    # from `source`, if there is one.
    cdef void owe(
        self, uint64_t sequence, uint64_t number, const Address *to, const LocalAddress *source, uint32_t socket
    ) noexcept nogil
    # Sends those that leave by this socket.
    cdef void send_by(self, uint32_t socket, int fd) noexcept nogil
    cdef void send_by_unix(self, uint32_t socket, int fd) noexcept nogil
    # Sends these messages, one ACK or more each; so many bytes of their control messages name the address to send from.
    # False: the socket takes no more now, and the rest of them is dropped.
    cdef bint send_messages(
        self, int fd, mmsghdr *messages, const size_t *source_bytes, unsigned int count
    ) noexcept nogil
    cdef bint send_one_by_one(self, int fd, msghdr *together, size_t source_bytes) noexcept nogil

# A network in its IPv6 form, also for IPv4, so that one comparison serves both.
cdef struct Network:
    uint64_t high, low
    uint64_t high_mask, low_mask

cdef class Admission:
    # The networks that may send; if there are none, everybody may. Owned by this object.
    cdef Network *networks
    cdef unsigned int count

    cdef bint admits(self, const Address *sender) noexcept nogil
