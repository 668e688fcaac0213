"""`rejects.jsonl`: the input that was not taken, each piece with its sender and reason, under a cap.

A cold path that strangers can drive: the file is capped, and so is the number of pieces noted in a second. What is
not noted here is counted all the same. A disk that refuses costs notes, never entries.
"""

import base64
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from fastlog.server.logfile import LogFile
from fastlog.server.storage import Storage

FILENAME = "rejects.jsonl"
NOTES_PER_SEC = 5_000  # a note takes some microseconds: a flood of garbage gets a few hundredths of the loop's time

Note = tuple[str, str, int, int, bytes]  # sender, reason, offset in its datagram, the datagram's size, the bytes


class RejectsFile:
    """The newest rejects, at most `cap` bytes of them: half in the live file, half in its one archive."""

    def __init__(self, directory: Path, cap: int) -> None:
        self._half = cap // 2
        self._file = LogFile(Storage(), directory, FILENAME, self._half, backups=1)
        self._encoder = msgspec.json.Encoder()
        self.lost = 0  # notes that could not be written, or were larger than the file may be

    @property
    def path(self) -> Path:
        return self._file.path

    def write(self, notes: list[Note]) -> None:
        time = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        lines = [line for line in (self._line(time, note) for note in notes) if len(line) <= self._half]
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
