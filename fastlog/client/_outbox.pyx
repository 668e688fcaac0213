# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Hands entries from the applications' threads to a client's own thread: bounded, in two lanes, without a lock.

`put` is most of what a log call costs. It runs under the GIL, and between its look at the limits and its last counter
nothing can release the GIL or run other Python code. So threads need no lock, and a signal handler finds none that the
code it interrupted holds. Nothing that allocates a Python object may be added there.

The two lanes, ordinary and priority, share one order and have limits of their own: no priority entry is dropped for
ordinary ones. `put` takes the time of an entry; the timestamp and the sequence are written when a datagram is made.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem
from cpython.list cimport PyList_Append
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from cpython.ref cimport Py_DECREF, Py_INCREF
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

cimport cython

from fastlog._clock cimport second_text
from fastlog.client cimport _native
from fastlog.client._native cimport Wakeup
from fastlog.client._plain cimport ODD, PLAIN, Kind, Known, PlainCopy, kind_of

import msgspec

from fastlog.client.encode import encode as python_encode
from fastlog.client.level_names import USUAL_SPELLINGS, level_index, warn_of_unknown_level
from fastlog.client.shorten import shorten
from fastlog.entry import LEVELS
from fastlog.limits import DATAGRAM_MAX_BYTES

cpdef enum:
    # What the client's thread does: it will look at the outbox anyway; it waits for more entries to pack, so that only
    # a priority entry or a filling lane wakes it; it sleeps until it is woken; there is none.
    BUSY = 0
    LINGERING = 1
    SLEEPING = 2
    NO_THREAD = 3
    # Flags of Item.present.
    HAS_TIMESTAMP = 1
    HAS_HOST = 2
    HAS_APP = 4
    # The flags of constant fields follow, in their order.
    FIRST_CONSTANT = 8
    # The most that the timestamp, the sequence and the brackets take, in bytes.
    ADDED_MAX_BYTES = 96

# After an error that the thread itself could not handle, before another one is started.
cdef double FAILED_SEC = 1.0

cdef object encode = python_encode
cdef object decode_names = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
cdef str LEVEL = "level"
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
cdef class Datagram:
    pass


