"""The shipper: one thread, one loop, one batch under way. It may be killed anywhere.

Each turn is a pass over the file that is shipped, or a step to the next one. It knows the log by its files, and the
engine by its sink.
"""

import contextlib
import errno
import os
from pathlib import Path
from time import monotonic, sleep

from fastlog.errors import say
from fastlog.segments import Identity, Position, Shipped, position_from, read_shipped, shipped_path
from fastlog.ship.account import Account, Problems
from fastlog.ship.compressed_file import BrokenError
from fastlog.ship.delivery import Delivery
from fastlog.ship.files import NOTHING, Listing, LogFiles, Watch
from fastlog.ship.note import WHY, Lock, Note
from fastlog.ship.place import START_ANEW, first_position, newest_line, place_for
from fastlog.ship.reader import DamageError, Reader
from fastlog.ship.refused import RefusedFile
from fastlog.ship.segment_file import CutError, SegmentFile, SyncError
from fastlog.ship.sink import Batch, RefusedError, RivalError, Sink, TooLargeError, WentBackError

POLL_SEC = 0.1  # between two looks at a log that is shipped: the lag of a line; and syncs are no closer together
READ_PATIENCE_SEC = 60.0  # until a file that cannot be read is given up: one on another machine may be away for a while
NAMELESS_START_SEC = 3.0  # until a start is refused for it: a server that starts gives its files identities first
CUT_SEEN_SEC = 3.0  # until a file is another's for being too short: the server looks every second whether it was cut
NAMELESS_SEC = 10.0  # the same, until it is said: the server looks every second whether the live file is another one

OTHER_LINES = (
    "the engine has other lines before {} than this log: a copy of it is shipped elsewhere. Name this node otherwise "
    f"(--node), or {START_ANEW}"
)
NAMELESS = "{} has no identity (the attribute user.fastlog): `fastlog serve` of this version gives it one"


