# Senders at a unix socket: who they are by the kernel's word, and the addresses of their own, where ACKs go.
#
# An address is up to 110 bytes long, and few senders have many ACKs under way. So an ACK has the number of a place
# where its address is kept, and a keyed hash of the address. Should another address need the place before the ACK
# leaves, the ACK is dropped, and its sender retransmits.

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from fastlog._linux cimport sa_family_t

cdef extern from "_siphash.h" nogil:
    uint64_t fl_siphash13(const uint64_t *key, const uint64_t *words, size_t count)

cdef enum:
    # Bytes of the longest address behind its family: one more than sun_path, since Linux may add a NUL (unix(7)).
    NAME_BYTES = 110
    # Places for addresses, in sets of which each address has one by its hash. 512 KiB, touched as needed.
    NAME_SETS = 512
    NAMES_IN_SET = 8

# An address as the kernel writes it, as large as a whole number of words.
cdef struct UnixName:
    sa_family_t family
    char path[NAME_BYTES]

cdef struct NamePlace:
    uint64_t hash
    # Bytes of the address; 0: the place is free. And when it was last used, by the count of uses.
    uint32_t size
    uint32_t used
    UnixName name

cdef struct UnixNames:
    NamePlace *places
    uint32_t uses
    uint64_t secret[2]

# A hash of an address of that many bytes, never 0; the bytes behind it become zeros.
cdef inline uint64_t hash_of_name(const UnixNames *names, UnixName *name, size_t size) noexcept nogil:
    memset(<uint8_t *>name + size, 0, sizeof(UnixName) - size)
    return fl_siphash13(names.secret, <const uint64_t *>name, sizeof(UnixName) // sizeof(uint64_t)) | 1

# The place where the address is kept from now on; -1: there is no memory.
cdef inline int keep_name(UnixNames *names, const UnixName *name, size_t size, uint64_t hash) noexcept nogil:
    cdef NamePlace *places
    cdef uint32_t first, i, oldest = 0
    if names.places == NULL:
        names.places = <NamePlace *>calloc(NAME_SETS * NAMES_IN_SET, sizeof(NamePlace))
        if names.places == NULL:
            return -1
    first = <uint32_t>(hash >> 1) % NAME_SETS * NAMES_IN_SET
    places = &names.places[first]
    names.uses += 1
    for i in range(<uint32_t>NAMES_IN_SET):
        if places[i].hash == hash:
            places[i].used = names.uses
            return <int>(first + i)
        if names.uses - places[i].used > names.uses - places[oldest].used or places[i].size == 0 < places[oldest].size:
            oldest = i
    places[oldest].hash, places[oldest].size, places[oldest].used = hash, <uint32_t>size, names.uses
    memcpy(&places[oldest].name, name, sizeof(UnixName))
    return <int>(first + oldest)

cdef inline void free_names(UnixNames *names) noexcept nogil:
    free(names.places)

# Whether the sender takes several ACKs in one datagram, a line for each: its abstract address says so, which begins
# with `fastlog-`. Its queue has room for few datagrams.
cdef inline bint takes_several(const NamePlace *place) noexcept nogil:
    return memcmp(place.name.path, b"\0fastlog-", 9) == 0
