"""Looks at the parts of a log in threads, on all cores, and keeps their order.

Unpacking and the first look at lines run without the interpreter's lock, and they are most of the work.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import TypeVar

from fastlog.logs._memory import keep_freed
from fastlog.logs.parts import Lines, Part

T = TypeVar("T")

THREADS_MAX = 16  # one reader of results keeps no more of them busy
AHEAD_MAX = 3  # parts for each thread that are read ahead: one that is slow does not make the others wait
AHEAD_BYTES = 64 << 20  # of such parts, unpacked; ours have a MiB each
KEPT_BYTES = 32 << 20  # of memory for parts, once they are done: the most that the C library keeps
FEW_PARTS = 2  # for so little, threads are not worth their start


def looked_at(parts: Iterable[Part], look: Callable[[Part, Lines], T]) -> Iterator[T]:
    """What `look` says of the lines of each part, in their order. It may be called in any thread."""

    def work(part: Part) -> T:
        return look(part, part.lines())

    remaining = iter(parts)
    for part in islice(remaining, FEW_PARTS):
        yield work(part)
    threads = min(len(os.sched_getaffinity(0)), THREADS_MAX)
    if threads == 1:
        yield from map(work, remaining)
    elif more := next(remaining, None):
        yield from _in_threads(chain([more], remaining), work, threads)


def _in_threads(parts: Iterator[Part], work: Callable[[Part], T], threads: int) -> Iterator[T]:
    from concurrent.futures import Future, ThreadPoolExecutor  # takes longer than to look at a part

    keep_freed(KEPT_BYTES)
    under_way: deque[tuple[Future[T], int]] = deque()
    size = 0
    pool = ThreadPoolExecutor(threads)
    try:
        for part in parts:
            under_way.append((pool.submit(work, part), part.size))
            size += part.size
            while len(under_way) >= threads * AHEAD_MAX or size >= AHEAD_BYTES:
                done, its = under_way.popleft()
                size -= its
                yield done.result()
        for done, _ in under_way:
            yield done.result()
    finally:  # also where nobody wants the rest
        pool.shutdown(wait=False, cancel_futures=True)
