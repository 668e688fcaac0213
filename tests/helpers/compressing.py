"""Compressing without a process: the test says when it is done, and all of it goes through the storage seam."""

import os

from fastlog.archive.writer import compress
from fastlog.segments import ATTRIBUTE, attribute_of
from fastlog.server.compression import Compression
from fastlog.server.loop import Loop
from fastlog.server.pipeline import Pipeline
from fastlog.server.storage import Storage
from tests.helpers.disk import Harness

PIECES = 2  # writes of one archive


class InProcess:
    """In the place of `Compressor`. `run` does the work that was asked for."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.asked: tuple[int, int] | None = None  # what a process would have as its descriptors 0 and 1

    def __call__(self, _loop, ended) -> "InProcess":
        self._ended = ended
        return self

    @property
    def is_running(self) -> bool:
        return self.asked is not None

    def start(self, source, target):
        self.asked = os.dup(source), os.dup(target)

    def run(self, failure: str | None = None) -> None:
        """As `fastlog.archive.process` does it; or fails after its first write."""
        source, target = self.asked
        self.sync_source(source)
        text = _compressed(source)
        size = -(-len(text) // PIECES)
        for at in range(0, len(text), size):
            self.storage.write_all(target, text[at : at + size])
            if failure:
                break
        else:
            if identity := attribute_of(source, ATTRIBUTE):
                self.storage.set_attribute(target, ATTRIBUTE, identity)
            self.storage.set_time(target, os.fstat(source).st_mtime_ns)
            self.sync_target(target)
        self.end(failure)

    def sync_source(self, source: int) -> None:
        """With its attributes, through whatever descriptor they were set."""
        self.storage._unsynced_attributes.add(source)
        self.storage.sync_now([source])

    def sync_target(self, target: int) -> None:
        self.storage.sync_now([target])

    def end(self, failure: str | None) -> None:
        self.kill()
        self._ended(0.0, failure)

    def kill(self):
        for fd in self.asked or ():
            os.close(fd)
        self.asked = None

    close = kill


def compressing(harness: Harness) -> tuple[Compression, InProcess]:
    """Has the server of this harness compress its archives."""
    process = InProcess(harness.storage)
    return compress_with(process, harness.pipeline, harness.loop), process


def compress_with(process: InProcess, pipeline: Pipeline, loop: Loop) -> Compression:
    """Has this server compress its archives."""
    pipeline.compression = Compression(pipeline.log, loop, process)
    return pipeline.compression


def _compressed(source: int) -> bytes:
    target = os.memfd_create("archive")
    try:
        compress(source, target)
        return os.pread(target, os.fstat(target).st_size, 0)
    finally:
        os.close(target)