@cython.final
cdef class Outbox:
    """What one client has to send, and which thread works for it. `options`: its ClientOptions. `owner` has `attend`,
    called when there is work and no thread, and `run`, which is that thread."""

    def __cinit__(self, options, owner):
        cdef unsigned int i
        self.buffer = <uint8_t *>malloc(<size_t>DATAGRAM_MAX_BYTES)
        if self.buffer == NULL:
            raise MemoryError
        self.items = []
        self.levels = USUAL_SPELLINGS
        for i in range(len(LEVELS)):
            self.is_priority[i] = self.is_chosen[i] = LEVELS[i] in options.priority_levels
        for i in range(2):
            self.lanes[i] = Lane(0, 0, options.queue_entries, options.queue_bytes)
        self.host, self.app = options.host_field, options.app_field
        self.body_max = (options.datagram_bytes or DATAGRAM_MAX_BYTES) - ADDED_MAX_BYTES
        constants = options.encoded_fields
        self.names, self.constants = tuple([name for name, _ in constants]), tuple([field for _, field in constants])
        self.added_bytes = len(self.host) + len(self.app) + sum([len(field) for field in self.constants])
        self.body_max -= self.added_bytes
        self.owner = owner
        self.wakeup = Wakeup()
        self.forks = _native.generation()
        self.state = NO_THREAD
        self.last_second.second = -1

    def __dealloc__(self):
        free(self.buffer)

    # For the applications' threads

    def put(self, dict entry not None):
        """Takes an entry, or drops and counts it. Raises nothing, whatever the entry holds, except what is no
        Exception, such as KeyboardInterrupt. Does not keep the dict."""
        cdef int forks = _native.generation()
        if self.forks != forks:
            self.begin_anew()
        self.take(entry, forks)
        if (self.state == NO_THREAD or self.is_visited) and self.items:
            self.call_owner()

    cdef int take(self, dict entry, int forks) except -1:
        cdef unsigned int level = OTHER
        cdef Kind kind
        cdef Known known
        cdef bytes body
        cdef object found
        try:
            if self.closed or is_full(&self.lanes[0]) or is_full(&self.lanes[1]):  # then most calls end here
                found = self.usual_level(entry)
                if found is not None and self.drops(<unsigned int>found):
                    return 0
            # From here until the entry is encoded, no Python code may run: another thread could change it.
            kind = kind_of(entry, &known)
            if kind != ODD:
                found = self.levels.get(<object>known.level)
                if found is None:
                    kind = ODD
                else:
                    level = found
                    if self.drops(level):
                        return 0
                    body = encoded(entry) if kind == PLAIN else None
                    if body is not None and PyBytes_GET_SIZE(body) <= self.body_max:
                        self.add(level, presence(&known) | self.constants_in(entry), body, forks)
                        return 0
        except Exception:
            self.dropped_of[level] += 1
            self.refused_count += 1
            return 0
        return self.take_copy(entry, kind, forks)

    cdef object usual_level(self, dict entry):
        """The index of the entry's level, if it is spelled as it usually is."""
        cdef PyObject *name = PyDict_GetItem(entry, LEVEL)
        return self.levels.get(<object>name) if name != NULL and type(<object>name) is str else None

    cdef int take_copy(self, dict entry, Kind kind, int forks) except -1:
        """Takes or drops an entry that is not plain, that is too long, or has an unusual level."""
        cdef unsigned int level = OTHER
        cdef PlainCopy copy
        cdef bytes body
        try:
            copy = PlainCopy(entry, kind)
            level = copy.level
            if level == OTHER and not self.is_priority[OTHER]:
                warn_of_unknown_level(copy.level_field)
            if self.drops(level):
                return 0
            body = copy.write()
            if PyBytes_GET_SIZE(body) > self.body_max or copy.characters_left_out or copy.fields_left_out:
                body = shorten(copy.entry, self.body_max, encode, copy)
                self.shortened_count += 1
            self.add(level, presence_in(copy.entry) | self.constants_in(copy.entry), body, forks)
        except BaseException as error:
            self.dropped_of[level] += 1
            self.refused_count += 1
            if not isinstance(error, Exception):
                raise
        return 0

    def put_encoded(self, str level not None, unsigned int present, bytes body not None):
        """Takes an entry that is a JSON object already, without `sequence` and without whitespace around it, or drops
        and counts it. `present` has the HAS_ flags of its fields. Returns False for an entry that is too long for a
        datagram, which is neither taken nor counted."""
        cdef unsigned int index = self.level_of(level)
        if self.forks != _native.generation():
            self.begin_anew()
        if PyBytes_GET_SIZE(body) > self.body_max:
            return False
        if not self.drops(index):
            if self.names:
                present |= self.constants_in(decode_names(body))
            self.add(index, present, body, self.forks)
            if (self.state == NO_THREAD or self.is_visited) and self.items:
                self.call_owner()
        return True

    cdef unsigned int level_of(self, name) except? 255:
        cdef object found = self.levels.get(name)
        return level_index(name) if found is None else found

    cdef unsigned int constants_in(self, dict entry) except? 0xffffffff:
        """Which constant fields the entry has itself: their bits in `present`. Runs no Python code."""
        cdef unsigned int present = 0, bit = FIRST_CONSTANT
        for name in self.names:
            if name in entry:
                present |= bit
            bit <<= 1
        return present

    cdef bint drops(self, unsigned int level) noexcept:
        """Whether an entry is dropped, and counted, because the outbox is closed or its lane is full."""
        if self.closed or is_full(&self.lanes[self.is_priority[level]]):
            self.dropped_of[level] += 1
            self.refused_count += 1
            return True
        return False

    cdef int add(self, unsigned int level, unsigned int present, bytes body, int forks) except -1:
        cdef timespec now
        cdef Item item = Item.__new__(Item)
        cdef Lane *lane = &self.lanes[self.is_priority[level]]
        clock_gettime(CLOCK_REALTIME, &now)
        item.when_usec = <int64_t>now.tv_sec * 1_000_000 + now.tv_nsec // 1000
        item.level, item.present, item.body = level, present, body
        item.priority = self.is_priority[level]
        # From here on nothing may allocate: other threads and signal handlers see all of this or nothing.
        if forks != _native.generation() or self.drops(level):  # the parent takes what the fork interrupted
            return 0
        item.number = self.accepted_count
        PyList_Append(self.items, item)
        self.accepted_count += 1
        lane.entries += 1
        lane.bytes += PyBytes_GET_SIZE(body)
        if self.state != BUSY and (self.state == SLEEPING or item.priority or not is_half_empty(lane)):
            self.wake()
        return 0

    # Which thread works

    def start(self):
        """Starts a thread that calls `owner.run`, unless one works already. Returns False if there is no thread for it.
        No signal handler comes between the look at the state and the start."""
        if self.state != NO_THREAD:
            return True
        self.state, self.thread = BUSY, 0
        Py_INCREF(self)
        if _native.start_thread(run, <void *>self):
            return True
        Py_DECREF(self)
        self.state = NO_THREAD
        return False

    def visit(self, bint are_others_gone, work):
        """Makes the calling thread the one that works, for the time of `work()`. Returns False if another one works. A
        signal handler may raise an error in `work`, and nowhere else: afterwards the thread works no more."""
        if self.state != NO_THREAD and (self.is_here or not are_others_gone):
            return False
        self.state, self.thread, self.is_visited = BUSY, _native.this_thread(), True
        try:
            work()
        finally:
            self.end()
        return True

    def end(self):
        """The calling thread works no more."""
        if self.is_here:
            self.state, self.thread, self.is_visited = NO_THREAD, 0, False

    def disown(self):
        """Nobody uses it any more."""
        self.owner = None

    @property
    def is_here(self):
        """The calling thread is the one that works."""
        return self.thread == _native.this_thread()

    @property
    def has_thread(self):
        return self.state != NO_THREAD

    def wake_thread(self):
        """Has the thread make a turn. If it cannot be woken, it is not waited for: another one may be started."""
        self.wake()

    cdef void wake(self) noexcept:
        if self.state != NO_THREAD:
            if self.wakeup.wake_now():
                self.state = BUSY
            elif self.state != BUSY:  # its descriptors are closed: it sleeps, and sees that another one works now
                self.state, self.thread, self.is_visited = NO_THREAD, 0, False

    cdef int call_owner(self) except -1:
        try:
            self.owner.attend()
        except Exception:  # no room on the stack, or the interpreter is being taken apart
            pass
        return 0

    def begin_anew(self):
        """In a child after a fork: the parent sends what is in here, and its thread is not in this process. Returns
        False if this has been done."""
        cdef list nothing = []
        cdef int i
        if self.forks == _native.generation():
            return False
        self.forks = _native.generation()
        self.state, self.thread, self.is_visited = NO_THREAD, 0, False
        self.items = nothing
        for i in range(2):
            self.lanes[i].entries = self.lanes[i].bytes = 0
        for i in range(8):
            self.dropped_of[i] = 0
            self.is_priority[i] = self.is_chosen[i]
        self.accepted_count = self.refused_count = self.shortened_count = 0
        self.wakeup.shut()
        return True

    @property
    def generation(self):
        """Changes with each fork. Its entries are those of one process only."""
        return self.forks

    # For the client's own thread

    def fetch(self, list ready not None):
        """Appends the items put since the last call, in order. An error loses none of them. Returns the number of the
        next item."""
        cdef list nothing = []
        ready += self.items
        self.items = nothing
        return self.accepted_count

    def rest(self, int state):
        """Announces that the thread is about to wait, LINGERING or SLEEPING, until it is woken. Returns False if it
        must not wait, because there are items for it."""
        if self.items:
            if state == SLEEPING:
                return False
            for item in self.items:
                if (<Item>item).priority:
                    return False
        if self.is_here:
            self.state = state
        return True

    def awake(self):
        """The wait is over. Returns False if another thread works by now."""
        if self.is_here:
            self.state = BUSY
            return True
        return False

    def release(self, list items not None):
        """Takes items out of their lanes: the client does not hold them any more."""
        cdef Item item
        for item in items:
            self.lanes[item.priority].entries -= 1
            self.lanes[item.priority].bytes -= PyBytes_GET_SIZE(item.body)

    def recount(self, list items not None):
        """After an error: the client holds these items, and those that are not fetched."""
        # Nothing may allocate here: the garbage collector would run code that puts an entry.
        self.lanes[0].entries = self.lanes[0].bytes = 0
        self.lanes[1].entries = self.lanes[1].bytes = 0
        self.count(items)
        self.count(self.items)

    cdef void count(self, list items) noexcept:
        """Adds items to their lanes."""
        cdef Item item
        for item in items:
            self.lanes[item.priority].entries += 1
            self.lanes[item.priority].bytes += PyBytes_GET_SIZE(item.body)

    def drop(self, list items not None):
        """Releases items that are never sent, and counts them."""
        cdef Item item
        for item in items:
            self.dropped_of[item.level] += 1
        self.release(items)

    def set_priority(self, unsigned int level, bint priority):
        """Whether later entries of a level are priority entries. `level` is an index in entry.LEVELS."""
        self.is_priority[level] = priority

    def make_ordinary(self, list items not None):
        """Moves priority items to the ordinary lane, whatever its limits are. They are sent once."""
        cdef Item item
        cdef Py_ssize_t size
        for item in items:
            if item.priority:
                size = PyBytes_GET_SIZE(item.body)
                item.priority = False
                self.lanes[1].entries -= 1
                self.lanes[1].bytes -= size
                self.lanes[0].entries += 1
                self.lanes[0].bytes += size

    def pack(self, list items not None, Py_ssize_t start, uint64_t sequence, Py_ssize_t limit_bytes, int64_t most,
             int64_t most_priority):
        """A Datagram of the items from `start` on, the first of them numbered `sequence`.

        It takes at most `limit_bytes`, unless one entry alone takes more; at most `most` entries, and at most
        `most_priority` priority entries among them.
        """
        cdef Py_ssize_t size = 0, added, needed, fixed = ADDED_MAX_BYTES + self.added_bytes
        cdef Py_ssize_t at = start, end = min(len(items), start + most)
        cdef Datagram datagram = Datagram.__new__(Datagram)
        cdef Item item
        datagram.ordinary, datagram.priority, datagram.once = [], [], []
        while at < end:
            item = <Item>items[at]
            needed = PyBytes_GET_SIZE(item.body) + fixed + 1
            if (item.priority and most_priority <= 0) or (size and size + needed > limit_bytes):
                break
            if size:
                self.buffer[size] = b"\n"
                size += 1
            added = self.write(item, sequence, self.buffer + size)
            if item.priority:
                line = PyBytes_FromStringAndSize(<char *>self.buffer + size, added)
                datagram.priority.append((sequence, line, item))
                most_priority -= 1
            else:
                datagram.ordinary.append(item)
                if self.is_chosen[item.level]:
                    datagram.once.append((sequence, item.level))
            size += added
            sequence += 1
            at += 1
        datagram.data = PyBytes_FromStringAndSize(<char *>self.buffer, size)
        datagram.count = at - start
        return datagram

    def line(self, Item item not None, uint64_t sequence):
        """One entry as it is sent under that sequence. The bytes are the same each time."""
        cdef size_t size = self.write(item, sequence, self.buffer)
        return PyBytes_FromStringAndSize(<char *>self.buffer, size)

    cdef size_t write(self, Item item, uint64_t sequence, uint8_t *to) noexcept:
        cdef char *p = <char *>to
        cdef Py_ssize_t inner = PyBytes_GET_SIZE(item.body) - 2
        cdef unsigned int bit = FIRST_CONSTANT
        if item.present & HAS_TIMESTAMP:
            p += snprintf(p, ADDED_MAX_BYTES, b'{"sequence":%llu,', <unsigned long long>sequence)
        else:
            p += snprintf(p, ADDED_MAX_BYTES, b'{"timestamp":"%s%06dZ","sequence":%llu,',
                          second_text(&self.last_second, item.when_usec // 1_000_000),
                          <int>(item.when_usec % 1_000_000), <unsigned long long>sequence)
        memcpy(p, PyBytes_AS_STRING(item.body) + 1, inner)
        p += inner
        if not item.present & HAS_HOST:
            p = append(p, self.host)
        if not item.present & HAS_APP:
            p = append(p, self.app)
        for field in self.constants:
            if not item.present & bit:
                p = append(p, <bytes>field)
            bit <<= 1
        p[0] = b"}"
        return p + 1 - <char *>to

    # For both

    def close(self):
        """From now on everything is dropped and counted."""
        self.closed = True

    @property
    def is_closed(self):
        return self.closed

    @property
    def has_room(self):
        """Both lanes are at most half full."""
        return is_half_empty(&self.lanes[0]) and is_half_empty(&self.lanes[1])

    @property
    def account(self):
        """Entries that were offered, and those of them that were dropped, by the names of their levels."""
        dropped = self.dropped
        return self.accepted_count + self.refused_count, dropped

    @property
    def accepted(self):
        """Entries ever taken; the next one has this number."""
        return self.accepted_count

    @property
    def shortened(self):
        """Entries that were cut to fit in a datagram."""
        return self.shortened_count

    @property
    def entries(self):
        """Entries in the ordinary lane, and in the priority lane."""
        return self.lanes[0].entries, self.lanes[1].entries

    @property
    def bytes(self):
        """Bytes of the bodies in the ordinary lane, and in the priority lane."""
        return self.lanes[0].bytes, self.lanes[1].bytes

    @property
    def dropped(self):
        """Entries dropped, by the names of their levels."""
        return {name: self.dropped_of[i] for i, name in enumerate(LEVELS) if self.dropped_of[i]}


cdef void run(void *argument) noexcept with gil:
    """A thread. However it ends, the outbox has no thread then."""
    cdef Outbox outbox = <Outbox>argument
    Py_DECREF(outbox)
    if outbox.state != BUSY or outbox.thread:
        return
    outbox.thread = _native.this_thread()
    try:
        outbox.owner.run()
    except BaseException:  # it reports its errors, and begins again: there is no memory even for that
        _native.pause(FAILED_SEC)
    outbox.end()
    if outbox.state == NO_THREAD and outbox.items:  # put when it was about to end
        try:
            outbox.owner.attend()
        except BaseException:
            pass


cdef inline bint is_full(const Lane *lane) noexcept:
    return lane.entries >= lane.entries_max or lane.bytes >= lane.bytes_max


cdef inline bint is_half_empty(const Lane *lane) noexcept:
    return lane.entries * 2 <= lane.entries_max and lane.bytes * 2 <= lane.bytes_max


cdef inline char *append(char *p, bytes text) noexcept:
    memcpy(p, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
    return p + PyBytes_GET_SIZE(text)


cdef bytes encoded(dict entry):
    """A plain entry as JSON, or None if a string has half a surrogate pair."""
    try:
        return encode(entry)
    except UnicodeError:
        return None


cdef unsigned int presence(const Known *known) noexcept:
    return (
        (HAS_TIMESTAMP if known.timestamp != NULL else 0)
        | (HAS_HOST if known.host != NULL else 0)
        | (HAS_APP if known.app != NULL else 0)
    )


cdef unsigned int presence_in(dict entry) except? 255:
    return (
        (HAS_TIMESTAMP if TIMESTAMP in entry else 0)
        | (HAS_HOST if HOST in entry else 0)
        | (HAS_APP if APP in entry else 0)
    )
