"""The shipper: one thread, one loop, one batch under way. It may be killed anywhere.

Each turn is a pass over the file that is shipped, or a step to the next one. It knows the log by its files, and the
engine by its sink.
"""

import contextlib
import errno
import os
import random
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import TypeVar

from fastlog.errors import say
from fastlog.segments import Identity, Position, Shipped, position_from, read_shipped, shipped_path
from fastlog.ship.account import Account, Problems
from fastlog.ship.files import CutError, Listing, LogFiles
from fastlog.ship.note import Note
from fastlog.ship.place import START_ANEW, first_position, place_for
from fastlog.ship.reader import Reader
from fastlog.ship.refused import RefusedFile
from fastlog.ship.sink import Batch, RefusedError, RivalError, Sink, TooLargeError, UnavailableError, WentBackError

POLL_SEC = 0.1  # between two looks at a log that is shipped: the lag of a line, and a ten-thousandth of a processor
LOOK_ANYWAY_SEC = 1.0  # a directory's time may miss a change that came within the same tick of the kernel's clock
CHECK_EVERY_SEC = 1.0  # while nothing is shipped: time between two questions whether the engine has all of it
BACK_OFF_FIRST_SEC = 0.1  # after an answer that did not come; doubled each time
BACK_OFF_LONGEST_SEC = 5.0
BACK_OFF_JITTER = 0.2  # a share: shippers of many machines do not come back in step

Answer = TypeVar("Answer")


