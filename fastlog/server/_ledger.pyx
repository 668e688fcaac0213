# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The ledger of what never arrived, for each sender, which is an address and port. Its memory is fixed, and no call
fails.

A sender's sequences count up by one. The first one seen starts its run, and nothing before it is a gap. A sequence that
is skipped is `missing` as long as it is less than a window behind the newest, and may still arrive; then it is `lost`.
One that arrives again within the window is `repeated`. So, for each run whose entries all come within the window:

    newest - first + 1  =  different sequences arrived + lost + missing

A sequence further behind than the window, or more than a jump ahead of the newest, does not belong to the run. It may
be a late retransmission, a stray, or the first of a sender that restarted. Such sequences are set aside as a run of
their own, until those that follow decide.

- The sender's run continues: the sequences set aside were `late`. Each of them was lost before or is repeated, which is
  not known, so no loss is taken back. The number that truly never arrived is between `lost - late` and `lost`.
- RESTART_ROW of them come in a row, in any order, and at least half of their run has arrived: the sender has restarted,
  and their run with its gaps replaces the old one. Priority entries in a row that a silent sender retransmits look the
  same. So until the new run is a window long, the old run can continue, at most a window ahead of where it was; then
  the new one was late. After that, the old run's missing sequences are lost.

Two restarts are not recognised: one within a window of where the run was (its sequences are repeated), and one that
ends before the row is full (they are late). Losses before the first and after the last entry of a run leave no trace.
"""

from libc.stdint cimport UINT64_MAX, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from posix.stdlib cimport posix_memalign

cimport cython

from fastlog.server._address cimport Address, AddressKey, hash_of, is_same, key_of, text_of
from fastlog.server._sequence_runs cimport (
    GAP,
    NOTHING,
    WINDOW,
    Filled,
    SequenceRun,
    advance,
    begin_run,
    fill,
    in_a_row,
    is_near,
    set_window,
)

cpdef enum:
    # Senders kept at once: more than a collector has, and few enough to look through in a fraction of a millisecond. At
    # 408 bytes each they take 6.7 MB, of which only the places in use take memory.
    SENDERS_MAX = 16384
    # How many sequences an entry may be ahead of the newest one and still mean that all between are missing: 10 s at
    # 100,000 entries a second. A longer jump is more likely another program than an outage.
    JUMP_MAX = 1 << 20
    # Sequences in a row that make a restart: retransmitted priority entries seldom have consecutive sequences, a
    # restarted sender soon has, even when every other entry is lost.
    RESTART_ROW = 8
    # Senders retired in one call: some ten microseconds.
    RETIRE_MAX = 256

cdef enum:
    # Buckets of the hash table: twice the senders, so that most hold one or none.
    BUCKETS = 2 * SENDERS_MAX
    # Senders in one bucket. Chance does not reach it in the life of a machine; it is a bound for the unforeseen.
    BUCKET_SENDERS_MAX = 16
    # Senders that `top` and `worst` return at the most: more than a page shows.
    RANKED_MAX = 100
    # Size of a cache line.
    CACHE_LINE_BYTES = 64

cdef enum:
    # The flags of Sender.state. STARTED: there is a run.
    STARTED = 1
    # The run has no gap in the window, and its bits are not kept.
    WHOLE = 2
    # ASIDE: `Record.other` is a run set aside. RETURNABLE: it is the run before a restart, which may still continue.
    ASIDE = 4
    RETURNABLE = 8

globals()["WINDOW"] = WINDOW  # for Python: a .pxd without a module cannot export its constants


@cython.final
cdef class Ledger:
    """Every sender and its sequences. `secret` is 16 random bytes, so that strangers cannot choose addresses that
    collide."""

    def __cinit__(self, bytes secret not None):
        if len(secret) != sizeof(self.secret):
            raise ValueError(f"the secret has {len(secret)} bytes instead of {sizeof(self.secret)}")
        memcpy(self.secret, <const char *>secret, sizeof(self.secret))
        if posix_memalign(<void **>&self.senders, CACHE_LINE_BYTES, (SENDERS_MAX + 1) * sizeof(Sender)) != 0:
            self.senders = NULL
            raise MemoryError
        self.records = <Record *>calloc(SENDERS_MAX + 1, sizeof(Record))
        self.buckets = <uint32_t *>calloc(BUCKETS, sizeof(uint32_t))
        if self.records == NULL or self.buckets == NULL:
            raise MemoryError
        memset(self.senders, 0, sizeof(Sender))
        self.senders[0].key.scope_and_port = UINT64_MAX  # no address has this key, so place 0 is never found

    def __dealloc__(self):
        free(self.buckets)
        free(self.records)
        free(self.senders)

    cdef void saw(self, const Address *sender, bint has_sequence, uint64_t sequence, uint64_t now_ms) noexcept nogil:
        cdef AddressKey key = key_of(sender)
        cdef Sender *at = &self.senders[self.last]
        if not is_same(&at.key, &key):
            self.last = self.find(&key, now_ms)
            at = &self.senders[self.last]
        if at.last_seen_ms != now_ms:
            self.seen_now(self.last, now_ms)
        at.received += 1
        self.received += 1
        if not has_sequence:
            return
        if at.state == (STARTED | WHOLE) and sequence - at.newest == 1 and sequence != 0:
            at.newest = sequence
        else:
            self.account(at, &self.records[self.last], sequence)

    # The table of senders

    cdef uint32_t find(self, const AddressKey *key, uint64_t now_ms) noexcept nogil:
        """The sender's place; a new sender gets one."""
        cdef uint64_t bucket = hash_of(key, self.secret) % BUCKETS
        cdef uint32_t place = self.buckets[bucket], end = 0
        cdef unsigned int steps = 0
        while place:
            if is_same(&self.senders[place].key, key):
                return place
            end = place
            place = self.senders[place].next
            steps += 1
        if steps == BUCKET_SENDERS_MAX:
            self.forget(end)
        elif self.present == SENDERS_MAX:
            self.forget(self.senders[0].newer)
        return self.add(key, bucket, now_ms)

    cdef uint32_t add(self, const AddressKey *key, uint64_t bucket, uint64_t now_ms) noexcept nogil:
        cdef uint32_t place = self.free
        if place:
            self.free = self.senders[place].next
        else:
            self.used += 1
            place = self.used
        cdef Sender *at = &self.senders[place]
        memset(at, 0, sizeof(Sender))
        at.key = key[0]
        at.last_seen_ms = now_ms
        at.next = self.buckets[bucket]
        self.buckets[bucket] = place
        self.link_newest(place)
        self.records[place].lost = 0
        self.records[place].run.missing = 0  # the count belongs to the sender that had this place before
        self.present += 1
        return place

    cdef void forget(self, uint32_t place) noexcept nogil:
        """Retires a sender: its missing sequences are lost, and the sequences set aside were late."""
        cdef Sender *at = &self.senders[place]
        cdef Record *record = &self.records[place]
        cdef uint32_t *link = &self.buckets[hash_of(&at.key, self.secret) % BUCKETS]
        if at.state & ASIDE:
            self.dismiss(at, record)
        if at.state & RETURNABLE:
            self.end_old_run(at, record)
        if at.state & STARTED:
            self.missing -= record.run.missing
            self.lose(record, record.run.missing)
        while link[0] != place:
            link = &self.senders[link[0]].next
        link[0] = at.next
        self.unlink(place)
        at.received = 0  # an empty place
        at.next = self.free
        self.free = place
        if self.last == place:
            self.last = 0
        self.present -= 1
        self.retired += 1

    cdef void seen_now(self, uint32_t place, uint64_t now_ms) noexcept nogil:
        """Moves the sender to the front of the list, once a millisecond at most, which keeps the list in order."""
        self.senders[place].last_seen_ms = now_ms
        if self.senders[0].older != place:
            self.unlink(place)
            self.link_newest(place)

    cdef void link_newest(self, uint32_t place) noexcept nogil:
        cdef uint32_t second = self.senders[0].older
        self.senders[place].older = second
        self.senders[place].newer = 0
        self.senders[second].newer = place
        self.senders[0].older = place

    cdef void unlink(self, uint32_t place) noexcept nogil:
        cdef uint32_t newer = self.senders[place].newer, older = self.senders[place].older
        self.senders[newer].older = older
        self.senders[older].newer = newer

    # A sender's sequences

    cdef void account(self, Sender *at, Record *record, uint64_t sequence) noexcept nogil:
        cdef SequenceRun *run = &record.run
        if not at.state & STARTED:
            begin_run(run, sequence)
            at.newest = sequence
            at.state = STARTED | WHOLE
            return
        run.newest = at.newest
        if at.state & RETURNABLE and not is_near(run, sequence) and is_near(&record.other, sequence):
            if sequence <= record.other.newest:  # the entry was on its way during the restart
                self.count(fill(&record.other, sequence))
                return
            self.undo_restart(at, record)
        if sequence > run.newest and sequence - run.newest <= JUMP_MAX:
            self.extend(at, record, sequence)
        elif sequence <= run.newest and run.newest - sequence < WINDOW:
            self.fill_gap(at, record, sequence)
        else:
            self.set_aside(at, record, sequence)
        if run.missing == 0 and run.newest - run.first >= WINDOW - 1:
            at.state |= WHOLE
        at.newest = run.newest

    cdef void extend(self, Sender *at, Record *record, uint64_t sequence) noexcept nogil:
        """A newer sequence of the run has arrived."""
        cdef SequenceRun *run = &record.run
        cdef uint64_t missing = run.missing
        if at.state & ASIDE:
            self.dismiss(at, record)
        if at.state & WHOLE and sequence - run.newest == 1:
            run.newest = sequence
            run.arrived += 1
        else:
            self.open_window(at, record)
            self.lose(record, advance(run, sequence))
            self.missing += run.missing - missing
        if at.state & RETURNABLE and run.newest - run.first >= WINDOW:
            self.end_old_run(at, record)

    cdef void fill_gap(self, Sender *at, Record *record, uint64_t sequence) noexcept nogil:
        """A sequence in the run's window, or just before the run, has arrived."""
        cdef SequenceRun *run = &record.run
        if at.state & WHOLE and sequence >= run.first:
            self.repeated += 1
            return
        self.open_window(at, record)
        self.count(fill(run, sequence))

    cdef void count(self, Filled filled) noexcept nogil:
        if filled == NOTHING:
            self.repeated += 1
        elif filled == GAP:
            self.missing -= 1

    cdef void set_aside(self, Sender *at, Record *record, uint64_t sequence) noexcept nogil:
        """A sequence that does not belong to the run has arrived."""
        cdef SequenceRun *other = &record.other
        if at.state & RETURNABLE:
            self.end_old_run(at, record)
        if at.state & ASIDE and is_near(other, sequence):
            if sequence > other.newest:
                other.lost += advance(other, sequence)
            elif fill(other, sequence) == NOTHING:  # its gaps are not counted yet
                self.repeated += 1
                return
            if other.newest - other.first < 2 * other.arrived and in_a_row(other, sequence, RESTART_ROW) >= RESTART_ROW:
                self.restart(at, record)
            return
        if at.state & ASIDE:
            self.dismiss(at, record)
        begin_run(other, sequence)
        at.state |= ASIDE

    cdef void dismiss(self, Sender *at, Record *record) noexcept nogil:
        """The run set aside was not a restart."""
        self.late += record.other.arrived
        at.state &= ~<uint32_t>ASIDE

    cdef void restart(self, Sender *at, Record *record) noexcept nogil:
        """The run set aside becomes the sender's run, and the old run takes its place."""
        cdef SequenceRun old
        self.open_window(at, record)
        old = record.run
        record.run = record.other
        record.other = old
        self.restarts += 1
        self.missing += record.run.missing
        self.lose(record, record.run.lost)
        at.state = STARTED | RETURNABLE
        if record.run.newest - record.run.first >= WINDOW:
            self.end_old_run(at, record)

    cdef void undo_restart(self, Sender *at, Record *record) noexcept nogil:
        """The old run continues, so there was no restart. The new run is too short to have lost anything yet."""
        self.missing -= record.run.missing
        self.late += record.run.arrived
        record.run = record.other
        at.state = STARTED

    cdef void end_old_run(self, Sender *at, Record *record) noexcept nogil:
        """The run before the restart cannot continue any more."""
        self.missing -= record.other.missing
        self.lose(record, record.other.missing)
        at.state &= ~<uint32_t>RETURNABLE

    cdef void open_window(self, Sender *at, Record *record) noexcept nogil:
        """From now on the run's bits are kept."""
        if at.state & WHOLE:
            set_window(&record.run)
            at.state &= ~<uint32_t>WHOLE

    cdef void lose(self, Record *record, uint64_t count) noexcept nogil:
        record.lost += count
        self.lost += count

    # For the server, with the GIL

    def totals(self):
        """Figures of all senders, retired ones included; all but `missing` and `senders` only ever grow."""
        return {
            "received": self.received,
            "lost": self.lost,
            "missing": self.missing,
            "repeated": self.repeated,
            "late": self.late,
            "restarts": self.restarts,
            "senders": self.present,
            "retired": self.retired,
        }

    def top(self, size_t count, uint64_t now_ms):
        """The senders of most entries, RANKED_MAX at most: (address, received, lost and missing, seconds since the last
        entry)."""
        return self.ranked(count, now_ms, False)

    def worst(self, size_t count, uint64_t now_ms):
        """The senders with the most gaps, as `top` returns them. A sender without gaps is not among them."""
        return self.ranked(count, now_ms, True)

    cdef inline uint64_t gaps(self, uint32_t place) noexcept nogil:
        cdef Record *record = &self.records[place]
        cdef uint64_t count = record.lost + record.run.missing
        if self.senders[place].state & RETURNABLE:  # gaps of the run before a restart still count
            count += record.other.missing
        return count

    cdef list ranked(self, size_t count, uint64_t now_ms, bint by_lost):
        cdef uint32_t places[RANKED_MAX]
        cdef uint64_t figures[RANKED_MAX]
        cdef uint64_t figure
        cdef uint32_t place
        cdef size_t size = 0, i
        cdef Sender *at
        count = min(count, <size_t>RANKED_MAX)
        for place in range(1, self.used + 1):
            at = &self.senders[place]
            figure = self.gaps(place) if by_lost and at.received else at.received
            if figure == 0 or count == 0 or (size == count and figure <= figures[size - 1]):
                continue
            if size < count:
                size += 1
            i = size - 1
            while i and figures[i - 1] < figure:
                places[i], figures[i] = places[i - 1], figures[i - 1]
                i -= 1
            places[i], figures[i] = place, figure
        found = []
        for i in range(size):
            at = &self.senders[places[i]]
            found.append((text_of(&at.key), at.received, self.gaps(places[i]),
                          max(<int64_t>(now_ms - at.last_seen_ms), 0) / 1000.0))
        return found

    def retire(self, uint64_t now_ms, uint64_t idle_ms):
        """Retires senders not seen for `idle_ms`, at most RETIRE_MAX in a call; returns how many."""
        cdef unsigned int count = 0
        cdef Sender *at
        while count < RETIRE_MAX and self.present:
            at = &self.senders[self.senders[0].newer]
            if at.last_seen_ms > now_ms or now_ms - at.last_seen_ms < idle_ms:
                break
            self.forget(self.senders[0].newer)
            count += 1
        return count
