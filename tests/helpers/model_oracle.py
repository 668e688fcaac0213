"""What a random run expects of the log: what was sent, acknowledged, and taken away; and the checks."""

from collections.abc import Callable
from pathlib import Path
from random import Random

from fastlog.segments import COMPRESSED_ENDING, number_and_ending
from fastlog.server.budget import Limits
from fastlog.server.pipeline import Pipeline
from tests.helpers.model_file import File, has_line, sure_text, text_of
from tests.helpers.model_names import AWAY, NAME, Names, counts, is_of_log, other_form
from tests.helpers.model_outside import Outside

Lines = set[bytes]


class Entry:
    __slots__ = ("acked", "line", "number", "periods", "priority", "sequence", "timed", "unanswered")

    def __init__(self, number: int, line: bytes, sequence: int | None, *, priority: bool, timed: bool) -> None:
        self.number = number  # in the order in which entries are sent
        self.line = line
        self.sequence = sequence
        self.priority = priority
        self.timed = timed
        self.acked = False
        self.unanswered: set[int] = set()  # the senders that repeat it
        self.periods: set[tuple[int, int, int]] = set()  # (sender, start, minute) in which it was sent

    @property
    def waits_for_ack(self) -> bool:
        return self.priority and self.sequence is not None

    def was_sent_since(self, start: int) -> bool:
        return any(number == start for _, number, _ in self.periods)

    def is_owed_since(self, start: int) -> bool:
        """Whether a sender waits for its ACK that has sent it since that start of the server."""
        return any(number == start and sender in self.unanswered for sender, number, _ in self.periods)


