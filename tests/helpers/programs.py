"""Programs of other projects that run an application: started as their users do, asked, and ended."""

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

from tests.helpers.running import BASE_ENVIRONMENT, PATIENCE_SEC, get

END_SEC = 15  # a client has two seconds at the end of its program; the rest is for slow machines


class Program:
    """A program that runs until it is told to end. `ready` finds the text that it prints when it can be used; without
    one, nothing is waited for."""

    def __init__(
        self, command: Sequence[object], ready: str | None, cwd: Path, pass_fds: Sequence[int] = (), **environment: str
    ) -> None:
        self.printed = ""
        self.process = subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd,
            env={**BASE_ENVIRONMENT, "PYTHONUNBUFFERED": "1", **environment},
            pass_fds=pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.ready = self.wait_for(ready) if ready else None

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Reads what the program prints until a line has the pattern. A program that does not print it is killed."""
        timer = threading.Timer(PATIENCE_SEC, self._kill)
        timer.start()
        try:
            for line in iter(self.process.stdout.readline, ""):
                self.printed += line
                if found := re.search(pattern, line):
                    return found
        finally:
            timer.cancel()
            timer.join()
        raise AssertionError(f"it ended without printing {pattern!r}:\n{self.printed}")

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ends it as a service manager would, or as a terminal does that sends SIGINT to all its processes; returns its
        exit code. Fails if it does not end in time."""
        began = monotonic()
        if number == signal.SIGINT:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        self.printed += self.process.communicate(timeout=PATIENCE_SEC)[0]
        assert monotonic() - began < END_SEC, self.printed
        return self.process.returncode

    def close(self) -> None:
        self._kill()
        self.process.wait()
        self.process.stdout.close()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # its children have ended, too
            os.killpg(self.process.pid, signal.SIGKILL)


class WebServer(Program):
    """A program that answers requests. The first group of `ready` is its port, unless it is given a socket that listens
    already: then it need not say when it can be asked."""

    def __init__(self, command: Sequence[object], ready: str | None, cwd: Path, **more) -> None:
        super().__init__(command, ready, cwd, **more)
        self.port = int(self.ready[1]) if self.ready else None

    def ask(self, paths: Sequence[str], status: int = 200) -> list[str]:
        """What it answers to each of the paths, asked by several clients at once."""
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda path: get(self.port, path), paths))
        assert {answer.status for answer in answers} == {status}
        return [answer.text for answer in answers]

    def ask_until_all_have_answered(self, requests: int, workers: int, path: str = "/{}") -> list[str]:
        """Asks at least so often, with numbers in the path, and until so many workers have answered with their pids; returns the paths."""
        paths: list[str] = []
        pids: set[str] = set()
        until = monotonic() + PATIENCE_SEC
        while len(paths) < requests or len(pids) < workers:
            assert monotonic() < until, f"only {pids} answer:\n{self.printed}"
            more = [path.format(number) for number in range(len(paths), len(paths) + 20)]
            pids.update(self.ask(more))
            paths += more
        return paths


def run_to_its_end(command: Sequence[object], cwd: Path, **environment: str) -> str:
    """Runs a program that ends by itself; returns what it printed. Fails if it does not end well and in time."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**BASE_ENVIRONMENT, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_SEC,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
