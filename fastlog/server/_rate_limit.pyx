# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""RATE_LIMIT: the buckets of every host that sends, and which hosts are over their limit.

It knows no sockets, and reads no clock. Its memory is fixed, and no call fails.
"""

import os

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

cimport cython

from fastlog._linux cimport htobe64
from fastlog.inputs._receipt cimport Receipt
from fastlog.server._address cimport Address, AddressKey, hash_of, is_ipv4, is_same, is_unix, key_of, note_source

from typing import NamedTuple

# For Python: a .pxd cannot export its constants.
globals().update(
    HOSTS_MAX=HOSTS_MAX,
    WAYS=WAYS,
    NETWORK_SETS=NETWORK_SETS,
    NETWORK_WAYS=NETWORK_WAYS,
    LOOKS_MIN=LOOKS_MIN,
    OVER_MAX=OVER_MAX,
    WITHIN_MS=WITHIN_MS,
)

OTHERS = "others"  # in place of an address: hosts that have no buckets of their own


cdef inline AddressKey network_of(const AddressKey *address) noexcept nogil:
    """The key of the /64 network of an IPv6 address without a port. The number in place of the port makes it another
    than that of any address."""
    cdef AddressKey network
    network.high, network.low, network.scope_and_port = address.high, 0, address.scope_and_port | 1
    return network


cdef inline bint is_neighbour(const AddressKey *other, const AddressKey *address) noexcept nogil:
    """Whether another host is of the same network as an IPv6 address."""
    return other.high == address.high and other.scope_and_port == address.scope_and_port and not is_ipv4(other)


cdef str text_of_host(const AddressKey *key):
    cdef Receipt receipt
    if is_unix(key):
        return f"unix:uid={<uint32_t>key.high}"
    note_source(&receipt, key)
    text = receipt.source[receipt.host_at:receipt.host_at + receipt.host_size].decode()
    return f"{text}/64" if key.scope_and_port & 1 else text


cdef bytes packed_of_host(const AddressKey *key):
    """None: there is no address that a filter could know, as of a network, or it may be that of another host on another
    link, too (RFC 4291, 2.5.6)."""
    cdef uint64_t parts[2]
    if is_unix(key) or key.scope_and_port or key.high >> 54 == 0xfe80 >> 6:
        return None
    parts[0], parts[1] = htobe64(key.high), htobe64(key.low)
    return (<const char *>parts)[:sizeof(parts)]


class Over(NamedTuple):
    """A host over its limit, and what came from it since the last report.

    `address`: as text. `packed`: its 16 bytes as an IPv6 address; None: nobody can filter by it. `passed`: datagrams of
    which nothing was refused. `refused`: the other datagrams, and `refused_bytes` of them. `rejected`: what was counted
    as `rate`. `is_over`: False: it was refused nothing for WITHIN_MS, and this is the last report.
    """

    address: str
    packed: bytes | None
    passed: int
    refused: int
    refused_bytes: int
    rejected: int
    is_over: bool


@cython.final
cdef class RateLimit:
    """`rate`: tokens that a bucket gets in a second; 0: there is no limit. `burst`: what it holds at most."""

    def __cinit__(self, int64_t rate=0, int64_t burst=1):
        cdef bytes secret
        if rate < 0 or burst < 1:
            raise ValueError(f"{rate} entries a second, {burst} at once")
        self.on = rate > 0
        if not self.on:
            return
        self.gain[<int>ORDINARY_ENTRIES] = self.gain[<int>PRIORITY_ENTRIES] = rate
        self.most[<int>ORDINARY_ENTRIES] = self.most[<int>PRIORITY_ENTRIES] = burst * TOKEN
        self.gain[<int>LOOKS] = LOOKS_MIN
        self.most[<int>LOOKS] = LOOKS_MIN * TOKEN
        secret = os.urandom(sizeof(self.secret))
        memcpy(self.secret, <const char *>secret, sizeof(self.secret))
        memcpy(self.others.tokens, self.most, sizeof(self.most))
        self.hosts = <Host *>calloc(HOSTS_MAX, sizeof(Host))
        if self.hosts == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.hosts)

    cdef bint admits(self, const Address *sender, size_t size, uint64_t now_ms) noexcept nogil:
        cdef AddressKey key = key_of(sender)
        cdef bint has_ordinary, has_priority
        self.now_ms = now_ms
        self.here = self.host_of(&key)
        self.size = size
        self.has_paid = self.is_refused = False
        self.is_open = True
        self.fill(self.here)
        has_ordinary = self.here.tokens[<int>ORDINARY_ENTRIES] >= TOKEN
        has_priority = self.here.tokens[<int>PRIORITY_ENTRIES] >= TOKEN
        if has_ordinary and has_priority:
            return True
        if (has_ordinary or has_priority) and self.here.tokens[<int>LOOKS] >= TOKEN:
            self.take(LOOKS, size)
            self.has_paid = False
            return True
        self.note_refusal()
        return False

    cdef void end(self) noexcept nogil:
        if not self.is_open:
            return
        self.is_open = False
        if self.is_refused:
            self.here.refused += 1
            self.here.refused_bytes += self.size
            return
        self.here.passed += 1
        if not self.has_paid:
            self.take(ORDINARY_ENTRIES, self.size)

    cdef Host *host_of(self, const AddressKey *sender) noexcept nogil:
        """The sender's host, or its network, or `others`."""
        cdef AddressKey key = sender[0], network
        cdef Host *place
        cdef uint64_t hash
        key.scope_and_port = key.scope_and_port >> 16 << 16
        if is_unix(&key):  # a user may have any number of processes
            key.low = 0
        if self.here != NULL and is_same(&self.here.key, &key):
            return self.here
        hash = hash_of(&key, self.secret)
        if is_ipv4(&key) or is_unix(&key):
            place = self.place_of(hash, &key, WAYS)
        else:
            network = network_of(&key)
            place = self.place_of(hash_of(&network, self.secret) + hash % NETWORK_SETS, &key, NETWORK_WAYS)
            if place == NULL:
                place = self.place_of(hash_of(&network, self.secret), &network, WAYS)
        return place if place != NULL else &self.others

    cdef Host *place_of(self, uint64_t hash, const AddressKey *key, int most) noexcept nogil:
        """The place of the host, which it gets now if it has none. NULL: there is none, or so many neighbours have one
        in this set."""
        cdef Host *set = &self.hosts[hash % (HOSTS_MAX // WAYS) * WAYS]
        cdef Host *place = NULL
        cdef int way, neighbours = 0
        for way in range(WAYS):
            if set[way].is_used and is_same(&set[way].key, key):
                return &set[way]
        for way in range(WAYS):
            if not set[way].is_used or self.is_full(&set[way]):
                place = &set[way]
            elif is_neighbour(&set[way].key, key):
                neighbours += 1
        return self.begin(place, key) if place != NULL and neighbours < most else NULL

    cdef Host *begin(self, Host *place, const AddressKey *key) noexcept nogil:
        """The place belongs to this host from now on."""
        memset(place, 0, sizeof(Host))
        place.key = key[0]
        memcpy(place.tokens, self.most, sizeof(self.most))
        place.filled_ms = self.now_ms
        place.is_used = True
        return place

    cdef void fill(self, Host *host) noexcept nogil:
        """Adds what the host's buckets got since they were last filled."""
        cdef int64_t passed = self.now_ms - host.filled_ms, missing
        cdef int bucket
        if passed <= 0:
            return
        host.filled_ms = self.now_ms
        for bucket in range(<int>BUCKETS):
            missing = self.most[bucket] - host.tokens[bucket]
            if passed > missing // self.gain[bucket]:
                host.tokens[bucket] = self.most[bucket]
            else:
                host.tokens[bucket] += passed * self.gain[bucket]

    cdef bint is_full(self, const Host *host) noexcept nogil:
        """Whether there is nothing to remember of the host."""
        cdef int64_t passed = self.now_ms - host.filled_ms
        cdef int bucket
        if host.is_over:
            return False
        for bucket in range(<int>BUCKETS):
            if passed < (self.most[bucket] - host.tokens[bucket] + self.gain[bucket] - 1) // self.gain[bucket]:
                return False
        return True

    cdef void note_refusal(self) noexcept nogil:
        """Something of the current datagram is refused, or all of it."""
        self.is_refused = True
        self.here.rejected += 1
        self.here.refused_ms = self.now_ms
        if not self.here.is_over:
            self.enlist()

    cdef void enlist(self) noexcept nogil:
        """The host is one of those over their limit; if these are too many, perhaps in place of another."""
        cdef unsigned int at = self.over_count
        if at == OVER_MAX:
            at = self.turn
            self.turn = (at + 1) % OVER_MAX
            if self.over[at].rejected >= self.here.rejected:
                return
            self.over[at].is_over = False
        else:
            self.over_count += 1
        self.over[at] = self.here
        self.here.passed = self.here.refused = self.here.refused_bytes = 0
        self.here.is_over = self.has_news = True

    # For the server, with the GIL

    def report(self, uint64_t now_ms):
        """The hosts over their limit, each with what came from it since the last report."""
        cdef unsigned int i, kept = 0
        cdef Host *host
        self.has_news = False
        found = []
        for i in range(self.over_count):
            host = self.over[i]
            host.is_over = now_ms < host.refused_ms + WITHIN_MS
            found.append(Over(
                OTHERS if host == &self.others else text_of_host(&host.key),
                None if host == &self.others else packed_of_host(&host.key),
                host.passed, host.refused, host.refused_bytes, host.rejected, host.is_over,
            ))
            host.passed = host.refused = host.refused_bytes = host.rejected = 0
            if host.is_over:
                self.over[kept] = host
                kept += 1
        self.over_count = kept
        return found