class Oracle:
    """`waits_for_disk`: ACKs do. `limits`: of what is kept. `clock`: as time.time. All checks raise AssertionError."""

    def __init__(
        self, outside: Outside, names: Names, *, waits_for_disk: bool, limits: Limits, clock: Callable[[], float]
    ) -> None:
        self.entries: list[Entry] = []
        self.gone: Lines = set()  # lines that nobody need find any more
        self.repeated: Lines = set()  # lines that may be stored more than once
        self.cut_from: dict[File, int] = {}  # the sizes of files before other programs cut them
        self.moved: list[Path] = []  # directories that were moved away
        self.touched = False  # another program has written into a file
        self.copied = False  # another program has copied a file, or a power cut undid a removal
        self.damaged = False  # a start could not repair what a crash left
        self.deleted = 0  # archives that the server has deleted since its start
        self._by_others = False  # another program has done something
        self._once_gone: Lines = set()  # lines that were gone once, or one of their copies
        self._taken: set[File] = set()  # the files in directories that were moved away
        self._by_sequence: dict[int, Entry] = {}
        self._by_line: dict[bytes, Entry] = {}
        self._outside = outside
        self._names = names
        self._waits_for_disk = waits_for_disk
        self._limits = limits
        self._clock = clock

    def new_entry(self, number: int, rng: Random) -> Entry:
        priority = rng.random() < 0.6
        sequence = number if rng.random() < 0.75 else None
        timed = rng.random() < 0.6
        level, padding = b"ERROR" if priority else b"INFO", b"x" * rng.choice((0, 0, 0, 20, 100))
        line = b'{"level":"%s","message":"%d%s"' % (level, number, padding)
        if timed:
            line += b',"timestamp":"2026-11-24T07:00:00Z"'
        if sequence is not None:
            line += b',"sequence":%d' % sequence
        entry = Entry(number, line + b"}", sequence, priority=priority, timed=timed)
        self.entries.append(entry)
        self._by_line[entry.line] = entry
        if sequence is not None:
            self._by_sequence[sequence] = entry
        return entry

    # What happens

    def may_repeat(self) -> None:
        """What is not acknowledged may be stored again from now on. An ACK does not show which of several entries with
        the same bytes it is for."""
        self.repeated.update(
            entry.line
            for entry in self.entries
            if entry.priority and (entry.unanswered or not entry.acked or not entry.timed)
        )

    def forget_stored(self) -> None:
        """The start could not read a file: what is in it is stored again if it is sent again."""
        self.repeated.update(entry.line for entry in self.entries if entry.priority)

    def another_program_acts(self) -> None:
        self._by_others = True
        self.may_repeat()

    def killed(self) -> None:
        """A start takes for stored what the page cache shows, though the disk failed to write it."""
        lost = self._outside.lost_lines()
        self.gone |= lost
        self.repeated |= lost

    def power_was_cut(self) -> None:
        self.copied = self.copied or self._by_others
        if not self._waits_for_disk:
            self.gone.update(self._by_line)

    def lost_name(self, name: str, file: File, content: bytes) -> None:
        """A file lost this name."""
        if not counts(name):
            return
        lines = lines_of(text_of(content))
        if self._outside.acts:
            self._note_gone(lines, lines, self._durable(file))
        elif name == NAME:
            if not self._limits.backups:
                self._take(lines)
        elif not self._has_other_form(name, text_of(content)):
            assert self._by_others or self._may_go(name, len(content)), f"{name} is deleted within {self._limits}"
            self.deleted += 1
            self._take(lines)

    def _take(self, lines: Lines) -> None:
        """A limit asks for that."""
        self._once_gone |= lines
        self.gone |= lines

    def _has_other_form(self, name: str, text: bytes) -> bool:
        """Whether the archive that loses this name has the other one, with the same text. A compressed one that takes
        the place of the plain one is certain."""
        other = self._names.now.get(other_form(name))
        if other is None or self._outside.content(other_form(name)) != text:
            return False
        is_certain = other in self._names.certain() and other.certain() == text
        assert name.endswith(COMPRESSED_ENDING) or is_certain, f"{name} is removed, and {other_form(name)} is not sure"
        return True

    def _may_go(self, name: str, size: int) -> bool:
        """Whether a limit has no place for this archive, which just lost its name."""
        number, _ = number_and_ending(NAME, name) or (0, "")
        if number >= max(self._limits.backups, 1):
            return True
        kept = [each for each in self._names.now if is_of_log(each) and each != name and not self._is_second(each)]
        total = size + sum(self._names.now[each].size for each in kept)
        is_over = self._limits.total_bytes is not None and total > self._limits.total_bytes
        age = self._clock() - self._names.lost_modified
        return is_over or (self._limits.age_sec is not None and age >= self._limits.age_sec)

    def _is_second(self, name: str) -> bool:
        """Whether it is the compressed form of an archive whose plain form is there, and in force."""
        return name.endswith(COMPRESSED_ENDING) and other_form(name) in self._names.now

    def cut(self, name: str, size: int) -> None:
        """Another program is about to cut the file."""
        self.touched = True
        self.cut_from[self._names.now[name]] = self._names.now[name].size
        content = self._outside.content(name)
        left = lines_of(content[: content[:size].rfind(b"\n") + 1])
        lines = lines_of(content)
        self._note_gone(lines, lines - left, self._durable(self._names.now[name]))

    def directory_taken(self, to: Path | None) -> None:
        """Another program is about to move the directory there, or to remove it."""
        for name, file in self._names.now.items():
            if counts(name):
                lines = lines_of(self._outside.content(name))
                self._note_gone(lines, lines, self._durable(file))
        if to:
            self.moved.append(to)
            self._taken.update(self._names.now.values())

    def acknowledged(self, sender: int, sequence: int) -> None:
        """An ACK is there: its entry is durable, or was when it was taken away."""
        entry = self._by_sequence[sequence]
        entry.unanswered.discard(sender)
        line = entry.line
        if self._waits_for_disk:
            if any(file.holds(line, is_new=not entry.acked) for file in self._names.certain()):
                if line in self.gone:
                    self.gone.discard(line)
                    self._once_gone.add(line)
            elif line not in self.gone:
                is_moved = any(has_line(file.certain(), line) for file in self._taken)
                assert is_moved, f"{sequence} was acknowledged and is not durable"
                self.gone.add(line)
        else:
            assert line in self.gone or line in self._all_lines(), f"{sequence} was acknowledged and is not there"
        entry.acked = True

    # What is checked

    def check_files(self) -> dict[bytes, int]:
        """Each line is whole, and nothing that was acknowledged is missing. Returns how often each line is there."""
        found: dict[bytes, int] = {}
        for name in self._names.now:
            if not counts(name):
                continue
            content = self._outside.content(name)
            if self._is_second(name):
                is_same = content == self._outside.content(other_form(name))
                assert is_same or self._by_others, f"{name} has other lines than {other_form(name)}"
                if is_same:
                    continue
            if name.startswith(AWAY) or "distrusted" in name:  # nobody repairs it, or it is not on the disk
                lines = [line.lstrip(b" ") for line in content.replace(b"\0", b"\n").split(b"\n")]
                found |= {line: found.get(line, 0) for line in lines}
                self._once_gone.update(lines)
                continue
            *lines, rest = content.split(b"\n")
            assert not rest or self.touched or self.damaged or self._outside.left_half_lines, (
                f"half a line in {name}: {rest!r}"
            )
            for line in lines:
                line = line.lstrip(b" ")  # which may take the place of damage
                if line not in self._by_line:
                    self._check_strange(name, line)
                found[line] = found.get(line, 0) + 1
            self._check_order(name, lines)
        missing = {entry.line for entry in self.entries if entry.acked and entry.line not in found}
        if missing and (missing := missing - self.gone - self._moved_lines()):
            raise AssertionError(f"acknowledged and lost: {missing}")
        return found

    def check_end(self, starts: int, *, is_complete: bool) -> None:
        """Everything that was sent is there as often as it should be. `is_complete`: since the last of the `starts`
        nothing was lost."""
        found = self.check_files()
        moved = self._moved_lines()
        for entry in self.entries:
            line, count = entry.line, found.get(entry.line, 0)
            if entry.acked or (is_complete and entry.was_sent_since(starts)):
                assert line in found or line in self.gone or line in moved, f"not stored: {line.decode()}"
            # The same bytes of two senders are two entries, unless they have a timestamp.
            if entry.waits_for_ack and not entry.timed and line not in self.gone | self._once_gone | moved:
                senders = len({sender for sender, _, _ in entry.periods})
                assert count >= senders, f"stored {count} times for {senders} senders: {line.decode()}"
            if line not in self.repeated and not self.copied:
                most = 1 if entry.timed or not entry.priority else len(entry.periods)
                assert count <= most, f"stored {count} times: {line.decode()}"

    def check_durable(self, starts: int) -> None:
        """There was time for a sync, so priority entries that nobody awaits are durable, if they were sent since the last
        of the `starts`. `check_end` has seen that they are stored."""
        certain = [file.certain() for file in self._taken]
        for entry in self.entries:
            line = entry.line
            if entry.priority and not entry.waits_for_ack and entry.was_sent_since(starts) and line not in self.gone:
                is_durable = any(file.holds(line, is_new=True) for file in self._names.certain())
                assert is_durable or any(has_line(content, line) for content in certain), (
                    f"nobody awaits it, and it is not durable: {line.decode()}"
                )

    def check_one_form(self, *, compressed: bool = False) -> None:
        """No archive has both names, and nothing is left over. `compressed`: no archive is plain."""
        names = {name for name in self._names.now if is_of_log(name) or name.endswith(COMPRESSED_ENDING + ".new")}
        if self._by_others:
            return
        left = {name for name in names if name.endswith(".new") or self._is_second(name)}
        assert not left, f"left over: {left}"
        plain = {name for name in names if number_and_ending(NAME, name) and not name.endswith(COMPRESSED_ENDING)}
        plain = {name for name in plain if not self._outside.has_failed(name)}
        assert not (compressed and plain), f"not compressed: {plain}"

    def check_deletions(self, deleted: int) -> None:
        """The server counts what it deletes. Without archives, it deletes the live file."""
        if self._limits.backups and not self._by_others:
            assert deleted == self.deleted, f"{self.deleted} archives are deleted, and {deleted} counted"

    def _check_order(self, name: str, lines: list[bytes]) -> None:
        """Ordinary entries, which nobody repeats, are in the order in which they were sent."""
        entries = [entry for line in lines if (entry := self._by_line.get(line)) and not entry.priority]
        numbers = [entry.number for entry in entries]
        assert numbers == sorted(numbers), f"the order in {name}: {numbers}"

    def _check_strange(self, name: str, line: bytes) -> None:
        """The line is not one that was sent: another program wrote some of it, and no entry is at its end."""
        if not line or (self.damaged and b"\0" in line):
            return
        assert self.touched or self.damaged or self._outside.left_half_lines, f"in {name}: {line!r}"
        assert not line.endswith(b"}"), f"in {name}, behind something else: {line!r}"

    def _note_gone(self, lines: Lines, lost: Lines, durable: Lines) -> None:
        """Of a file's lines, these are lost. So they are gone, except those whose ACK is still to come."""
        self._once_gone |= lines
        for line in lost:
            entry = self._by_line.get(line)
            if entry and (line in durable or entry.acked or not entry.waits_for_ack or not self._waits_for_disk):
                self.gone.add(line)

    def _durable(self, file: File) -> Lines:
        return lines_of(file.certain()) if file in self._names.certain() else set()

    def _all_lines(self) -> Lines:
        contents = [self._outside.content(name) for name in self._names.now if counts(name)]
        return {line for content in contents for line in content.split(b"\n")} | self._moved_lines()

    def _moved_lines(self) -> Lines:
        return {
            line
            for directory in self.moved
            for path in directory.iterdir()
            for line in sure_text(path.read_bytes()).split(b"\n")
        }


def check_account(pipeline: Pipeline) -> None:
    """Every entry received is stored, a duplicate, buffered or lost."""
    intake, writer = pipeline.intake, pipeline.writer
    stored, duplicates, buffered, lost = writer.stored, intake.duplicates, writer.buffered, writer.lost
    assert intake.total_received == stored + duplicates + buffered + lost, (
        f"received {intake.total_received}, stored {stored}, duplicates {duplicates}, buffered {buffered}, lost {lost}"
    )
    assert buffered >= 0


def lines_of(content: bytes) -> Lines:
    """Spaces or zeros before a line may be what is left of damage."""
    return {line.lstrip(b" \0") for line in content.split(b"\n")}
