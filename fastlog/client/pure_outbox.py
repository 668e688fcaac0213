"""What `_outbox.pyx` does, in Python: the same entries, limits and bytes.

There is no lock here, either. CPython gives way to other threads and to signal handlers after a call and at a jump
back, and nowhere between. So what belongs together is written in one go without calls: each group of such lines says
so, and nothing that calls may be added there.
"""

from _thread import get_ident, start_new_thread
from collections.abc import Callable, Mapping
from time import time_ns
from typing import TYPE_CHECKING, Protocol

import msgspec

from fastlog.client.encode import FLAT_TYPES, encode, is_short_integer
from fastlog.client.level_names import USUAL_SPELLINGS, level_index, warn_of_unknown_level
from fastlog.client.pure_native import Wakeup, generation, getpid, pause, process
from fastlog.client.pure_plain import ODD, PLAIN, PlainCopy, kind_of
from fastlog.client.pure_record import FlatEntry, second_text
from fastlog.client.shorten import shorten
from fastlog.entry import LEVELS
from fastlog.limits import DATAGRAM_MAX_BYTES

if TYPE_CHECKING:
    from fastlog.client.options import ClientOptions

# As in _outbox.pyx, which explains them.
BUSY, LINGERING, SLEEPING, NO_THREAD = range(4)
HAS_TIMESTAMP, HAS_HOST, HAS_APP, FIRST_CONSTANT = 1, 2, 4, 8
ADDED_MAX_BYTES = 96
FAILED_SEC = 1.0

OTHER = len(LEVELS) - 1
NOT_TAKEN = -1  # the number of an item that no lane has
_decode_names = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Item(msgspec.Struct, gc=False, eq=False):
    when_usec: int
    body: bytes
    level: int
    present: int
    number: int = NOT_TAKEN
    priority: bool = False


class Datagram:
    __slots__ = ("count", "data", "once", "ordinary", "priority")

    def __init__(self) -> None:
        self.data = b""
        self.count = 0
        self.ordinary: list[Item] = []
        self.priority: list[tuple[int, bytes, Item]] = []
        self.once: list[tuple[int, int]] = []


class _Lane:
    __slots__ = ("bytes", "bytes_max", "entries", "entries_max")

    def __init__(self, entries_max: int, bytes_max: int) -> None:
        self.entries = self.bytes = 0
        self.entries_max, self.bytes_max = entries_max, bytes_max

    @property
    def is_full(self) -> bool:
        return self.entries >= self.entries_max or self.bytes >= self.bytes_max

    @property
    def is_half_empty(self) -> bool:
        return self.entries * 2 <= self.entries_max and self.bytes * 2 <= self.bytes_max


class Owner(Protocol):
    def attend(self) -> None: ...
    def run(self) -> None: ...


