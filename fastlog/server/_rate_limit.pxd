# RATE_LIMIT: how much of what a host sends is taken. A host is an address without port, or a user of a unix
# socket.
#
# - A host has a bucket for ordinary input and one for priority entries. Each holds `burst` tokens at most, and gets
#   `rate` more every second. An entry takes one token of its kind. Input that is rejected takes an ordinary one, and
#   one more for each KiB of it.
# - While one of the two is empty, a datagram has to be scanned to know which kind it is. For that there is a third
#   bucket, LOOKS: a look takes a token, and one more for each KiB. If it is empty, too, or both others are, the
#   datagram is refused whole, and not scanned.
# - Hosts have a table of fixed size. One whose buckets are full again has nothing to remember, and gives up its place.
#   So those that flood cannot lose theirs to others, nor take the places of others for long. Who finds no place shares
#   the buckets of `others`.
# - One machine can have all addresses of a /64 network of IPv6, and so can all servers of a LAN. So each address is a
#   host, but those of one network get a bounded number of places. Who finds none of these shares the buckets of its
#   network, which is a host in the table, too.

from libc.stdint cimport int64_t, uint64_t

cimport cython

from fastlog.server._address cimport Address, AddressKey

cdef enum:
    # Hosts that have buckets of their own: as many as the ledger has senders. 1.5 MB.
    HOSTS_MAX = 16384
    # Places that a host may have, by a hash of its address: it finds one in a table that is three quarters full.
    WAYS = 8
    # The addresses of one IPv6 network have their places in so many sets of WAYS, and no more than so many in each: 256
    # together. Of a hundred that use their limits at the same time, two find none.
    NETWORK_SETS = 64
    NETWORK_WAYS = 4
    # A token, in the unit of the buckets: `rate` tokens a second are `rate` of these a millisecond.
    TOKEN = 1000
    # Bytes for which rejected input, or a look, takes one more token: 1 KiB, the size of a large entry.
    TOKEN_BYTES_SHIFT = 10
    # Looks a second, and at once: scanning so many datagrams takes a few milliseconds.
    LOOKS_MIN = 10_000
    # Hosts over their limit that are reported: more than anybody reads about.
    OVER_MAX = 256
    # A host that was refused nothing for so long is within its limit again, in milliseconds.
    WITHIN_MS = 5_000

cdef enum Bucket:
    ORDINARY_ENTRIES, PRIORITY_ENTRIES, LOOKS
    BUCKETS

cdef struct Host:
    # The address, without a port; or a network (`network_of`).
    AddressKey key
    # What its buckets hold, since when; a bucket that owes tokens holds less than none.
    int64_t tokens[BUCKETS]
    uint64_t filled_ms
    # Since they were last reported: its datagrams of which all was taken, and the others, with their bytes; and its
    # pieces and whole datagrams that were rejected as `rate`.
    uint64_t passed
    uint64_t refused
    uint64_t refused_bytes
    uint64_t rejected
    # When something was last refused.
    uint64_t refused_ms
    bint is_used
    # Whether it is in `over`.
    bint is_over


@cython.final
cdef class RateLimit:
    # Whether there is a limit. Without one, nothing else here is used.
    cdef readonly bint on
    # What each bucket gets in a millisecond, and what it holds at most.
    cdef int64_t gain[BUCKETS]
    cdef int64_t most[BUCKETS]
    # The hosts, WAYS places for each value of the hash; and the one that stands for all that found no place.
    cdef Host *hosts
    cdef Host others
    cdef uint64_t secret[2]
    # The host of the current datagram; whether the datagram took a token, and whether something of it was refused.
    cdef Host *here
    cdef bint has_paid, is_refused
    # Whether there is a current datagram.
    cdef bint is_open
    cdef size_t size
    cdef uint64_t now_ms

    # The hosts that are over their limit. If they are too many, those that are refused most are kept: `turn` is the
    # next to be compared.
    cdef Host *over[OVER_MAX]
    cdef unsigned int over_count, turn
    # A host is over its limit that was not before: it should be reported soon.
    cdef readonly bint has_news

    # A datagram begins. False: it is refused.
    cdef bint admits(self, const Address *sender, size_t size, uint64_t now_ms) noexcept nogil
    # The datagram has ended, also one that was refused, or that the limit was not asked about. One that neither brought
    # an entry nor was rejected, as a chunk, takes a token, too.
    cdef void end(self) noexcept nogil
    cdef Host *host_of(self, const AddressKey *sender) noexcept nogil
    cdef Host *place_of(self, uint64_t hash, const AddressKey *key, int most) noexcept nogil
    cdef Host *begin(self, Host *place, const AddressKey *key) noexcept nogil
    cdef void fill(self, Host *host) noexcept nogil
    cdef bint is_full(self, const Host *host) noexcept nogil
    cdef void note_refusal(self) noexcept nogil
    cdef void enlist(self) noexcept nogil

    # Whether the host of the datagram has a token of this kind. If not, what would take it is refused.
    cdef inline bint has(self, Bucket bucket) noexcept nogil:
        if self.here.tokens[<int>bucket] >= TOKEN:
            return True
        self.note_refusal()
        return False

    # Takes a token of this kind, and more for the bytes.
    cdef inline void take(self, Bucket bucket, size_t size) noexcept nogil:
        self.here.tokens[<int>bucket] -= TOKEN * (1 + <int64_t>(size >> TOKEN_BYTES_SHIFT))
        self.has_paid = True
