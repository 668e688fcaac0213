"""A small log in this process, of which LOG_BACKUPS, LOG_KEEP_MB and LOG_KEEP_DAYS say how much is kept; and clocks that
jump."""

import os
import re
import time
from pathlib import Path

from fastlog.server.budget import DAY_SEC
from fastlog.server.logfile import LogFile
from fastlog.server.storage import Storage

LINE = b"line %04d\n"
SIZE = len(LINE % 0)
PER_FILE = 10  # lines
FILE = PER_FILE * SIZE


class KeptLog:
    """A log whose lines are numbered. `keep_files`: LOG_KEEP_MB, in full files."""

    def __init__(self, directory, storage=None):
        self.directory = directory
        self.path = directory / "server.log"
        self.written = 0
        self._storage = storage or Storage()
        self.file = None

    def start(self, *, backups=100, keep_files=None, keep_days=None, hold_files=100):
        self.close()
        self.file = LogFile(
            self._storage,
            self.directory,
            "server.log",
            FILE,
            backups,
            keep_bytes=None if keep_files is None else int(keep_files * FILE),
            keep_sec=None if keep_days is None else keep_days * DAY_SEC,
            hold_bytes=hold_files * FILE,
        )
        self.budget = self.file.budget
        return self

    def close(self):
        if self.file:
            self.file.close()
            self.file = None

    def write(self, lines):
        for _ in range(lines):
            self.written += 1
            assert self.file.append(memoryview(LINE % self.written), durable=False) == SIZE

    def write_files(self, count):
        """So many full files. The newest one stays the live one until the next line."""
        self.write(count * PER_FILE)

    def numbers(self):
        """Those of the archives."""
        found = [re.fullmatch(r"server\.log\.(\d+)(\.zst)?", path.name) for path in self.directory.iterdir()]
        return sorted(int(match[1]) for match in found if match)

    def lines(self):
        """The numbers of the lines that are there, the oldest first."""
        files = [*(Path(f"{self.path}.{number}") for number in reversed(self.numbers())), self.path]
        return [int(line.split()[1]) for path in files for line in path.read_bytes().splitlines()]

    def total(self):
        return sum(path.stat().st_size for path in self.directory.glob("server.log*"))

    def tidy(self):
        """The look of each second; the figures are right then."""
        self.file.tidy()
        self.file.tidy()

    def deleted(self):
        return self.budget.deleted_files, self.budget.deleted_bytes

    def age(self, number, days):
        then = time.time() - days * DAY_SEC
        os.utime(f"{self.path}.{number}", (then, then))


class Clocks:
    """Those of `fastlog.server.clock`, standing still. Files have the real time."""

    def __init__(self):
        self.wall, self.since_boot = time.time(), 1000.0

    def run(self, seconds):
        self.wall += seconds
        self.since_boot += seconds

    def jump(self, seconds):
        self.wall += seconds