class _Lanes:
    """What is held of each kind of entry, and what was dropped."""

    def __init__(self, options: "ClientOptions") -> None:
        self._items: list[Item] = []  # taken and not yet fetched by the client's thread, in order
        self._is_chosen = [level in options.priority_levels for level in LEVELS]
        self._is_priority = self._is_chosen.copy()
        self._lanes = [_Lane(options.queue_entries, options.queue_bytes) for _ in range(2)]
        self._accepted = self._refused = self._shortened = 0
        self._dropped = [0] * len(LEVELS)
        self._closed = False

    def _drops(self, level: int) -> bool:
        """Whether an entry is dropped, and counted, because the outbox is closed or its lane is full."""
        if self._closed or self._lanes[self._is_priority[level]].is_full:
            self._lose(level)
            return True
        return False

    def _lose(self, level: int) -> None:
        self._dropped[level] += 1
        self._refused += 1

    def _forget(self) -> None:
        """In a child after a fork: the parent has all of it."""
        self._items = []
        for lane in self._lanes:
            lane.entries = lane.bytes = 0
        self._dropped = [0] * len(LEVELS)
        self._is_priority = self._is_chosen.copy()
        self._accepted = self._refused = self._shortened = 0

    def fetch(self, ready: list[Item]) -> int:
        """Appends the items put since the last call, in order. An error loses none of them. Returns the number of the
        next item."""
        nothing: list[Item] = []
        # In one go.
        ready += self._items
        self._items = nothing
        return self._accepted

    def release(self, items: list[Item]) -> None:
        """Takes items out of their lanes: the client does not hold them any more."""
        for item in items:
            size = len(item.body)
            lane = self._lanes[item.priority]
            # In one go.
            lane.entries -= 1
            lane.bytes -= size

    def recount(self, items: list[Item]) -> None:
        """After an error: the client holds these items, and those that are not fetched."""
        while True:
            waiting = self._items.copy()
            held = [[0, 0], [0, 0]]
            for item in items + waiting:
                held[item.priority][0] += 1
                held[item.priority][1] += len(item.body)
            ordinary, priority = self._lanes
            # In one go.
            if self._items == waiting:
                ordinary.entries, ordinary.bytes = held[0]
                priority.entries, priority.bytes = held[1]
                return

    def drop(self, items: list[Item]) -> None:
        """Releases items that are never sent, and counts them."""
        for item in items:
            self._dropped[item.level] += 1
        self.release(items)

    def set_priority(self, level: int, priority: bool) -> None:
        """Whether later entries of a level are priority entries. `level` is an index in entry.LEVELS."""
        self._is_priority[level] = priority

    def make_ordinary(self, items: list[Item]) -> None:
        """Moves priority items to the ordinary lane, whatever its limits are. They are sent once."""
        ordinary, priority = self._lanes
        for item in items:
            if item.priority:
                size = len(item.body)
                # In one go.
                item.priority = False
                priority.entries -= 1
                priority.bytes -= size
                ordinary.entries += 1
                ordinary.bytes += size

    def close(self) -> None:
        """From now on everything is dropped and counted."""
        self._closed = True

    @property
    def is_closed(self) -> bool:
        return self._closed

    @property
    def has_room(self) -> bool:
        """Both lanes are at most half full."""
        return self._lanes[0].is_half_empty and self._lanes[1].is_half_empty


class _Work(_Lanes):
    """Which thread works."""

    def __init__(self, options: "ClientOptions", owner: Owner | None) -> None:
        super().__init__(options)
        self._owner = owner
        self._state = NO_THREAD
        self._thread = 0  # its number; 0 before it runs
        self._is_visited = False  # it only does the work for a while, since there is no thread
        self._forks = generation()
        self.wakeup = Wakeup()

    def start(self) -> bool:
        """Starts a thread that calls `owner.run`, unless one works already. Returns False if there is no thread."""
        run = self._run
        try:
            # In one go.
            if self._state != NO_THREAD:
                return True
            self._state, self._thread = BUSY, 0
            start_new_thread(run, ())
        except BaseException as error:
            if not self._thread:  # it has not begun, and now it ends at once if it does
                self._state = NO_THREAD
            if not isinstance(error, RuntimeError):
                raise
            return False
        return True

    def _run(self) -> None:
        """A thread. However it ends, the outbox has no thread then."""
        here = get_ident()
        if self._state != BUSY or self._thread:
            return
        self._thread = here
        try:
            if self._owner is not None:
                self._owner.run()
        except BaseException:  # it reports its errors, and begins again: there is no memory even for that
            pause(FAILED_SEC)
        self.end()
        if self._state == NO_THREAD and self._items:  # put when it was about to end
            self._call_owner()

    def visit(self, are_others_gone: bool, work: Callable[[], object]) -> bool:
        """Makes the calling thread the one that works, for the time of `work()`. Returns False if another one works. A
        signal handler may raise an error in `work`: afterwards the thread works no more."""
        here = get_ident()
        try:
            # In one go.
            if self._state != NO_THREAD and (self._thread == here or not are_others_gone):
                here = 0
                return False
            self._state = BUSY
            self._thread = here
            self._is_visited = True
            work()
        finally:
            if here and self._thread == here:
                self._state = NO_THREAD
                self._thread = 0
                self._is_visited = False
        return True

    def end(self) -> None:
        """The calling thread works no more."""
        here = get_ident()
        if self._thread == here:
            self._state = NO_THREAD
            self._thread = 0
            self._is_visited = False

    def disown(self) -> None:
        """Nobody uses it any more."""
        self._owner = None

    @property
    def is_here(self) -> bool:
        """The calling thread is the one that works."""
        return self._thread == get_ident()

    @property
    def has_thread(self) -> bool:
        return self._state != NO_THREAD

    def wake_thread(self) -> None:
        """Has the thread make a turn. If it cannot be woken, it is not waited for: another one may be started."""
        state = self._state
        # In one go. From here on others leave it to this call to wake the thread.
        if state == NO_THREAD:
            return
        self._state = BUSY
        try:
            is_woken = self.wakeup.wake()
        except BaseException:  # of a signal handler
            self._state = state
            raise
        if not is_woken and state != BUSY:  # its descriptors are closed: it sleeps, and sees that another one works now
            self._state = NO_THREAD
            self._thread = 0
            self._is_visited = False

    def _call_owner(self) -> None:
        try:
            if self._owner is not None:
                self._owner.attend()
        except Exception:  # noqa: S110 - no room on the stack, or the interpreter is being taken apart
            pass

    def begin_anew(self) -> bool:
        """In a child after a fork: the parent sends what is in here, and its thread is not in this process. Returns
        False if this has been done."""
        forks = generation()
        if self._forks == forks:
            return False
        self._forks = forks
        self._state = NO_THREAD
        self._thread = 0
        self._is_visited = False
        self._forget()
        self.wakeup.close()
        return True

    @property
    def generation(self) -> int:
        """Changes with each fork. Its entries are those of one process only."""
        return self._forks

    def rest(self, state: int) -> bool:
        """Announces that the thread is about to wait, LINGERING or SLEEPING, until it is woken. Returns False if it
        must not wait, because there are items for it."""
        here = get_ident()
        if self._thread == here:  # before the look at the items: what is put from here on wakes the thread
            self._state = state
        must_work = bool(self._items) if state == SLEEPING else any(item.priority for item in self._items.copy())
        if must_work and self._thread == here:
            self._state = BUSY
        return not must_work

    def awake(self) -> bool:
        """The wait is over. Returns False if another thread works by now."""
        if self._thread == get_ident():
            self._state = BUSY
            return True
        return False


