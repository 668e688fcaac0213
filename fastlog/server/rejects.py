"""`rejects.jsonl`: input that was rejected, each piece with its sender and reason, under a cap.

Strangers can drive this path, so the file is capped, and so is the number of pieces noted in a second. Rejects that are
not noted are counted all the same. A disk that refuses costs notes, never entries.
"""

import base64
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import msgspec

from fastlog.server._rejects import RejectedInput
from fastlog.server.logfile import LogFile
from fastlog.server.loop import Loop
from fastlog.server.storage import Storage

FILENAME = "rejects.jsonl"
NOTES_PER_SEC = 5_000  # a note takes some microseconds: a flood of garbage gets a few hundredths of the loop's time

Note = tuple[str, str, int, int, bytes]  # sender, reason, offset in its datagram, the datagram's size, the bytes


class RejectsFile:
    """The newest rejects, at most `cap_bytes` of them: half in the live file, half in its one archive."""

    def __init__(self, directory: Path, cap_bytes: int) -> None:
        self.lost = 0  # notes that could not be written, or were larger than the file may be
        self._line_max_bytes = cap_bytes // 2
        self._file = LogFile(Storage(), directory, FILENAME, cap_bytes // 2, backups=1)
        self._encoder = msgspec.json.Encoder()

    def write(self, notes: list[Note]) -> None:
        time = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        lines = [line for line in (self._line(time, note) for note in notes) if len(line) <= self._line_max_bytes]
        data = b"".join(lines)
        done = self._file.append(memoryview(data), durable=False)
        self.lost += len(notes) - data.count(b"\n", 0, done)

    def close(self) -> None:
        self._file.close()

    def _line(self, time: str, note: Note) -> bytes:
        source, reason, offset, datagram_bytes, data = note
        line: dict[str, str | int] = {"time": time, "source": source, "reason": reason, "offset": offset}
        line["datagram_bytes"] = datagram_bytes
        try:
            line["text"] = data.decode()
        except UnicodeDecodeError:
            line["base64"] = base64.b64encode(data).decode()
        return self._encoder.encode(line) + b"\n"


class Rejects:
    """Moves the notes of rejected input to the file, and allows NOTES_PER_SEC of them; none without a file."""

    def __init__(self, rejected: RejectedInput, file: RejectsFile | None, loop: Loop) -> None:
        self._rejected = rejected
        self._file = file
        self._allow_due = loop.deadline(self._allow)
        self._allow(monotonic())

    @property
    def not_noted(self) -> int:
        """Rejected pieces that are counted, but not in the file."""
        return self._rejected.not_noted + (self._file.lost if self._file else 0)

    def write(self, now: float) -> None:
        """To be called when a drain has left notes, before the next one."""
        if self._file:
            self._file.write(self._rejected.take_notes())
            self._allow_due.set_if_clear(now + 1.0)

    def close(self) -> None:
        if self._file:
            self._file.close()

    def _allow(self, now: float) -> None:
        self._rejected.notes_allowed = NOTES_PER_SEC if self._file else 0
