# The senders that the ledger keeps, and who gives up a place when all are taken. Anybody can send from many ports, and
# under forged addresses, so this is fair to those who were there before.
#
# - A sender is new until it has sent ESTABLISHED_ENTRIES over ESTABLISHED_MS. New senders only ever take the places of
#   new ones, and established senders those of established ones. NEW_MIN places are left to new ones.
# - All senders of one host count together: it is an IPv4 address, or the first 64 bits of an IPv6 address, which a
#   network gives to one customer. The host that has most senders of a kind gives up the next place. Hosts with up to
#   FEW are equal.
# - The senders of such hosts are looked at in turn. One that has sent more than one entry since the last look, or many
#   before, keeps its place; of LOOKS senders that all have, the one that has sent least loses it.
#
# Every step takes the same time, however many senders there are.

from libc.stdint cimport UINT64_MAX, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from posix.stdlib cimport posix_memalign

from fastlog.server._address cimport AddressKey, hash_of, host_of, is_same

cdef enum:
    # Senders kept at once: more than a collector has, and few enough to look through in a fraction of a millisecond.
    SENDERS_MAX = 16384
    # Places that established senders leave to new ones: as many programs may begin within ESTABLISHED_MS.
    NEW_MIN = 1024
    # What establishes a sender: more than somebody who forges many addresses sends from one of them, and a time in
    # which a flood of new ones takes the places of those that are silent.
    ESTABLISHED_ENTRIES = 8
    ESTABLISHED_MS = 1000
    # Senders of a host that need not share: a machine with a few programs.
    FEW = 16
    # Senders looked at for one place: less than a microsecond.
    LOOKS = 8
    # Buckets of a hash table: twice the senders, so that most hold one or none.
    BUCKETS = 2 * SENDERS_MAX
    # Senders in one bucket. Chance does not reach it in the life of a machine; it is a bound for the unforeseen.
    BUCKET_SENDERS_MAX = 16
    # Size of a cache line.
    CACHE_LINE_BYTES = 64

cdef enum:
    # The kinds of senders.
    NEW, ESTABLISHED, KINDS

# The part of a sender that every entry touches: 64 bytes, one cache line.
cdef struct Sender:
    AddressKey key
    # The newest sequence of the current run. `Record.run.newest` is behind it while entries come in order.
    uint64_t newest
    uint64_t received
    uint64_t last_seen_ms
    # The next sender in the same bucket, or the next free place. Here and below, 0 is none.
    uint32_t next
    # Its host.
    uint32_t host
    # NEW or ESTABLISHED.
    uint32_t kind
    # The flags are in _ledger.pyx.
    uint32_t state

# What decides whether a sender keeps its place: when it was first seen; how much it had received at the last look; and
# what counts for it, half of which is forgotten at each look.
cdef struct Standing:
    uint64_t since_ms
    uint64_t looked_at
    uint64_t credit

# The senders of one kind that one host has.
cdef struct Host:
    # The address without a port, and the kind of senders.
    AddressKey key
    # The next host in the same bucket, or the next free one.
    uint32_t next
    uint32_t senders
    # The sender that is looked at next.
    uint32_t first

# Neighbours in a ring, by index.
cdef struct Link:
    uint32_t before, after

cdef struct Senders:
    # Place by place; place 0 holds no sender.
    Sender *places
    Standing *standings
    # The rings of a host's senders.
    Link *links
    # Index 0 is not a host. The rings of hosts with equally many senders.
    Host *hosts
    Link *host_links
    # For each kind and number of senders, the first host of its ring. FEW stands for all numbers up to it.
    uint32_t *rings[KINDS]
    # First sender and first host of each bucket.
    uint32_t *buckets
    uint32_t *host_buckets
    # For each kind, how many senders there are, and the number of senders (at least FEW) of the largest host.
    uint32_t count[KINDS]
    uint32_t largest[KINDS]
    # How many places and hosts were ever used, and the first of each that was given back.
    uint32_t used, free_place, hosts_used, free_host
    # The key of the hash tables, which strangers do not know.
    uint64_t secret[2]

# Memory

