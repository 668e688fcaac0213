"""What `fastlog ship` must leave in an engine: the files of the log, byte for byte and in order, each line once."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from fastlog.segments import COMPRESSED_ENDING, Identity, identity_of, position_from
from tests.helpers.archives import text_of

MESSAGE_ID = re.compile(r"(.+)/([0-9a-f]{12})/([0-9]+)/([0-9]+)-([0-9]+)")
UNFINISHED = re.compile(r".*\.(new|torn|repaired|shipped)$")  # names beside the log's that are not files of it


class Stored(NamedTuple):
    """A message that NATS has stored."""

    sequence: int
    subject: str
    headers: dict[str, str]
    data: bytes


class Part(NamedTuple):
    """What one message holds: lines of one file, from one offset to another."""

    identity: Identity
    start: int
    end: int
    lines: bytes


class Difference(NamedTuple):
    missing: list[Part]
    twice: list[Part]


class KeptFiles:
    """Hard links to every file that a log ever had, so that a test can still read those that the server has deleted, or
    compressed.

    `look` has to come at least once in the life of each file: once in the time of a rotation, and before it is compressed.
    """

    def __init__(self, log_dir: Path, kept: Path, name: str = "server.log") -> None:
        kept.mkdir()
        self._log_dir = log_dir
        self._kept = kept
        self._name = name
        self._known: dict[int, Identity] = {}  # by inodes, which are theirs as long as the links are there

    def look(self) -> None:
        with os.scandir(self._log_dir) as found:
            for entry in found:
                is_file = entry.name.startswith(self._name) and not UNFINISHED.fullmatch(entry.name)
                if is_file and not entry.name.endswith(COMPRESSED_ENDING) and entry.inode() not in self._known:
                    self._keep(entry.path)

    def contents(self) -> dict[Identity, bytes]:
        """What each file holds now, in order. The compressed ones, which the server leaves alone meanwhile, must have the
        same."""
        self.look()
        contents = {identity: self._link(identity).read_bytes() for identity in sorted(self._known.values())}
        for path in self.compressed():
            assert text_of(path) == contents[identity_of(path)], f"{path} has other lines than its original had"
        return contents

    def compressed(self) -> list[Path]:
        """The archives that are compressed now."""
        return list(self._log_dir.glob(f"{self._name}.*{COMPRESSED_ENDING}"))

    def _keep(self, path: str) -> None:
        link = self._kept / "new"
        try:
            os.link(path, link)
        except FileNotFoundError:  # a rotation gave it another name
            return
        identity, inode = identity_of(link), link.stat().st_ino
        if identity is None or inode in self._known:
            link.unlink()
            return
        assert identity not in self._known.values(), f"two files are {identity}, one of them {path}"
        self._known[inode] = identity
        link.rename(self._link(identity))

    def _link(self, identity: Identity) -> Path:
        return self._kept / f"{identity.log}-{identity.segment}"


def parts_of(messages: Iterable[Stored], node: str) -> list[Part]:
    """What each message says that it holds. Its headers must agree with each other and with its payload."""
    parts = []
    for message in messages:
        headers, payload = message.headers, message.data
        found = MESSAGE_ID.fullmatch(headers["Nats-Msg-Id"])
        assert found, headers
        assert found[1] == node, headers
        start, end = int(found[4]), int(found[5])
        position = position_from(headers["Fastlog-Pos"])
        assert position == (found[2], int(found[3]), end), headers
        assert end - start == len(payload), headers
        assert payload.endswith(b"\n"), f"half a line: {headers}"
        assert int(headers["Fastlog-Lines"]) == payload.count(b"\n"), headers
        parts.append(Part(Identity(position.log, position.segment), start, end, payload))
    return parts


def compare(parts: Iterable[Part], files: Mapping[Identity, bytes]) -> Difference:
    """How the parts, in the order of the stream, differ from the files of a log, in theirs. Fails where the bytes do."""
    missing, twice = [], []
    reached = Identity("", 0), 0  # where the newest line ends
    ends = dict.fromkeys(files, 0)
    for part in parts:
        assert part.identity in files, f"{part.identity} is not a file of the log"
        content = files[part.identity]
        assert content[part.start : part.end] == part.lines, f"other bytes: {part.identity} {part.start}-{part.end}"
        if (part.identity, part.start) < reached:
            assert part.start < ends[part.identity], f"out of order: {places([part])}"
            twice.append(part._replace(lines=part.lines[: ends[part.identity] - part.start]))
        if part.start > ends[part.identity]:
            missing.append(_part(part.identity, content, ends[part.identity], part.start))
        reached = max(reached, (part.identity, part.end))
        ends[part.identity] = max(ends[part.identity], part.end)
    missing += [_part(identity, content, ends[identity], len(content)) for identity, content in files.items()]
    return Difference([part for part in missing if part.lines], [part for part in twice if part.lines])


def check_exactly_once(parts: Iterable[Part], files: Mapping[Identity, bytes]) -> None:
    """The parts are these files: each line once, in order."""
    found = compare(parts, files)
    assert not found.twice, f"{lines_in(found.twice)} lines twice: {places(found.twice)}"
    assert not found.missing, f"{lines_in(found.missing)} lines missing: {places(found.missing)}"


def lines_in(parts: Iterable[Part]) -> int:
    return sum(part.lines.count(b"\n") for part in parts)


def places(parts: Iterable[Part]) -> str:
    return ", ".join(f"{part.identity} {part.start}-{part.end}" for part in parts)


def _part(identity: Identity, content: bytes, start: int, end: int) -> Part:
    return Part(identity, start, end, content[start:end])
