"""Lines that the engine refuses for good, kept in `ship-refused.jsonl`."""

from typing import Protocol

from fastlog.segments import Position


class RefusedFile(Protocol):
    def note(self, position: Position, line: bytes, reason: str) -> None:
        """Keeps a line that began at `position`, without its line feed."""
