"""The keys typed while a command has the whole screen."""

import os
import re
import select
import sys
import termios
import tty
from time import sleep
from typing import Any

# What a terminal sends for keys that are no characters, in either of the two modes that it may have.
_NAMED = {
    "\x1b[A": "up", "\x1bOA": "up", "\x1b[B": "down", "\x1bOB": "down", "\x1b[5~": "pageup", "\x1b[6~": "pagedown",
    "\x1b[H": "home", "\x1bOH": "home", "\x1b[1~": "home", "\r": "enter", "\n": "enter",
    "\x1b": "escape", "\x7f": "escape",
}  # fmt: skip
_KEY = re.compile(r"\x1b[\[O][0-9;]*[A-Za-z~]|.", re.DOTALL)


def names_of(typed: bytes) -> list[str]:
    """The keys by name, such as `up` and `enter`; a character is its own name, in lower case. Of other keys, an escape
    sequence is one name."""
    return [_NAMED.get(key, key.lower()) for key in _KEY.findall(typed.decode("utf-8", "replace"))]


class Keys:
    """While it is entered, keys are not echoed, and none of them is left for the shell. Without a terminal on standard
    input there are none."""

    def __init__(self) -> None:
        self._fd: int | None = None
        self._modes: list[Any] = []

    def __enter__(self) -> "Keys":
        if sys.stdin is not None and sys.stdin.isatty():
            self._fd = sys.stdin.fileno()
            self._modes = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._fd is not None:
            termios.tcsetattr(self._fd, termios.TCSAFLUSH, self._modes)  # discards what was typed and not read

    def wait(self, seconds: float) -> bytes:
        """The keys typed within that time, as soon as there are any; an empty text otherwise."""
        if self._fd is None:
            sleep(seconds)
            return b""
        ready, _, _ = select.select([self._fd], [], [], seconds)
        return os.read(self._fd, 64) if ready else b""
