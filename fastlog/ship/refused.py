"""`ship-refused.jsonl`: lines that the engine refused for good, each with its position and the reason, under a cap.

They are counted, and in the log as before. A disk that refuses costs notes, and never holds up the shipper.
"""

import base64
import errno
import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from fastlog.errors import say
from fastlog.segments import Position

FILENAME = "ship-refused.jsonl"
FILE_MODE = 0o640  # log lines can hold personal data: not everybody may read them
LINE_NOTED_BYTES = 1 << 18  # the longest line of an entry is noted as a whole
REASON_MAX_CHARACTERS = 1000  # an engine explains itself at length


class RefusedFile:
    """The newest refused lines, at most `cap_bytes` of them: half in the live file, half in its one archive. It is
    opened when the first line comes. 0: lines are only counted."""

    def __init__(self, directory: Path, cap_bytes: int) -> None:
        self.path = directory / FILENAME
        self.lost = 0  # lines that could not be written, or were larger than the file may be
        self._file_max_bytes = cap_bytes // 2
        self._failed = False
        self._any = False

    def note(self, position: Position, line: bytes, reason: str, size: int | None = None) -> None:
        """Notes the line at this position, without its line feed. `size`: its bytes, if `line` has only the first."""
        if not self._any:
            self._any = True
            where = f"{self.path} gets those that are" if self._file_max_bytes else "the log alone has those that are"
            say(f"the line at {position} is refused, {_short(reason)}; {where}")
        if not self._file_max_bytes:
            return
        try:
            self._append(_as_json(position, line[:LINE_NOTED_BYTES], len(line) if size is None else size, reason))
        except OSError as error:
            self.lost += 1
            if not self._failed:
                say(
                    f"cannot write {self.path}: {error.strerror}; until that is possible refused lines are only counted"
                )
            self._failed = True
        else:
            self._failed = False

    def _append(self, note: bytes) -> None:
        if len(note) > self._file_max_bytes:
            raise OSError(errno.EFBIG, "the line is larger than REJECTS_MAX_MB allows")
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
        fd = os.open(self.path, flags, FILE_MODE)
        try:
            if os.fstat(fd).st_size + len(note) > self._file_max_bytes:
                os.rename(self.path, f"{self.path}.1")
                os.close(fd)
                fd = -1
                fd = os.open(self.path, flags, FILE_MODE)
            begin = os.fstat(fd).st_size
            if os.write(fd, note) < len(note):
                os.ftruncate(fd, begin)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            if fd >= 0:
                os.close(fd)


def _as_json(position: Position, line: bytes, size: int, reason: str) -> bytes:
    note: dict[str, str | int] = {
        "time": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "position": str(position),
        "reason": _short(reason),
        "line_bytes": size,
    }
    try:
        note["text"] = line.decode()
    except UnicodeDecodeError:
        note["base64"] = base64.b64encode(line).decode()
    return msgspec.json.encode(note) + b"\n"


def _short(reason: str) -> str:
    return reason if len(reason) <= REASON_MAX_CHARACTERS else f"{reason[:REASON_MAX_CHARACTERS]}…"
