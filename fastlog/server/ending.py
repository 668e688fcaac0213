"""The end of the server: what is left is received, written, synced and acknowledged, and the account is printed.

Each step is taken, whatever becomes of the one before it, and none of them waits for ever.
"""

import contextlib
import math
import signal
import time
import traceback
from collections.abc import Callable

from fastlog.early import ENDING_SIGNALS
from fastlog.errors import say
from fastlog.server.listeners import Listeners
from fastlog.server.loop import Loop
from fastlog.server.pipeline import Pipeline
from fastlog.server.storage import AsyncStorage, SyncsUnderWayError

END_QUIET_SEC = 1.0  # how long the end waits for syncs before it says so: a disk that works needs less
END_SYNC_SEC = 5.0  # how long it waits for them: half of the time that `docker stop` gives it


def attempt(step: Callable[[], bool | None]) -> bool:
    """Whether the step went well. Whatever it raises is printed: the steps after it have to be taken all the same,
    or entries would be lost without an account."""
    try:
        return step() is not False
    except Exception as error:
        with contextlib.suppress(Exception):  # even an error that cannot be printed must not skip the next step
            say(f"an error of the program ends the server: {error!r}")
            traceback.print_exc()
        return False


class Ending:
    """From now on another signal means that nothing is to be waited for any more."""

    def __init__(self, loop: Loop, storage: AsyncStorage, listeners: Listeners, pipeline: Pipeline) -> None:
        self._storage = storage
        self._listeners = listeners
        self._pipeline = pipeline
        self._drops: int | None = None  # datagrams that the kernel dropped; None: unknown
        self._has_said_hanging = False  # the account is printed that may be the last
        self._is_hurried = False  # another signal came
        for number in (signal.SIGINT, *ENDING_SIGNALS):
            loop.on_signal(number, self._hurry)

    def run(self, notify: Callable[[], None], save: Callable[[], None]) -> bool:
        """Receives and stores what is left, and prints the totals. Returns whether all of it went well.

        `notify` announces the end to the service manager; `save` saves the last figures.
        """
        steps = (
            self._count_drops,
            self._say_if_the_disk_hangs,  # before anything is written, since even that may hang then
            notify,
            self._pipeline.stop_compressing,
            self._listeners.refuse,
            self._pipeline.receive_rest,
            self._store_rest,
            self._pipeline.writer.give_up,
            self._count_deleted,
            save,
            lambda: say(f"stopped: {self._account()}"),
        )
        is_well = True
        for step in steps:
            is_well = attempt(step) and is_well
        return is_well

    def _count_drops(self) -> None:
        self._drops = self._pipeline.drops.count()[0]

    def _store_rest(self) -> bool:
        """Returns whether the disk took everything. It waits for syncs, though not for ever."""
        began = time.monotonic()
        try:
            try:
                self._wait_for_syncs_until(began + END_QUIET_SEC)
                return self._pipeline.finish()
            except SyncsUnderWayError:
                self._say_if_the_disk_hangs()
            self._wait_for_syncs_until(began + END_SYNC_SEC)
            return self._pipeline.finish()
        except SyncsUnderWayError:
            owed = self._pipeline.writer.commit.acks_pending
            say(f"the disk does not answer: {owed} acknowledgements were not sent")
        except OSError as error:
            say(f"cannot sync {self._pipeline.log.path}: {error.strerror}")
        return False

    def _count_deleted(self) -> None:
        """Waits for the count of lines that were deleted before they were shipped."""
        hold = self._pipeline.log.hold
        if hold:
            hold.finish()
            if hold.uncounted_bytes:
                say(f"{hold.uncounted_bytes} bytes of lines deleted before they were shipped are not counted")

    def _say_if_the_disk_hangs(self) -> None:
        """Prints the account so far, once, if a sync has been under way for long: perhaps there is no other chance."""
        commit = self._pipeline.writer.commit
        began = commit.under_way.began if commit.under_way else math.inf
        if time.monotonic() - began >= END_QUIET_SEC and not self._has_said_hanging:
            self._has_said_hanging = True
            say(
                f"stopping: {self._account()}; {commit.acks_pending} acknowledgements wait for a sync that has "
                f"not ended: waiting for it up to {END_SYNC_SEC:g} s, or until another signal comes"
            )

    def _wait_for_syncs_until(self, at: float) -> None:
        self._storage.give_up_at = 0.0 if self._is_hurried else at

    def _hurry(self) -> None:
        self._is_hurried = True
        self._storage.give_up_at = 0.0

    def _account(self) -> str:
        """What became of everything received, so far."""
        intake, writer, drops = self._pipeline.intake, self._pipeline.writer, self._drops
        rejected = {reason: count for reason, count in intake.rejects.counts.items() if count}
        waiting = intake.messages.chunks.waiting
        unshipped = self._pipeline.log.hold.unshipped_lines if self._pipeline.log.hold else 0
        return (
            f"received {sum(intake.received.values())} entries in {intake.datagrams} datagrams, "
            f"stored {writer.stored}, duplicates {intake.duplicates}, "
            f"lost to the disk {writer.lost}, rejected {sum(rejected.values())} {rejected or ''}".rstrip()
            + (f", deleted before they were shipped {unshipped}" if unshipped else "")
            + (f", {waiting} messages wait for a chunk" if waiting else "")
            + f", dropped by the kernel {'unknown' if drops is None else drops}, acknowledged {writer.commit.acks_sent}"
        )
