"""Log entries as applications send them, the same ones in every run; or those of a user's own file."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# fmt: off
WORDS = [
    "connection", "reset", "by", "peer", "while", "reading", "response", "header", "from", "upstream", "configure",
    "installed", "status", "half-configured", "session", "opened", "for", "closed", "timeout", "payment",
    "order", "customer", "GET", "POST", "/api/v1/items", "200", "404", "502", "libssl3", "amd64", "kernel", "eth0",
]
# fmt: on
SEED = 7
FIRST_SEQUENCE = 1_000_000_000  # ten digits, which a sender can count up in place
COUNT = 10_000  # entries of a file; a load takes them in turn
ORDINARY = ["DEBUG", "INFO", "WARNING"]
ORDINARY_WEIGHTS = [2, 7, 1]


def entry(rng: random.Random, number: int, words: int, **more: object) -> bytes:
    """`words`: of its message. `more`: fields that are added or stand in for others."""
    fields: dict[str, object] = {
        "timestamp": f"2026-11-24T07:{rng.randrange(60):02}:{rng.randrange(60):02}.{rng.randrange(10**6):06}Z",
        "sequence": FIRST_SEQUENCE + number,
        "app": rng.choice(["web", "shop", "worker"]),
        "level": rng.choices(ORDINARY, ORDINARY_WEIGHTS)[0],
        "message": " ".join(rng.choices(WORDS, k=words)),
        "host": f"node-{rng.randrange(16):02}",
    }
    return _encoded({**fields, **more})


def usual_length(rng: random.Random) -> int:
    """Words of a message: mostly some ten, now and then many."""
    return max(3, int(rng.lognormvariate(2.5, 0.6)))


def write(
    path: Path, error_share: float = 0.0, message_bytes: int | None = None, source: Path | None = None
) -> dict[str, Any]:
    """A file of entries, a line each, and what there is to say of them.

    `message_bytes`: of each message; None: as they come. `source`: a log file; its lines that are entries are taken as
    they are, others become messages.
    """
    rng = random.Random(SEED)
    lines = []
    for fields in _read(source) if source else _made(rng):
        if message_bytes is not None:
            fields["message"] = _of_size(rng, message_bytes)
        if rng.random() < error_share:
            fields["level"] = "ERROR"
        lines.append(_encoded(fields))
    if not lines:
        raise SystemExit(f"{source} has no lines")
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    errors = sum(b'"level":"ERROR"' in line for line in lines)
    return {"entries": len(lines), "mean_bytes": sum(map(len, lines)) / len(lines), "error_share": errors / len(lines)}


def _made(rng: random.Random) -> Iterator[dict[str, Any]]:
    for number in range(COUNT):
        yield json.loads(entry(rng, number, usual_length(rng)))


def _read(source: Path) -> Iterator[dict[str, Any]]:
    for line in source.read_text(errors="replace").splitlines():
        text = line.strip()
        if not text:
            continue
        try:
            fields = json.loads(text)
        except ValueError:
            fields = None
        if not isinstance(fields, dict) or not {"level", "message"} <= fields.keys():
            fields = {"level": "INFO", "message": text}
        yield {**fields, "sequence": FIRST_SEQUENCE}


def _of_size(rng: random.Random, size: int) -> str:
    words = " ".join(rng.choices(WORDS, k=size // 3 + 1))  # three bytes a word at the least, with its space
    return words[:size]


def _encoded(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