class Outbox(_Work):
    """What one client has to send, and which thread works for it. `owner` has `attend`, called when there is work and
    no thread, and `run`, which is that thread."""

    def __init__(self, options: "ClientOptions", owner: Owner | None) -> None:
        super().__init__(options, owner)
        self._host, self._app = options.host_field, options.app_field
        constants = options.encoded_fields
        self._names = [name for name, _ in constants]
        self._constants = [field for _, field in constants]
        self._added_bytes = len(self._host) + len(self._app) + sum(map(len, self._constants))
        self._body_max = (options.datagram_bytes or DATAGRAM_MAX_BYTES) - ADDED_MAX_BYTES - self._added_bytes
        self._whole_tail = self._tail(0)

    # For the applications' threads

    def put(self, entry: dict[str, object]) -> None:
        """Takes an entry, or drops and counts it. Raises nothing, whatever the entry holds, except what is no
        Exception, such as KeyboardInterrupt. Does not keep the dict."""
        item = None
        try:
            forks = process.forks if getpid() == process.number else generation()
            if self._forks != forks:
                self.begin_anew()
            item = self._flat_item(entry) or self._item_of(entry)
            if item is not None:
                self._add(item, forks)
            if (self._state == NO_THREAD or self._is_visited) and self._items:
                self._call_owner()
        except Exception:  # the program's stack has no room for another call
            if item is None or item.number == NOT_TAKEN:
                self._lose(OTHER if item is None else item.level)

    def _flat_item(self, entry: dict[str, object]) -> Item | None:
        """Most entries: what `_item_of` would make of one that holds strings and numbers only, and fits. None for any
        other, and one that is to be dropped."""
        if type(entry) is FlatEntry:
            return self._encoded_item(entry, USUAL_SPELLINGS[entry["level"]], HAS_TIMESTAMP)  # type: ignore[index]
        fields = entry.copy()
        for name, value in fields.items():
            if type(name) is not str or (type(value) not in FLAT_TYPES and not is_short_integer(value)):
                return None
        get = fields.get
        spelling = get("level")
        level = USUAL_SPELLINGS.get(spelling) if type(spelling) is str else None
        if level is None or type(get("message")) is not str or "sequence" in fields:
            return None
        present = 0
        if "timestamp" in fields:
            present = HAS_TIMESTAMP
        if "host" in fields:
            present |= HAS_HOST
        if "app" in fields:
            present |= HAS_APP
        if present and not (type(get("timestamp", "")) is type(get("host", "")) is type(get("app", "")) is str):
            return None
        return self._encoded_item(fields, level, present)

    def _encoded_item(self, fields: dict[str, object], level: int, present: int) -> Item | None:
        """None for an entry that is to be dropped, that has half a surrogate pair, or that is too long."""
        lane = self._lanes[self._is_priority[level]]
        if self._closed or lane.entries >= lane.entries_max or lane.bytes >= lane.bytes_max:
            return None
        try:
            body = encode(fields)
        except ValueError:
            return None
        if len(body) > self._body_max:
            return None
        if self._names:
            present |= self._constants_in(fields)
        return Item(time_ns() // 1000, body, level, present)

    def _item_of(self, entry: dict[str, object]) -> Item | None:
        """None if the entry is dropped, and counted."""
        level, kind = OTHER, ODD
        try:
            if self._closed or self._lanes[0].is_full or self._lanes[1].is_full:  # then most calls end here
                found = self._usual_level(entry)
                if found is not None and self._drops(found):
                    return None
            fields, kind, known = kind_of(entry)
            if kind != ODD:
                found = USUAL_SPELLINGS.get(known.level)
                if found is None:
                    kind = ODD
                else:
                    level = found
                    if self._drops(level):
                        return None
                    body = _encoded(fields) if kind == PLAIN and not known.has_containers else None
                    if body is not None and len(body) <= self._body_max:
                        return Item(time_ns() // 1000, body, level, known.present | self._constants_in(fields))
        except Exception:
            self._lose(level)
            return None
        return self._copied(entry, kind)

    def _usual_level(self, entry: dict[str, object]) -> int | None:
        """The index of the entry's level, if it is spelled as it usually is."""
        name = entry.get("level")
        return USUAL_SPELLINGS.get(name) if type(name) is str else None

    def _copied(self, entry: dict[str, object], kind: int) -> Item | None:
        """The same for an entry that holds more than plain values, that is too long, or has an unusual level."""
        level = OTHER
        try:
            copy = PlainCopy(entry, kind)
            level = copy.level
            if level == OTHER and not self._is_priority[OTHER]:
                warn_of_unknown_level(copy.level_field)
            if self._drops(level):
                return None
            body = copy.write()
            if len(body) > self._body_max or copy.characters_left_out or copy.fields_left_out:
                body = shorten(copy.entry, self._body_max, encode, copy)
                self._shortened += 1
            return Item(time_ns() // 1000, body, level, _presence_in(copy.entry) | self._constants_in(copy.entry))
        except BaseException as error:
            self._lose(level)
            if not isinstance(error, Exception):
                raise
            return None

    def put_encoded(self, level: str, present: int, body: bytes) -> bool:
        """Takes an entry that is a JSON object already, without `sequence` and without whitespace around it, or drops
        and counts it. `present` has the HAS_ flags of its fields. Returns False for an entry that is too long for a
        datagram, which is neither taken nor counted."""
        found = USUAL_SPELLINGS.get(level)
        index = level_index(level) if found is None else found
        forks = generation()
        if self._forks != forks:
            self.begin_anew()
        if len(body) > self._body_max:
            return False
        if not self._drops(index):
            if self._names:
                present |= self._constants_in(_decode_names(body))
            self._add(Item(time_ns() // 1000, body, index, present), forks)
            if (self._state == NO_THREAD or self._is_visited) and self._items:
                self._call_owner()
        return True

    def _constants_in(self, entry: Mapping[str, object]) -> int:
        """Which constant fields the entry has itself: their bits in `present`."""
        present, bit = 0, FIRST_CONSTANT
        for name in self._names:
            if name in entry:
                present |= bit
            bit <<= 1
        return present

    def _add(self, item: Item, forks: int) -> None:
        level, size = item.level, len(item.body)
        is_priority = self._is_priority[level]
        lane = self._lanes[is_priority]
        # In one go: others see all of this or nothing.
        if forks != self._forks:  # the parent takes what the fork interrupted
            return
        if self._closed or lane.entries >= lane.entries_max or lane.bytes >= lane.bytes_max:
            self._dropped[level] += 1
            self._refused += 1
            return
        item.priority = is_priority
        item.number = self._accepted
        self._accepted += 1
        lane.entries += 1
        lane.bytes += size
        self._items.append(item)
        if self._state != BUSY and (self._state == SLEEPING or item.priority or not lane.is_half_empty):
            self.wake_thread()

    # For the client's own thread

    def pack(
        self, items: list[Item], start: int, sequence: int, limit_bytes: int, most: int, most_priority: int
    ) -> Datagram:
        """A Datagram of the items from `start` on, the first of them numbered `sequence`.

        It takes at most `limit_bytes`, unless one entry alone takes more; at most `most` entries, and at most
        `most_priority` priority entries among them.
        """
        fixed = ADDED_MAX_BYTES + self._added_bytes + 1
        datagram = Datagram()
        lines: list[bytes] = []
        size = 0
        for item in items[start : start + most]:
            if (item.priority and most_priority <= 0) or (size and size + len(item.body) + fixed > limit_bytes):
                break
            line = self.line(item, sequence)
            if item.priority:
                datagram.priority.append((sequence, line, item))
                most_priority -= 1
            else:
                datagram.ordinary.append(item)
                if self._is_chosen[item.level]:
                    datagram.once.append((sequence, item.level))
            size += len(line) + (size > 0)
            lines.append(line)
            sequence += 1
        datagram.data = b"\n".join(lines)
        datagram.count = len(lines)
        return datagram

    def line(self, item: Item, sequence: int) -> bytes:
        """One entry as it is sent under that sequence. The bytes are the same each time."""
        present = item.present
        tail = self._tail(present) if present & ~HAS_TIMESTAMP else self._whole_tail
        if present & HAS_TIMESTAMP:
            return b'{"sequence":%d,%b%b' % (sequence, item.body[1:-1], tail)
        second, usec = divmod(item.when_usec, 1_000_000)
        text = second_text(second)
        return b'{"timestamp":"%b%06dZ","sequence":%d,%b%b' % (text.encode(), usec, sequence, item.body[1:-1], tail)

    def _tail(self, present: int) -> bytes:
        """The fields that an entry does not have itself, and the closing bracket."""
        parts = [b"" if present & HAS_HOST else self._host, b"" if present & HAS_APP else self._app]
        bit = FIRST_CONSTANT
        for field in self._constants:
            if not present & bit:
                parts.append(field)
            bit <<= 1
        return b"".join((*parts, b"}"))

    # For both

    @property
    def account(self) -> tuple[int, dict[str, int]]:
        """Entries that were offered, and those of them that were dropped, by the names of their levels."""
        # In one go.
        calls = self._accepted + self._refused
        dropped = [*self._dropped]
        return calls, _by_level(dropped)

    @property
    def accepted(self) -> int:
        """Entries ever taken; the next one has this number."""
        return self._accepted

    @property
    def shortened(self) -> int:
        """Entries that were cut to fit in a datagram."""
        return self._shortened

    @property
    def dropped(self) -> dict[str, int]:
        """Entries dropped, by the names of their levels."""
        return _by_level(self._dropped)

    @property
    def entries(self) -> tuple[int, int]:
        """Entries in the ordinary lane, and in the priority lane."""
        return self._lanes[0].entries, self._lanes[1].entries

    @property
    def bytes(self) -> tuple[int, int]:
        """Bytes of the bodies in the ordinary lane, and in the priority lane."""
        return self._lanes[0].bytes, self._lanes[1].bytes


def _by_level(counts: list[int]) -> dict[str, int]:
    return {name: count for name, count in zip(LEVELS, counts, strict=True) if count}


def _encoded(entry: dict[str, object]) -> bytes | None:
    """A plain entry as JSON, or None if a string has half a surrogate pair."""
    try:
        return encode(entry)
    except UnicodeError:
        return None


def _presence_in(entry: Mapping[str, object]) -> int:
    return (
        (HAS_TIMESTAMP if "timestamp" in entry else 0)
        | (HAS_HOST if "host" in entry else 0)
        | (HAS_APP if "app" in entry else 0)
    )
