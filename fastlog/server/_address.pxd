# A sender's address: as the kernel writes it, as a key to look it up by, and as text.
#
# An IPv4 address has two forms: on a dual-stack socket it comes as the IPv6 address ::ffff:192.0.2.1 (RFC 4291,
# 2.5.5.2). Here both are one key, and one text: 192.0.2.1.

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, strlen

from fastlog._linux cimport (
    AF_INET,
    AF_INET6,
    AF_UNIX,
    IF_NAMESIZE,
    be64toh,
    htobe64,
    if_indextoname,
    inet_ntop,
    ntohl,
    ntohs,
    sa_family_t,
    sockaddr,
    sockaddr_in,
    sockaddr_in6,
)

from fastlog.inputs._receipt cimport Receipt

cdef extern from "_siphash.h" nogil:
    uint64_t fl_siphash13(const uint64_t *key, const uint64_t *words, size_t count)

cdef enum:
    # Room for the longest text of an IPv6 address, and a NUL.
    ADDRESS_TEXT_BYTES = 64

# A sender at a unix socket, who is known by its process and user, and by the hash of its address; 0: it has none. The
# address itself is at `place` (_unix.pxd).
cdef struct UnixSender:
    sa_family_t family
    uint32_t pid
    uint32_t uid
    int place
    uint64_t name

cdef union Address:
    sockaddr any
    sockaddr_in v4
    sockaddr_in6 v6
    UnixSender local

# An address and port as numbers in the host's byte order. An IPv4 address has its IPv6 form.
cdef struct AddressKey:
    uint64_t high
    uint64_t low
    # The scope of a link-local address, above the 16 bits of the port.
    uint64_t scope_and_port

cdef inline bint is_same(const AddressKey *a, const AddressKey *b) noexcept nogil:
    return ((a.high ^ b.high) | (a.low ^ b.low) | (a.scope_and_port ^ b.scope_and_port)) == 0

# The lower half of the IPv6 form of an IPv4 address; the upper half is 0.
cdef inline uint64_t ipv4_mapped(uint32_t ipv4) noexcept nogil:
    return (<uint64_t>0xffff << 32) | ipv4

cdef inline bint is_ipv4(const AddressKey *key) noexcept nogil:
    return key.high == 0 and key.low >> 32 == 0xffff

# A sender at a unix socket has the key of a multicast address, which nobody can send from. Its user is its host: one
# user may have any number of processes.
cdef enum:
    UNIX_KEY = 0xffff0000

cdef inline bint is_unix(const AddressKey *key) noexcept nogil:
    return key.high >> 32 == UNIX_KEY

# Whether nobody can be told anything: a sender at a unix socket without an address of its own.
cdef inline bint has_no_address(const Address *sender) noexcept nogil:
    return sender.any.sa_family == AF_UNIX and sender.local.name == 0

# An address of any other family, which no socket receives from, has the key of `[::]:0`.
cdef inline AddressKey key_of(const Address *address) noexcept nogil:
    cdef AddressKey key
    key.high = key.low = key.scope_and_port = 0
    if address.any.sa_family == AF_INET:
        key.low = ipv4_mapped(ntohl(address.v4.sin_addr.s_addr))
        key.scope_and_port = ntohs(address.v4.sin_port)
    elif address.any.sa_family == AF_INET6:
        memcpy(&key.high, &address.v6.sin6_addr.s6_addr[0], 8)
        memcpy(&key.low, &address.v6.sin6_addr.s6_addr[8], 8)
        key.high = be64toh(key.high)
        key.low = be64toh(key.low)
        key.scope_and_port = (<uint64_t>address.v6.sin6_scope_id << 16) | ntohs(address.v6.sin6_port)
    elif address.any.sa_family == AF_UNIX:
        key.high = (<uint64_t>UNIX_KEY << 32) | address.local.uid
        key.low = address.local.name << 32 | address.local.pid
    return key

# What one machine can send from: an IPv4 address, or the first 64 bits of an IPv6 address, with the scope of a
# link-local one. No IPv4 address has a lower half as small as a scope.
cdef inline AddressKey host_of(const AddressKey *key) noexcept nogil:
    cdef AddressKey host
    host.high = key.high
    host.low = key.low if is_ipv4(key) else key.scope_and_port >> 16
    host.scope_and_port = 0
    return host

