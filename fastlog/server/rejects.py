"""`rejects.jsonl`: input that was rejected, each piece with its sender and reason, under a cap.

Strangers can drive this path, so the file is capped, and so is what is noted in a second, by number and by bytes.
Rejects that are not noted are counted all the same. A disk that refuses costs notes, never entries, and a file that
cannot be opened never ends the start.
"""

import base64
import codecs
import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import msgspec

from fastlog.errors import say
from fastlog.limits import REJECTS_FILENAME
from fastlog.server._rejects import RejectedInput
from fastlog.server.logfile import LogFile
from fastlog.server.loop import Loop
from fastlog.server.storage import Done, Storage

NOTES_PER_SEC = 5_000  # a note takes some microseconds: a flood of garbage gets a few hundredths of the loop's time
# Bytes of the pieces noted in a second: as many as NOTES_PER_SEC notes of common size have. To write them as JSON takes
# a few milliseconds.
NOTE_BYTES_PER_SEC = 1_000_000
OPEN_AGAIN_SEC = 2.0  # time between attempts to open the file: short enough to see that what one did helped

# Sender, reason, offset in its datagram, the datagram's size, the piece's size, and the piece's first bytes.
Note = tuple[str, str, int, int, int, bytes]


class _NoSyncs(Storage):
    """Notes need not survive a power cut, and the loop must not wait for the disk when the file is opened."""

    def sync(self, files: Sequence[int], directory: int | None, done: Done) -> None:
        done(None)

    def sync_now(self, files: Sequence[int], directory: int | None = None) -> None:
        pass

    def set_attribute(self, fd: int, name: str, value: str) -> None:
        """Nobody ships them."""


class RejectsFile:
    """The newest rejects, at most `cap_bytes` of them: half in the live file, half in its one archive.

    Raises OSError if the file cannot be opened.
    """

    def __init__(self, directory: Path, cap_bytes: int) -> None:
        self.lost = 0  # notes that could not be written, or were larger than the file may be
        self.failure: str | None = None  # why the last notes could not be written
        self._line_max_bytes = cap_bytes // 2
        self._file = LogFile(_NoSyncs(), directory, REJECTS_FILENAME, cap_bytes // 2, backups=1)
        self._encoder = msgspec.json.Encoder()

    def write(self, notes: list[Note]) -> None:
        time = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        lines = [line for line in (self._line(time, note) for note in notes) if len(line) <= self._line_max_bytes]
        data = memoryview(b"".join(lines))
        done = self._append(data)
        if self.failure and self._is_gone():
            done += self._append(data[done:])
        self.lost += len(notes) - bytes(data[:done]).count(b"\n")

    def _append(self, data: memoryview) -> int:
        """Returns how many bytes the file took, which are whole lines. `failure` says why they are fewer than given."""
        try:
            if self._file.rotation_failure:  # it grew past its limit once: it takes nothing more before it is rotated
                self._file.rotate()
            done = self._file.append(data, durable=False)
            error = self._file.error
        except OSError as failed:
            done, error = 0, failed
        self.failure = _reason(error) if error else self._file.rotation_failure
        return done

    def _is_gone(self) -> bool:
        """Whether another program has removed or cut the file. The one that has its name now is taken instead then."""
        if self._file.has_name() and self._file.is_whole():
            return False
        with contextlib.suppress(OSError):  # the next notes try again
            self._file.reopen()
        return True

    def close(self) -> None:
        self._file.close()

    def _line(self, time: str, note: Note) -> bytes:
        source, reason, offset, datagram_bytes, piece_bytes, data = note
        line: dict[str, str | int] = {"time": time, "source": source, "reason": reason, "offset": offset}
        line["datagram_bytes"] = datagram_bytes
        is_whole = len(data) == piece_bytes
        if not is_whole:
            line["piece_bytes"] = piece_bytes
        try:
            line["text"], _ = codecs.utf_8_decode(data, "strict", is_whole)  # without a character that is cut in two
        except UnicodeDecodeError:
            line["base64"] = base64.b64encode(data).decode()
        return self._encoder.encode(line) + b"\n"


class Rejects:
    """Moves the notes of rejected input to the file, and allows so many in a second; none without a file.

    `cap_bytes`: the size of the file with its archive; 0: nothing is noted.
    """

    def __init__(self, rejected: RejectedInput, directory: Path, cap_bytes: int, loop: Loop) -> None:
        self._rejected = rejected
        self._directory = directory
        self._cap_bytes = cap_bytes
        self._file: RejectsFile | None = None
        self._why_closed: str | None = None
        self._allow_due = loop.deadline(self._allow)
        self._open_due = loop.deadline(self._open)
        if cap_bytes:
            self._open(monotonic())

    @property
    def not_noted(self) -> int:
        """Rejected pieces that are counted, but not in the file."""
        return self._rejected.not_noted + (self._file.lost if self._file else 0)

    @property
    def failure(self) -> str | None:
        """Why rejected input is not noted at present; None: it is, or is not wanted."""
        return self._file.failure if self._file else self._why_closed

    def write(self, now: float) -> None:
        """To be called when a drain has left notes, before the next one."""
        notes = self._rejected.take_notes()
        if self._file:
            self._file.write(notes)
            if self._file.failure:  # no more of them in this second
                self._rejected.allow(0, 0)
            self._allow_due.set_if_clear(now + 1.0)

    def close(self) -> None:
        if self._file:
            self._file.close()

    def _allow(self, now: float) -> None:
        self._rejected.allow(NOTES_PER_SEC, NOTE_BYTES_PER_SEC)

    def _open(self, now: float) -> None:
        path = self._directory / REJECTS_FILENAME
        try:
            self._file = RejectsFile(self._directory, self._cap_bytes)
        except OSError as error:
            if self._why_closed is None:
                say(f"cannot write {path}: {_reason(error)}; rejected input is only counted until that is possible")
            self._why_closed = _reason(error)
            self._open_due.set(now + OPEN_AGAIN_SEC)
            return
        if self._why_closed:
            say(f"rejected input is written to {path} again")
        self._allow(now)


def _reason(error: OSError) -> str:
    if isinstance(error, BlockingIOError):
        return "it is in use by another fastlog"
    return error.strerror or str(error)