class Shipper:
    """`engine_remembers`: the sink's `resume` says where to go on; otherwise the note beside the log does."""

    def __init__(
        self,
        files: LogFiles,
        sink: Sink,
        refused: RefusedFile,
        *,
        batch_bytes: int,
        engine_remembers: bool = True,
        from_start: bool = False,
    ) -> None:
        self.account = Account()
        self.acknowledged: Position | None = None  # where the engine's newest line ends
        self._files = files
        self._sink = sink
        self._refused = refused
        self._batch_bytes = batch_bytes
        self._engine_remembers = engine_remembers
        self._from_start = from_start
        self._note = Note(files.live)
        self._problems = Problems()
        self._reader: Reader | None = None
        self._at = Position("", 0, 0)  # what comes next, where no file is open
        self._looked: object = None  # what the last look at an idle log saw
        self._look_anyway_at = 0.0
        self._check_at = monotonic() + CHECK_EVERY_SEC
        self._stopped = False  # nothing more of the open file: it cannot be synced or read, or was cut
        self._is_cut = False

    @property
    def position(self) -> Position:
        """All before it is done with."""
        return self._reader.position if self._reader else self._at

    @property
    def problem(self) -> str:
        """What hinders at present; empty: nothing does."""
        return self._problems.text

    def begin(self) -> bool:
        """Finds the log, and where to go on; waits for the engine. False: there is no log yet."""
        listing = self._files.now_or_refuse()
        if listing.log is None:
            return False
        note = read_note(self._files.live)
        self.acknowledged = position_from(note.acknowledged) if note else None
        self._at = note.position if note else first_position(listing)
        self._tell()  # from now on the server keeps what is not shipped
        engine = self._until_available(self._sink.resume)
        place = place_for(engine, note, listing, self._engine_remembers, self._from_start)
        if self._engine_remembers:
            if self.acknowledged and engine and engine.log == self.acknowledged.log and engine < self.acknowledged:
                say(f"the engine lost what it had acknowledged, up to {self.acknowledged}: going back to {engine}")
            self.acknowledged = engine
        self._go_to(place)
        self._tell()
        return True

    def run(self, *, once: bool) -> None:
        """Ships until an exception ends it, or, if `once`, until all that was there is shipped."""
        while not self.begin():
            if once:
                say(f"there is no {self._files.live}: nothing to ship")
                return
            self._problems.begin("log", f"waiting for {self._files.live}")
            sleep(POLL_SEC)
        self._problems.end("log", f"{self._files.live} is there")
        target = end_of(self._files.now()) if once else None
        while True:
            worked = self.turn()
            if target and (not worked or self.position >= target):
                return
            if not worked:
                sleep(POLL_SEC)

    def turn(self) -> bool:
        """Ships what is durable of the file, or goes to the next one. Returns whether there may be more at once."""
        try:
            worked = self._turn()
            if not worked and monotonic() >= self._check_at:
                self._until_available(self._sink.check)
                self._check_at = monotonic() + CHECK_EVERY_SEC
        except WentBackError as error:
            self._go_back(error.position)
            worked = True
        except OSError as error:
            self._problems.begin("files", f"cannot read the log in {self._files.live.parent}: {error.strerror}")
            self._looked, worked = None, False
        else:
            self._problems.end("files", "the log can be read again")
        if worked:
            self._looked = None
        self._tell()
        return worked

    def give_up(self, why: str) -> None:
        """Before the end by an error, which the caller says: the note has it, too."""
        self._problems.note("end", why)

    def finish(self) -> None:
        """At the end: writes the note, closes the file, and says what was done."""
        if self.position.log:
            self._tell()
            self._note.keep_up(now=True)
        if self._reader:
            self._at = self.position
            self._reader.file.close()
            self._reader = None
        say(self.account.summary())

    def _turn(self) -> bool:
        reader = self._reader
        if reader is None:
            return self._open_next()
        if not self._has_changed():
            return False
        begin, is_complete = reader.offset, False
        try:
            is_complete = self._is_complete(reader)
            if not self._stopped:
                self._pass(reader)
        except CutError:
            if not self._is_cut:
                say(f"{self._name(reader)} was cut by another program: what was not shipped of it is lost")
            self._is_cut = self._stopped = True
            is_complete = self._files.now().after(reader.file.identity.segment) is not None
        if is_complete:
            self._leave(reader)
        return is_complete or reader.offset - begin >= self._batch_bytes

    def _has_changed(self) -> bool:
        """Whether anything happened to the live file or its directory since the last turn that found nothing to do."""
        try:
            live, directory = os.stat(self._files.live), os.stat(self._files.live.parent)
            looked = live.st_dev, live.st_ino, live.st_size, live.st_ctime_ns, directory.st_mtime_ns
        except OSError:
            looked = None
        now = monotonic()
        if looked == self._looked and looked and now < self._look_anyway_at:
            return False
        self._looked, self._look_anyway_at = looked, now + LOOK_ANYWAY_SEC
        return True

    def _is_complete(self, reader: Reader) -> bool:
        """Whether the server has gone on to another file. Raises OSError, and CutError."""
        reader.file.check()
        if reader.file.is_at(self._files.live):
            return False
        listing = self._files.now()
        return listing.log is not None and (
            listing.log != reader.file.identity.log or listing.after(reader.file.identity.segment) is not None
        )

    def _pass(self, reader: Reader) -> None:
        """Ships what a sync covers now. Raises CutError."""
        try:
            reader.begin_pass()
            while batch := reader.next(min(self._batch_bytes, self._sink.max_bytes), self._sink.max_bytes):
                with contextlib.suppress(TooLargeError):  # it is cut, since `max_bytes` has become smaller
                    self._send(reader, batch)
        except OSError as error:
            self._stopped = True
            text = f"{self._name(reader)} cannot be read or synced: {error.strerror}; nothing more of it is shipped"
            self._problems.begin("file", text)
        finally:
            self.account.refused += reader.refused
            reader.refused = 0

    def _send(self, reader: Reader, batch: Batch) -> None:
        refused = self._until_available(lambda: self._sink.send(batch))
        reader.offset = batch.last.offset  # before the next line, so that the note is never behind the engine
        self.acknowledged = batch.last
        self.account.lines += batch.line_count - refused
        self.account.refused += refused
        self.account.bytes += len(batch.lines)
        self._tell()

    def _until_available(self, ask: Callable[[], Answer]) -> Answer:
        pause = BACK_OFF_FIRST_SEC
        while True:
            try:
                answer = ask()
            except TooLargeError:
                raise
            except UnavailableError as error:
                self._problems.begin("engine", str(error) or "the engine is away")
            else:
                self._problems.end("engine", "the engine takes lines again")
                return answer
            self._tell()
            if self._problems.is_reminder_due():
                with contextlib.suppress(OSError):
                    say(f"{lag_after(self.position, self._files.now()):,} bytes of the log wait to be shipped")
            sleep(pause * (1 + random.uniform(0, BACK_OFF_JITTER)))
            pause = min(2 * pause, BACK_OFF_LONGEST_SEC / (1 + BACK_OFF_JITTER))

    def _leave(self, reader: Reader) -> None:
        """The file is complete, and all of it shipped that can be."""
        if not self._is_cut:
            try:
                size, lines = reader.rest()
            except OSError:
                size, lines = max(reader.file.size() - reader.offset, 0), 0
            if size:
                why = "cannot be read or synced" if self._stopped else "is not durable, or has no end of line"
                self.account.left_out(f"the end of {self._name(reader)} {why}", size, lines)
        identity = reader.file.identity
        self._go_to(Position(identity.log, identity.segment + 1, 0))

    def _open_next(self) -> bool:
        """Opens the file where shipping goes on. Returns whether that is done."""
        at, listing = self._at, self._files.now()
        if listing.log is None:
            return False
        if listing.log != at.log:
            say(f"the log was begun anew: {listing.log} follows {at.log}")
            at = self._at = first_position(listing)
        segment = at.segment if at.segment in listing.segments else listing.after(at.segment)
        if segment is None:
            return False
        if segment != at.segment and listing.unread:
            raise OSError(errno.EACCES, f"{listing.unread[0]} (segment {at.segment} is looked for)")
        file = self._files.open(Identity(at.log, segment))
        if file is None:
            return True
        if segment != at.segment:
            self.account.missing(at.segment, segment - 1)
            at = Position(at.log, segment, 0)
        reader = Reader(file, at.offset, self._refused)
        skipped = reader.to_next_line()
        if skipped:
            self.account.left_out(f"{at} is not where a line begins", skipped, 1)
        self._reader = reader
        return True

    def _go_back(self, position: Position | None) -> None:
        if position is None and not self._from_start:
            raise RivalError(f"the engine has lost all lines of this node; {START_ANEW}")
        if position is None or position < self.position:
            say(f"the engine lost what it had acknowledged, after {position or 'the beginning'}: it is shipped again")
        self.acknowledged = position
        self._go_to(position or first_position(self._files.now()))

    def _go_to(self, place: Position) -> None:
        reader, self._at, self._reader = self._reader, place, None
        self._stopped = self._is_cut = False
        if reader:
            self._problems.end("file", "shipping goes on with the next file")
            reader.file.close()

    def _name(self, reader: Reader) -> str:
        return f"segment {reader.file.identity.segment} ({reader.file.path.name})"

    def _tell(self) -> None:
        if self._note.failure:
            self._problems.begin("note", self._note.failure)
        else:
            self._problems.end("note", "the note of what is shipped can be written again")
        self._note.tell(self.position, self.acknowledged, self._problems.text)


def read_note(live: Path) -> Shipped | None:
    """The note of an earlier run. Raises RefusedError."""
    try:
        return read_shipped(live)
    except OSError as error:
        raise RefusedError(f"cannot read {shipped_path(live)}: {error.strerror}") from error
    except ValueError:
        say(f"{shipped_path(live)} is not a note of `fastlog ship`: it is written anew")
        return None


def end_of(listing: Listing) -> Position:
    """Where the newest file ends now. Raises OSError."""
    return Position(listing.log or "", listing.newest, os.stat(listing.segments[listing.newest]).st_size)


def lag_after(position: Position, listing: Listing) -> int:
    """Bytes of the log behind this position. Raises OSError."""
    lag = 0
    for segment, path in listing.segments.items():
        if listing.log != position.log or segment >= position.segment:
            size = os.stat(path).st_size
            is_begun = listing.log == position.log and segment == position.segment
            lag += max(size - position.offset, 0) if is_begun else size
    return lag
