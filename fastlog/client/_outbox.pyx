# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The way from an application's thread to a client's own: bounded, in two lanes, without a lock.

`put` is what a log call costs. It runs under the GIL, and between its look at the limits and its last counter there is
nothing that could give the GIL away or run other Python code: no lock is needed against threads, and none can be held
by the code that a signal handler interrupted. So nothing that allocates a Python object may stand there.

The two lanes, ordinary and priority, share the order and have limits of their own: no priority entry is dropped for
ordinary ones. The timestamp is taken by `put`; it is written out, with the sequence, when a datagram is made of it.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_Append
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec
from posix cimport unistd

cimport cython

from fastlog._clock cimport write_second

from fastlog.entry import ALIASES, LEVELS

cdef enum:
    # The client's thread: it will look anyway; it waits for more to pack, so only what is urgent wakes it; it sleeps.
    BUSY = 0
    LINGERING_ = 1
    SLEEPING_ = 2
    # Flags of Item.present.
    HAS_TIMESTAMP_ = 1
    HAS_HOST_ = 2
    HAS_APP_ = 4
    # UDP over IPv4 carries no more.
    DATAGRAM_BYTES = 65507
    # Room that the timestamp, the sequence and the brackets take at the most, in bytes.
    ADDED_BYTES = 96
    # The server takes no entry with more open brackets; more in all than this are looked at by `prepare`.
    BRACKETS_PLAIN = 64

LINGERING = LINGERING_
SLEEPING = SLEEPING_
HAS_TIMESTAMP = HAS_TIMESTAMP_
HAS_HOST = HAS_HOST_
HAS_APP = HAS_APP_
DATAGRAM_MAX_BYTES = DATAGRAM_BYTES
ADDED_MAX_BYTES = ADDED_BYTES

cdef str LEVEL = "level"
cdef str MESSAGE = "message"
cdef str SEQUENCE = "sequence"
cdef str TIMESTAMP = "timestamp"
cdef str HOST = "host"
cdef str APP = "app"
cdef unsigned int OTHER = len(LEVELS) - 1


@cython.final
@cython.no_gc
@cython.freelist(1024)
cdef class Item:
    pass


