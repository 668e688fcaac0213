"""What a random run expects of the identities of the log's files: a position in the log means the same lines for ever.

It plays the shipper that reads all it can: of each file with a number, whatever the disk has for sure may have been
shipped. No file may have that number later with other content.
"""

from pathlib import Path

import msgspec

from fastlog.segments import (
    ATTRIBUTE,
    COMPRESSED_ENDING,
    Identity,
    Shipped,
    durable_size_of,
    identity_of,
    position_from,
    shipped_path,
)
from fastlog.server.logfile import LogFile
from tests.helpers.model_file import File, sure_text, text_of
from tests.helpers.model_names import NAME, Names, is_of_log


class Identities:
    def __init__(self, directory: Path, names: Names) -> None:
        # False: an attribute could not be set, so a file may have kept its number wrongly; or a start could not repair
        # a file, so damage may have been shipped that a later one takes out.
        self.is_strict = True
        self._directory = directory
        self._names = names
        self._shipped: dict[Identity, bytes] = {}
        self._foreign: set[File] = set()  # to which another program wrote after it had cut them

    def tampered(self, name: str) -> None:
        """Another program cut the file, which is not the live one, or wrote to one that it had cut."""
        self._foreign.add(self._names.now[name])

    def power_is_cut(self) -> None:
        """A file that was cut, and not synced since, may come back with its old number and anything in it."""
        for file in self._names.now.values():
            if file.new_attributes and (old := position_from(f"{file.attributes.get(ATTRIBUTE)}:0")):
                self._shipped.pop(Identity(old.log, old.segment), None)

    def check(self, log: LogFile) -> None:
        """Raises AssertionError."""
        found: dict[Identity, str] = {}
        for name, file in self._names.now.items():
            if not is_of_log(name) or not (identity := identity_of(self._directory / name)):
                continue
            other = found.get(identity)
            assert other is None or self._are_forms(name, other), f"{name} and {other} have one identity, {identity}"
            found[identity] = name
            if file not in self._foreign and self.is_strict:
                self._check_content(name, identity)
                self._ship(name, file, identity)
        live = log.identity
        if live and log.has_name():
            assert found.get(live) == NAME, f"{live} is not the number of the live file"
            newer = [identity for identity in found if identity.log == live.log and identity > live]
            assert not newer, f"the live file grows, {live}, and {newer} are newer"

    def _are_forms(self, name: str, other: str) -> bool:
        """Whether one is the compressed form of the other, which another program may have given another number."""
        texts = {text_of((self._directory / each).read_bytes()) for each in (name, other)}
        return len(texts) == 1 and name.endswith(COMPRESSED_ENDING) != other.endswith(COMPRESSED_ENDING)

    def _check_content(self, name: str, identity: Identity) -> None:
        before, now = self._shipped.get(identity, b""), text_of((self._directory / name).read_bytes())
        assert before.startswith(now) or now.startswith(before), f"{identity}, {name}, had other content: {before!r}"

    def _ship(self, name: str, file: File, identity: Identity) -> None:
        """What is on the disk for sure under this number may have been shipped."""
        if file.attributes.get(ATTRIBUTE) != str(identity) or file not in self._names.certain():
            return
        content = sure_text(bytes(file.base))[: durable_size_of(self._directory / name)]
        content = content[: content.rfind(b"\n") + 1]
        if not text_of((self._directory / name).read_bytes()).startswith(content):
            return  # a write-back failed, or a repair is not on the disk yet: nobody reads that
        if len(content) > len(self._shipped.get(identity, b"")):
            self._shipped[identity] = content
            newest = max(each for each in self._shipped if each.log == identity.log)
            note = msgspec.json.encode(Shipped(newest.log, newest.segment, len(self._shipped[newest])))
            shipped_path(self._directory / NAME).write_bytes(note)  # before it ships any of a file
