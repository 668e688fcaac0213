# A sender's address in the form in which it is looked up. It knows no table.

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from fastlog._linux cimport AF_INET, AF_INET6, be64toh, htobe64, htons, ntohl, ntohs
from fastlog.server._socket cimport Address

# A sender's address as numbers in the host's byte order; IPv4 in its IPv6 form, ::ffff:192.0.2.1.
cdef struct Key:
    uint64_t high
    uint64_t low
    # The scope (of link-local addresses) above the port.
    uint64_t rest

cdef inline bint same(const Key *a, const Key *b) noexcept nogil:
    return ((a.high ^ b.high) | (a.low ^ b.low) | (a.rest ^ b.rest)) == 0

cdef inline Key key_of(const Address *address) noexcept nogil:
    """Of an address of another family: that of `[::]:0`."""
    cdef Key key
    key.high = key.low = key.rest = 0
    if address.any.sa_family == AF_INET:
        key.low = (<uint64_t>0xffff << 32) | ntohl(address.v4.sin_addr.s_addr)
        key.rest = ntohs(address.v4.sin_port)
    elif address.any.sa_family == AF_INET6:
        memcpy(&key.high, &address.v6.sin6_addr.s6_addr[0], 8)
        memcpy(&key.low, &address.v6.sin6_addr.s6_addr[8], 8)
        key.high = be64toh(key.high)
        key.low = be64toh(key.low)
        key.rest = (<uint64_t>address.v6.sin6_scope_id << 16) | ntohs(address.v6.sin6_port)
    return key

cdef inline Address address_of(const Key *key) noexcept nogil:
    cdef Address address
    cdef uint64_t high = htobe64(key.high), low = htobe64(key.low)
    memset(&address, 0, sizeof(address))
    address.v6.sin6_family = AF_INET6
    address.v6.sin6_port = htons(<uint16_t>key.rest)
    address.v6.sin6_scope_id = <uint32_t>(key.rest >> 16)
    memcpy(&address.v6.sin6_addr.s6_addr[0], &high, 8)
    memcpy(&address.v6.sin6_addr.s6_addr[8], &low, 8)
    return address

cdef inline uint64_t rotated(uint64_t number, int bits) noexcept nogil:
    return (number << bits) | (number >> (64 - bits))

cdef inline void sip_round(uint64_t *v) noexcept nogil:
    v[0] += v[1]
    v[2] += v[3]
    v[1] = rotated(v[1], 13) ^ v[0]
    v[3] = rotated(v[3], 16) ^ v[2]
    v[0] = rotated(v[0], 32) + v[3]
    v[2] += v[1]
    v[3] = rotated(v[3], 21) ^ v[0]
    v[1] = rotated(v[1], 17) ^ v[2]
    v[2] = rotated(v[2], 32)

cdef inline void sip_word(uint64_t *v, uint64_t word) noexcept nogil:
    v[3] ^= word
    sip_round(v)
    v[0] ^= word

cdef inline uint64_t hash_of(const Key *key, const uint64_t *secret) noexcept nogil:
    """SipHash-1-3: whoever does not know the secret cannot tell which addresses share a bucket."""
    cdef uint64_t v[4]
    v[0] = secret[0] ^ 0x736f6d6570736575ULL
    v[1] = secret[1] ^ 0x646f72616e646f6dULL
    v[2] = secret[0] ^ 0x6c7967656e657261ULL
    v[3] = secret[1] ^ 0x7465646279746573ULL
    sip_word(v, key.high)
    sip_word(v, key.low)
    sip_word(v, key.rest)
    sip_word(v, <uint64_t>sizeof(Key) << 56)
    v[2] ^= 0xff
    sip_round(v)
    sip_round(v)
    sip_round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]