class Shipper:
    """`engine_remembers`: the sink's `resume` says where to continue; otherwise the note beside the log does."""

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
        self._sequence = 0  # the engine's number of the message that ends there
        self._files = files
        self._listing = NOTHING  # the last one
        self._refused = refused
        self._batch_bytes = batch_bytes
        self._engine_remembers = engine_remembers
        self._from_start = from_start
        self._note = Note(files.live)
        self._lock: Lock | None = None  # taken when the log is there
        self._problems = Problems()
        self._delivery = Delivery(sink, self._problems, self._tell)
        self._watch = Watch(files.live)
        self._reader: Reader | None = None
        self._at = Position("", 0, 0)  # what comes next, where no file is open
        self._stopped = False  # nothing more of the open file: it cannot be synced or read, or was cut
        self._is_cut = False
        self._unread_since = 0.0  # the open file cannot be read; 0: it can
        self._nameless_since = 0.0  # the live file has no identity; 0: it has one

    @property
    def position(self) -> Position:
        """All before it is done with."""
        return self._reader.position if self._reader else self._at

    @property
    def problem(self) -> str:
        """What hinders at present; empty: nothing does."""
        return self._problems.text

    def begin(self) -> Listing | None:
        """Finds the log, and where to continue; waits for the engine. Returns the files that there were. None:
        there is no log yet. Raises RivalError if another shipper has it."""
        listing = self._files.now_or_refuse()
        if listing.log is None:
            return None
        self._lock = self._lock or Lock(self._files.live)
        note = read_note(self._files.live)
        self.acknowledged, self._sequence = (position_from(note.acknowledged), note.sequence) if note else (None, 0)
        self._at = note.position if note else first_position(listing)
        self._tell()  # from now on the server keeps what is not shipped
        if self._note.failure and self._note.is_forbidden:
            raise RefusedError(f"{self._note.failure}; {WHY.format(self._files.live.parent)}")
        engine = newest_line(self._delivery, note)
        place = self._place(engine, note)
        if engine and not self._files.has_before(engine, self._delivery.last_lines):
            if not self._from_start:
                raise RivalError(OTHER_LINES.format(engine))
            place = first_position(self._files.now_or_refuse())
        if self._engine_remembers:
            if self.acknowledged and engine and engine.log == self.acknowledged.log and engine < self.acknowledged:
                say(f"the engine lost what it had acknowledged, up to {self.acknowledged}: going back to {engine}")
            self.acknowledged, self._sequence = engine, self._delivery.sequence or self._sequence
        self._go_to(place)
        self._tell()
        return listing

    def _place(self, engine: Position | None, note: Shipped | None) -> Position:
        """Where to continue. Raises RivalError."""
        sure_at = monotonic() + CUT_SEEN_SEC
        while True:
            listing = self._files.now_or_refuse()
            try:
                if listing.log is not None:  # otherwise it was removed while the engine was away
                    return place_for(engine, note, listing, self._engine_remembers, self._from_start)
            except RivalError:
                if engine is None or engine[:2] != listing.end()[:2] or monotonic() >= sure_at:
                    raise
            sleep(POLL_SEC)  # the live file was cut, perhaps, and the server has not seen it yet

    def run(self, *, once: bool) -> None:
        """Ships until an exception ends it, or, if `once`, until all that was there is shipped."""
        self.account.shows_rate = once
        refuse_at = monotonic() + NAMELESS_START_SEC
        while not (listing := self.begin()):
            if os.path.exists(self._files.live):
                if monotonic() >= refuse_at:
                    raise RefusedError(NAMELESS.format(self._files.live))
            elif once:
                say(f"there is no {self._files.live}: nothing to ship")
                return
            else:
                self._problems.begin("log", f"waiting for {self._files.live}")
                refuse_at = monotonic() + NAMELESS_START_SEC
            sleep(POLL_SEC)
        self._problems.end("log", f"{self._files.live} is there")
        target = listing.end() if once else None
        while True:
            next_at = monotonic() + POLL_SEC
            worked = self.turn()
            if target and (not worked or (self.position.log == target.log and self.position >= target)):
                return
            if not worked:  # a pass ships all that there was when it began, so this wait costs no throughput
                sleep(max(next_at - monotonic(), 0))

    def turn(self) -> bool:
        """Ships what is durable of the file, or goes to the next one. Returns whether there may be more at once."""
        worked = False
        try:
            worked = self._turn()
            if not worked:
                self._delivery.check()
        except WentBackError as error:
            self._go_back(error.position)
            worked = True
        except OSError as error:
            text = ": ".join(filter(None, [error.filename, error.strerror])) or str(error)
            self._problems.begin("files", f"the log in {self._files.live.parent} cannot be read: {text}")
            self._watch.forget()
        else:
            self._problems.end("files", "the log can be read again")
        if worked:
            self._watch.forget()
        self._tell()
        return worked

    def give_up(self, why: str) -> None:
        """Before the end by an error, which the caller says: the note has it, too."""
        self._problems.note("end", why)

    def finish(self) -> None:
        """At the end: writes the note, closes the files, and says what was done."""
        if self.position.log:
            self._tell(at_end=True)
        if self._reader:
            self._at = self.position
            self._reader.file.close()
            self._reader = None
        if self._lock:
            self._lock.close()
            self._lock = None
        say(self.account.summary())

    def _turn(self) -> bool:
        reader = self._reader
        if reader is None:
            return self._open_next()
        if not self._watch.has_changed(reader.file):
            return False
        file, is_complete = reader.file, False
        try:
            file.check()
            if not file.is_at(self._files.live):
                listing = self._listing_with(file)
                if listing.has_another(file):  # a repair has replaced it
                    self._go_to(reader.position)
                    return True
                is_complete = self._has_successor(file.identity, listing)
            # Of a file that the server has set aside, all is durable that it says.
            if not self._stopped or (is_complete and not self._is_cut and file.durable_size() is not None):
                while not self._pass(reader):
                    pass
        except CutError:
            listing = self._listing = self._files.now()
            if listing.has_another(file):  # a copy, which was made before it was cut
                self._go_to(reader.position)
                return True
            if not self._is_cut:
                say(f"{file} was cut, or put back to an older copy: what was not shipped of it is lost")
            self._is_cut = self._stopped = True
            is_complete = self._has_successor(file.identity, listing)
        if is_complete:
            self._leave(reader)
            self._open_next()
        return is_complete

    def _listing_with(self, file: SegmentFile) -> Listing:
        """A listing for a file that is not the live one any more. The last one, if it shows that the file is complete,
        and the file has its name still: a look at all files for each of a thousand archives would take a while."""
        listing = self._listing
        path = listing.segments.get(file.identity.segment) if listing.log == file.identity.log else None
        if path is None or listing.after(file.identity.segment) is None or not file.is_at(path):
            listing = self._files.look()
            if listing.log != file.identity.log:
                listing = self._files.now()
            self._listing = listing
        return listing

    def _has_successor(self, identity: Identity, listing: Listing) -> bool:
        """Whether the server has gone on to another file than this one. Raises OSError if that cannot be seen."""
        if listing.log is not None and (listing.log != identity.log or listing.after(identity.segment) is not None):
            self._nameless_since = 0.0
            self._problems.end("live", f"{self._files.live} can be shipped")
            return True
        if self._files.live in listing.unread:
            raise OSError(errno.EACCES, listing.unread[self._files.live], str(self._files.live))
        if listing.is_nameless:
            self._nameless_since = self._nameless_since or monotonic()
            if monotonic() >= self._nameless_since + NAMELESS_SEC:
                self._problems.begin("live", NAMELESS.format(self._files.live))
        return False

    def _pass(self, reader: Reader) -> bool:
        """Ships what a sync covers now. Returns whether that is all; otherwise a part is left out that is broken, and
        more may follow. Raises CutError, and OSError while the file cannot be read."""
        try:
            reader.begin_pass()
            while batch := reader.next(min(self._batch_bytes, self._delivery.max_bytes), self._delivery.max_bytes):
                with contextlib.suppress(TooLargeError):  # it is cut, since `max_bytes` has become smaller
                    self._send(reader, batch)
        except DamageError:  # however long the server is away: once repaired, the same file takes new lines
            raise
        except OSError as error:
            self._unread_since = self._unread_since or monotonic()
            if not isinstance(error, SyncError) and monotonic() < self._unread_since + READ_PATIENCE_SEC:
                raise
            if isinstance(error, BrokenError) and self._leave_out_broken(reader, error):
                return False
            self._stopped = True
            text = f"{reader.file} cannot be synced or read: {error.strerror}; nothing more of it is shipped"
            self._problems.begin("file", text)
        else:
            self._unread_since = 0.0
        finally:
            self.account.refused += reader.refused
            reader.refused = 0
        return True

    def _leave_out_broken(self, reader: Reader, error: BrokenError) -> bool:
        """Moves behind what cannot be unpacked. Returns whether there is such a place: an archive may be without an
        index."""
        try:
            end, lines = error.file.behind_broken(reader.offset)
        except BrokenError:
            return False
        what = f"{error.file} cannot be unpacked from byte {reader.offset:,} of its text on"
        self.account.left_out(what, end - reader.offset, lines)
        reader.offset = end
        return True

    def _send(self, reader: Reader, batch: Batch) -> None:
        refused = self._delivery.send(batch)
        reader.offset = batch.last.offset  # before the next line, so that the note is never behind the engine
        self.acknowledged, self._sequence = batch.last, self._delivery.sequence
        self.account.lines += batch.line_count - refused
        self.account.refused += refused
        self.account.bytes += len(batch.lines)
        self._tell()

    def _leave(self, reader: Reader) -> None:
        """The file is complete, and all of it shipped that can be."""
        if not self._is_cut:
            lines: int | None
            try:
                size, lines = reader.rest()
            except OSError:
                size, lines = reader.file.size_left(reader.offset), None
            if size:
                why = "cannot be synced or read" if self._stopped else "is not durable, or has no end of line"
                self.account.left_out(f"the end of {reader.file} {why}", size, lines)
        identity = reader.file.identity
        self._go_to(Position(identity.log, identity.segment + 1, 0))

    def _open_next(self) -> bool:
        """Opens the file that comes next. Returns whether that is done."""
        at, listing = self._at, self._listing
        if listing.log != at.log or at.segment not in listing.segments:
            listing = self._listing = self._files.now()
        if listing.log is None:
            return False
        if listing.log != at.log:
            say(f"the log was begun anew: {listing.log} follows {at.log}")
            at = self._at = first_position(listing)
        segment = at.segment
        if segment not in listing.segments:
            if not self._has_successor(Identity(at.log, segment), listing):
                return False
            for path, why in listing.unread.items():  # it may be the one that is looked for
                raise OSError(errno.EACCES, f"{why} (segment {segment} is looked for)", str(path))
            segment = listing.after(segment) or segment
        file = self._files.open(Identity(at.log, segment), listing)
        if file is None:  # the listing is too old
            self._listing = NOTHING
            return True
        if segment != at.segment:
            self.account.missing(at, segment)
            at = self._at = Position(at.log, segment, 0)
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
        if position and not self._files.has_before(position, self._delivery.last_lines):
            raise RivalError(OTHER_LINES.format(position))
        self.acknowledged, self._sequence = position, self._delivery.sequence
        self._go_to(position or first_position(self._files.now()))

    def _go_to(self, place: Position) -> None:
        reader, self._at, self._reader = self._reader, place, None
        self._stopped = self._is_cut = False
        self._unread_since = 0.0
        if reader:
            self._problems.end("file", "shipping continues with the next file")
            reader.file.close()

    def _tell(self, *, at_end: bool = False) -> None:
        if self._problems.is_reminder_due():
            with contextlib.suppress(OSError):
                say(f"{self._files.now().lag(self.position):,} bytes of the log wait: {self.problem}")
        self._note.tell(self.position, self.acknowledged, self._sequence, self._problems.text_without("note"))
        if at_end:
            self._note.keep_up(now=True)
        if self._note.failure:
            self._problems.begin("note", self._note.failure)
        else:
            self._problems.end("note", "the note of what is shipped can be written again")


def read_note(live: Path) -> Shipped | None:
    """The note of an earlier run. Raises RefusedError."""
    try:
        return read_shipped(live)
    except OSError as error:
        raise RefusedError(f"cannot read {shipped_path(live)}: {error.strerror}") from error
    except ValueError:
        say(f"{shipped_path(live)} is not a note of `fastlog ship`: it is written anew")
        return None
