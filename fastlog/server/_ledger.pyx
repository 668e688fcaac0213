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
- A sender that had to give up its place (_senders.pxd) begins anew when it comes again.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

cimport cython

from fastlog.server._address cimport Address, AddressKey, is_same, key_of, name_of
from fastlog.server._senders cimport (
    ESTABLISHED,
    ESTABLISHED_ENTRIES,
    ESTABLISHED_MS,
    FEW,
    NEW,
    NEW_MIN,
    SENDERS_MAX,
    Sender,
    add,
    allocate,
    find,
    in_the_way,
    is_to_be_established,
    join,
    least,
    leave,
    release,
    remove,
)
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
    # Senders that `top` and `worst` return at the most: more than a page shows.
    RANKED_MAX = 100

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
globals().update(
    WINDOW=WINDOW, PROOF_ROW=PROOF_ROW, SENDERS_MAX=SENDERS_MAX, NEW_MIN=NEW_MIN, FEW=FEW,
    ESTABLISHED_ENTRIES=ESTABLISHED_ENTRIES, ESTABLISHED_MS=ESTABLISHED_MS,
)


@cython.final
cdef class Ledger:
    """Every sender and its sequences. `secret` is 16 random bytes, so that strangers cannot choose addresses that
    collide."""

    def __cinit__(self, bytes secret not None):
        if len(secret) != sizeof(self.table.secret):
            raise ValueError(f"the secret has {len(secret)} bytes instead of {sizeof(self.table.secret)}")
        memcpy(self.table.secret, <const char *>secret, sizeof(self.table.secret))
        self.records = <Record *>calloc(SENDERS_MAX + 1, sizeof(Record))
        if not allocate(&self.table) or self.records == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.records)
        release(&self.table)

    cdef void saw(self, const Address *sender, bint has_sequence, uint64_t sequence, uint64_t now_ms) noexcept nogil:
        cdef AddressKey key = key_of(sender)
        cdef Sender *at = &self.table.places[self.last]
        if not is_same(&at.key, &key):
            self.last = self.place_of(&key, now_ms)
            at = &self.table.places[self.last]
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

    # Senders that come and go

    cdef uint32_t place_of(self, const AddressKey *key, uint64_t now_ms) noexcept nogil:
        """The sender's place; a new sender gets one."""
        cdef uint32_t place = find(&self.table, key)
        return place if place else self.begin(key, now_ms)

    cdef uint32_t begin(self, const AddressKey *key, uint64_t now_ms) noexcept nogil:
        """Gives a new sender a place."""
        cdef uint32_t place = in_the_way(&self.table, key)
        if place:
            self.push_out(place)
        place = add(&self.table, key, now_ms)
        # These counts belong to the sender that had this place before.
        self.records[place].lost = self.records[place].repeated = self.records[place].restarts = 0
        self.records[place].run.missing = 0
        return place

    cdef void seen_now(self, uint32_t place, uint64_t now_ms) noexcept nogil:
        """To be called once a millisecond at most: a sender may be new no longer."""
        self.table.places[place].last_seen_ms = now_ms
        if not is_to_be_established(&self.table, place, now_ms):
            return
        if self.table.count[ESTABLISHED] == SENDERS_MAX - NEW_MIN:
            self.push_out(least(&self.table, ESTABLISHED))
        leave(&self.table, place)
        join(&self.table, place, ESTABLISHED)

    cdef void push_out(self, uint32_t place) noexcept nogil:
        """Retires a sender so that another one has a place."""
        self.pushed_out += 1
        self.forget(place)

    cdef void forget(self, uint32_t place) noexcept nogil:
        """Retires a sender: its missing sequences are lost, and the sequences set aside were late."""
        cdef Sender *at = &self.table.places[place]
        cdef Record *record = &self.records[place]
        if at.state & ASIDE:
            self.dismiss(at, record)
        if at.state & RETURNABLE:
            self.end_old_run(at, record)
        if at.state & STARTED:
            self.missing -= record.run.missing
            self.lose(at, record, record.run.missing)
        remove(&self.table, place)
        if self.last == place:
            self.last = 0
        self.retired += 1

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
                self.count(record, fill(&record.other, sequence))
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
            self.repeat(record)
            return
        self.open_window(at, record)
        self.count(record, fill(run, sequence))
        if at.state & RETURNABLE and run.arrived > WINDOW:
            self.end_old_run(at, record)

    cdef void count(self, Record *record, Filled filled) noexcept nogil:
        if filled == NOTHING:
            self.repeat(record)
        elif filled == GAP:
            self.missing -= 1

    cdef void repeat(self, Record *record) noexcept nogil:
        self.repeated += 1
        record.repeated += 1

    cdef void set_aside(self, Sender *at, Record *record, uint64_t sequence) noexcept nogil:
        """A sequence that does not belong to the run has arrived."""
        cdef SequenceRun *other = &record.other
        if at.state & RETURNABLE:
            self.end_old_run(at, record)
        if at.state & ASIDE and is_near(other, sequence):
            if sequence > other.newest:
                other.lost += advance(other, sequence)
            elif fill(other, sequence) == NOTHING:  # its gaps are not counted yet
                self.repeat(record)
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
            record.restarts += 1
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
            "senders": self.table.count[NEW] + self.table.count[ESTABLISHED],
            "retired": self.retired,
            "pushed_out": self.pushed_out,
        }

    def top(self, size_t count, uint64_t now_ms):
        """The senders of most entries, RANKED_MAX at most: (address, received, lost and missing, seconds since the last
        entry)."""
        return self.ranked(count, now_ms, False)

    def worst(self, size_t count, uint64_t now_ms):
        """The senders with the most gaps, as `top` returns them. A sender without gaps is not among them."""
        return self.ranked(count, now_ms, True)

    def sender(self, uint64_t high, uint64_t low, uint64_t scope_and_port, uint64_t now_ms):
        """One sender, by the numbers of its AddressKey: (address, received, lost and missing, repeated, restarts,
        seconds since the first entry, seconds since the last one). None: there is no such sender, or no longer."""
        cdef AddressKey key
        key.high, key.low, key.scope_and_port = high, low, scope_and_port
        cdef uint32_t place = find(&self.table, &key)
        if place == 0:
            return None
        cdef Sender *at = &self.table.places[place]
        cdef Record *record = &self.records[place]
        return (name_of(&at.key), at.received, self.gaps(place), record.repeated, record.restarts,
                max(<int64_t>(now_ms - self.table.standings[place].since_ms), 0) / 1000.0,
                max(<int64_t>(now_ms - at.last_seen_ms), 0) / 1000.0)

    cdef inline uint64_t gaps(self, uint32_t place) noexcept nogil:
        cdef Record *record = &self.records[place]
        cdef uint64_t count = record.lost + record.run.missing
        if self.table.places[place].state & RETURNABLE:  # gaps of the old run still count
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
        for place in range(1, self.table.used + 1):
            at = &self.table.places[place]
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
            at = &self.table.places[places[i]]
            found.append((name_of(&at.key), at.received, self.gaps(places[i]),
                          max(<int64_t>(now_ms - at.last_seen_ms), 0) / 1000.0))
        return found

    def retire(self, uint64_t now_ms, uint64_t idle_ms):
        """Retires senders not seen for `idle_ms`, at most RETIRE_MAX in a call; returns how many."""
        cdef unsigned int count = 0
        cdef uint32_t place
        cdef Sender *at
        for place in range(1, self.table.used + 1):
            at = &self.table.places[place]
            if at.received and at.last_seen_ms <= now_ms and now_ms - at.last_seen_ms >= idle_ms:
                self.forget(place)
                count += 1
                if count == RETIRE_MAX:
                    break
        return count
