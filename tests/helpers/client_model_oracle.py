"""What a random run of the client knows: each entry, where it has been, and what the client promises of it."""

import math
import re
from collections import Counter
from typing import TYPE_CHECKING

from tests.helpers.client_model_disk import Directory

if TYPE_CHECKING:
    from tests.helpers.client_model_program import Program

_NUMBER = re.compile(rb'"message":"e([0-9]+)[" ]')
_SEQUENCE = re.compile(rb'"sequence":([0-9]+),')

# How often an entry may be sent: the first tries are quick, a server that refuses is asked about once a second, and a
# replay asks now and then with an entry that is stored.
SENDINGS_FIRST = 40
SENDINGS_PER_SEC = 4.5
ASIDE = ".aside"  # ends the names of spill files that are not replayed


class Entry:
    """One call."""

    def __init__(self, number: int, level: str, *, is_priority: bool) -> None:
        self.number = number
        self.level = level
        self.is_priority = is_priority
        self.is_taken = False  # otherwise it was dropped, and counted, by the call
        self.index = -1  # its number in the outbox
        self.sequences: set[int] = set()  # under which it was handed to a socket
        self.handed = 0  # to a socket
        self.first_at = math.inf
        self.stored: Counter[int] = Counter()  # by sequence
        self.was_lost = False  # some datagram with it got lost
        self.was_lost_silently = False  # and nothing was reported of that one
        self.was_in_file = False
        self.is_gone = False  # it was in the memory of a program that was killed, or in a file that is gone

    def __repr__(self) -> str:
        return (
            f"e{self.number} ({self.level}, handed over {self.handed} times, stored {sum(self.stored.values())} times)"
        )


