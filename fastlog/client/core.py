"""Which of two twins the client runs on: the compiled modules or, where they were not built, the same in Python.

Both do the same to every entry, byte by byte. The compiled twin costs less, and between its steps come neither a signal
handler nor a library that replaces threads. FASTLOG_PURE=1 in the environment chooses the one in Python. A compiled
module that is there and cannot be loaded is an error.
"""

import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

__all__ = [
    "ADDED_MAX_BYTES", "HAS_APP", "HAS_HOST", "HAS_TIMESTAMP", "IMPLEMENTATION", "LINGERING", "READ", "SLEEPING",
    "WRITE", "Datagram", "Item", "Outbox", "PlainCopy", "Wakeup", "after_fork_of_python", "entry_of",
    "keep_interruption", "may_start_threads", "note_fork_of_python", "pause", "scan", "start",
]  # fmt: skip

COMPILED, PURE = "compiled", "python"


def _choose() -> str:
    if os.environ.get("FASTLOG_PURE", "0") not in ("", "0"):
        return PURE
    return COMPILED if find_spec("fastlog.client._outbox") else PURE


IMPLEMENTATION = _choose()

if TYPE_CHECKING or IMPLEMENTATION == COMPILED:
    from fastlog._parse import scan
    from fastlog.client._native import (
        READ,
        WRITE,
        Wakeup,
        after_fork_of_python,
        keep_interruption,
        may_start_threads,
        note_fork_of_python,
        pause,
        start,
    )
    from fastlog.client._outbox import (
        ADDED_MAX_BYTES,
        HAS_APP,
        HAS_HOST,
        HAS_TIMESTAMP,
        LINGERING,
        SLEEPING,
        Datagram,
        Item,
        Outbox,
    )
    from fastlog.client._plain import PlainCopy
    from fastlog.client._record import entry_of
else:
    from fastlog.client.pure_native import (
        READ,
        WRITE,
        Wakeup,
        after_fork_of_python,
        keep_interruption,
        may_start_threads,
        note_fork_of_python,
        pause,
        start,
    )
    from fastlog.client.pure_outbox import (
        ADDED_MAX_BYTES,
        HAS_APP,
        HAS_HOST,
        HAS_TIMESTAMP,
        LINGERING,
        SLEEPING,
        Datagram,
        Item,
        Outbox,
    )
    from fastlog.client.pure_plain import PlainCopy, scan
    from fastlog.client.pure_record import entry_of

# Neither twin has a lock, so without the GIL entries of several threads would be lost, and not counted. A free-threaded
# Python switches it on for a compiled module, but not for one in Python, nor against PYTHON_GIL=0.
if not getattr(sys, "_is_gil_enabled", lambda: True)():
    raise ImportError(
        "fastlog's client needs Python's GIL, and it is switched off; start Python with PYTHON_GIL=1 "
        "in the environment, or with -X gil=1"
    )