cdef inline bint allocate(Senders *table) noexcept nogil:
    """False: there is no memory. To be followed by `release` in any case."""
    cdef void *places = NULL
    cdef int kind
    if posix_memalign(&places, CACHE_LINE_BYTES, (SENDERS_MAX + 1) * sizeof(Sender)) != 0:
        return False
    table.places = <Sender *>places
    memset(table.places, 0, sizeof(Sender))
    table.places[0].key.scope_and_port = UINT64_MAX  # no address has this key, so place 0 is never found
    table.standings = <Standing *>calloc(SENDERS_MAX + 1, sizeof(Standing))
    table.links = <Link *>calloc(SENDERS_MAX + 1, sizeof(Link))
    table.hosts = <Host *>calloc(SENDERS_MAX + 1, sizeof(Host))
    table.host_links = <Link *>calloc(SENDERS_MAX + 1, sizeof(Link))
    table.buckets = <uint32_t *>calloc(BUCKETS, sizeof(uint32_t))
    table.host_buckets = <uint32_t *>calloc(BUCKETS, sizeof(uint32_t))
    for kind in range(KINDS):
        table.rings[kind] = <uint32_t *>calloc(SENDERS_MAX + 1, sizeof(uint32_t))
        table.largest[kind] = FEW
        if table.rings[kind] == NULL:
            return False
    return (
        table.standings != NULL and table.links != NULL and table.hosts != NULL and table.host_links != NULL
        and table.buckets != NULL and table.host_buckets != NULL
    )

cdef inline void release(Senders *table) noexcept nogil:
    cdef int kind
    free(table.places)
    free(table.standings)
    free(table.links)
    free(table.hosts)
    free(table.host_links)
    free(table.buckets)
    free(table.host_buckets)
    for kind in range(KINDS):
        free(table.rings[kind])

# Rings

cdef inline void enter_ring(Link *links, uint32_t *first, uint32_t index) noexcept nogil:
    """As the last one."""
    cdef uint32_t head = first[0]
    if head == 0:
        first[0] = links[index].before = links[index].after = index
        return
    links[index].after = head
    links[index].before = links[head].before
    links[links[head].before].after = index
    links[head].before = index

cdef inline void leave_ring(Link *links, uint32_t *first, uint32_t index) noexcept nogil:
    cdef uint32_t before = links[index].before, after = links[index].after
    links[before].after = after
    links[after].before = before
    if first[0] == index:
        first[0] = 0 if after == index else after

# Hosts

cdef inline uint32_t *ring_of(Senders *table, int kind, uint32_t senders) noexcept nogil:
    return &table.rings[kind][max(senders, <uint32_t>FEW)]

cdef inline uint32_t host_for(Senders *table, const AddressKey *sender, int kind) noexcept nogil:
    """The sender's host; a new one is made if there is none."""
    cdef AddressKey key = host_of(sender)
    key.scope_and_port = kind
    cdef uint32_t *bucket = &table.host_buckets[hash_of(&key, table.secret) % BUCKETS]
    cdef uint32_t host = bucket[0]
    while host:
        if is_same(&table.hosts[host].key, &key):
            return host
        host = table.hosts[host].next
    host = table.free_host
    if host:
        table.free_host = table.hosts[host].next
    else:
        table.hosts_used += 1
        host = table.hosts_used
    memset(&table.hosts[host], 0, sizeof(Host))
    table.hosts[host].key = key
    table.hosts[host].next = bucket[0]
    bucket[0] = host
    enter_ring(table.host_links, ring_of(table, kind, 0), host)
    return host

cdef inline void forget_host(Senders *table, uint32_t host) noexcept nogil:
    cdef Host *at = &table.hosts[host]
    cdef uint32_t *link = &table.host_buckets[hash_of(&at.key, table.secret) % BUCKETS]
    while link[0] != host:
        link = &table.hosts[link[0]].next
    link[0] = at.next
    at.next = table.free_host
    table.free_host = host

cdef inline void resize(Senders *table, int kind, uint32_t host, uint32_t senders) noexcept nogil:
    """The host has one sender more or less than before."""
    cdef uint32_t *old = ring_of(table, kind, table.hosts[host].senders)
    cdef uint32_t *new = ring_of(table, kind, senders)
    table.hosts[host].senders = senders
    if old == new:
        return
    leave_ring(table.host_links, old, host)
    enter_ring(table.host_links, new, host)
    if senders > table.largest[kind]:
        table.largest[kind] = senders
    elif table.rings[kind][table.largest[kind]] == 0:
        table.largest[kind] -= 1  # where this host is now

