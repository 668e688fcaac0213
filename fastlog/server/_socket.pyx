# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The socket's side of the hot path: it receives a burst into memory of its own, and sends ACKs.

Every call on a socket is non-blocking. Nothing here reads the bytes of a datagram.
"""

import os

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport UINT32_MAX, UINT64_MAX, uint16_t, uint32_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset

from fastlog._linux cimport (
    AF_INET,
    AF_UNIX,
    CMSG_DATA,
    CMSG_FIRSTHDR,
    CMSG_LEN,
    CMSG_NXTHDR,
    CMSG_SPACE,
    IP_PKTINFO,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPV6_PKTINFO,
    MAP_ANONYMOUS,
    MAP_FAILED,
    MAP_NORESERVE,
    MAP_PRIVATE,
    MSG_CMSG_CLOEXEC,
    MSG_DONTWAIT,
    MSG_TRUNC,
    PROT_READ,
    PROT_WRITE,
    SCM_CREDENTIALS,
    SCM_RIGHTS,
    SOL_SOCKET,
    SOL_UDP,
    UDP_GRO,
    UDP_SEGMENT,
    close,
    cmsghdr,
    fl_ucred,
    in6_pktinfo,
    in_pktinfo,
    mmap,
    msghdr,
    munmap,
    recvmmsg,
    sa_family_t,
    sendmmsg,
    sockaddr_in,
    sockaddr_in6,
)
from fastlog.server._address cimport Address, AddressKey, ipv4_mapped, is_ipv4, is_same, key_of
from fastlog.server._unix cimport NamePlace, UnixName, free_names, hash_of_name, keep_name, takes_several

cdef enum:
    # Datagrams of one recvmmsg call: so many that the cost of the call itself is small, and so few that their bytes are
    # still in the nearest cache when they are scanned.
    SLOT_COUNT = 64
    # Bytes of a slot: neither a datagram nor coalesced datagrams are longer.
    SLOT_BYTES = 65536
    # Bytes between two slots, so that their first bytes do not all compete for the same cache lines.
    SLOT_SHIFT_BYTES = 320
    # ACKs that may wait for one sync: 13 s of nothing but priority entries at 20,000 a second. 18 MiB.
    ACKS_MAX = 1 << 18
    # Room for ACKs at first; it doubles.
    ACKS_FIRST = 1024
    # ACKs in one sendmmsg call: its arrays are on the stack.
    ACKS_PER_CALL = 64
    # A user that the kernel does not name: (uid_t) -1.
    NO_USER = 0xffffffff

cpdef enum:
    # The longest ACK, {"ack":true,"sequence":18446744073709551615}, and a NUL.
    ACK_ROOM_BYTES = 48

# ACKs on their way out: what a message of them points to; and the text of one of them.
cdef struct Letter:
    char text[ACK_ROOM_BYTES]
    Control control


cdef inline const uint8_t *control_data(msghdr *message, int level, int kind, size_t size) noexcept nogil:
    """The data of the control message of that kind, at least `size` bytes; NULL if there is none."""
    cdef cmsghdr *header = CMSG_FIRSTHDR(message)
    while header != NULL:
        # The kernel shortens the last message that it has no room for.
        if header.cmsg_level == level and header.cmsg_type == kind and header.cmsg_len >= CMSG_LEN(size):
            return CMSG_DATA(header)
        header = CMSG_NXTHDR(message, header)
    return NULL


cdef void close_descriptors(msghdr *message) noexcept nogil:
    """Closes the descriptors that a stranger sent along, should the kernel have had room for them: another program that
    has the socket may have had its own reports left out."""
    cdef cmsghdr *header = CMSG_FIRSTHDR(message)
    cdef size_t i
    cdef int fd
    while header != NULL:
        if header.cmsg_level == SOL_SOCKET and header.cmsg_type == SCM_RIGHTS:
            for i in range((header.cmsg_len - CMSG_LEN(0)) // sizeof(fd)):
                memcpy(&fd, CMSG_DATA(header) + i * sizeof(fd), sizeof(fd))
                close(fd)
        header = CMSG_NXTHDR(message, header)


cdef class Arena:
    """Memory for one burst."""

    def __cinit__(self):
        cdef unsigned int i
        cdef bytes secret = os.urandom(sizeof(self.kept.secret))
        self.slot_count = SLOT_COUNT
        self.stride = SLOT_BYTES + SLOT_SHIFT_BYTES
        self.slots_bytes = self.stride * self.slot_count
        self.messages = <mmsghdr *>calloc(self.slot_count, sizeof(mmsghdr))
        self.vectors = <iovec *>calloc(self.slot_count, sizeof(iovec))
        self.senders = <Address *>calloc(self.slot_count, sizeof(Address))
        self.names = <UnixName *>calloc(self.slot_count, sizeof(UnixName))
        self.controls = <Control *>calloc(self.slot_count, sizeof(Control))
        if self.messages == NULL or self.vectors == NULL or self.senders == NULL or self.controls == NULL:
            raise MemoryError
        if self.names == NULL:
            raise MemoryError
        memcpy(self.kept.secret, <const char *>secret, sizeof(self.kept.secret))
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
            self.messages[i].msg_hdr.msg_control = &self.controls[i]
        self.filled = self.slot_count
        self.prepare(False)
        self.filled = 0

    def __dealloc__(self):
        if self.slots != NULL:
            munmap(self.slots, self.slots_bytes)
        free(self.controls)
        free_names(&self.kept)
        free(self.names)
        free(self.senders)
        free(self.vectors)
        free(self.messages)

    cdef int receive(self, int fd, bint is_unix) noexcept nogil:
        cdef unsigned int i
        cdef int got
        if is_unix != self.is_for_unix:
            self.filled = self.slot_count
        self.prepare(is_unix)
        self.filled = 0
        while True:
            got = recvmmsg(fd, self.messages, self.slot_count, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, NULL)
            if got >= 0:
                self.filled = got
                if is_unix:
                    for i in range(self.filled):
                        self.note_unix_sender(i)
                return got
            if errno == EAGAIN:
                return -1
            if errno != EINTR:
                return -2

    cdef inline void prepare(self, bint is_unix) noexcept nogil:
        """Tells the kernel anew what there is room for, which it overwrote in the slots that it filled."""
        cdef unsigned int i
        cdef msghdr *message
        self.is_for_unix = is_unix
        for i in range(self.filled):
            message = &self.messages[i].msg_hdr
            if is_unix:
                message.msg_name, message.msg_namelen = &self.names[i], sizeof(UnixName)
                # No more than the credentials take, so that the kernel itself closes descriptors that came along.
                message.msg_controllen = CMSG_SPACE(sizeof(fl_ucred))
            else:
                message.msg_name, message.msg_namelen = &self.senders[i], sizeof(Address)
                message.msg_controllen = sizeof(Control)

    cdef void note_unix_sender(self, unsigned int slot) noexcept nogil:
        cdef msghdr *message = &self.messages[slot].msg_hdr
        cdef Address *sender = &self.senders[slot]
        cdef const uint8_t *data = control_data(message, SOL_SOCKET, SCM_CREDENTIALS, sizeof(fl_ucred))
        cdef fl_ucred credentials
        memset(sender, 0, sizeof(Address))
        sender.local.family = AF_UNIX
        sender.local.uid = NO_USER
        sender.local.place = -1
        if data != NULL:
            memcpy(&credentials, data, sizeof(credentials))
            sender.local.pid, sender.local.uid = credentials.pid, credentials.uid
        close_descriptors(message)
        if message.msg_namelen > sizeof(sa_family_t):
            message.msg_namelen = min(message.msg_namelen, <unsigned int>sizeof(UnixName))
            sender.local.name = hash_of_name(&self.kept, &self.names[slot], message.msg_namelen)
        message.msg_controllen = 0
        message.msg_flags &= MSG_TRUNC

    cdef bint keep_sender(self, unsigned int slot) noexcept nogil:
        cdef Address *sender = &self.senders[slot]
        if sender.local.name == 0:
            return False
        sender.local.place = keep_name(
            &self.kept, &self.names[slot], self.messages[slot].msg_hdr.msg_namelen, sender.local.name
        )
        return sender.local.place >= 0

    cdef const uint8_t *datagram(self, unsigned int slot) noexcept nogil:
        return <const uint8_t *>self.vectors[slot].iov_base

    cdef size_t size(self, unsigned int slot) noexcept nogil:
        return self.messages[slot].msg_len

    cdef size_t reported_segment_size(self, unsigned int slot) noexcept nogil:
        cdef int size
        cdef const uint8_t *data = control_data(&self.messages[slot].msg_hdr, SOL_UDP, UDP_GRO, sizeof(size))
        if data == NULL:
            return 0
        memcpy(&size, data, sizeof(size))
        return size if size > 0 else 0

    cdef LocalAddress asked(self, unsigned int slot) noexcept nogil:
        cdef LocalAddress asked
        cdef in_pktinfo ipv4
        cdef in6_pktinfo ipv6
        cdef msghdr *message = &self.messages[slot].msg_hdr
        cdef const uint8_t *data = control_data(message, IPPROTO_IP, IP_PKTINFO, sizeof(ipv4))
        memset(&asked, 0, sizeof(asked))
        if data != NULL:
            memcpy(&ipv4, data, sizeof(ipv4))
            if ipv4.ipi_spec_dst.s_addr:  # the address to answer from, also where many were asked
                asked.ipv6[10] = asked.ipv6[11] = 0xff
                memcpy(&asked.ipv6[12], &ipv4.ipi_spec_dst, sizeof(ipv4.ipi_spec_dst))
            return asked
        data = control_data(message, IPPROTO_IPV6, IPV6_PKTINFO, sizeof(ipv6))
        if data != NULL:
            memcpy(&ipv6, data, sizeof(ipv6))
            if not is_multicast(&ipv6):
                memcpy(asked.ipv6, &ipv6.ipi6_addr, sizeof(ipv6.ipi6_addr))
                asked.interface = ipv6.ipi6_ifindex if is_link_local(&ipv6) else 0
        return asked


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

    cdef void owe(
        self, uint64_t sequence, uint64_t number, const Address *to, const LocalAddress *source, uint32_t socket
    ) noexcept nogil:
        if self.count == self.capacity and not self.make_room(1):
            self.dropped += 1
            return
        self.owed[self.count].sequence = sequence
        self.owed[self.count].number = number
        self.owed[self.count].to = to[0]
        self.owed[self.count].source = source[0]
        self.owed[self.count].socket = socket
        self.sockets |= <uint32_t>1 << socket
        self.count += 1

    def absorb(self, Acks others not None):
        """Takes over the ACKs that `others` owes."""
        cdef unsigned int i
        cdef Ack *ack
        for i in range(others.count):
            ack = &others.owed[i]
            self.owe(ack.sequence, ack.number, &ack.to, &ack.source, ack.socket)
        others.count = others.sockets = 0

    def forget(self, uint64_t first, uint64_t count):
        """Drops the ACKs owed for these priority entries, from number `first` on; their senders retransmit."""
        cdef unsigned int i, kept = 0
        for i in range(self.count):
            if self.owed[i].number - first >= count:
                self.owed[kept] = self.owed[i]
                kept += 1
        self.dropped += self.count - kept
        self.count = kept

    def send(self, *fds):
        """Sends every ACK owed, by the sockets with these descriptors, in the order of their numbers. ACKs that a
        socket does not take at once are dropped: the senders retransmit."""
        cdef uint32_t number
        cdef int fd
        for number, fd in enumerate(fds):
            if self.sockets >> number & 1:
                with nogil:
                    if self.unix_sockets >> number & 1:
                        self.send_by_unix(number, fd)
                    else:
                        self.send_by(number, fd)
        self.count = self.sockets = 0

    cdef void send_by(self, uint32_t socket, int fd) noexcept nogil:
        cdef mmsghdr messages[ACKS_PER_CALL]
        cdef Letter letters[ACKS_PER_CALL]
        cdef const Ack *acks[ACKS_PER_CALL]
        cdef iovec texts[ACKS_PER_CALL]
        cdef size_t source_bytes[ACKS_PER_CALL]
        cdef unsigned int at = 0, size, count, i
        cdef bint takes_more = True
        while True:
            size = 0
            while at < self.count and size < ACKS_PER_CALL:
                if self.owed[at].socket == socket:
                    acks[size] = &self.owed[at]
                    size += 1
                at += 1
            if size == 0:
                return
            if not takes_more:
                self.dropped += size
                continue
            for i in range(size):
                texts[i].iov_base = letters[i].text
                texts[i].iov_len = snprintf(
                    letters[i].text, ACK_ROOM_BYTES, b'{"ack":true,"sequence":%llu}',
                    <unsigned long long>acks[i].sequence,
                )
            count = i = 0
            while i < size:
                source_bytes[count] = write_letter(
                    &letters[count], &messages[count].msg_hdr, &acks[i], &texts[i], size - i
                )
                i += messages[count].msg_hdr.msg_iovlen
                count += 1
            takes_more = self.send_messages(fd, messages, source_bytes, count)

    cdef void send_by_unix(self, uint32_t socket, int fd) noexcept nogil:
        """A sender whose queue is full loses its ACKs, and no other sender does."""
        cdef mmsghdr message
        cdef char texts[ACKS_PER_CALL][ACK_ROOM_BYTES]
        cdef iovec pieces[ACKS_PER_CALL]
        cdef const NamePlace *place
        cdef const Ack *ack
        cdef unsigned int at = 0, together
        while at < self.count:
            ack = &self.owed[at]
            at += 1
            if ack.socket != socket:
                continue
            place = &self.arena.kept.places[ack.to.local.place]
            if place.hash != ack.to.local.name:  # another address has its place
                self.dropped += 1
                continue
            together = write_line(texts[0], &pieces[0], ack)
            while takes_several(place) and at < self.count and together < ACKS_PER_CALL:
                if self.owed[at].socket != socket or self.owed[at].to.local.name != ack.to.local.name:
                    break
                together += write_line(texts[together], &pieces[together], &self.owed[at])
                at += 1
            pieces[together - 1].iov_len -= 1  # the last line feed
            memset(&message, 0, sizeof(message))
            message.msg_hdr.msg_iov, message.msg_hdr.msg_iovlen = pieces, together
            message.msg_hdr.msg_name, message.msg_hdr.msg_namelen = <void *>&place.name, place.size
            if sendmmsg(fd, &message, 1, MSG_DONTWAIT) == 1:
                self.sent += together
            else:
                self.dropped += together

    cdef bint send_messages(
        self, int fd, mmsghdr *messages, const size_t *source_bytes, unsigned int count
    ) noexcept nogil:
        cdef unsigned int done = 0, i
        cdef int taken
        while done < count:
            taken = sendmmsg(fd, messages + done, count - done, MSG_DONTWAIT)
            if taken > 0:
                for i in range(<unsigned int>taken):
                    self.sent += messages[done + i].msg_hdr.msg_iovlen
                done += taken
            elif errno == EAGAIN:
                for i in range(done, count):
                    self.dropped += messages[i].msg_hdr.msg_iovlen
                return False
            elif errno == EINTR:
                continue
            elif messages[done].msg_hdr.msg_iovlen > 1:  # the way to this address may not allow several in one call
                if not self.send_one_by_one(fd, &messages[done].msg_hdr, source_bytes[done]):
                    for i in range(done + 1, count):
                        self.dropped += messages[i].msg_hdr.msg_iovlen
                    return False
                done += 1
            elif messages[done].msg_hdr.msg_controllen:  # perhaps this host has lost the address that was asked
                messages[done].msg_hdr.msg_control = NULL
                messages[done].msg_hdr.msg_controllen = 0
            else:  # only this ACK cannot be sent
                self.dropped += 1
                done += 1
        return True

    cdef bint send_one_by_one(self, int fd, msghdr *together, size_t source_bytes) noexcept nogil:
        """Sends each ACK of a message as a message of its own. False: the socket takes no more now."""
        cdef mmsghdr messages[ACKS_PER_CALL]
        cdef unsigned int i
        for i in range(<unsigned int>together.msg_iovlen):
            messages[i].msg_hdr = together[0]
            messages[i].msg_hdr.msg_iov = &together.msg_iov[i]
            messages[i].msg_hdr.msg_iovlen = 1
            messages[i].msg_hdr.msg_controllen = source_bytes
            if source_bytes == 0:
                messages[i].msg_hdr.msg_control = NULL
        return self.send_messages(fd, messages, NULL, together.msg_iovlen)


cdef inline unsigned int write_line(char *text, iovec *piece, const Ack *ack) noexcept nogil:
    """Writes an ACK with a line feed; returns 1."""
    piece.iov_base = text
    piece.iov_len = snprintf(
        text, ACK_ROOM_BYTES, b'{"ack":true,"sequence":%llu}\n', <unsigned long long>ack.sequence
    )
    return 1


cdef inline bint is_multicast(const in6_pktinfo *asked) noexcept nogil:
    """RFC 4291, 2.7."""
    return asked.ipi6_addr.s6_addr[0] == 0xff


cdef inline bint is_link_local(const in6_pktinfo *asked) noexcept nogil:
    """RFC 4291, 2.5.6."""
    return asked.ipi6_addr.s6_addr[0] == 0xfe and asked.ipi6_addr.s6_addr[1] & 0xc0 == 0x80


cdef size_t write_letter(
    Letter *letter, msghdr *message, const Ack **acks, iovec *texts, size_t count
) noexcept nogil:
    """Makes a message of the first of these ACKs, and of those behind it that the kernel can send together with it
    (UDP_SEGMENT): to the same address, from the same one, and as long. It points into the letter and the ACKs. Returns
    how many bytes of its control messages name the address to send from."""
    cdef AddressKey to = key_of(&acks[0].to), other
    cdef uint16_t size = <uint16_t>texts[0].iov_len
    cdef size_t together = 1, source_bytes
    while together < count and texts[together].iov_len == size:
        other = key_of(&acks[together].to)
        if not is_same(&to, &other) or memcmp(&acks[0].source, &acks[together].source, sizeof(LocalAddress)):
            break
        together += 1
    memset(message, 0, sizeof(message[0]))
    message.msg_iov = texts
    message.msg_iovlen = together
    message.msg_name = <void *>&acks[0].to
    message.msg_namelen = sizeof(sockaddr_in) if acks[0].to.any.sa_family == AF_INET else sizeof(sockaddr_in6)
    source_bytes = 0 if is_none(&acks[0].source) else write_source(&letter.control, acks[0])
    message.msg_controllen = source_bytes
    if together > 1:
        message.msg_controllen += write_control(
            <cmsghdr *>&letter.control.room[source_bytes], SOL_UDP, UDP_SEGMENT, &size, sizeof(size)
        )
    message.msg_control = &letter.control if message.msg_controllen else NULL
    return source_bytes


cdef size_t write_source(Control *control, const Ack *ack) noexcept nogil:
    """Has the kernel send from the address that was asked; returns the bytes that this takes."""
    cdef AddressKey to = key_of(&ack.to)
    cdef in_pktinfo ipv4
    cdef in6_pktinfo ipv6
    if is_ipv4(&to):  # on a dual-stack socket, too
        memset(&ipv4, 0, sizeof(ipv4))
        memcpy(&ipv4.ipi_spec_dst, &ack.source.ipv6[12], sizeof(ipv4.ipi_spec_dst))
        return write_control(&control.header, IPPROTO_IP, IP_PKTINFO, &ipv4, sizeof(ipv4))
    memcpy(&ipv6.ipi6_addr, ack.source.ipv6, sizeof(ipv6.ipi6_addr))
    ipv6.ipi6_ifindex = ack.source.interface
    return write_control(&control.header, IPPROTO_IPV6, IPV6_PKTINFO, &ipv6, sizeof(ipv6))


cdef size_t write_control(cmsghdr *header, int level, int kind, const void *data, size_t size) noexcept nogil:
    memset(header, 0, CMSG_SPACE(size))
    header.cmsg_level = level
    header.cmsg_type = kind
    header.cmsg_len = CMSG_LEN(size)
    memcpy(CMSG_DATA(header), data, size)
    return CMSG_SPACE(size)


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
        if self.count == 0 or sender.any.sa_family == AF_UNIX:  # the socket's mode says who may send to it
            return True
        key = key_of(sender)
        for i in range(self.count):
            network = &self.networks[i]
            if key.high & network.high_mask == network.high and key.low & network.low_mask == network.low:
                return True
        return False
