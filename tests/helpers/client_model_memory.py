"""Memory that runs out in the middle of the client's work, in a random run of the client."""

import gc
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import fastlog.client
from fastlog.client.worker import Worker

if TYPE_CHECKING:
    from tests.helpers.client_model import Run

CLIENT = str(Path(fastlog.client.__file__).parent)
# Where memory may run out: in these methods of the worker, and in what they call.
FALLIBLE = {Worker.begin.__code__, Worker.turn.__code__, Worker.wait.__code__}


def run_out_of_memory(run: "Run", calls: int) -> None:
    """The client's next work fails when it makes its n-th call of a function."""
    program = run.program
    if not program.outbox.accepted:
        return
    program.has_failed = program.thread.trouble.may_come = run.oracle.may_repeat = True
    left = calls
    has_begun = False

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal left, has_begun
        has_begun = has_begun or frame.f_code in FALLIBLE
        caller = frame.f_back if event == "call" else frame if event == "c_call" else None
        if has_begun and caller and _may_fail(caller) and frame.f_code.co_name[0] != "<":
            left -= 1
            if left <= 0 and not _is_finalizer(frame):
                sys.setprofile(None)
                run.note(f"        fails in {caller.f_code.co_name}, line {caller.f_lineno}")
                raise MemoryError

    gc.disable()  # an error in what the collector calls ends nothing, and reaches nobody
    sys.setprofile(profile)
    try:
        run.work(0.01)
    finally:
        sys.setprofile(None)
        gc.enable()


def _may_fail(caller: FrameType) -> bool:
    """Whether a call that this function makes may be the one."""
    name = caller.f_code.co_filename
    return name.startswith(CLIENT) and not name.endswith("/thread.py")


def _is_finalizer(frame: FrameType | None) -> bool:
    """Whether the garbage collector has called: an error there ends nothing."""
    while frame and frame.f_code not in FALLIBLE:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False
