"""What a test leaves behind: threads, descriptors and child processes of the process that runs the tests."""

import contextlib
import gc
import os
import threading
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple

from tests.helpers.running import LOOK_AGAIN_SEC, PATIENCE_SEC


class Resources(NamedTuple):
    """All threads, descriptors and children of the process, each with a name that identifies it in a report."""

    threads: frozenset[str]
    descriptors: frozenset[str]
    children: frozenset[str]

    def besides(self, others: "Resources") -> dict[str, list[str]]:
        """What is here and not in `others`, by kind."""
        return {
            kind: sorted(mine - theirs)
            for kind, mine, theirs in zip(self._fields, self, others, strict=True)
            if mine - theirs
        }


def resources() -> Resources:
    threads = frozenset(f"{thread.name} ({thread.ident})" for thread in threading.enumerate())
    return Resources(threads, _descriptors(), _children())


def left_behind(before: Resources) -> dict[str, list[str]]:
    """Returns what the test left behind, after waiting for threads and children that are about to end, and collecting
    garbage."""
    until = monotonic() + PATIENCE_SEC
    more = resources().besides(before)
    if "descriptors" in more:
        gc.collect()
        more = resources().besides(before)
    while more and set(more) != {"descriptors"} and monotonic() < until:
        for thread in threading.enumerate():
            if f"{thread.name} ({thread.ident})" in more.get("threads", ()):
                thread.join(0.1)
        sleep(LOOK_AGAIN_SEC)
        more = resources().besides(before)
    return more


def _descriptors() -> frozenset[str]:
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{fd} -> {os.readlink(f'/proc/self/fd/{fd}')}")
        except OSError:  # the descriptor that listed the directory
            continue
    return frozenset(found)


def _children() -> frozenset[str]:
    found = set()
    for task in Path("/proc/self/task").iterdir():  # the kernel keeps children by thread
        try:
            pids = (task / "children").read_text().split()
        except OSError:
            if task.exists():
                raise
            continue  # the thread has ended meanwhile
        for pid in pids:
            # The name is in parentheses and may hold spaces and parentheses itself.
            with contextlib.suppress(OSError):  # the child has ended meanwhile
                found.add(f"{pid} {Path(f'/proc/{pid}/stat').read_text().rpartition(')')[0].partition('(')[2]}")
    return frozenset(found)
