"""Exceptions as text, with bounded work: an exception may have thousands of causes, calls and parts.

Exceptions of usual size look as Python prints them. Of larger ones, the first and the last parts are kept, and a line
says how many were left out.
"""

import traceback
from collections import deque
from types import TracebackType

from fastlog.client.encode import text_of, type_name

EXCEPTIONS_MAX = 40  # printed in all: causes, and members of exception groups; far more than anybody reads
CALLS_MAX = 1_500  # in all, in the way of Python, which shortens recursion itself; takes ten milliseconds
CHAIN_KEPT = 10  # causes at each end of a chain that is too long
CALLS_KEPT = 50  # at each end of a stack that is too deep
NOTES_KEPT = 10  # of an exception that is not of usual size
MEMBERS_KEPT = 10  # of an exception group that is too large
WALKED_MAX = 100_000  # steps along a chain or a stack, to count it and find its end; takes ten milliseconds
DEPTH_MAX = 5  # of groups within a group that is too large

_HEADER = "Traceback (most recent call last):\n"
_CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"


def class_name(kind: type[BaseException]) -> str:
    """As Python prints it: with its module, unless it is built in."""
    try:
        return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    except Exception:  # of its metaclass
        name: str = type_name(kind)
        return name


def format_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> str:
    """As `traceback.format_exception`, but bounded."""
    if _is_usual(error, trace):
        return "".join(traceback.format_exception(kind, error, trace))
    return _Bounded().chain(error, trace, 0)


def _is_usual(error: BaseException, trace: TracebackType | None) -> bool:
    calls, seen = 0, set()
    rest: list[tuple[BaseException, TracebackType | None]] = [(error, trace)]
    while rest:
        current, trace = rest.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        while trace is not None and calls <= CALLS_MAX:
            calls, trace = calls + 1, trace.tb_next
        if calls > CALLS_MAX or len(seen) > EXCEPTIONS_MAX:
            return False
        inner = list(_members(current)[: EXCEPTIONS_MAX + 1])
        inner += [other for other in (current.__cause__, current.__context__) if other is not None]
        rest += [(other, other.__traceback__) for other in inner]
    return True


def _members(error: BaseException) -> tuple[BaseException, ...]:
    return error.exceptions if isinstance(error, BaseExceptionGroup) else ()


class _Bounded:
    """Prints one exception, with all that belongs to it."""

    def __init__(self) -> None:
        self._left = EXCEPTIONS_MAX

    def chain(self, error: BaseException, trace: TracebackType | None, depth: int) -> str:
        """The exception and what it came from, the first cause first."""
        links = _links(error)
        gone = range(CHAIN_KEPT, len(links) - CHAIN_KEPT)
        printed: list[str] = []
        for number, (link, joint) in reversed(list(enumerate(links))):
            if number in gone:
                if number == gone[0]:
                    printed.append(f"\n… {len(gone)} exceptions left out …\n\n")
                continue
            if self._left > 0:
                printed.append(self._one(link, trace if number == 0 else link.__traceback__, depth))
                printed.append(joint)
        return "".join(printed)

    def _one(self, error: BaseException, trace: TracebackType | None, depth: int) -> str:
        self._left -= 1
        text = (_HEADER + _calls(trace) if trace else "") + _last_line(error)
        members = _members(error)
        kept = members[:MEMBERS_KEPT] if depth < DEPTH_MAX else ()
        for number, member in enumerate(kept, start=1):
            if self._left > 0:
                inner = self.chain(member, member.__traceback__, depth + 1)
                text += f"  +---------------- {number} ----------------\n"
                text += "".join(f"  | {line}\n" for line in inner.splitlines())
        if len(members) > len(kept):
            text += f"  … {len(members) - len(kept)} exceptions left out …\n"
        return text


def _last_line(error: BaseException) -> str:
    """Its class and text, with its notes. What `traceback` has for that reads all causes and members, too."""
    text = text_of(error)
    lines = [f"{class_name(type(error))}: {text}" if text else class_name(type(error))]
    notes = getattr(error, "__notes__", None)
    lines += map(text_of, notes[:NOTES_KEPT] if isinstance(notes, list) else ())
    return "\n".join(lines) + "\n"


def _links(error: BaseException) -> list[tuple[BaseException, str]]:
    """The exception, its cause, the cause of that, and so on, each with the line that leads to the one before it."""
    links = [(error, "")]
    seen = {id(error)}
    while len(links) < WALKED_MAX:
        error = links[-1][0]
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is None or id(cause) in seen:
            break
        seen.add(id(cause))
        links.append((cause, _CAUSE if error.__cause__ else _CONTEXT))
    return links


def _calls(trace: TracebackType) -> str:
    """The calls, the outermost first."""
    last: deque[TracebackType] = deque(maxlen=CALLS_KEPT)
    number = 0
    step: TracebackType | None = trace
    while step is not None and number < WALKED_MAX:
        last.append(step)
        number, step = number + 1, step.tb_next
    if number <= 2 * CALLS_KEPT:
        return "".join(traceback.format_tb(trace))
    first = "".join(traceback.format_tb(trace, CALLS_KEPT))
    return f"{first}  … {number - 2 * CALLS_KEPT} calls left out …\n{''.join(traceback.format_tb(last[0]))}"
