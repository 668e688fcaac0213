"""The errors that fastlog raises to its callers, and how commands report to their user. A bad datagram raises no
error: it is counted."""

import contextlib
import io
import os
import select
import stat
import sys

# Bytes of a message with its line feed. A pipe takes so many (PIPE_BUF of Linux) as a whole or not at all.
MESSAGE_MAX_BYTES = 4096


class FastlogError(Exception):
    """The base of fastlog's errors. The text is one line that says what is wrong, where, and what to do."""

    exit_code = 1  # the exit code of a command that ends with the error


class ConfigError(FastlogError, ValueError):
    """A setting or an argument has a value that is not allowed."""

    exit_code = 2


class StartError(FastlogError):
    """The server cannot start: its port is taken, its directory cannot be written, and so on."""


class Messages:
    """Lines on standard error, each under the program's name.

    Printing never fails, in any thread: a full disk under standard error, or nobody who reads it, must not end the
    program. A command waits for who reads its messages, as any program does, unless it calls `wait_at_most`, or
    `never_wait` as the server does: what cannot be printed in time, since a pipe is full or a terminal is stopped, is
    counted from then on, and the next line says how much it is.
    """

    def __init__(self) -> None:
        self.not_printed = 0
        self._unreported = 0  # of those not printed, the ones that no line has reported yet
        self._cut = False  # the last line was printed in part
        self._fd = 2
        self._wait_ms: float | None = None  # until a line can be printed; None: for ever

    def never_wait(self) -> None:
        self.wait_at_most(0)

    def wait_at_most(self, seconds: float) -> None:
        """For a line, from now on. The lines after one that could not be printed wait for no time."""
        if not hasattr(select, "poll"):  # Windows
            return
        with contextlib.suppress(OSError):
            kind = os.fstat(2).st_mode
            if stat.S_ISFIFO(kind) or stat.S_ISCHR(kind):
                # A description of our own: O_NONBLOCK on descriptor 2 would hold for every program that shares it. In
                # a terminal there may be room, though less than a line takes.
                self._fd = os.open("/proc/self/fd/2", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        self._wait_ms = seconds * 1000

    def say(self, text: str) -> None:
        """Prints one line."""
        report = f"fastlog: messages that could not be printed: {self._unreported}\n" if self._unreported else ""
        line = f"{report}fastlog: {text}".encode(errors="replace")
        if len(line) > MESSAGE_MAX_BYTES - 2:
            line = line[: MESSAGE_MAX_BYTES - 2].decode(errors="ignore").encode()
        if self._print(b"\n" * self._cut + line + b"\n"):
            self._unreported = 0
        else:
            self.not_printed += 1
            self._unreported += 1

    def _print(self, line: bytes) -> bool:
        """Whether all of the line was taken."""
        try:
            if self._wait_ms is not None and not self._has_room():
                return False
            taken = os.write(self._fd, line)
        except OSError:
            return False
        self._cut = taken < len(line)
        return not self._cut

    def _has_room(self) -> bool:
        room = select.poll()  # a new one each time: two threads may not use the same one at once
        room.register(self._fd, select.POLLOUT)
        return bool(room.poll(0 if self._unreported else self._wait_ms))


messages = Messages()
say = messages.say


class StandardError(io.TextIOBase):
    """In place of sys.stderr: what Python and its libraries print there, such as tracebacks, is printed as messages."""

    def __init__(self) -> None:
        self._begun = ""  # a line whose end has not come yet

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            if line:
                say(line)
        return len(text)


def escape_unencodable() -> None:
    """Makes standard output write characters that its encoding lacks as escapes, rather than raise an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def wait_for_reader() -> None:
    """Makes standard output wait until it is read, where another program has made the description that both share
    non-blocking: what does not fit in a pipe would be lost. The other program keeps its description as it is."""
    with contextlib.suppress(OSError, AttributeError):  # a socket cannot be opened twice; Windows has no such flag
        if os.get_blocking(1):
            return
        own = os.open("/proc/self/fd/1", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        os.set_blocking(own, True)
        os.dup2(own, 1)
        os.close(own)


def flush_output() -> bool:
    """At the end of a command: whether standard output took everything, or its reader has seen enough and is gone."""
    if sys.stdout is None:  # it was closed before the command began
        return True
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
    except (OSError, ValueError) as error:
        discard_output()
        say(f"cannot write to standard output: {getattr(error, 'strerror', error)}")
        return False
    return True


def discard_output() -> None:
    """To be called when the reader of standard output is gone: what Python still has to write goes nowhere."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.close(devnull)
