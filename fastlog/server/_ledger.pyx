# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The ledger of what never arrived, for each sender, which is an address and port. Its memory is fixed, and no call
fails.

A sender's sequences count up by one. The first one seen starts its run, and nothing before it is a gap. A sequence that
is skipped is `missing` as long as it is less than a window behind the newest, and may still arrive; then it is `lost`.
One that arrives again within the window is `repeated`. So, for each run whose entries all come within the window:

    newest - first + 1  =  different sequences arrived + lost + missing

A sequence more than a window behind or ahead of the newest does not belong to the run. It may be a late retransmission,
a stray, forged, the first after an outage, or the first of a sender that restarted. Such sequences are set aside as a
run of their own, until those that follow decide.

- The sender's run continues: the sequences set aside were `late`. Each of them was lost before or is repeated, which is
  not known, so no loss is taken back. The number that truly never arrived is between `lost - late` and `lost`.
- The run set aside is proven: PROOF_ROW of its sequences came in a row, in any order, and at least half of all, or a
  window's worth. It becomes the sender's run. If it began ahead, by JUMP_MAX at most, there was an outage: all between
  are gaps. Otherwise the sender has restarted, and the new run has its own gaps only.

A forged row, a second program on the sender's socket, and priority entries in a row that a silent sender retransmits
look the same. So until a window's worth of the new run has arrived, the old run can continue, at most a window ahead of
where it was; then the new one was late. Until that is decided, all gaps of both are `missing`, and then the old run's
and those between are lost.

Where the run set aside or the old run ended is remembered, until another run is set aside elsewhere. If the sender
goes on there, the two have taken turns. When they have done so TURNS times, they are two programs on one socket, and
there is no outage between them.

Some things cannot be known:

- A restart within a window of where the run was: its sequences are repeated.
- A restart or an outage after which too few entries arrive to prove it: they are late, and nothing is lost.
- Two programs on one socket: the gaps of one at a time are counted. If one begins when the other ends, what is between
  them counts as an outage.
- What somebody forges who sends a proof in another's name.
- Losses before the first and after the last entry of a run leave no trace.
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
    PROOF_ROW,
    WINDOW,
    Filled,
    SequenceRun,
    advance,
    begin_run,
    distance,
    fill,
    is_near,
    is_proven,
    reach_back,
    set_window,
)

cpdef enum:
    # Senders kept at once: more than a collector has, and few enough to look through in a fraction of a millisecond. At
    # 408 bytes each they take 6.7 MB, of which only the places in use take memory.
    SENDERS_MAX = 16384
    # How many sequences a run may begin ahead of the sender's newest one and still mean that all between were lost: 10
    # seconds of 100,000 entries. A longer jump is more likely another program than an outage.
    JUMP_MAX = 1 << 20
    # How often two runs take turns until they are two programs on one socket. Once is too few: an entry from before an
    # outage may come after the first one from after it.
    TURNS = 2
    # How far from where it was a run may continue after a turn: some entries may be lost or come in another order.
    TURN_REACH = 64
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
    # What `Record.other` is. ASIDE: a run set aside. RETURNABLE: the old run, which may still continue. LEFT: one that
    # was either of these; only where it ended is of use.
    ASIDE = 4
    RETURNABLE = 8
    LEFT = 16

# For Python: a .pxd without a module cannot export its constants.
globals()["WINDOW"] = WINDOW
globals()["PROOF_ROW"] = PROOF_ROW


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
            self.lose(at, record, record.run.missing)
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
            if sequence <= record.other.newest:  # the entry was on its way when the run after it began
                self.count(fill(&record.other, sequence))
                return
            self.resume_old_run(at, record)
        if at.state & ASIDE and sequence > run.newest and is_near(&record.other, sequence):
            self.set_aside(at, record, sequence)  # even if it is in reach of the run as well
        elif sequence > run.newest and sequence - run.newest <= WINDOW:
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
            at.state |= LEFT
            record.turns += 1
        if at.state & WHOLE and sequence - run.newest == 1:
            run.newest = sequence
            run.arrived += 1
        else:
            self.open_window(at, record)
            self.lose(at, record, advance(run, sequence))
            self.missing += run.missing - missing
        if at.state & RETURNABLE and run.arrived > WINDOW:
            self.end_old_run(at, record)

    cdef void fill_gap(self, Sender *at, Record *record, uint64_t sequence) noexcept nogil:
        """A sequence in the run's window, or just before the run, has arrived."""
        cdef SequenceRun *run = &record.run
        if at.state & WHOLE and sequence >= run.first:
            self.repeated += 1
            return
        self.open_window(at, record)
        self.count(fill(run, sequence))
        if at.state & RETURNABLE and run.arrived > WINDOW:
            self.end_old_run(at, record)

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
            if is_proven(other, sequence):
                self.change_runs(at, record)
            return
        if at.state & ASIDE:
            self.dismiss(at, record)
        if not at.state & LEFT or distance(sequence, other.newest) > TURN_REACH:
            record.turns = 0
        begin_run(other, sequence)
        at.state = (at.state | ASIDE) & ~<uint32_t>LEFT

    cdef void dismiss(self, Sender *at, Record *record) noexcept nogil:
        """The run set aside was not the sender's."""
        self.late += record.other.arrived
        at.state &= ~<uint32_t>ASIDE

    cdef void change_runs(self, Sender *at, Record *record) noexcept nogil:
        """The run set aside becomes the sender's run, and the old run takes its place."""
        cdef SequenceRun old
        cdef uint64_t ahead = record.other.first - record.run.newest
        self.open_window(at, record)
        old = record.run
        record.run = record.other
        record.other = old
        if record.run.first > old.newest and ahead <= JUMP_MAX and record.turns < TURNS:
            reach_back(&record.run, old.newest + 1)
        else:
            self.restarts += 1
        record.doubtful = record.run.lost
        self.missing += record.run.missing + record.doubtful
        at.state = STARTED | RETURNABLE
        if record.run.arrived > WINDOW:
            self.end_old_run(at, record)

    cdef void resume_old_run(self, Sender *at, Record *record) noexcept nogil:
        """The old run continues, so the run after it was not the sender's, or not its only one."""
        cdef SequenceRun new = record.run
        self.missing -= new.missing + record.doubtful
        self.late += new.arrived
        record.run = record.other
        record.other = new
        record.turns += 1
        at.state = STARTED | LEFT

    cdef void end_old_run(self, Sender *at, Record *record) noexcept nogil:
        """The old run cannot continue any more."""
        self.missing -= record.other.missing + record.doubtful
        at.state = (at.state | LEFT) & ~<uint32_t>RETURNABLE
        self.lose(at, record, record.other.missing + record.doubtful)
        record.turns = TURNS

    cdef void open_window(self, Sender *at, Record *record) noexcept nogil:
        """From now on the run's bits are kept."""
        if at.state & WHOLE:
            set_window(&record.run)
            at.state &= ~<uint32_t>WHOLE

    cdef void lose(self, Sender *at, Record *record, uint64_t count) noexcept nogil:
        """So many gaps have left the run's window. They are in doubt while the old run may continue."""
        if at.state & RETURNABLE:
            record.doubtful += count
            self.missing += count
        else:
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
        if self.senders[place].state & RETURNABLE:  # gaps of the old run still count
            count += record.other.missing + record.doubtful
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