# Nobody can find addresses that share a bucket without knowing the secret.
cdef inline uint64_t hash_of(const AddressKey *key, const uint64_t *secret) noexcept nogil:
    return fl_siphash13(secret, <const uint64_t *>key, sizeof(AddressKey) // sizeof(uint64_t))

# Writes a number in digits; returns where it ends.
cdef inline char *write_number(char *to, unsigned int number) noexcept nogil:
    cdef char digits[10]
    cdef int count = 0
    while True:
        digits[count] = c'0' + number % 10
        count += 1
        number //= 10
        if number == 0:
            break
    while count:
        count -= 1
        to[0] = digits[count]
        to += 1
    return to

cdef inline char *write_ipv4(char *to, const AddressKey *key) noexcept nogil:
    cdef int shift
    for shift in range(24, -1, -8):
        to = write_number(to, <unsigned int>(key.low >> shift & 0xff))
        to[0] = c'.'
        to += 1
    return to - 1

# The end of a link-local address is `%` and the interface's name (RFC 4007, 11.2). Without it, two senders on two links
# could have one text. The number stands for a name that is gone, or that JSON and logs could not hold as it is.
cdef inline char *write_ipv6(char *to, const AddressKey *key) noexcept nogil:
    cdef uint64_t parts[2]
    cdef uint32_t scope = <uint32_t>(key.scope_and_port >> 16)
    cdef char name[IF_NAMESIZE]
    cdef size_t size
    parts[0], parts[1] = htobe64(key.high), htobe64(key.low)
    inet_ntop(AF_INET6, parts, to, ADDRESS_TEXT_BYTES)
    to += strlen(to)
    if scope == 0:
        return to
    to[0] = c'%'
    if if_indextoname(scope, name) == NULL or not is_plain(name):
        return write_number(to + 1, scope)
    size = strlen(name)
    memcpy(to + 1, name, size)
    return to + 1 + size

cdef inline bint is_plain(const char *name) noexcept nogil:
    while name[0]:
        if not c'!' <= name[0] <= c'~' or name[0] in (c'"', c'\\'):
            return False
        name += 1
    return True

cdef inline char *write_unix(char *to, const AddressKey *key) noexcept nogil:
    memcpy(to, b"unix:pid=", 9)
    to = write_number(to + 9, <uint32_t>key.low)
    memcpy(to, b",uid=", 5)
    return write_number(to + 5, <uint32_t>key.high)

# Says who the sender is: `192.0.2.1:514`, `[2001:db8::1]:514`, `[fe80::1%eth0]:514` or `unix:pid=4711,uid=33`.
cdef inline void note_source(Receipt *receipt, const AddressKey *sender) noexcept nogil:
    cdef char *to = receipt.source
    if is_unix(sender):
        receipt.host_at = receipt.host_size = 0
        receipt.source_size = <unsigned int>(write_unix(to, sender) - to)
        return
    if is_ipv4(sender):
        receipt.host_at = 0
        to = write_ipv4(to, sender)
        receipt.host_size = <unsigned int>(to - receipt.source)
    else:
        to[0] = c'['
        receipt.host_at = 1
        to = write_ipv6(to + 1, sender)
        receipt.host_size = <unsigned int>(to - receipt.source) - 1
        to[0] = c']'
        to += 1
    to[0] = c':'
    to = write_number(to + 1, <uint16_t>sender.scope_and_port)
    receipt.source_size = <unsigned int>(to - receipt.source)

# Tells senders of one process apart, as a port does: `unix:pid=4711,uid=33#90ab12cd` has an address of its own.
cdef inline str name_of(const AddressKey *sender):
    cdef uint64_t name = sender.low >> 32
    return f"{text_of(sender)}#{name:08x}" if is_unix(sender) and name else text_of(sender)

cdef inline str text_of(const AddressKey *sender):
    cdef Receipt receipt
    note_source(&receipt, sender)
    return receipt.source[:receipt.source_size].decode()
