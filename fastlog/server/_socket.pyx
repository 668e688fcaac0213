# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The socket's side of the hot path: it receives a burst into memory of its own, and sends ACKs.

Every call on a socket is non-blocking. Nothing here reads the bytes of a datagram.
"""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport UINT32_MAX, UINT64_MAX, uint32_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset

from fastlog._linux cimport (
    CMSG_DATA,
    CMSG_FIRSTHDR,
    MAP_ANONYMOUS,
    MAP_FAILED,
    MAP_NORESERVE,
    MAP_PRIVATE,
    MSG_DONTWAIT,
    PROT_READ,
    PROT_WRITE,
    SOL_UDP,
    UDP_GRO,
    cmsghdr,
    mmap,
    munmap,
    recvmmsg,
    sendmmsg,
)
from fastlog.server._address cimport Address, AddressKey, ipv4_mapped, key_of

cdef enum:
    # Datagrams of one recvmmsg call: so many that the cost of the call itself is small, and so few that their bytes are
    # still in the nearest cache when they are scanned.
    SLOT_COUNT = 64
    # Bytes of a slot: neither a datagram nor coalesced datagrams are longer.
    SLOT_BYTES = 65536
    # Bytes between two slots, so that their first bytes do not all compete for the same cache lines.
    SLOT_SHIFT_BYTES = 320
    # ACKs that may wait for one sync: 13 s of nothing but priority entries at 20,000 a second. 10 MiB.
    ACKS_MAX = 1 << 18
    # Room for ACKs at first; it doubles.
    ACKS_FIRST = 1024
    # ACKs in one sendmmsg call: its arrays are on the stack.
    ACKS_PER_CALL = 64

cpdef enum:
    # The longest ACK, {"ack":true,"sequence":18446744073709551615}, and a NUL.
    ACK_ROOM_BYTES = 48


cdef class Arena:
    """Memory for one burst."""

    def __cinit__(self):
        cdef unsigned int i
        self.slot_count = SLOT_COUNT
        self.stride = SLOT_BYTES + SLOT_SHIFT_BYTES
        self.slots_bytes = self.stride * self.slot_count
        self.messages = <mmsghdr *>calloc(self.slot_count, sizeof(mmsghdr))
        self.vectors = <iovec *>calloc(self.slot_count, sizeof(iovec))
        self.senders = <Address *>calloc(self.slot_count, sizeof(Address))
        self.controls = <Control *>calloc(self.slot_count, sizeof(Control))
        if self.messages == NULL or self.vectors == NULL or self.senders == NULL or self.controls == NULL:
            raise MemoryError
        # A page takes memory only once a datagram has been written to it.
        self.slots = <uint8_t *>mmap(
            NULL, self.slots_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0
        )
        if self.slots == MAP_FAILED:
            self.slots = NULL
            raise MemoryError
        for i in range(self.slot_count):
            self.vectors[i].iov_base = self.slots + i * self.stride
            self.vectors[i].iov_len = SLOT_BYTES
            self.messages[i].msg_hdr.msg_iov = &self.vectors[i]
            self.messages[i].msg_hdr.msg_iovlen = 1
            self.messages[i].msg_hdr.msg_name = &self.senders[i]
            self.messages[i].msg_hdr.msg_namelen = sizeof(Address)
            self.messages[i].msg_hdr.msg_control = &self.controls[i]
            self.messages[i].msg_hdr.msg_controllen = sizeof(Control)

    def __dealloc__(self):
        if self.slots != NULL:
            munmap(self.slots, self.slots_bytes)
        free(self.controls)
        free(self.senders)
        free(self.vectors)
        free(self.messages)

    cdef int receive(self, int fd) noexcept nogil:
        cdef unsigned int i
        cdef int got
        for i in range(self.filled):  # the kernel overwrote their sizes
            self.messages[i].msg_hdr.msg_namelen = sizeof(Address)
            self.messages[i].msg_hdr.msg_controllen = sizeof(Control)
        self.filled = 0
        while True:
            got = recvmmsg(fd, self.messages, self.slot_count, MSG_DONTWAIT, NULL)
            if got >= 0:
                self.filled = got
                return got
            if errno == EAGAIN:
                return -1
            if errno != EINTR:
                return -2

    cdef const uint8_t *datagram(self, unsigned int slot) noexcept nogil:
        return <const uint8_t *>self.vectors[slot].iov_base

    cdef size_t size(self, unsigned int slot) noexcept nogil:
        return self.messages[slot].msg_len

    cdef size_t segment_size(self, unsigned int slot) noexcept nogil:
        cdef cmsghdr *header
        cdef int size
        if self.messages[slot].msg_hdr.msg_controllen:
            header = CMSG_FIRSTHDR(&self.messages[slot].msg_hdr)
            if header != NULL and header.cmsg_level == SOL_UDP and header.cmsg_type == UDP_GRO:
                memcpy(&size, CMSG_DATA(header), sizeof(size))
                if size > 0:
                    return size
        return self.messages[slot].msg_len


cdef class Acks:
    """The ACKs owed to senders, from the receipt of an entry until it is durable."""

    def __cinit__(self):
        if not self.make_room(ACKS_FIRST):
            raise MemoryError

    def __dealloc__(self):
        free(self.owed)

    cdef bint make_room(self, unsigned int more) noexcept nogil:
        cdef unsigned int capacity = max(self.capacity, <unsigned int>ACKS_FIRST)
        cdef void *moved
        while capacity < self.count + more:
            capacity *= 2
        if capacity == self.capacity:
            return True
        if capacity > ACKS_MAX:
            return False
        moved = realloc(self.owed, capacity * sizeof(Ack))
        if moved == NULL:
            return False
        self.owed = <Ack *>moved
        self.capacity = capacity
        return True

    cdef void owe(self, uint64_t sequence, uint64_t number, const Address *to, socklen_t to_size) noexcept nogil:
        if self.count == self.capacity and not self.make_room(1):
            self.dropped += 1
            return
        self.owed[self.count].sequence = sequence
        self.owed[self.count].number = number
        self.owed[self.count].to = to[0]
        self.owed[self.count].to_size = to_size
        self.count += 1

    def absorb(self, Acks others not None):
        """Takes over the ACKs that `others` owes."""
        cdef unsigned int i
        for i in range(others.count):
            self.owe(others.owed[i].sequence, others.owed[i].number, &others.owed[i].to, others.owed[i].to_size)
        others.count = 0

    def forget(self, uint64_t first, uint64_t count):
        """Drops the ACKs owed for these priority entries, from number `first` on; their senders retransmit."""
        cdef unsigned int i, kept = 0
        for i in range(self.count):
            if self.owed[i].number - first >= count:
                self.owed[kept] = self.owed[i]
                kept += 1
        self.dropped += self.count - kept
        self.count = kept

    def send(self, int fd):
        """Sends every ACK owed. ACKs that the socket does not take at once are dropped: the senders retransmit."""
        with nogil:
            self.send_all(fd)

    cdef void send_all(self, int fd) noexcept nogil:
        cdef mmsghdr messages[ACKS_PER_CALL]
        cdef iovec vectors[ACKS_PER_CALL]
        cdef char text[ACKS_PER_CALL][ACK_ROOM_BYTES]
        cdef unsigned int done = 0, size, i
        cdef int taken
        cdef Ack *ack
        memset(messages, 0, sizeof(messages))
        while done < self.count:
            size = min(self.count - done, <unsigned int>ACKS_PER_CALL)
            for i in range(size):
                ack = &self.owed[done + i]
                vectors[i].iov_base = text[i]
                vectors[i].iov_len = snprintf(
                    text[i], ACK_ROOM_BYTES, b'{"ack":true,"sequence":%llu}', <unsigned long long>ack.sequence
                )
                messages[i].msg_hdr.msg_iov = &vectors[i]
                messages[i].msg_hdr.msg_iovlen = 1
                messages[i].msg_hdr.msg_name = &ack.to
                messages[i].msg_hdr.msg_namelen = ack.to_size
            taken = sendmmsg(fd, messages, size, MSG_DONTWAIT)
            if taken > 0:
                self.sent += taken
                done += taken
            elif errno == EAGAIN:
                self.dropped += self.count - done
                break
            elif errno != EINTR:  # only this address cannot be reached
                self.dropped += 1
                done += 1
        self.count = 0


cdef class Admission:
    """`networks` are of the ipaddress module; an empty list admits everybody."""

    def __cinit__(self, networks):
        cdef Network *at
        self.networks = <Network *>calloc(max(len(networks), 1), sizeof(Network))
        if self.networks == NULL:
            raise MemoryError
        for network in networks:
            at = &self.networks[self.count]
            address, mask = int(network.network_address), int(network.netmask)
            if network.version == 4:
                at.low = ipv4_mapped(address)
                at.high_mask, at.low_mask = UINT64_MAX, (<uint64_t>UINT32_MAX << 32) | <uint32_t>mask
            else:
                at.high, at.low = address >> 64, address & UINT64_MAX
                at.high_mask, at.low_mask = mask >> 64, mask & UINT64_MAX
            self.count += 1

    def __dealloc__(self):
        free(self.networks)

    cdef bint admits(self, const Address *sender) noexcept nogil:
        cdef AddressKey key
        cdef const Network *network
        cdef unsigned int i
        if self.count == 0:
            return True
        key = key_of(sender)
        for i in range(self.count):
            network = &self.networks[i]
            if key.high & network.high_mask == network.high and key.low & network.low_mask == network.low:
                return True
        return False