@cython.final
cdef class Outbox:
    """What one client has to send. `entries_max` and `bytes_max` are the limits of each lane; `datagram_bytes` is what
    one entry may take as it is sent; `host` and `app` are `,"host":"…"` and `,"app":"…"` or empty."""

    def __cinit__(self, int wake_fd, priority_levels, int64_t entries_max, int64_t bytes_max, int64_t datagram_bytes,
                  bytes host not None, bytes app not None, encode, prepare, shorten, index_of):
        cdef unsigned int i
        self.buffer = <uint8_t *>malloc(DATAGRAM_BYTES)
        if self.buffer == NULL:
            raise MemoryError
        self.items = []
        self.levels = {}
        for name in (*LEVELS[:len(LEVELS) - 1], *ALIASES):
            level = LEVELS.index(ALIASES.get(name, name))
            self.levels.update({name: level, name.lower(): level, name.title(): level})
        for i in range(len(LEVELS)):
            self.is_priority[i] = LEVELS[i] in priority_levels
        self.wake_fd = wake_fd
        self.entries_max, self.bytes_max = entries_max, bytes_max
        self.host, self.app = host, app
        self.body_max = datagram_bytes - ADDED_BYTES - len(host) - len(app)
        self.encode, self.prepare, self.shorten, self.index_of = encode, prepare, shorten, index_of
        self.state = BUSY
        self.second = -1

    def __dealloc__(self):
        free(self.buffer)

    # Of the applications' threads

    def put(self, dict entry not None):
        """Takes an entry, or drops and counts it. Raises nothing, whatever the entry holds; does not keep it."""
        cdef unsigned int level = OTHER
        cdef bytes body
        cdef object name, message
        try:
            name = entry.get(LEVEL)
            message = entry.get(MESSAGE)
            if type(name) is not str or type(message) is not str or (len(entry) > 2 and not are_plain(entry)):
                entry = self.prepare(entry)
                name = entry[LEVEL]
            level = self.level_of(name)
            if self.is_full(level):
                return
            try:
                body = self.encode(entry)
                if brackets(body) >= BRACKETS_PLAIN:
                    entry = self.prepare(entry)
                    body = self.encode(entry)
            except Exception:
                entry = self.prepare(entry)
                body = self.encode(entry)
            if PyBytes_GET_SIZE(body) > self.body_max:
                body = self.shorten(entry, self.body_max, self.encode)
                if PyBytes_GET_SIZE(body) > self.body_max:
                    raise ValueError("an entry does not fit in a datagram")
                self.shortened += 1
            self.add(level, presence(entry) if len(entry) > 2 else 0, body)
        except Exception:
            self.dropped_of[level] += 1

    def put_encoded(self, str level not None, unsigned int present, bytes body not None):
        """The same for an entry that is a JSON object already, without `sequence` and without whitespace around it.
        False: it is too long for a datagram, and was neither taken nor counted."""
        cdef unsigned int index = self.level_of(level)
        if PyBytes_GET_SIZE(body) > self.body_max:
            return False
        if not self.is_full(index):
            self.add(index, present, body)
        return True

    cdef unsigned int level_of(self, name) except? 255:
        cdef object found = self.levels.get(name)
        return self.index_of(name) if found is None else found

    cdef bint is_full(self, unsigned int level) noexcept:
        """True if the entry is dropped, and counted: before it costs more."""
        cdef int lane = self.is_priority[level]
        if self.closed or self.entries_of[lane] >= self.entries_max or self.bytes_of[lane] >= self.bytes_max:
            self.dropped_of[level] += 1
            return True
        return False

    cdef void add(self, unsigned int level, unsigned int present, bytes body) except *:
        cdef timespec now
        cdef uint64_t one = 1
        cdef Item item = Item.__new__(Item)
        cdef int lane
        clock_gettime(CLOCK_REALTIME, &now)
        item.when_usec = <int64_t>now.tv_sec * 1_000_000 + now.tv_nsec // 1000
        item.level, item.present, item.body = level, present, body
        item.priority = lane = self.is_priority[level]
        # From here on nothing may allocate: other threads and signal handlers see all of this or nothing.
        if self.closed or self.entries_of[lane] >= self.entries_max or self.bytes_of[lane] >= self.bytes_max:
            self.dropped_of[level] += 1
            return
        item.number = self.taken
        PyList_Append(self.items, item)
        self.taken += 1
        self.entries_of[lane] += 1
        self.bytes_of[lane] += PyBytes_GET_SIZE(body)
        if self.state != BUSY and (
            self.state == SLEEPING_
            or lane
            or self.entries_of[0] * 2 > self.entries_max
            or self.bytes_of[0] * 2 > self.bytes_max
        ):
            self.state = BUSY
            unistd.write(self.wake_fd, &one, sizeof(one))

    # Of the client's own thread

    def fetch(self):
        """The items put since the last call, in order."""
        taken = self.items
        self.items = []
        return taken

    def rest(self, int state):
        """Announces that the thread is about to wait, LINGERING or SLEEPING, until it is woken. False: do not wait."""
        if self.items:
            if state == SLEEPING_:
                return False
            for item in self.items:
                if (<Item>item).priority:
                    return False
        self.state = state
        return True

    def awake(self):
        self.state = BUSY

    def left(self, bint priority, int64_t entries, int64_t size):
        """That many entries, whose bodies have that many bytes, are out of the lane."""
        self.entries_of[priority] -= entries
        self.bytes_of[priority] -= size

    def drop(self, list items not None):
        """Gives up items that were fetched."""
        cdef Item item
        for item in items:
            self.dropped_of[item.level] += 1
            self.left(item.priority, 1, PyBytes_GET_SIZE(item.body))

    def pack(self, list items not None, Py_ssize_t at, uint64_t sequence, Py_ssize_t limit, int64_t most,
             int64_t most_priority, list kept not None):
        """A datagram of the items from `at` on, the first of them numbered `sequence`.

        It takes at most `limit` bytes, unless one entry alone takes more; at most `most` entries, and at most
        `most_priority` of priority, each of which is appended to `kept` as (sequence, item, its bytes). Returns the
        datagram, where the next one begins, and what leaves the ordinary lane with it: entries and their bytes.
        """
        cdef Py_ssize_t size = 0, added, needed, fixed = ADDED_BYTES + len(self.host) + len(self.app)
        cdef int64_t ordinary = 0, ordinary_bytes = 0
        cdef Item item
        while at < len(items) and most > 0:
            item = <Item>items[at]
            needed = PyBytes_GET_SIZE(item.body) + fixed + 1
            if (item.priority and most_priority <= 0) or (size and size + needed > limit):
                break
            if size:
                self.buffer[size] = b"\n"
                size += 1
            added = self.write(item, sequence, self.buffer + size)
            if item.priority:
                kept.append((sequence, item, PyBytes_FromStringAndSize(<char *>self.buffer + size, added)))
                most_priority -= 1
            else:
                ordinary += 1
                ordinary_bytes += PyBytes_GET_SIZE(item.body)
            size += added
            sequence += 1
            most -= 1
            at += 1
        return PyBytes_FromStringAndSize(<char *>self.buffer, size), at, ordinary, ordinary_bytes

    def line(self, Item item not None, uint64_t sequence):
        """One entry as it is sent under that sequence; the same bytes each time."""
        cdef size_t size = self.write(item, sequence, self.buffer)
        return PyBytes_FromStringAndSize(<char *>self.buffer, size)

    cdef size_t write(self, Item item, uint64_t sequence, uint8_t *to) noexcept:
        cdef char *p = <char *>to
        cdef int64_t second = item.when_usec // 1_000_000
        cdef Py_ssize_t inner = PyBytes_GET_SIZE(item.body) - 2
        if item.present & HAS_TIMESTAMP_:
            p += snprintf(p, ADDED_BYTES, b'{"sequence":%llu,', <unsigned long long>sequence)
        else:
            if second != self.second:
                write_second(second, self.second_text)
                self.second = second
            p += snprintf(p, ADDED_BYTES, b'{"timestamp":"%s%06dZ","sequence":%llu,', self.second_text,
                          <int>(item.when_usec % 1_000_000), <unsigned long long>sequence)
        memcpy(p, PyBytes_AS_STRING(item.body) + 1, inner)
        p += inner
        if not item.present & HAS_HOST_:
            p = append(p, self.host)
        if not item.present & HAS_APP_:
            p = append(p, self.app)
        p[0] = b"}"
        return p + 1 - <char *>to

    # Of both

    def close(self):
        """From now on everything is dropped and counted."""
        self.closed = True

    @property
    def is_closed(self):
        return self.closed

    @property
    def waiting(self):
        """Items not fetched yet."""
        return len(self.items)

    @property
    def has_room(self):
        """Both lanes are at most half full."""
        return (max(self.entries_of[0], self.entries_of[1]) * 2 <= self.entries_max
                and max(self.bytes_of[0], self.bytes_of[1]) * 2 <= self.bytes_max)

    @property
    def accepted(self):
        """Entries ever taken; the next one has this number."""
        return self.taken

    @property
    def truncated(self):
        return self.shortened

    @property
    def entries(self):
        """Of the ordinary and of the priority lane."""
        return self.entries_of[0], self.entries_of[1]

    @property
    def bytes(self):
        return self.bytes_of[0], self.bytes_of[1]

    @property
    def dropped(self):
        """Entries dropped, by level."""
        return {name: self.dropped_of[i] for i, name in enumerate(LEVELS) if self.dropped_of[i]}


cdef inline char *append(char *p, bytes text) noexcept:
    memcpy(p, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
    return p + PyBytes_GET_SIZE(text)


cdef bint are_plain(dict entry) except -1:
    """The fields that fastlog knows are strings, and the sequence is left to the client."""
    return (
        SEQUENCE not in entry
        and (TIMESTAMP not in entry or type(entry[TIMESTAMP]) is str)
        and (HOST not in entry or type(entry[HOST]) is str)
        and (APP not in entry or type(entry[APP]) is str)
    )


cdef unsigned int presence(dict entry) except? 255:
    return (
        (HAS_TIMESTAMP_ if TIMESTAMP in entry else 0)
        | (HAS_HOST_ if HOST in entry else 0)
        | (HAS_APP_ if APP in entry else 0)
    )


cdef int brackets(bytes body) noexcept:
    """How many are opened, those in strings included: the depth is at most that."""
    cdef const uint8_t *p = <const uint8_t *>PyBytes_AS_STRING(body)
    cdef Py_ssize_t i
    cdef int count = 0
    for i in range(PyBytes_GET_SIZE(body)):
        count += (p[i] | 0x20) == 0x7b
    return count
