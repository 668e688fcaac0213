"""Which archive is compressed when, and how the compressed one takes its place.

The process that does it gets two open files and knows no names, so rotations continue meanwhile. When it has ended
well, what it has written is durable. Then the new file gets the archive's name with `.zst`, the directory is synced,
and only then the original goes. Until then the original is in force, whatever happens. An archive is known by its
inode: an open descriptor keeps the number from being used again.

Not compressed are: the live file; a file with lines that a sync has to make durable; files set aside; and archives of
which a sync has failed. The disk may have less of such a file than its reader gets, and a later sync would succeed, so
it could not be in force.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from fastlog.errors import say
from fastlog.file_systems import open_to_read
from fastlog.segments import durable_size_of, forms
from fastlog.server.closer import Closer
from fastlog.server.compressor import Compressor, Ended
from fastlog.server.logfile import LogFile
from fastlog.server.loop import Loop
from fastlog.server.numbered import PLAIN, Form, numbered

LOOK_SEC = 1.0  # time between two looks whether there was a rotation: nobody waits for a compressed archive
RETRY_SEC = 60.0  # from a failure to the next attempt; and time between two looks for archives of other programs
NAMES_WAIT_SEC = 0.1  # while a directory is synced: until names are looked at again


class Job(NamedTuple):
    """One archive. Both files stay open until it is done."""

    form: Form  # its name at the beginning
    status: os.stat_result  # of the original, when it began
    source: int
    target: int


class Compression:
    """Of the archives of one log. Nothing here raises OSError. `compressor`: tests have one of their own."""

    def __init__(self, log: LogFile, loop: Loop, compressor: Callable[[Loop, Ended], Compressor] = Compressor) -> None:
        self.compressed_files = 0
        self.waiting_files = 0  # by the last look, the one under way included
        self._log = log
        self._names = log.names
        self._compressor = compressor(loop, self._on_ended)
        self._closer = Closer()
        self._job: Job | None = None
        self._failures: dict[int, str] = {}  # by inode, of archives that are there
        self._distrusted: set[int] = set()  # inodes of archives of which a sync has failed
        self._rotations = -1  # of the log, at the last look
        self._look_at = 0.0  # when to look, though there was no rotation
        self._begin_at = 0.0  # no attempt before that
        self._due = loop.deadline(self._on_due)
        self._name_due = loop.deadline(self._on_compressed)
        self._due.set(monotonic() + LOOK_SEC)
        log.give_up_compressing = self.give_way

    @property
    def failure(self) -> str | None:
        """Why an archive could not be compressed, while that is so."""
        return next(reversed(self._failures.values()), None)

    @property
    def failing_files(self) -> int:
        """How many archives could not be compressed, by the last look."""
        return len(self._failures)

    def give_way(self) -> bool:
        """The disk is full: gives up the new file, whose room is free at once. Returns whether there was one."""
        if not self._job or self._names.unsure:
            return False
        self._fail(self._job, os.strerror(errno.ENOSPC))
        return True

    def stop(self) -> None:
        """At the end of the server: nothing is compressed any more. May be called again."""
        self._drop()
        self._due.clear()
        self._name_due.clear()

    def close(self) -> None:
        self.stop()
        self._compressor.close()
        self._closer.finish()

    def _on_due(self, now: float) -> None:
        self._due.set(now + LOOK_SEC)
        if self._job and not os.fstat(self._job.source).st_nlink:  # it was deleted, and takes room until it is closed
            self._drop()
        if self._log.names_are_under_sync or (self._rotations == self._log.rotations and now < self._look_at):
            return
        self._rotations = self._log.rotations
        self._look_at = now + RETRY_SEC
        try:
            waiting = self._names.to_compress()
        except OSError:  # the log's directory is gone, or may not be listed: nothing can be told apart there
            self.waiting_files = 0
            return
        inodes = {form.inode for form in waiting}
        self._distrusted &= inodes
        waiting = [form for form in waiting if form.inode not in self._distrusted]
        self._failures = {inode: reason for inode, reason in self._failures.items() if inode in inodes}
        self.waiting_files = len(waiting) + bool(self._names.unsure)
        if self._job or now < self._begin_at:
            return
        if self._compressor.is_running:  # one that was given up has not ended yet
            self._look_at = now
        else:
            self._begin_any(waiting, now)

    def _begin_any(self, waiting: list[Form], now: float) -> None:
        """Begins with the newest one that can be compressed; those that failed come last."""
        for form in sorted(waiting, key=lambda form: form.inode in self._failures):
            try:
                source = open_to_read(form.place)
            except FileNotFoundError:
                continue
            except OSError as error:
                self._note_failure(form, error.strerror or str(error))
                return
            status = os.fstat(source)
            if not stat.S_ISREG(status.st_mode) or self._log.is_in_use(status):
                os.close(source)
                self._look_at = now
                continue
            if _has_failed(source):
                os.close(source)
                self._distrusted.add(form.inode)
                self.waiting_files -= 1
                continue
            self._begin(form, status, source)
            return

    def _begin(self, form: Form, status: os.stat_result, source: int) -> None:
        try:
            with contextlib.ExitStack() as failed:
                failed.callback(os.close, source)
                target = self._names.create_compressed()
                failed.pop_all()
        except OSError as error:
            self._note_failure(form, error.strerror or str(error))
            return
        self._job = Job(form, status, source, target)
        try:
            self._compressor.start(source, target)
        except OSError as error:
            self._fail(self._job, f"cannot start a process: {error.strerror}")

    def _on_ended(self, now: float, failure: str | None) -> None:
        """The process has ended."""
        if self._job and failure:
            self._fail(self._job, failure)
        elif self._job:
            self._on_compressed(now)

    def _on_compressed(self, now: float) -> None:
        """The new file is whole and durable: it gets its name; or it takes the archive's place, if that is durable.
        A rotation takes the name away again, since archives get other names then. So may another program."""
        job = self._job
        if not job:
            return
        if self._log.names_are_under_sync:
            self._name_due.set(now + NAMES_WAIT_SEC)
            return
        plain, status = self._where(job), os.fstat(job.source)
        if not plain:
            self._drop()
        elif (status.st_size, status.st_mtime_ns) != (job.status.st_size, job.status.st_mtime_ns):
            self._fail(job, "another program has changed it meanwhile")
        else:
            try:
                if self._names.unsure == forms(plain)[1]:
                    self._replace(job, plain)
                else:
                    self._names.name_compressed(plain)
                    self._log.sync_names(partial(self._on_named, job))
            except OSError as error:
                self._fail(job, error.strerror or str(error))

    def _on_named(self, job: Job, error: OSError | None) -> None:
        if job is not self._job:
            return
        if error:
            self._fail(job, f"cannot sync {self._names.live.parent}: {error.strerror}")
        else:
            self._on_compressed(monotonic())

    def _replace(self, job: Job, plain: Path) -> None:
        with self._log.removing():
            self._names.replace_plain(plain)
        self.compressed_files += 1
        if self._failures.pop(job.form.inode, None) and not self._failures:
            say(f"archives of {self._names.live} are compressed again")
        self._end(job)

    def _where(self, job: Job) -> Path | None:
        """The name that the archive has now; None: it is gone, or has a name that no rotation gives."""
        try:
            archives = numbered(self._names.live)
        except OSError:
            return None
        for each in archives.values():
            form = each.get(PLAIN)
            if form and form.inode == job.form.inode and form.is_file:
                return form.path
        return None

    def _fail(self, job: Job, reason: str) -> None:
        """The original stays."""
        self._drop()
        self._note_failure(job.form, reason)

    def _note_failure(self, form: Form, reason: str) -> None:
        self._begin_at = self._look_at = monotonic() + RETRY_SEC
        is_new = reason not in self._failures.values()
        self._failures.pop(form.inode, None)  # the newest is the last one
        self._failures[form.inode] = reason
        if is_new:
            say(f"cannot compress {form.place}: {reason}; it stays as it is; trying again every {RETRY_SEC:g} s")

    def _drop(self) -> None:
        """Gives up what is under way."""
        if self._job:
            self._compressor.kill()
            self._names.drop_compressed()
            self._end(self._job)

    def _end(self, job: Job) -> None:
        self._closer.close(job.source)  # it may have lost its name: to free 100 MB takes the kernel 40 ms
        os.close(job.target)
        self._job = None
        self._look_at = 0.0
        self._due.set(0.0)  # at once


def _has_failed(file: int) -> bool:
    """Whether a sync of it has failed, as far as is known."""
    try:
        return durable_size_of(file) is not None
    except OSError:  # there are no attributes here
        return False
