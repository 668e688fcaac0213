"""What was shipped, and what could not be: counted, and said. What hinders the shipper is said when it begins, and when
it is over."""

from time import monotonic

from fastlog.errors import say
from fastlog.segments import Position

REMIND_SEC = 30.0  # while something hinders: time between two messages that say how far behind the shipper is


class Account:
    """Figures of one run."""

    def __init__(self) -> None:
        self.lines = 0  # acknowledged
        self.bytes = 0
        self.refused = 0  # lines that the engine refused for good, or that are longer than any of an entry
        self.missing_segments = 0  # files that were gone before they were shipped
        self.left_out_lines = 0  # in files: not durable, or not readable, or without an end
        self.shows_rate = False  # of a service it would mean nothing
        self._begun = monotonic()

    def missing(self, place: Position, found: int) -> None:
        """There is no file between this place and the segment that was found."""
        first, last = place.segment, found - 1
        if place.offset:  # deleted because it was shipped, or too early: that cannot be seen any more
            say(f"segment {first} was deleted after {place.offset:,} bytes of it were shipped; had it more, it is lost")
            first += 1
        if first <= last:
            self.missing_segments += last - first + 1
            which = f"segment {first} is" if first == last else f"segments {first} to {last} are"
            say(f"{which} missing: deleted before anything of that was shipped")

    def left_out(self, what: str, size: int, lines: int | None) -> None:
        """`lines`: None if that is not known."""
        self.left_out_lines += lines or 0
        count = "nobody knows how many lines" if lines is None else f"{lines:,} {'line' if lines == 1 else 'lines'}"
        say(f"{what}: {size:,} bytes are left out, {count}")

    def summary(self) -> str:
        seconds = monotonic() - self._begun
        rate = f", {self.lines / seconds:,.0f} lines/s" if self.shows_rate and self.lines and seconds > 0 else ""
        parts = [f"shipped {self.lines:,} lines, {self.bytes:,} bytes, in {seconds:.1f} s{rate}"]
        parts += [f"refused {self.refused:,} lines"] if self.refused else []
        parts += [f"left out {self.left_out_lines:,} lines"] if self.left_out_lines else []
        parts += [f"missing {self.missing_segments:,} files"] if self.missing_segments else []
        return "; ".join(parts)


class Problems:
    """What hinders at present, by subject. `text` is the first of them; empty: nothing hinders."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._since: dict[str, float] = {}
        self._remind_at = 0.0

    @property
    def text(self) -> str:
        return self.text_without("")

    def text_without(self, subject: str) -> str:
        return next((text for each, text in self._texts.items() if each != subject), "")

    def begin(self, subject: str, text: str) -> None:
        if subject not in self._texts:
            self._since[subject] = monotonic()
            self._remind_at = monotonic() + REMIND_SEC
        if self._texts.get(subject) != text:
            say(text)
        self._texts[subject] = text

    def note(self, subject: str, text: str) -> None:
        """The same for what somebody else says."""
        self._texts[subject] = text

    def end(self, subject: str, text: str) -> None:
        """`text`: what is said if there was such a problem."""
        if self._texts.pop(subject, None) is not None:
            say(f"{text}, after {monotonic() - self._since.pop(subject):.1f} s")

    def is_reminder_due(self) -> bool:
        """Whether it is time to say how far behind the shipper is."""
        if not self._texts or monotonic() < self._remind_at:
            return False
        self._remind_at = monotonic() + REMIND_SEC
        return True
