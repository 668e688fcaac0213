"""The datagrams of other senders in tests/datagrams, each with the decoding that is right."""

import base64
import json
from pathlib import Path
from typing import Any, NamedTuple

from fastlog.inputs.receipt import Receipt

DATAGRAMS = Path(__file__).parents[1] / "datagrams/datagrams.jsonl"
# When they came, and from whom, in their decodings.
RECEIPT = Receipt("2026-11-26T08:30:00.000000Z", "192.0.2.7:40000", "192.0.2.7")


class Datagram(NamedTuple):
    name: str
    kind: str  # what it was meant as: syslog, gelf, json or other
    data: bytes
    decoding: list[dict[str, Any]]


def datagrams() -> list[Datagram]:
    found = map(json.loads, DATAGRAMS.read_text().splitlines())
    return [Datagram(d["name"], d["kind"], base64.b64decode(d["bytes_base64"]), d["decoding"]) for d in found]


def same(line: bytes, expected: dict[str, Any]) -> bool:
    """Whether a line, with its line feed, is the entry that a decoding gives, its keys in that order."""
    entry = json.loads(line)
    if "long" not in expected:
        return list(entry.items()) == list(expected.items())
    size, *values = expected.items()
    return (
        size[1] == len(line) - 1
        and list(entry) == [key for key, _ in values]
        and all(
            entry[key] == value or (str(value).endswith("...") and str(entry[key]).startswith(value[:-3]))
            for key, value in values
        )
    )
