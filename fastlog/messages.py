"""What the commands tell their user: one line on standard error, under the program's name."""

import contextlib
import os


def say(text: str) -> None:
    """Never fails: a full disk under standard error, or nobody who reads it, must not end the server."""
    with contextlib.suppress(OSError):
        os.write(2, f"fastlog: {text}\n".encode(errors="replace"))
