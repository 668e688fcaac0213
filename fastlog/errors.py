"""The errors that fastlog raises to its callers, and how commands report to their user. A bad datagram raises no
error: it is counted."""

import contextlib
import io
import os
import sys


class FastlogError(Exception):
    """The base of fastlog's errors. The text is one line that says what is wrong, where, and what to do."""

    exit_code = 1  # the exit code of a command that ends with the error


class ConfigError(FastlogError, ValueError):
    """A setting or an argument has a value that is not allowed."""

    exit_code = 2


class StartError(FastlogError):
    """The server cannot start: its port is taken, its directory cannot be written, and so on."""


def say(text: str) -> None:
    """Prints one line on standard error, under the program's name.

    It never fails: a full disk under standard error, or nobody who reads it, must not end the server.
    """
    with contextlib.suppress(OSError):
        os.write(2, f"fastlog: {text}\n".encode(errors="replace"))


def escape_unencodable() -> None:
    """Makes standard output write characters that its encoding lacks as escapes, rather than raise an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """To be called when the reader of standard output is gone: what Python still has to write goes nowhere."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.close(devnull)
