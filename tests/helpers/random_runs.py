"""Random runs of a model: a seed makes a list of steps, each with a seed of its own. So steps can be left out of a run
that failed, until only those remain that it takes."""

import argparse
import signal
import sys
import traceback
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

PROGRESS = 10_000  # runs after which a line is printed

Step = tuple[Callable[[Any], None], int]  # and a seed for it


class Run(Protocol):
    steps: list[Step]

    def run(self, steps: list[Step] | None = None) -> None:
        """Runs the seed's steps, or these of them. Raises whatever went wrong."""


class Rig(Protocol):
    """What runs share."""

    def make_run(self, seed: int, trace: list[str] | None = None) -> Run:
        """A run, which adds what happens to `trace`."""

    def close(self) -> None: ...


def why_it_fails(rig: Rig, seed: int, steps: list[Step] | None = None, trace: list[str] | None = None) -> str | None:
    """Runs a seed, or these steps of it. Returns the traceback if it failed."""
    run = rig.make_run(seed, trace)
    try:
        run.run(steps)
    except Exception:
        return traceback.format_exc()
    return None


def shrunk(rig: Rig, seed: int) -> list[Step]:
    """As few of the seed's steps as still fail."""
    steps = rig.make_run(seed).steps
    size = len(steps) // 2
    while size:
        at = 0
        while at < len(steps):
            fewer = steps[:at] + steps[at + size :]
            if why_it_fails(rig, seed, fewer):
                steps = fewer
            else:
                at += size
        size //= 2
    return steps


def report(rig: Rig, seed: int, why: str) -> str:
    """The shortest run that still fails, step by step, and how it fails. `why` is how the whole run failed."""
    trace: list[str] = []
    again = why_it_fails(rig, seed, shrunk(rig, seed), trace)
    return "\n".join([f"seed {seed}:", *trace, again or f"{why}\nIt does not fail again."])


def main(make_rig: Callable[[], Rig]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--most", type=int, default=3, help="end after so many failures")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    rig = make_rig()
    began = monotonic()
    done = failed = 0
    try:
        for seed in range(options.first, options.first + options.runs):
            done += 1
            if done % PROGRESS == 0:
                print(f"{done} runs, up to seed {seed}", flush=True)
            if why := why_it_fails(rig, seed):
                failed += 1
                print(report(rig, seed, why), flush=True)
                if failed == options.most:
                    break
    finally:
        rig.close()
    print(f"{done} runs in {monotonic() - began:.1f} s, {failed} failed")
    return 1 if failed else 0
