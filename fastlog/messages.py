"""What the commands tell their user: one line on standard error, under the program's name."""

import sys


def say(text: str) -> None:
    print(f"fastlog: {text}", file=sys.stderr, flush=True)