# Senders

cdef inline void join(Senders *table, uint32_t place, int kind) noexcept nogil:
    """The sender becomes one of this kind."""
    cdef Sender *at = &table.places[place]
    at.kind = kind
    at.host = host_for(table, &at.key, kind)
    enter_ring(table.links, &table.hosts[at.host].first, place)
    resize(table, kind, at.host, table.hosts[at.host].senders + 1)
    table.count[kind] += 1

cdef inline void leave(Senders *table, uint32_t place) noexcept nogil:
    """The sender is none of its kind any more."""
    cdef Sender *at = &table.places[place]
    table.count[at.kind] -= 1
    leave_ring(table.links, &table.hosts[at.host].first, place)
    resize(table, at.kind, at.host, table.hosts[at.host].senders - 1)
    if table.hosts[at.host].senders == 0:
        leave_ring(table.host_links, ring_of(table, at.kind, 0), at.host)
        forget_host(table, at.host)

cdef inline uint32_t find(const Senders *table, const AddressKey *key) noexcept nogil:
    """The sender's place."""
    cdef uint32_t place = table.buckets[hash_of(key, table.secret) % BUCKETS]
    while place and not is_same(&table.places[place].key, key):
        place = table.places[place].next
    return place

cdef inline uint32_t least(Senders *table, int kind) noexcept nogil:
    """The sender of this kind that gives up its place to another."""
    cdef uint32_t *ring = &table.rings[kind][table.largest[kind]]
    cdef uint32_t found = 0, place
    cdef int _look
    cdef Host *host
    cdef Standing *standing
    for _look in range(LOOKS):
        host = &table.hosts[ring[0]]
        place = host.first
        standing = &table.standings[place]
        standing.credit = standing.credit // 2 + table.places[place].received - standing.looked_at
        standing.looked_at = table.places[place].received
        if found == 0 or standing.credit < table.standings[found].credit:
            found = place
        if standing.credit <= 1:  # it has sent one entry
            break
        host.first = table.links[place].after
        ring[0] = table.host_links[ring[0]].after
    return found

cdef inline uint32_t in_the_way(Senders *table, const AddressKey *key) noexcept nogil:
    """The sender that must go before this new one is added; 0: there is room."""
    cdef uint32_t place = table.buckets[hash_of(key, table.secret) % BUCKETS], end = 0, steps = 0
    while place:
        end = place
        place = table.places[place].next
        steps += 1
    if steps == BUCKET_SENDERS_MAX:
        return end
    return least(table, NEW) if table.count[NEW] + table.count[ESTABLISHED] == SENDERS_MAX else 0

cdef inline uint32_t add(Senders *table, const AddressKey *key, uint64_t now_ms) noexcept nogil:
    """Gives a new sender a place, for which there must be room."""
    cdef uint32_t *bucket = &table.buckets[hash_of(key, table.secret) % BUCKETS]
    cdef uint32_t place = table.free_place
    if place:
        table.free_place = table.places[place].next
    else:
        table.used += 1
        place = table.used
    memset(&table.places[place], 0, sizeof(Sender))
    memset(&table.standings[place], 0, sizeof(Standing))
    table.places[place].key = key[0]
    table.places[place].last_seen_ms = table.standings[place].since_ms = now_ms
    table.places[place].next = bucket[0]
    bucket[0] = place
    join(table, place, NEW)
    return place

cdef inline void remove(Senders *table, uint32_t place) noexcept nogil:
    """From now on the place is free, and nothing was received from it."""
    cdef Sender *at = &table.places[place]
    cdef uint32_t *link = &table.buckets[hash_of(&at.key, table.secret) % BUCKETS]
    while link[0] != place:
        link = &table.places[link[0]].next
    link[0] = at.next
    leave(table, place)
    at.received = 0
    at.next = table.free_place
    table.free_place = place

cdef inline bint is_to_be_established(const Senders *table, uint32_t place, uint64_t now_ms) noexcept nogil:
    cdef const Sender *at = &table.places[place]
    if at.kind != NEW or at.received < ESTABLISHED_ENTRIES:
        return False
    return now_ms - table.standings[place].since_ms >= ESTABLISHED_MS