class Oracle:
    def __init__(self, spills: Directory) -> None:
        self.entries: list[Entry] = []
        self.open: dict[int, Entry] = {}  # priority entries that were taken and are not stored
        self.programs: list[Program] = []
        self.storm: Entry | None = None  # an entry that was sent too often
        self.may_repeat = False  # an error was injected: an entry may be sent again as another
        self._spills = spills

    def new_entry(self, level: str, *, is_priority: bool) -> Entry:
        entry = Entry(len(self.entries), level, is_priority=is_priority)
        self.entries.append(entry)
        return entry

    def called(self, entry: Entry) -> None:
        """The call has returned; at the end of a program the entry may be stored already."""
        if entry.is_taken and entry.is_priority and not entry.stored:
            self.open[entry.number] = entry

    def sent(self, datagram: bytes, now: float) -> None:
        for line in datagram.split(b"\n"):
            entry, sequence = self._parsed(line)
            entry.handed += 1
            entry.first_at = min(entry.first_at, now)
            if entry.handed > SENDINGS_FIRST + SENDINGS_PER_SEC * (now - entry.first_at):
                self.storm = entry
            entry.sequences.add(sequence)

    def lost(self, datagram: bytes, *, is_told: bool = False) -> None:
        """No server gets the datagram. `is_told`: the system reports that at once."""
        for line in datagram.split(b"\n"):
            entry, _ = self._parsed(line)
            entry.was_lost = True
            entry.was_lost_silently = entry.was_lost_silently or not is_told
            entry.handed += not entry.handed  # a socket that refuses it as too large has taken none of it

    def stored(self, line: bytes, levels: tuple[str, ...]) -> None:
        """A server that acknowledges those levels has stored it. Of others, it knows no duplicates."""
        entry, sequence = self._parsed(line)
        if entry.level in levels or not entry.stored:
            entry.stored[sequence] += 1
        self.open.pop(entry.number, None)

    def killed(self, program: "Program") -> None:
        """What it had in memory is gone; call it before it is not alive any more."""
        program.was_killed = True
        held = program.held()
        for entry in program.entries:
            if entry.index in held:
                entry.is_gone = True

    def files(self) -> tuple[set[int], set[int]]:
        """The entries in spill files, and in those that were set aside."""
        waiting: set[int] = set()
        aside: set[int] = set()
        for path in self._spills.files():
            found = aside if path.name.endswith(ASIDE) else waiting
            *lines, _ = path.read_bytes().split(b"\n")
            for line in lines:
                match = _NUMBER.search(line)
                if match:
                    found.add(int(match[1]))
                    self.entries[int(match[1])].was_in_file = True
        return waiting, aside

    @property
    def has_aside(self) -> bool:
        return any(path.name.endswith(ASIDE) for path in self._spills.files())

    def check(self) -> None:
        """Every priority entry is stored, in a file, in memory, or told; and the figures agree with that."""
        assert not self.storm, f"sent too often: {self.storm}"
        in_files = set().union(*self.files())
        told_by_files = 0
        for program in self.programs:
            held = program.held()
            self._check_figures(program, held)
            missing = [
                entry
                for entry in program.entries
                if entry.number in self.open
                and not (entry.is_gone or entry.was_in_file or entry.number in in_files or entry.index in held)
            ]
            assert len(missing) <= program.told, f"not stored, not in memory and not told: {missing}"
        lost = [
            entry
            for entry in self.open.values()
            if entry.was_in_file
            and not entry.is_gone
            and entry.number not in in_files
            and not any(entry.index in program.held() for program in self.programs if entry in program.entries)
        ]
        assert len(lost) <= told_by_files, f"were in a file, and are nowhere now: {lost}"

    def check_end(self, losses_of_memory: int) -> None:
        """Everything that is not told has arrived."""
        self.check()
        waiting, _ = self.files()
        assert not waiting, f"still in spill files: {sorted(waiting)}"
        for entry in self.entries:
            if entry.is_priority and not self.may_repeat:
                assert len(entry.sequences) <= 1, f"sent under several sequences: {entry}, {entry.sequences}"
                most = max(entry.stored.values(), default=0)
                assert most <= 1 + losses_of_memory, f"stored more than once: {entry}"
            if entry.is_taken and not entry.is_priority and entry.handed and not entry.was_lost:
                assert entry.stored, f"an ordinary entry that nothing lost is not stored: {entry}"

        reported = sum(program.stats.lost_entries for program in self.programs)
        lost = [
            entry
            for program in self.programs
            for entry in program.entries
            if entry.handed
            and not (entry.is_priority or entry.stored or program.was_killed or program.has_failed)
            and not entry.was_lost_silently
        ]
        assert len(lost) <= reported, f"{reported} ordinary entries lost by the figures, but these are: {lost}"

    def _check_figures(self, program: "Program", held: set[int]) -> None:
        if not program.is_alive:
            return
        stats, outbox = program.stats, program.outbox
        assert outbox.accepted == len(program.entries)
        assert stats.calls == program.calls
        assert stats.queued == len(held), f"{stats.queued} entries queued, but {len(held)} in memory"
        own = program.entries
        stored = sum(1 for entry in own if entry.is_priority and entry.stored)
        assert stats.acknowledged - stats.replayed <= stored, f"{stats.acknowledged} acknowledged, {stored} stored"
        if program.has_failed:
            return
        ordinary = sum(1 for entry in own if entry.handed and not entry.is_priority)
        assert stats.sent_once == ordinary + stats.sent_unacknowledged, (
            f"{ordinary} ordinary entries were sent: {stats}"
        )
        left = stats.sent_once + (stats.acknowledged - stats.replayed) + stats.given_up + stats.spilled
        places = stats.queued + sum(stats.dropped.values()) + left
        assert stats.calls == places, f"{stats.calls} calls, but {places} entries have a place: {stats}"

    def _parsed(self, line: bytes) -> tuple[Entry, int]:
        """The entry in a line, and its sequence. Raises AssertionError for something that nobody logged."""
        number, sequence = _NUMBER.search(line), _SEQUENCE.search(line)
        assert number, f"not an entry of a program: {line[:200]!r}"
        assert sequence, f"not an entry of a program: {line[:200]!r}"
        assert int(number[1]) < len(self.entries), f"nobody logged this: {line[:200]!r}"
        return self.entries[int(number[1])], int(sequence[1])
