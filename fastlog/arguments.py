"""Types of command-line arguments: each makes a value from its text, or raises an error that says what is allowed."""

from argparse import ArgumentTypeError

CLIENTS_MAX = 256  # the clients of a load test are a thread each; on any machine more of them only take turns
MESSAGE_MAX_BYTES = 60_000  # a datagram of 65,507 bytes, less the entry's other fields
TAP_LINES_MAX = 200  # as the server has it: a few screens
COUNT_MAX = 10**12  # entries of a load test: more than a day at ten million a second
RATE_MAX = 10**9  # entries a second: a nanosecond each
DAY_SEC = 86_400  # the longest time a command waits or runs


def port(text: str) -> str:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 65535):
        raise ArgumentTypeError(f"invalid port {text!r}: expected a number from 1 to 65535")
    return text


def count(text: str) -> int:
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is not a whole number (0 or more)")
    return int(text)


def entry_count(text: str) -> int:
    return _whole(text, 1, COUNT_MAX)


def client_count(text: str) -> int:
    return _whole(text, 1, CLIENTS_MAX)


def top(text: str) -> int:
    return _whole(text, 1, COUNT_MAX)


def tap_lines(text: str) -> int:
    return _whole(text, 0, TAP_LINES_MAX)


def message_bytes(text: str) -> int:
    return _whole(text, 0, MESSAGE_MAX_BYTES)


def rate(text: str) -> float:
    return _number(text, RATE_MAX)


def share(text: str) -> float:
    return _number(text, 1)


def seconds(text: str) -> float:
    return _number(text, DAY_SEC, "number of seconds")


def _whole(text: str, least: int, most: int) -> int:
    if not (text.isdecimal() and least <= int(text) <= most):
        raise ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
    return int(text)


def _number(text: str, most: int, what: str = "number") -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= most:
        raise ArgumentTypeError(f"{text!r} is not a {what} from 0 to {most}")
    return value
