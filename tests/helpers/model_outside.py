"""What the kernel, the power supply and other programs do to the files of a modelled disk."""

import os
import shutil
from pathlib import Path
from random import Random

from fastlog.segments import durable_size_of
from tests.helpers.model_disk import ModelDisk
from tests.helpers.model_file import CUT, File, sure_text, text_of


class Outside:
    """`acts`: another program does something at this moment."""

    def __init__(self, disk: ModelDisk, rng: Random) -> None:
        self.acts = False
        self._disk = disk
        self._names = disk.names
        self._directory = disk.directory
        self._rng = rng

    @property
    def left_half_lines(self) -> bool:
        """A line could not be cut off, or the disk does not have all of a file set aside."""
        return self._disk.half_lines

    def content(self, name: str) -> bytes:
        """Its lines, compressed or not."""
        return text_of(self.stored(name))

    def stored(self, name: str) -> bytes:
        return (self._directory / name).read_bytes()

    def has_failed(self, name: str) -> bool:
        """Whether the server has noted that a sync of the file failed."""
        return durable_size_of(self._directory / name) is not None

    def rename(self, old: str, new: str) -> None:
        self._names.about_to_lose(self._directory / new)
        os.replace(self._directory / old, self._directory / new)
        self.acts = True
        self._names.rename(old, new)
        self.acts = False

    def remove(self, name: str) -> None:
        self._names.about_to_lose(self._directory / name)
        os.unlink(self._directory / name)
        self.acts = True
        self._names.remove(name)
        self.acts = False

    def make(self, name: str, content: bytes) -> None:
        file = self._make(name, content, File())
        file.add(content, 0)
        self._names.add(name, file)

    def cut(self, name: str, size: int) -> None:
        os.truncate(self._directory / name, size)
        self._names.now[name].add(CUT, size)

    def append(self, name: str, data: bytes) -> None:
        with open(self._directory / name, "ab") as real:
            real.write(data)
        file = self._names.now[name]
        file.add(data, file.size)

    def take_directory(self, to: Path | None) -> None:
        """The directory is moved there, or removed with all it holds."""
        if to:
            os.rename(self._directory, to)
        else:
            shutil.rmtree(self._directory)
        self._names.renew()

    def write_back(self, *, fails: bool) -> bool:
        """The kernel writes to the disk what it has of one file, unasked. Returns whether something got lost."""
        if not self._names.now:
            return False
        file = self._rng.choice(list(self._names.now.values()))
        if fails and file.changes:
            file.lose(file.count)
            return True
        file.make_sure(file.count)
        file.make_attributes_sure()
        return False

    def lost_lines(self) -> set[bytes]:
        """The lines that the page cache shows, and that a sync does not write to the disk any more."""
        return {
            line
            for name, file in self._names.now.items()
            if file.has_lost
            for line in set(sure_text(self.stored(name)).split(b"\n")) - set(file.certain().split(b"\n"))
        }

    def cut_power(self) -> None:
        """What the disk may hold then takes the place of the page cache."""
        chosen = self._rng.choice(self._names.states)
        found = {
            name: (file.after_a_cut(self._rng), file.attributes_after_a_cut(self._rng)) for name, file in chosen.items()
        }
        for name in self._names.now:
            os.unlink(self._directory / name)
        self._directory.mkdir(exist_ok=True)
        self._disk.by_inode.clear()
        self._names.renew({name: self._find(name, *what) for name, what in found.items()})

    def _find(self, name: str, content: bytes, attributes: dict[str, str]) -> File:
        file = self._make(name, content, File(content))
        file.attributes = attributes
        for attribute, value in attributes.items():
            os.setxattr(self._directory / name, attribute, value.encode())
        return file

    def _make(self, name: str, content: bytes, file: File) -> File:
        fd = os.open(self._directory / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
        os.write(fd, content)
        self._disk.by_inode[os.fstat(fd).st_ino] = file
        os.close(fd)
        return file
